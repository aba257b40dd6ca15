"""Attacks on signatures: of another key, of another text, or in another form."""

# ruff: noqa: ARG005 - the functions of a table have one shape

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from vectors import points
from vectors.attack_base import PEOPLE, Attack
from vectors.attack_places import everywhere
from vectors.forge import SERVICE, UNRELATED, Party, b64, canonical, unb64, with_signature
from vectors.making import Forge, Making
from vectors.points import IDENTITY, ORDER, SMALL_ORDER, P, off_curve, unreduced

ABOUT: Final = "Signatures that are another's, of another text, or right in a second form."


def attacks() -> Iterator[Attack]:
    yield from everywhere(FORGERIES, "bad_signature", read=False)


def change(how: Callable[[bytes], bytes]) -> Forge:
    return lambda making: with_signature(making.token, how)


def flip(index: int, bit: int = 0) -> Forge:
    return change(lambda s: s[:index] + bytes([s[index] ^ 1 << bit]) + s[index + 1 :])


def scalar(how: Callable[[int], int]) -> Forge:
    """Change S, the second half."""
    return change(
        lambda s: s[:32] + (how(int.from_bytes(s[32:], "little")) % 2**256).to_bytes(32, "little")
    )


def commitment(encoded: bytes) -> Forge:
    """Replace R, the first half."""
    return change(lambda s: encoded + s[32:])


def chosen(**how: Any) -> Forge:
    """Sign with the right key, and not quite as RFC 8032 does."""

    def forge(making: Making) -> str:
        signed, _, _ = making.token.rpartition(".")
        message = signed.encode()
        if how.get("prehashed"):
            message = hashlib.sha512(message).digest()
        more = {name: value for name, value in how.items() if name != "prehashed"}
        return f"{signed}.{b64(points.signature(making.party.seed, message, **more))}"

    return forge


def by(party: Party) -> Forge:
    return lambda making: Making(making.header, making.payload, party).token


def by_neighbour(step: int) -> Forge:
    """Signed by someone else of the same chain."""

    def forge(making: Making) -> str:
        other = PEOPLE[(PEOPLE.index(making.party) + step) % len(PEOPLE)]
        return by(other)(making)

    return forge


def of(text: Callable[[str, str], bytes]) -> Forge:
    """Signed by the right key, but over something else that is made of the two segments."""

    def forge(making: Making) -> str:
        header, payload, _ = making.token.split(".")
        return f"{header}.{payload}.{b64(making.party.sign(text(header, payload)))}"

    return forge


def borrowed(**changes: Any) -> Forge:
    """The signature of another token by the same key."""

    def forge(making: Making) -> str:
        other = making.saying(**changes).token.rpartition(".")[2]
        return f"{making.token.rpartition('.')[0]}.{other}"

    return forge


def edited(**changes: Any) -> Forge:
    """Another payload under the honest signature."""

    def forge(making: Making) -> str:
        header, _, signature = making.token.split(".")
        payload = making.saying(**changes).payload
        assert payload != making.payload
        return f"{header}.{b64(canonical(payload))}.{signature}"

    return forge


def longer(making: Making) -> str:
    return edited(exp=making.payload["exp"] + 1)(making)


def freer(making: Making) -> str:
    """Without the conditions of a link, or about another resource in an invocation."""
    if making.is_link:
        return edited(pol=[["==", ".args.any?", None]])(making)
    resource = {**making.payload["args"]["resource"], "repo": "secrets"}
    return edited(args={**making.payload["args"], "resource": resource})(making)


assert points.signature(UNRELATED.seed, b"x") == UNRELATED.private.sign(b"x")

BITS: Final[dict[str, Forge]] = {
    f"a flipped bit in {half}, byte {index}, bit {bit}": flip(index, bit)
    for half, index, bit in (
        ("R", 0, 0),
        ("R", 0, 7),
        ("R", 15, 3),
        ("R", 31, 0),
        ("R", 31, 7),
        ("S", 32, 0),
        ("S", 47, 4),
        ("S", 63, 0),
        ("S", 63, 3),
        ("S", 63, 7),
    )
}

