"""Attempts of a process of the tree beyond its chain, each with the expected code.

A child that keeps to the SDK is stopped by it. These don't: they sign with the process's own
key whatever they like, through the signing binary, and send it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from nomos import RateLimited
from nomos._core.tokens import decode_unverified
from nomos._identifiers import cid_of
from nomos._io.signer import Signer, shared
from nomos._protocol import Delegate, Delegation, Invocation, Invoke, Signed

READ: Final = "/filesystem/file/read"
WRITE: Final = "/filesystem/file/write"


@dataclass(frozen=True)
class Member:
    """Who tries: its DID, its chain, the path it was given, and what it found lying about.

    `sibling` is the chain of another child, `envelope` an approval that the root was given.
    """

    did: str
    chain: tuple[str, ...]
    path: str
    pdp_url: str
    sibling: tuple[str, ...]
    envelope: str
    call: Callable[..., Any]
    guard: Any

    @property
    def elsewhere(self) -> str:
        """A path of another branch."""
        return "t/other"


def invoke(
    member: Member, chain: Sequence[str], *, command: str = READ, path: str | None = None
) -> str:
    """An invocation on any chain, signed by this process's key."""
    root, now = decode_unverified(member.chain[0]), int(time.time())
    payload = Invocation(
        iss=member.did,
        aud=root["meta"]["audience"],
        sub=root["iss"],
        cmd=command,
        args={
            "resource": {"provider": "filesystem", "path": member.path if path is None else path}
        },
        nonce=secrets.token_urlsafe(16),
        iat=now - 60,
        exp=now + 30,
        prf=list(chain),
    )
    return _signed(Invoke(key=member.did, payload=payload))


def link(member: Member, after: str, **changed: Any) -> str:
    """A delegation from this process to itself, that follows `after`."""
    parent = decode_unverified(after)
    said: dict[str, Any] = {
        "iss": member.did,
        "aud": member.did,
        "sub": decode_unverified(member.chain[0])["iss"],
        "cmd": READ,
        "pol": [],
        "nonce": secrets.token_urlsafe(16),
        "nbf": parent["nbf"],
        "exp": parent["exp"],
        "prf": [cid_of(after)],
        "meta": {"resource_constraint": {"provider": "filesystem", "path": member.path}},
    }
    payload = Delegation.model_validate(said | changed)
    return _signed(Delegate(key=member.did, payload=payload))


def _signed(request: Delegate | Invoke) -> str:
    answer = Signer(shared()).ask(request)
    assert isinstance(answer, Signed), answer
    return answer.jwt


def send(member: Member, token: str, *, command: str = READ, path: str | None = None) -> str | None:
    """Make the call, and return the code with which it was refused, None if it was not."""
    path = member.path if path is None else path
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=member.pdp_url, trust_env=False, timeout=120) as http:
        if command == WRITE:
            body = {"path": path, "content": "written by who may not"}
            reply = http.put(command, json=body, headers=headers)
        else:
            reply = http.get(command, params={"path": path}, headers=headers)
    return None if reply.status_code == 200 else str(reply.json()["error_code"])


def ask(member: Member, path: str, *, command: str = READ, envelope: str | None = None) -> str:
    """Ask the control plane, and return the reason of its no, or what else it said."""
    while True:
        try:
            grant = member.call(
                member.guard.authorize,
                command=command,
                resource={"provider": "filesystem", "path": path},
                cosigner_envelope_id=envelope,
            )
        except RateLimited:
            # So many faulty questions of one app are answered a minute; then all wait.
            time.sleep(5)
            continue
        return str(grant.reason or grant.decision)


# The attempts


def wider_command(member: Member) -> str | None:
    token = invoke(member, member.chain, command=WRITE)
    return send(member, token, command=WRITE)


def wider_command_online(member: Member) -> str | None:
    return ask(member, member.path, command=WRITE)


def wider_resource(member: Member) -> str | None:
    token = invoke(member, member.chain, path=member.elsewhere)
    return send(member, token, path=member.elsewhere)


def wider_resource_online(member: Member) -> str | None:
    return ask(member, member.elsewhere)


def later_expiry(member: Member) -> str | None:
    last = member.chain[-1]
    longer = link(member, last, exp=decode_unverified(last)["exp"] + 60)
    return send(member, invoke(member, [*member.chain, longer]))


def too_deep(member: Member) -> str | None:
    chain = list(member.chain)
    while len(chain) <= 8:
        chain.append(link(member, chain[-1]))
    return send(member, invoke(member, chain))


def dropped_constraint(member: Member) -> str | None:
    loose = link(member, member.chain[-1], meta={"resource_constraint": {}})
    token = invoke(member, [*member.chain, loose], path=member.elsewhere)
    return send(member, token, path=member.elsewhere)


def dropped_ancestor(member: Member) -> str | None:
    *before, _, last = member.chain
    return send(member, invoke(member, [*before, last]))


def swapped_chain(member: Member) -> str | None:
    return send(member, invoke(member, member.chain[::-1]))


def siblings_chain(member: Member) -> str | None:
    path = decode_unverified(member.sibling[-1])["meta"]["resource_constraint"]["path"]
    return send(member, invoke(member, member.sibling, path=path), path=path)


def parents_approval(member: Member) -> str | None:
    return ask(member, f"{member.path}/careful", envelope=member.envelope)


def no_chain(member: Member) -> str | None:
    return send(member, invoke(member, []))


Attempt = Callable[[Member], str | None]

ATTEMPTS: Final[tuple[tuple[Attempt, str], ...]] = (
    (wider_command, "chain_attenuation_violation"),
    (wider_resource, "resource_out_of_scope"),
    (later_expiry, "chain_attenuation_violation"),
    (too_deep, "chain_too_deep"),
    (dropped_constraint, "chain_attenuation_violation"),
    (dropped_ancestor, "chain_invalid"),
    (swapped_chain, "chain_invalid"),
    (siblings_chain, "chain_invalid"),
    (parents_approval, "approval_mismatch"),
    (no_chain, "chain_invalid"),
    (wider_command_online, "chain_attenuation_violation"),
    (wider_resource_online, "resource_out_of_scope"),
)
