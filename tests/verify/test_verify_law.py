"""The law of the verifier: it accepts exactly what the binary verifies, and each nonce once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vectors.forge import (
    DELEGATION,
    INVOCATION,
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    SERVICE,
    UNRELATED,
    Party,
    cid,
    delegation,
    flip,
    invocation,
    sign,
    with_signature,
)
from verifiers import RESOURCE
from verifiers import settings as verifier_settings

from nomos import MemoryReplayStore, Verifier
from nomos._core.read_commands import is_read
from nomos._io.signer import Signer, shared
from nomos._protocol import Call, Refused, Verified, Verify
from nomos.errors import Denied

COMMANDS = ["/github", "/github/issue", "/github/issue/list", "/github/issue/create"]
RESOURCES: list[dict[str, Any]] = [RESOURCE, {**RESOURCE, "owner": "evil"}]

links = st.fixed_dictionaries(
    {
        "cmd": st.sampled_from(["/github", "/github", *COMMANDS]),
        "exp": st.sampled_from([NOW + 300, NOW + 300, NOW + 30, NOW]),
        "pol": st.sampled_from(
            [[], [], [["==", ".args.n", 1]], [["!=", ".args.n", 2]], [["like", ".cmd", "*list"]]]
        ),
        "meta": st.sampled_from(
            [{}, {}, {"resource_constraint": {"provider": "github", "owner": "acme"}}]
        ),
    }
)
calls = st.fixed_dictionaries(
    {
        "cmd": st.sampled_from(COMMANDS[2:]),
        "resource": st.sampled_from([RESOURCE, *RESOURCES]),
        "args": st.sampled_from([{}, {}, {"n": 1}, {"n": 2}]),
    }
)


@dataclass(frozen=True)
class Surroundings:
    """What is not in the chain or the call."""

    aud: Party
    trusted: Party
    revoked: str | None
    forged: bool
    max_depth: int
    leeway: int


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    held=st.lists(links, min_size=1, max_size=3),
    signed=calls,
    asked=st.one_of(st.none(), calls),
    at=st.builds(
        Surroundings,
        aud=st.sampled_from([SERVICE, SERVICE, SERVICE, UNRELATED]),
        trusted=st.sampled_from([ISSUER, ISSUER, ISSUER, UNRELATED]),
        revoked=st.sampled_from([None, None, None, "root", "holder"]),
        forged=st.sampled_from([False, False, False, True]),
        max_depth=st.sampled_from([8, 8, 2]),
        leeway=st.sampled_from([0, 60]),
    ),
)
def test_a_verifier_accepts_once_what_the_binary_verifies(
    held: list[dict[str, Any]],
    signed: dict[str, Any],
    asked: dict[str, Any] | None,
    at: Surroundings,
) -> None:
    chain: list[str] = []
    by, to = ISSUER, PLANNER
    for link in held:
        prf = {"prf": [cid(chain[-1])]} if chain else {}
        chain.append(sign(DELEGATION, delegation(by, to, **link, **prf), by))
        by, to = to, (RESEARCHER if to is PLANNER else PLANNER)
    args = {"resource": signed["resource"], **signed["args"]}
    payload = invocation(by, chain, cmd=signed["cmd"], args=args, aud=at.aud.did, exp=NOW + 20)
    token = sign(INVOCATION, payload, by)
    if at.forged:
        token = with_signature(token, flip)
    call = asked or signed
    gone = {"root": [cid(chain[0])], "holder": [by.did]}.get(at.revoked or "", [])

    proven = Signer(shared()).ask(
        Verify(
            invocation=token,
            now=NOW,
            leeway=at.leeway,
            max_depth=at.max_depth,
            trusted_issuers=[at.trusted.did],
            audience=SERVICE.did,
            revoked=gone,
            call=Call(**call),
        )
    )
    verifier = Verifier(
        **verifier_settings(
            trusted_issuers=[at.trusted.did],
            leeway=at.leeway,
            max_depth=at.max_depth,
            revocations=gone,
            replay=MemoryReplayStore(clock=lambda: NOW),
        )
    )
    for attempt in range(2):
        answer = _answer(verifier, token, call)
        if isinstance(proven, Refused):
            assert answer == (proven.code, proven.hop, proven.field)
        elif attempt == 0 or is_read(call["cmd"]):
            assert isinstance(proven, Verified)
            assert answer == proven.cid
        else:
            assert answer == ("replayed", None, "nonce")


def _answer(verifier: Verifier, token: str, call: dict[str, Any]) -> object:
    try:
        verified = verifier.verify(
            token, command=call["cmd"], resource=call["resource"], args=call["args"]
        )
    except Denied as denied:
        return denied.code, denied.hop, denied.field
    return verified.cid