FORMS: Final[dict[str, Forge]] = {
    "all zero": change(lambda s: bytes(64)),
    "all ones": change(lambda s: b"\xff" * 64),
    "S is zero": scalar(lambda s: 0),
    "S is negative": scalar(lambda s: ORDER - s),
    "S is the order": scalar(lambda s: ORDER),
    "S and the order": scalar(lambda s: s + ORDER),
    "S and twice the order": scalar(lambda s: s + 2 * ORDER),
    "S and fifteen times the order": scalar(lambda s: s + 15 * ORDER),
    "S with its highest bit": scalar(lambda s: s | 1 << 255),
    "S with bit 253": scalar(lambda s: s | 1 << 253),
    "S in another byte order": change(lambda s: s[:32] + s[:31:-1]),
    "the whole in another byte order": change(lambda s: s[::-1]),
    "R and S swapped": change(lambda s: s[32:] + s[:32]),
    "R twice": change(lambda s: s[:32] * 2),
    "R is no point": commitment(off_curve()),
    "R is not canonical": commitment(unreduced()),
    "R is p": commitment(P.to_bytes(32, "little")),
    **{f"R is {name}": commitment(point) for name, point in SMALL_ORDER.items()},
    "R is zero and S is zero": change(lambda s: IDENTITY + bytes(32)),
}

CHOSEN_R: Final[dict[str, Forge]] = {
    "with R the identity, and S that fits": chosen(r=0),
    "with R of order eight, and S that fits but for it": chosen(r=0, more=points.TORSION),
    "with a point of order eight in R": chosen(more=points.TORSION),
    "with a point of order four in R": chosen(more=points.times(2, points.TORSION)),
    "with a point of order two in R": chosen(more=points.times(4, points.TORSION)),
    "Ed25519ctx without a context": chosen(domain=points.domain(0)),
    "Ed25519ctx": chosen(domain=points.domain(0, b"nomos")),
    "Ed25519ph": chosen(domain=points.domain(1), prehashed=True),
    "Ed25519ph with a context": chosen(domain=points.domain(1, b"nomos"), prehashed=True),
    "of a digest, not prehashed as such": chosen(prehashed=True),
}

OF_OTHERS: Final[dict[str, Forge]] = {
    "by a stranger": by(UNRELATED),
    "by the service": by(SERVICE),
    "by the next of the chain": by_neighbour(1),
    "by the one before": by_neighbour(-1),
    "of a token with another nonce": borrowed(nonce="other"),
    "of a token for someone else": borrowed(aud=UNRELATED.did),
    "of a token with a narrower command": borrowed(cmd="/github/issue/list/one"),
}

OF_OTHER_TEXTS: Final[dict[str, Forge]] = {
    "of nothing": of(lambda h, p: b""),
    "of the header alone": of(lambda h, p: h.encode()),
    "of the payload alone": of(lambda h, p: p.encode()),
    "of the payload, decoded": of(lambda h, p: unb64(p)),
    "of both, decoded": of(lambda h, p: unb64(h) + b"." + unb64(p)),
    "of both without the dot": of(lambda h, p: (h + p).encode()),
    "of both with a dot after": of(lambda h, p: f"{h}.{p}.".encode()),
    "of both the other way round": of(lambda h, p: f"{p}.{h}".encode()),
    "of both and a newline": of(lambda h, p: f"{h}.{p}\n".encode()),
    "of their sha256": of(lambda h, p: hashlib.sha256(f"{h}.{p}".encode()).digest()),
    "of both in UTF-16": of(lambda h, p: f"{h}.{p}".encode("utf-16-le")),
}

EDITED: Final[dict[str, Forge]] = {
    "under a wider command": edited(cmd="/github"),
    "under another command": edited(cmd="/github/issue/delete"),
    "under a later end": longer,
    "under another nonce": edited(nonce="another-one-1"),
    "under another audience": edited(aud=UNRELATED.did),
    "under another issuer": edited(iss=UNRELATED.did),
    "under another subject": edited(sub=UNRELATED.did),
    "under other conditions": freer,
}

FORGERIES: Final = {
    f"signature: {name}": forge
    for group in (BITS, FORMS, CHOSEN_R, OF_OTHERS, OF_OTHER_TEXTS, EDITED)
    for name, forge in group.items()
}
