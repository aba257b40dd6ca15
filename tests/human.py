"""An operator in a process of its own, who reads a question and decides it.

    python human.py URL KEY_FILE ENVELOPE_ID approve|deny

All that it shares with the agent is the control plane. Its API key comes in a file.
"""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import httpx


def main(url: str, key_file: str, envelope_id: str, answer: str) -> None:
    """Find the question in the queue, answer it, and print what was seen."""
    path = Path(key_file)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "an operator's key is nobody else's"
    headers = {"authorization": f"Bearer {path.read_text().strip()}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        queue = client.get("/v1/approvals").raise_for_status().json()["approvals"]
        (question,) = (one for one in queue if one["id"] == envelope_id)
        decision = {
            "approve": answer == "approve",
            "version": question["version"],
            "reason": "seen by a person",
        }
        decided = client.post(f"/v1/approvals/{envelope_id}/decide", json=decision)
        decided.raise_for_status()
    print(json.dumps({"asked": question, "decided": decided.json()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
