"""Attacks on checkpoints: another text, another signer, another kind of token in its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from vectors.attacks_keys import IDENTITY, P, off_curve, unreduced
from vectors.attacks_text import next_letter
from vectors.cases import Row, verify, verify_checkpoint, verify_use
from vectors.forge import (
    CHECKPOINT,
    DELEGATION,
    INVOCATION,
    ISSUER,
    NOW,
    STRANGER,
    Payload,
    b64,
    canonical,
    checkpoint,
    checkpoint_payload,
    did,
    flip,
    malleable,
    respelled,
    root,
    sign,
    sign_raw,
    unb64,
    use,
    with_signature,
)

PLAIN: Final = checkpoint()


def checkpoints() -> Iterator[Row]:
    yield from _texts()
    yield from _headers()
    yield from _members()
    yield from _keys()
    yield from _signatures()
    yield from _trust()
    yield from _kinds()


def _row(name: str, token: str, code: str = "malformed_ucan") -> Row:
    return f"checkpoint: {name}", verify_checkpoint(token), code, None


def _texts() -> Iterator[Row]:
    header, payload, signature = PLAIN.split(".")
    yield _row("empty", "")
    yield _row("two segments", f"{header}.{payload}")
    yield _row("four segments", f"{PLAIN}.{signature}")
    yield _row("an empty signature", f"{header}.{payload}.")
    yield _row("a newline after", f"{PLAIN}\n")
    yield _row("a space before", f" {PLAIN}")
    yield _row("padding after the payload", f"{header}.{payload}=.{signature}")
    yield _row("padding after the signature", f"{PLAIN}==")
    yield _row("spare bits in the last sextet", PLAIN[:-1] + next_letter(PLAIN[-1]))
    yield _row("a signature of 63 bytes", with_signature(PLAIN, lambda s: s[:-1]))
    yield _row("the payload is a list", sign_raw(canonical(CHECKPOINT), b"[]", ISSUER))
    yield _row("longer than any token", "a" * (64 * 1024 + 1))
    spellings: dict[str, Callable[[bytes], bytes]] = {
        "a space in the payload": lambda p: p.replace(b":", b": ", 1),
        "members out of order": lambda p: json.dumps(
            dict(reversed(json.loads(p).items()))
        ).encode(),
        "an escaped letter": lambda p: p.replace(b'"audit"', b'"\\u0061udit"'),
        "a fraction of zero": lambda p: p.replace(b'"seq":7', b'"seq":7.0'),
        "minus zero": lambda p: p.replace(b'"seq":7', b'"seq":-0'),
        "a number beyond 2^53-1": lambda p: p.replace(b'"seq":7', b'"seq":9007199254740992'),
        "a member twice, the honest one first": lambda p: p[:-1] + b',"seq":8}',
        "a member twice, the honest one last": lambda p: b'{"seq":8,' + p[1:],
        "a lone surrogate": lambda p: p.replace(b'"default"', b'"\\ud800"'),
    }
    for name, spell in spellings.items():
        yield _row(name, respelled(PLAIN, spell, ISSUER))


def _headers() -> Iterator[Row]:
    payload = checkpoint_payload(ISSUER)

    def header(name: str, changes: Payload) -> Row:
        return _row(f"header, {name}", sign({**CHECKPOINT, **changes}, payload, ISSUER))

    unsigned = f"{b64(canonical({**CHECKPOINT, 'alg': 'none'}))}.{b64(canonical(payload))}."
    yield _row("header, no algorithm, no signature", unsigned)
    yield header("alg none", {"alg": "none"})
    yield header("alg ES256", {"alg": "ES256"})
    yield header("ucv of the other kinds", {"ucv": "1.0.0-cb"})
    yield header("typ in upper case", {"typ": "NOMOS-CHECKPOINT+JWT"})
    yield header("typ with its media type", {"typ": "application/nomos-checkpoint+jwt"})
    yield header("kid", {"kid": ISSUER.did})
    yield header("jwk", {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": b64(STRANGER.public)}})
    yield header("crit", {"crit": ["iat"]})
    spaced = sign_raw(json.dumps(CHECKPOINT).encode(), canonical(payload), ISSUER)
    yield _row("header, spaces", spaced)


def _members() -> Iterator[Row]:
    for member in ("iss", "log", "tenant", "seq", "head", "iat"):
        yield _row(f"no {member}", checkpoint(**{member: ...}))
    wrong: dict[str, Payload] = {
        "an unknown member": {"exp": NOW},
        "a member named __proto__": {"__proto__": {"seq": 9}},
        "a log that is not one": {"log": "policies"},
        "a log that is null": {"log": None},
        "an empty tenant": {"tenant": ""},
        "a tenant without end": {"tenant": "t" * 65},
        "a negative number": {"seq": -1},
        "a number as text": {"seq": "7"},
        "a head in upper case": {"head": "AB" * 32},
        "a short head": {"head": "ab" * 31},
        "a head that ends in a newline": {"head": "ab" * 32 + "\n"},
        "a time that is a fraction": {"iat": NOW + 0.5},
        "a time after the year 9999": {"iat": 253402300800},
        "a nonce that is null": {"nonce": None},
        "an empty nonce": {"nonce": ""},
    }
    for name, changes in wrong.items():
        yield _row(name, checkpoint(**changes))


def _keys() -> Iterator[Row]:
    wrong = {
        "did:web": "did:web:example.com",
        "X25519": did(ISSUER.public, b"\xec\x01"),
        "a leading zero digit": ISSUER.did.replace("z6Mk", "z16Mk"),
        "the identity": did(IDENTITY),
        "a point of order two": did((P - 1).to_bytes(32, "little")),
        "a point of order four": did(bytes(32)),
        "a point whose y is not canonical": did(unreduced()),
        "no point": did(off_curve()),
    }
    for name, public in wrong.items():
        yield _row(f"issuer, {name}", checkpoint(iss=public))
    anything = with_signature(checkpoint(iss=did(IDENTITY)), lambda _: IDENTITY + bytes(32))
    yield (
        "checkpoint: issuer, the identity, with the signature that fits any message",
        verify_checkpoint(anything, [did(IDENTITY)]),
        "malformed_ucan",
        None,
    )


def _signatures() -> Iterator[Row]:
    changes: dict[str, Callable[[bytes], bytes]] = {
        "a flipped bit": flip,
        "all zero": lambda _: bytes(64),
        "S is not canonical": malleable,
        "R is the identity": lambda s: IDENTITY + s[32:],
        "R is not canonical": lambda s: unreduced() + s[32:],
        "of another checkpoint": lambda _: unb64(checkpoint(seq=8).split(".")[2]),
    }
    for name, change in changes.items():
        yield _row(f"signature, {name}", with_signature(PLAIN, change), "bad_signature")
    by_stranger = sign(CHECKPOINT, checkpoint_payload(ISSUER), STRANGER)
    yield _row("signature, by a stranger", by_stranger, "bad_signature")
    edits: dict[str, tuple[str, Any]] = {
        "another log": ("log", "keys"),
        "another tenant": ("tenant", "other"),
        "another number": ("seq", 8),
        "another head": ("head", "cd" * 32),
        "another time": ("iat", NOW + 1),
        "another nonce": ("nonce", "ask-2"),
        "another issuer": ("iss", STRANGER.did),
    }
    honest = checkpoint(nonce="ask-1")
    header, payload, signature = honest.split(".")
    for name, (member, value) in edits.items():
        edited = {**json.loads(unb64(payload)), member: value}
        token = f"{header}.{b64(canonical(edited))}.{signature}"
        yield _row(f"signature, {name}", token, "bad_signature")


def _trust() -> Iterator[Row]:
    strangers = sign(CHECKPOINT, checkpoint_payload(STRANGER), STRANGER)
    yield _row("by someone who is not trusted", strangers, "untrusted_issuer")
    yield (
        "checkpoint: nobody is trusted",
        verify_checkpoint(PLAIN, []),
        "untrusted_issuer",
        None,
    )
    yield (
        "checkpoint: a forged one by nobody who is trusted is first of all forged",
        verify_checkpoint(with_signature(strangers, flip)),
        "bad_signature",
        None,
    )


def _kinds() -> Iterator[Row]:
    """No kind of token passes for another, however its payload and header are put together."""
    first = root()
    yield _row("a delegation in its place", first)
    yield _row("an invocation in its place", use([first]))
    payload = checkpoint_payload(ISSUER)
    as_link, as_use = sign(DELEGATION, payload, ISSUER), sign(INVOCATION, payload, ISSUER)
    yield _row("its payload, headed as a delegation", as_link)
    yield _row("its payload, headed as an invocation", as_use)
    disguised = sign(CHECKPOINT, json.loads(unb64(first.split(".")[1])), ISSUER)
    yield _row("a delegation headed as a checkpoint", disguised)
    for name, token in (
        ("a checkpoint", PLAIN),
        ("a checkpoint's payload, headed as a delegation,", as_link),
        ("a delegation headed as a checkpoint", disguised),
    ):
        yield f"kind: {name} used as a root", verify(chain=[token]), "malformed_ucan", 0
    yield "kind: a checkpoint as a second link", verify(chain=[first, PLAIN]), "malformed_ucan", 1
    yield "kind: a checkpoint used as an invocation", verify_use(PLAIN), "malformed_ucan", None
    yield (
        "kind: a checkpoint's payload, headed as an invocation",
        verify_use(as_use),
        "malformed_ucan",
        None,
    )
    yield (
        "kind: an invocation that carries a checkpoint as its chain",
        verify_use(use([PLAIN])),
        "malformed_ucan",
        0,
    )
    yield (
        "kind: inspect reads no checkpoint",
        {"op": "inspect", "token": PLAIN},
        "malformed_ucan",
        None,
    )
