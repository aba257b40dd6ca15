"""The demo's child process: an agent with only what its parent delegated to it.

It has no API key. It reads commands from stdin, one JSON object per line, and writes one reply
for each to stdout.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import httpx

from nomos import AttenuationError, AuthGuard, read_parent_chain_from_env
from nomos._core.tokens import decode_unverified
from nomos._io.signer import Signer, shared
from nomos._protocol import Invocation, Invoke, Refused, Signed
from nomos.cli.demo.harness import PURPOSE, READ, SUMMARY, WRITE, json_of, refusal

ChildReply = dict[str, Any]


def main() -> None:
    """Print this agent's identity, then run commands until stdin is closed."""
    parent = read_parent_chain_from_env(os.environ)
    with AuthGuard.from_env() as guard:
        _print_reply(
            {
                "pid": os.getpid(),
                "agent": guard.did(),
                "links": len(parent.chain),
                "parent_receipt": parent.parent_receipt_id,
                "api_key": guard.api_key is not None,
            }
        )
        for line in sys.stdin:
            command = json.loads(line)
            _print_reply(ACTIONS[command["do"]](guard, command["path"]))


def _read(guard: AuthGuard, path: str) -> ChildReply:
    """Ask the control plane with only the chain, then read through the PDP."""
    grant = guard.authorize(command=READ, resource=_file(path), purpose=PURPOSE)
    result = {"decision": grant.decision, "reason": grant.reason, "receipt_id": grant.receipt_id}
    return result | (
        _read_through_pdp(guard, path, {"authorization": f"Bearer {grant.ucan}"}) if grant else {}
    )


def _offline(guard: AuthGuard, path: str) -> ChildReply:
    """Sign an invocation without asking the control plane, and read through the PDP."""
    return _read_through_pdp(guard, path, guard.headers(command=READ, resource=_file(path)))


def _widen(guard: AuthGuard, path: str) -> ChildReply:
    """Try to exceed the delegation, in each way that a child can."""
    other, _ = SUMMARY
    wider = guard.authorize(command=WRITE, resource=_file(path), purpose=PURPOSE)
    aside = guard.authorize(command=READ, resource=_file(other), purpose=PURPOSE)
    found: ChildReply = {"another command": wider.reason, "another file": aside.reason}
    try:
        guard.fork_child(capabilities=[{"with": "filesystem:///", "can": "file:read"}])
    except AttenuationError as refused:
        found["a child with more"] = refused.code
    reply = _read_through_pdp(
        guard, other, {"authorization": f"Bearer {_without_own_link(guard, other)}"}
    )
    return {"refused": found | {"the chain without its own link": reply.get("refusal")}}


def _without_own_link(guard: AuthGuard, path: str) -> str:
    """Return an invocation with only the parent's delegation, whose audience is the parent."""
    (root, *_) = read_parent_chain_from_env(os.environ).chain
    claims, now = decode_unverified(root), int(time.time())
    payload = Invocation(
        iss=guard.did(),
        aud=claims["meta"]["audience"],
        sub=claims["iss"],
        cmd=READ,
        args={"resource": _file(path)},
        nonce=secrets.token_urlsafe(16),
        iat=now - 60,
        exp=now + 30,
        prf=[root],
    )
    answer = Signer(shared()).ask(Invoke(key=guard.did(), payload=payload))
    if isinstance(answer, Signed):
        return answer.jwt
    raise RuntimeError(answer.message if isinstance(answer, Refused) else "no signature")


ACTIONS: Final[dict[str, Callable[[AuthGuard, str], ChildReply]]] = {
    "read": _read,
    "offline": _offline,
    "widen": _widen,
}


def _read_through_pdp(guard: AuthGuard, path: str, headers: dict[str, str]) -> ChildReply:
    with httpx.Client(trust_env=False, timeout=10) as client:
        reply = client.get(f"{guard.pdp_url}{READ}", params={"path": path}, headers=headers)
    body = json_of(reply)
    got = hashlib.sha256(str(body["content"]).encode()).hexdigest() if "content" in body else None
    found = {"http_status": reply.status_code, "sha256": got, **refusal(body)}
    return {name: value for name, value in found.items() if value is not None}


def _file(path: str) -> dict[str, str]:
    return {"provider": "filesystem", "path": path}


def _print_reply(reply: ChildReply) -> None:
    print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
