"""The last process of a swarm: reads a repository through the PDP, and prints it.

    python swarm_child.py KEY_FILE RECEIPT

Its key is in a file of its own; its chain comes from its environment.
"""

from __future__ import annotations

import json
import os
import sys

import httpx

from nomos import AuthGuard, read_parent_chain_from_env

COMMAND = "/github/repo/read"
RESOURCE = {"provider": "github", "owner": "acme", "repo": "app"}


def main(key_file: str, receipt: str) -> None:
    """Read online and offline, and say so."""
    with AuthGuard(
        control_plane_url=os.environ["NOMOS_CONTROL_URL"], agent_key_file=key_file
    ) as guard:
        grant = guard.authorize(command=COMMAND, resource=RESOURCE).require()
        tokens = {
            "online": {"authorization": f"Bearer {grant.ucan}"},
            "offline": guard.headers(command=COMMAND, resource=RESOURCE),
        }
        found = {how: _read(headers) for how, headers in tokens.items()}
        parent = read_parent_chain_from_env({**os.environ, "NOMOS_AGENT_KEY_FILE": key_file})
        assert parent.parent_receipt_id == receipt
        print(json.dumps({"agent": guard.did(), "links": len(parent.chain), **found}))


def _read(headers: dict[str, str]) -> object:
    where = f"{os.environ['NOMOS_PDP_URL']}{COMMAND}"
    params = {"owner": "acme", "repo": "app"}
    reply = httpx.get(where, params=params, headers=headers, trust_env=False)
    return reply.json()


if __name__ == "__main__":
    main(*sys.argv[1:])
