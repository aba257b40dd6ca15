"""Attacks on the parties: texts that name no key, and keys that anyone can sign for."""

# ruff: noqa: ARG005 - the functions of a table have one shape

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Final

from vectors.attack_base import Attack
from vectors.attack_places import CHAIN, RICH_CHAIN, USE, Place, everywhere
from vectors.forge import ALPHABET, base58, did, with_signature
from vectors.making import Forge, Making
from vectors.points import IDENTITY, SMALL_ORDER, off_curve, unreduced

ABOUT: Final = "Texts that name no Ed25519 key, in any spelling but one, and points of small order."


def attacks() -> Iterator[Attack]:
    for member in MEMBERS:
        # A text of the right form has to be computed with; that comes after all reading.
        yield from everywhere(_named(member), "malformed_ucan", at=places)
        yield from everywhere(_points(member), "malformed_ucan", at=places, read=False)
    yield from everywhere(UNIVERSAL, "malformed_ucan", at=places, read=False)


def places(turn: int) -> Iterator[Place]:
    yield (USE[1], 1) if turn % 2 else (CHAIN[1], 0)
    good = (CHAIN[2], RICH_CHAIN[3], USE[2], CHAIN[8])[turn % 4]
    yield good, turn // 4 % (good.last + 1)


MEMBERS: Final = {"iss": "issuer", "aud": "audience"}


def _named(member: str) -> dict[str, Forge]:
    who = MEMBERS[member]
    return {f"{who}: {name}": named_by(member, spell) for name, spell in SPELLED.items()}


def _points(member: str) -> dict[str, Forge]:
    who = MEMBERS[member]
    return {f"{who}: {name}": key(member, point) for name, point in POINTS.items()}


def named_by(member: str, spell: Callable[[bytes], str]) -> Forge:
    """Put another text where the DID of this public key belongs."""

    def forge(making: Making) -> str:
        return making.saying(**{member: spell(_public(making.payload[member]))}).token

    return forge


def key(member: str, point: bytes) -> Forge:
    return lambda making: making.saying(**{member: did(point)}).token


def for_any_message(point: bytes) -> Forge:
    """For an issuer of order one, R = A and S = 0 are a signature of everything."""

    def forge(making: Making) -> str:
        token = making.saying(iss=did(point)).token
        return with_signature(token, lambda _: IDENTITY + bytes(32))

    return forge


def _public(text: str) -> bytes:
    number = 0
    for digit in text.removeprefix("did:key:z"):
        number = number * 58 + ALPHABET.index(digit)
    return number.to_bytes(34)[2:]


def _key(prefix: str, data: bytes) -> str:
    return f"did:key:{prefix}{base58(data)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


CODEC: Final = b"\xed\x01"

SPELLED: Final[dict[str, Callable[[bytes], str]]] = {
    "nothing": lambda k: "",
    "did:web": lambda k: "did:web:example.com",
    "did:pkh": lambda k: "did:pkh:eip155:1:0xab16a96D359eC26a11e2C2b3d8f8B8942d5Bfcdb",
    "did:plc": lambda k: "did:plc:7iza6de2dwap2sbkpav7c6c6",
    "did:jwk": lambda k: f"did:jwk:{_base64(k)}",
    "a URL": lambda k: f"https://example.com/{base58(CODEC + k)}",
    "the key without its DID": lambda k: base58(CODEC + k),
    "the key in hex": lambda k: k.hex(),
    "the method in upper case": lambda k: did(k).replace("did:key", "did:KEY"),
    "the scheme in upper case": lambda k: did(k).replace("did:key", "DID:key"),
    "the key in upper case": lambda k: did(k)[:9] + did(k)[9:].upper(),
    "a fragment": lambda k: f"{did(k)}#{did(k)[8:]}",
    "a query": lambda k: f"{did(k)}?versionId=1",
    "a path": lambda k: f"{did(k)}/0",
    "a parameter": lambda k: f"{did(k)};service=x",
    "a space after": lambda k: f"{did(k)} ",
    "a space before": lambda k: f" {did(k)}",
    "a newline after": lambda k: f"{did(k)}\n",
    "a NUL after": lambda k: f"{did(k)}\0",
    "a percent-encoded letter": lambda k: did(k).replace(":z6", ":%7A6"),
    "a look-alike letter": lambda k: did(k).replace("key", "k\u0435y"),
    "a digit that base58 leaves out": lambda k: f"{did(k)[:-1]}0",
    "a leading zero": lambda k: did(k).replace(":z", ":z1"),
    "two leading zeros": lambda k: did(k).replace(":z", ":z11"),
    "padding": lambda k: f"{did(k)}=",
    "hexadecimal": lambda k: f"did:key:f{(CODEC + k).hex()}",
    "base32": lambda k: f"did:key:b{base64.b32encode(CODEC + k).decode().lower().rstrip('=')}",
    "base64url": lambda k: f"did:key:u{_base64(CODEC + k)}",
    "Flickr's base58": lambda k: did(k).replace(":z", ":Z"),
    "no multibase": lambda k: did(k).replace(":z", ":"),
    "no codec": lambda k: _key("z", k),
    "the codec of a private key": lambda k: _key("z", b"\x80\x26" + k),
    "the codec, not as a varint": lambda k: _key("z", b"\xed" + k),
    "the codec, a byte too long": lambda k: _key("z", b"\xed\x81\x00" + k),
    "X25519": lambda k: _key("z", b"\xec\x01" + k),
    "Ed448": lambda k: _key("z", b"\x83\x24" + k),
    "P-256": lambda k: _key("z", b"\x80\x24\x02" + k),
    "secp256k1": lambda k: _key("z", b"\xe7\x01\x02" + k),
    "BLS": lambda k: _key("z", b"\xeb\x01" + k + bytes(16)),
    "a key of 31 bytes": lambda k: _key("z", CODEC + k[:-1]),
    "a key of 33 bytes": lambda k: _key("z", CODEC + k + bytes(1)),
    "two keys": lambda k: f"{did(k)},{did(k)}",
    "a letter too many": lambda k: f"{did(k)}1",
    "a letter too few": lambda k: did(k)[:-1],
}

POINTS: Final = {
    **SMALL_ORDER,
    "a point whose y is not canonical": unreduced(),
    "no point of the curve": off_curve(),
    "no point, all ones": b"\xff" * 32,
}

UNIVERSAL: Final = {
    f"issuer: {name}, and a signature of anything": for_any_message(point)
    for name, point in SMALL_ORDER.items()
    if "identity" in name
}

FORGERIES: Final = {
    name: forge
    for member in MEMBERS
    for name, forge in {**_named(member), **_points(member), **UNIVERSAL}.items()
}
