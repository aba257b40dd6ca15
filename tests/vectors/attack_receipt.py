"""Attacks on receipts: another text, another signer, another outcome, another kind of token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from vectors import attack_checkpoint
from vectors.attack_base import Accepted, Attack
from vectors.attack_keys import for_any_message
from vectors.attack_other_kinds import MALFORMED, Spell, Statement
from vectors.attack_places import CHAIN, USE
from vectors.attack_signatures import edited
from vectors.cases import verify_checkpoint, verify_receipt, verify_use
from vectors.cases_receipts import CONTRADICTIONS
from vectors.forge import (
    CHECKPOINT,
    DELEGATION,
    INVOCATION,
    ISSUER,
    NOW,
    RECEIPT,
    SERVICE,
    UNRELATED,
    Payload,
    checkpoint,
    cid,
    did,
    receipt_payload,
    root,
    sign,
    unb64,
    use,
)
from vectors.making import Making
from vectors.points import IDENTITY

ABOUT: Final = "Receipts of verification, and each kind of token in the place of another."

HONEST: Final = Making(RECEIPT, receipt_payload(args_hash="ef" * 32), SERVICE)
KIND: Final = Statement("receipt", HONEST, verify_receipt)
TRUSTED: Final = [SERVICE.did, ISSUER.did]
"""Both who signs receipts and who signs the rest, so that only the kind of token is wrong."""


def attacks() -> Iterator[Attack]:
    yield from KIND.attacks(SPELLED, {**MEMBERS, **_contradictions()}, EDITED)
    yield from KIND.trust(sign(RECEIPT, receipt_payload(iss=UNRELATED.did), UNRELATED))
    yield _acquitted()
    anyone = for_any_message(IDENTITY)(HONEST)
    asked = verify_receipt(anyone, [did(IDENTITY)])
    yield KIND.row("issuer, the identity, which is trusted, and a signature of anything", asked)
    yield from _kinds()
    yield from _elsewhere()


SPELLED: Final[dict[str, Spell]] = {
    "an escaped letter": lambda p: p.replace(b'"allow"', b'"\\u0061llow"'),
    "a fraction of zero": lambda p: p.replace(b'"iat":1700000000', b'"iat":1700000000.0'),
    "an exponent": lambda p: p.replace(b'"iat":1700000000', b'"iat":17e8'),
    "an outcome twice, the honest one first": lambda p: p[:-1] + b',"outcome":"expired"}',
    "an outcome twice, the honest one last": lambda p: b'{"outcome":"expired",' + p[1:],
    "a lone surrogate": lambda p: p.replace(b'"allow"', b'"\\ud800"'),
    "invalid UTF-8": lambda p: p.replace(b'"allow"', b'"\xff"'),
}

MEMBERS: Final[dict[str, Payload]] = {
    **{f"no {name}": {name: ...} for name in ("iss", "service", "cmd", "outcome", "iat")},
    "an unknown member": {"exp": NOW},
    "a member named __proto__": {"__proto__": {"outcome": "allow"}},
    "the arguments themselves": {"args_hash": {"state": "open"}},
    "an outcome that is a list": {"outcome": ["allow"]},
    "an outcome with a newline": {"outcome": "allow\n"},
    "a hop that is text": {"outcome": "expired", "hop": "0"},
    "a chain of one text": {"chain": "0" * 64},
    "a chain with a token": {"chain": [cid("x"), root()]},
    "an agent that is null": {"agent": None},
    "a time that is a fraction": {"iat": NOW + 0.5},
}

EDITED: Final[Payload] = {
    "iss": UNRELATED.did,
    "service": UNRELATED.did,
    "cmd": "/github/issue/create",
    "resource_hash": "ab" * 32,
    "args_hash": "ab" * 32,
    "outcome": "expired",
    "agent": UNRELATED.did,
    "root": UNRELATED.did,
    "chain": ["ab" * 32],
    "invocation": "ab" * 32,
    "iat": NOW + 1,
}


def _contradictions() -> dict[str, Payload]:
    return {f"an allow {name}": changes for name, changes in CONTRADICTIONS.items()}


def _acquitted() -> Attack:
    """A refusal turned into an allow, under the signature of the refusal."""
    denied = HONEST.saying(outcome="expired", hop=1)
    base = Accepted("a receipt of a refusal", verify_receipt(denied.token), {})
    request = verify_receipt(edited(outcome="allow", hop=...)(denied))
    name = "receipt: edited, a refusal turned into an allow"
    return Attack(name, "the token", base, request, "bad_signature", None)


def _disguised() -> str:
    """A delegation, headed as a receipt."""
    return sign(RECEIPT, json.loads(unb64(root().split(".")[1])), ISSUER)


def _kinds() -> Iterator[Attack]:
    """No kind of token passes for a receipt, however its payload and header are put together."""
    payload = HONEST.payload
    for name, token in {
        "a delegation in its place": root(),
        "an invocation in its place": use([root()]),
        "a checkpoint in its place": checkpoint(),
        "its payload, headed as a delegation": sign(DELEGATION, payload, SERVICE),
        "its payload, headed as an invocation": sign(INVOCATION, payload, SERVICE),
        "its payload, headed as a checkpoint": sign(CHECKPOINT, payload, SERVICE),
        "a delegation headed as a receipt": _disguised(),
    }.items():
        yield KIND.row(f"kind, {name}", verify_receipt(token, TRUSTED))


def _elsewhere() -> Iterator[Attack]:
    """A receipt passes for no other kind of token."""
    token, other = HONEST.token, attack_checkpoint
    chain, longer, used = CHAIN[1], CHAIN[2], USE[1]
    first = longer.tokens()[0]
    for name, good, hop, request in (
        ("used as a root", chain, 0, chain.about([token])),
        ("a delegation headed as one, as a root", chain, 0, chain.about([_disguised()])),
        ("used as a second link", longer, 1, longer.about([first, token])),
        ("used as an invocation", used, None, verify_use(token)),
        ("used as the chain of an invocation", used, 0, used.about([token])),
    ):
        where = "the invocation" if hop is None else f"hop {hop}"
        yield good.attack(f"receipt: {name}", where, MALFORMED, hop, request)
    headed = sign(CHECKPOINT, HONEST.payload, SERVICE)
    for name, one in (("used as a checkpoint", token), ("headed as a checkpoint", headed)):
        yield KIND.row(name, verify_checkpoint(one, TRUSTED), base=other.KIND.accepted)
    yield KIND.row("inspected", {"op": "inspect", "token": token}, base=other.SEEN)
