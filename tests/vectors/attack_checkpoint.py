"""Attacks on checkpoints: another text, another signer, another kind of token in its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from vectors.attack_base import Accepted, Attack
from vectors.attack_other_kinds import MALFORMED, Spell, Statement
from vectors.attack_places import USE
from vectors.cases import verify_checkpoint
from vectors.forge import (
    CHECKPOINT,
    DELEGATION,
    INVOCATION,
    ISSUER,
    NOW,
    UNRELATED,
    Payload,
    checkpoint_payload,
    cid,
    root,
    sign,
    unb64,
)
from vectors.making import Making, saying

ABOUT: Final = "Checkpoints of a log, and the ways of a token that is no delegation."

HONEST: Final = Making(CHECKPOINT, checkpoint_payload(ISSUER, nonce="ask-1"), ISSUER)
KIND: Final = Statement("checkpoint", HONEST, verify_checkpoint)
SEEN: Final = Accepted(
    "inspected", {"op": "inspect", "token": root()}, {"kind": "delegation", "cid": cid(root())}
)


def attacks() -> Iterator[Attack]:
    yield from KIND.attacks(SPELLED, MEMBERS, EDITED)
    yield from _kinds()
    yield from KIND.trust(sign(CHECKPOINT, checkpoint_payload(UNRELATED), UNRELATED))


SPELLED: Final[dict[str, Spell]] = {
    "an escaped letter": lambda p: p.replace(b'"audit"', b'"\\u0061udit"'),
    "a fraction of zero": lambda p: p.replace(b'"seq":7', b'"seq":7.0'),
    "an exponent": lambda p: p.replace(b'"seq":7', b'"seq":7e0'),
    "minus zero": lambda p: p.replace(b'"seq":7', b'"seq":-0'),
    "a number beyond 2^53-1": lambda p: p.replace(b'"seq":7', b'"seq":9007199254740992'),
    "a member twice, the honest one first": lambda p: p[:-1] + b',"seq":8}',
    "a member twice, the honest one last": lambda p: b'{"seq":8,' + p[1:],
    "a member twice, escaped once": lambda p: p[:-1] + b',"s\\u0065q":8}',
    "a lone surrogate": lambda p: p.replace(b'"default"', b'"\\ud800"'),
    "invalid UTF-8": lambda p: p.replace(b'"default"', b'"\xff"'),
}

MEMBERS: Final[dict[str, Payload]] = {
    **{f"no {name}": {name: ...} for name in ("iss", "log", "tenant", "seq", "head")},
    "no iat": {"iat": ...},
    "an unknown member": {"exp": NOW},
    "a member named __proto__": {"__proto__": {"seq": 9}},
    "a log that is not one": {"log": "policies"},
    "a log that is null": {"log": None},
    "a log that is a list": {"log": ["audit"]},
    "an empty tenant": {"tenant": ""},
    "a tenant without end": {"tenant": "t" * 65},
    "a negative number": {"seq": -1},
    "a number as text": {"seq": "7"},
    "a number that is true": {"seq": True},
    "a fraction": {"seq": 0.5},
    "a head in upper case": {"head": "AB" * 32},
    "a short head": {"head": "ab" * 31},
    "a head that ends in a newline": {"head": "ab" * 32 + "\n"},
    "a time that is a fraction": {"iat": NOW + 0.5},
    "a time in milliseconds": {"iat": NOW * 1000},
    "a time after the year 9999": {"iat": 253402300800},
    "a nonce that is null": {"nonce": None},
    "an empty nonce": {"nonce": ""},
    "a nonce without end": {"nonce": "n" * 65},
}

EDITED: Final[Payload] = {
    "log": "keys",
    "tenant": "other",
    "seq": 8,
    "head": "cd" * 32,
    "iat": NOW + 1,
    "nonce": "ask-2",
    "iss": UNRELATED.did,
}


def _kinds() -> Iterator[Attack]:
    """No kind of token passes for another, however its payload and header are put together."""
    link, use = root(), USE[2].request()["invocation"]
    payload = HONEST.payload
    disguised = sign(CHECKPOINT, json.loads(unb64(link.split(".")[1])), ISSUER)
    for name, token in {
        "a delegation": link,
        "an invocation": use,
        "its payload, headed as a delegation": sign(DELEGATION, payload, ISSUER),
        "its payload, headed as an invocation": sign(INVOCATION, payload, ISSUER),
        "a delegation, headed as a checkpoint": disguised,
    }.items():
        yield KIND.row(f"kind, {name} in its place", verify_checkpoint(token))
    for name, token in {
        "a checkpoint": HONEST.token,
        "no token": "x",
        "a space": f"{link} ",
    }.items():
        asked = {"op": "inspect", "token": token}
        yield KIND.row(f"kind, inspecting {name}", asked, base=SEEN)
    good = USE[2]
    seen = Accepted(
        "an inspected invocation", {"op": "inspect", "token": use}, {"kind": "invocation"}
    )
    for name, chain, changes, hop in (
        ("a chain that is none", [link, "x"], {}, 1),
        ("no resource", good.tokens(), {"args": {}}, None),
    ):
        token = good.about(chain, saying(**changes))["invocation"]
        asked = {"op": "inspect", "token": token}
        yield Attack(f"inspecting: {name}", "the token", seen, asked, MALFORMED, hop)
