"""Attacks on checkpoints: another text, another signer, another kind of token in its place."""

# ruff: noqa: ARG005 - the functions of a table have one shape

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from vectors import attack_header, attack_keys, attack_signatures, attack_text
from vectors.attack_base import Accepted, Attack
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
    flip,
    root,
    sign,
    unb64,
    with_signature,
)
from vectors.making import Forge, Making, saying

ABOUT: Final = "Checkpoints of a log, and the ways of a token that is no delegation."

PLAIN: Final = Making(CHECKPOINT, checkpoint_payload(ISSUER, nonce="ask-1"), ISSUER)
GOOD: Final = Accepted(
    "checkpoint",
    verify_checkpoint(PLAIN.token),
    {"checkpoint": PLAIN.payload, "cid": cid(PLAIN.token)},
)
SEEN: Final = Accepted(
    "inspected", {"op": "inspect", "token": root()}, {"kind": "delegation", "cid": cid(root())}
)

MALFORMED: Final = "malformed_ucan"


def attacks() -> Iterator[Attack]:
    text = attack_text
    texts = {**text.AROUND, **text.WITHIN, **text.SEGMENTS, **text.ENCODINGS}
    yield from _forged("text", texts, MALFORMED)
    yield from _forged("JSON", {name: _spelled(how) for name, how in SPELLINGS.items()}, MALFORMED)
    headers = {
        name: attack_header.header(**changes)
        for name, changes in attack_header.MEMBERS.items()
        if changes not in ({"typ": CHECKPOINT["typ"]}, {"ucv": ...})
    }
    yield from _forged("header", headers, MALFORMED)
    yield from _forged("payload", MEMBERS, MALFORMED)
    keys: dict[str, Forge] = {
        **{name: attack_keys.named_by("iss", how) for name, how in attack_keys.SPELLED.items()},
        **{name: attack_keys.key("iss", point) for name, point in attack_keys.POINTS.items()},
    }
    yield from _forged("issuer", keys, MALFORMED)
    made = attack_signatures
    signatures = {**made.BITS, **made.FORMS, **made.CHOSEN_R, **made.OF_OTHER_TEXTS}
    yield from _forged("signature", signatures, "bad_signature")
    yield from _forged("edited", EDITED, "bad_signature")
    yield from _kinds()
    yield from _trust()


def _row(name: str, request: Payload, code: str, base: Accepted = GOOD) -> Attack:
    return Attack(f"checkpoint: {name}", "the token", base, request, code, None)


def _forged(kind: str, forgeries: Mapping[str, Forge], code: str) -> Iterator[Attack]:
    for name, forge in forgeries.items():
        yield _row(f"{kind}, {name}", verify_checkpoint(forge(PLAIN)), code)


def _spelled(how: Callable[[bytes], bytes]) -> Forge:
    return lambda making: making.spelled(how)


SPELLINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "a space": lambda p: p.replace(b":", b": ", 1),
    "another order": lambda p: json.dumps(dict(reversed(json.loads(p).items()))).encode(),
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
    "a list": lambda p: b"[" + p + b"]",
    "nothing": lambda p: b"",
}

MEMBERS: Final[dict[str, Forge]] = {
    **{f"no {name}": saying(**{name: ...}) for name in ("iss", "log", "tenant", "seq", "head")},
    "no iat": saying(iat=...),
    "an unknown member": saying(exp=NOW),
    "a member named __proto__": saying(__proto__={"seq": 9}),
    "a log that is not one": saying(log="policies"),
    "a log that is null": saying(log=None),
    "a log that is a list": saying(log=["audit"]),
    "an empty tenant": saying(tenant=""),
    "a tenant without end": saying(tenant="t" * 65),
    "a negative number": saying(seq=-1),
    "a number as text": saying(seq="7"),
    "a number that is true": saying(seq=True),
    "a fraction": saying(seq=0.5),
    "a head in upper case": saying(head="AB" * 32),
    "a short head": saying(head="ab" * 31),
    "a head that ends in a newline": saying(head="ab" * 32 + "\n"),
    "a time that is a fraction": saying(iat=NOW + 0.5),
    "a time in milliseconds": saying(iat=NOW * 1000),
    "a time after the year 9999": saying(iat=253402300800),
    "a nonce that is null": saying(nonce=None),
    "an empty nonce": saying(nonce=""),
    "a nonce without end": saying(nonce="n" * 65),
}

EDITED: Final[dict[str, Forge]] = {
    f"another {name}": attack_signatures.edited(**{name: value})
    for name, value in {
        "log": "keys",
        "tenant": "other",
        "seq": 8,
        "head": "cd" * 32,
        "iat": NOW + 1,
        "nonce": "ask-2",
        "iss": UNRELATED.did,
    }.items()
}


def _kinds() -> Iterator[Attack]:
    """No kind of token passes for another, however its payload and header are put together."""
    link, use = root(), USE[2].request()["invocation"]
    payload = PLAIN.payload
    disguised = sign(CHECKPOINT, json.loads(unb64(link.split(".")[1])), ISSUER)
    for name, token in {
        "a delegation": link,
        "an invocation": use,
        "its payload, headed as a delegation": sign(DELEGATION, payload, ISSUER),
        "its payload, headed as an invocation": sign(INVOCATION, payload, ISSUER),
        "a delegation, headed as a checkpoint": disguised,
    }.items():
        yield _row(f"kind, {name} in its place", verify_checkpoint(token), MALFORMED)
    for name, token in {
        "a checkpoint": PLAIN.token,
        "no token": "x",
        "a space": f"{link} ",
    }.items():
        yield _row(f"kind, inspecting {name}", {"op": "inspect", "token": token}, MALFORMED, SEEN)
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


def _trust() -> Iterator[Attack]:
    strangers = sign(CHECKPOINT, checkpoint_payload(UNRELATED), UNRELATED)
    trusted: dict[str, tuple[str, list[str], str]] = {
        "by someone else": (strangers, [ISSUER.did], "untrusted_issuer"),
        "nobody is trusted": (PLAIN.token, [], "untrusted_issuer"),
        "others are trusted": (PLAIN.token, [UNRELATED.did], "untrusted_issuer"),
        "forged, by someone else": (
            with_signature(strangers, flip),
            [ISSUER.did],
            "bad_signature",
        ),
    }
    for name, (token, issuers, code) in trusted.items():
        yield _row(f"trust, {name}", verify_checkpoint(token, issuers), code)
