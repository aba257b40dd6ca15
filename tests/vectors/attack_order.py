"""Two faults at once: the earlier step of `verify.ts` is reported, whatever the hop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from vectors.attack_base import Attack, Good
from vectors.attack_places import CHAIN, RICH_USE, USE
from vectors.forge import (
    ISSUER,
    NOW,
    UNRELATED,
    Payload,
    did,
    flip,
    with_signature,
)
from vectors.making import Forge, saying
from vectors.points import IDENTITY

ABOUT: Final = "Two things wrong at once: the earlier step answers, so that a code means one thing."


class Fault(NamedTuple):
    """One thing that is wrong, with a token or with what is asked, and the code that says so."""

    name: str
    code: str
    forge: Forge | None = None
    asked: Payload | None = None


# In the order in which a verifier finds them.
FAULTS: Final = (
    Fault("text", "malformed_ucan", lambda m: f"{m.token}\n"),
    Fault("key", "malformed_ucan", saying(aud=did(IDENTITY))),
    Fault("signature text", "bad_signature", lambda m: with_signature(m.token, _not_canonical)),
    Fault("signature", "bad_signature", lambda m: with_signature(m.token, flip)),
    Fault("time", "expired", saying(exp=NOW)),
    Fault("link", "chain_invalid", saying(sub=UNRELATED.did)),
    Fault("trust", "untrusted_issuer", asked={"trusted_issuers": []}),
    Fault("revoked", "revoked", asked={"revoked": [ISSUER.did]}),
    Fault("stale", "revocations_stale", asked={"revocations_age": 99}),
    Fault("audience", "audience_mismatch", asked={"audience": UNRELATED.did}),
)


def _not_canonical(signature: bytes) -> bytes:
    return signature[:32] + b"\xff" * 32


def attacks() -> Iterator[Attack]:
    for good in (CHAIN[3], USE[2]):
        for index, first in enumerate(FAULTS):
            for second in FAULTS[index + 1 :]:
                yield _pair(good, first, second)
    yield from _uses()


def _pair(good: Good, first: Fault, second: Fault) -> Attack:
    """What is found first is at the later link, if it is at a link at all."""
    faults = {1: first, 0: second}
    forged = {hop: fault.forge for hop, fault in faults.items() if fault.forge}
    request = {**good.request(forged), **(first.asked or {}), **(second.asked or {})}
    elsewhere = {"stale": None, "audience": good.last, "trust": 0, "revoked": 0}
    hop = elsewhere.get(first.name, 1)
    name = f"order: {first.name} before {second.name}"
    return good.attack(name, "two places", first.code, hop, request)


def _uses() -> Iterator[Attack]:
    """Within the use of a chain, too: whose it is, for whom, how far, on what, for which call."""
    steps: tuple[tuple[str, str, int, Payload], ...] = (
        ("holder", "chain_invalid", 2, {"sub": UNRELATED.did}),
        ("audience", "audience_mismatch", 2, {"aud": UNRELATED.did}),
        ("command", "chain_attenuation_violation", 2, {"cmd": "/github/issue/read"}),
        ("resource", "resource_out_of_scope", 2, {"args": {"resource": {}}}),
    )
    good = RICH_USE[2]
    call = {"cmd": "/a", "resource": {}, "args": {}}
    for index, (name, code, hop, changes) in enumerate(steps):
        for other, _, _, more in steps[index + 1 :]:
            forged = good.request({2: saying(**{**more, **changes})})
            yield good.attack(f"order: {name} before {other}", "its use", code, hop, forged)
        forged = good.request({2: saying(**changes)}, call=call)
        yield good.attack(f"order: {name} before call", "its use", code, hop, forged)
