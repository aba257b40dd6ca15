"""The demo's child process: an agent that has what its parent gave it, and nothing else.

It has no API key. It obeys one line of JSON at a time, and tells in another how it went.
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

from nomos import AuthGuard, Widening, read_parent_chain_from_env
from nomos._core.tokens import decode_unverified
from nomos._io.signer import Signer, shared
from nomos._protocol import Invocation, Invoke, Refused, Signed
from nomos.cli.demo.harness import PURPOSE, READ, SUMMARY, WRITE, json_of, refusal

Told = dict[str, Any]


def main() -> None:
    """Say who this is, then obey until the parent closes the input."""
    parent = read_parent_chain_from_env(os.environ)
    with AuthGuard.from_env() as guard:
        _tell(
            {
                "pid": os.getpid(),
                "agent": guard.did(),
                "links": len(parent.chain),
                "parent_receipt": parent.parent_receipt_id,
                "api_key": guard.api_key is not None,
            }
        )
        for line in sys.stdin:
            order = json.loads(line)
            _tell(ACTS[order["do"]](guard, order["path"]))


def _read(guard: AuthGuard, path: str) -> Told:
    """Ask the control plane with the chain alone, then read through the PDP."""
    grant = guard.authorize(command=READ, resource=_file(path), purpose=PURPOSE)
    told = {"decision": grant.decision, "reason": grant.reason, "receipt_id": grant.receipt_id}
    return told | (_got(guard, path, {"authorization": f"Bearer {grant.ucan}"}) if grant else {})


def _offline(guard: AuthGuard, path: str) -> Told:
    """Sign on the chain, asking nobody, and read through the PDP."""
    return _got(guard, path, guard.headers(command=READ, resource=_file(path)))


def _widen(guard: AuthGuard, path: str) -> Told:
    """Try to do more than was given, in each way that a child can think of."""
    other, _ = SUMMARY
    wider = guard.authorize(command=WRITE, resource=_file(path), purpose=PURPOSE)
    aside = guard.authorize(command=READ, resource=_file(other), purpose=PURPOSE)
    found: Told = {"another command": wider.reason, "another file": aside.reason}
    try:
        guard.fork_child(capabilities=[{"with": "filesystem:///", "can": "file:read"}])
    except Widening as refused:
        found["a child with more"] = refused.code
    reply = _got(guard, other, {"authorization": f"Bearer {_without_own_link(guard, other)}"})
    return {"refused": found | {"the chain without its own link": reply.get("refusal")}}


def _without_own_link(guard: AuthGuard, path: str) -> str:
    """An invocation on the parent's delegation alone, which was never this agent's."""
    (root, *_) = read_parent_chain_from_env(os.environ).chain
    said, now = decode_unverified(root), int(time.time())
    payload = Invocation(
        iss=guard.did(),
        aud=said["meta"]["audience"],
        sub=said["iss"],
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


ACTS: Final[dict[str, Callable[[AuthGuard, str], Told]]] = {
    "read": _read,
    "offline": _offline,
    "widen": _widen,
}


def _got(guard: AuthGuard, path: str, headers: dict[str, str]) -> Told:
    with httpx.Client(trust_env=False, timeout=10) as client:
        reply = client.get(f"{guard.pdp_url}{READ}", params={"path": path}, headers=headers)
    body = json_of(reply)
    got = hashlib.sha256(str(body["content"]).encode()).hexdigest() if "content" in body else None
    found = {"http_status": reply.status_code, "sha256": got, **refusal(body)}
    return {name: value for name, value in found.items() if value is not None}


def _file(path: str) -> dict[str, str]:
    return {"provider": "filesystem", "path": path}


def _tell(told: Told) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
