"""Keys and tokens for random chains, right ones and wrong ones, made without the binary."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from model.canonical import canon
from model.rules import BASE58, HEADER, KINDS, ORDER, D, P

Json = dict[str, Any]

HEADERS: Final = {kind: HEADER.format(typ).encode() for kind, (typ, *_) in KINDS.items()}


def base58(data: bytes) -> str:
    number = int.from_bytes(data)
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = BASE58[digit] + text
    return text


def did(public: bytes, codec: bytes = b"\xed\x01") -> str:
    return f"did:key:z{base58(codec + public)}"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Party:
    """Someone with a key; the seeds are small numbers, and nothing real is signed with them."""

    def __init__(self, number: int) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(number.to_bytes(32))
        self.scalar = clamped(number.to_bytes(32))
        self.public = self.private.public_key().public_bytes_raw()
        self.did = did(self.public)

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data)

    def answered(self, commitment: bytes, data: bytes, nonce: int = 0) -> bytes:
        """The signature whose R is `commitment`, of which `nonce` should be the logarithm.

        With an R of small order and no nonce the equation holds for some verifiers, or for all:
        such a signature tells the key.
        """
        s = (nonce + challenged(commitment, self.public, data) * self.scalar) % ORDER
        return commitment + s.to_bytes(32, "little")


class Twisted(Party):
    """A key with a part of small order: of large order as a whole, so it is a key like any other.

    A signature by it holds for every verifier only if that part drops out; this signs as often as
    it takes, when `patient`, and else leaves that to chance.
    """

    def __init__(self, number: int, *, patient: bool) -> None:
        super().__init__(number)
        self.public = compressed(added(decompressed(self.public), (0, P - 1)))
        self.did = did(self.public)
        self.patient = patient

    def sign(self, data: bytes) -> bytes:
        for attempt in range(64):
            seed = hashlib.sha256(attempt.to_bytes(1) + data).digest()
            commitment = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
            if challenged(commitment, self.public, data) % 2 == 0 or not self.patient:
                break
        return self.answered(commitment, data, clamped(seed))


def clamped(seed: bytes) -> int:
    """The scalar of a seed (RFC 8032, section 5.1.5)."""
    number = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    return number & ((1 << 254) - 8) | (1 << 254)


def challenged(commitment: bytes, public: bytes, data: bytes) -> int:
    digest = hashlib.sha512(commitment + public + data).digest()
    return int.from_bytes(digest, "little") % ORDER


def decompressed(data: bytes) -> tuple[int, int]:
    y = int.from_bytes(data, "little")
    odd, y = y >> 255, y & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x: int = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x if x & 1 == odd else P - x), y


def added(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    (x1, y1), (x2, y2) = one, other
    both = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + both, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - both, -1, P) % P
    return x, y


def compressed(point: tuple[int, int]) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


@dataclass(frozen=True)
class Draft:
    """A token that is not signed yet, and what is to go wrong with it.

    `linked` fills in `prf` from the link before it, `spell` rewrites the payload's text before it
    is signed, `damage` the whole token afterwards.
    """

    payload: Json
    by: Party
    header: bytes = HEADERS["delegation"]
    linked: bool = True
    spell: Callable[[bytes], bytes] | None = None
    seal: Callable[[Party, bytes], bytes] | None = None
    damage: Callable[[str], str] | None = None

    def changed(self, **members: Any) -> Draft:
        """With other members; a change to `...` leaves one out."""
        payload = {**self.payload, **members}
        return replace(self, payload={k: v for k, v in payload.items() if v is not ...})

    def token(self, **more: Any) -> str:
        payload = canon({**self.payload, **more}, 64).encode("utf-8", "surrogatepass")
        payload = self.spell(payload) if self.spell else payload
        signed = f"{b64(self.header)}.{b64(payload)}"
        data = signed.encode()
        signature = self.seal(self.by, data) if self.seal else self.by.sign(data)
        text = f"{signed}.{b64(signature)}"
        return self.damage(text) if self.damage else text


@dataclass
class Chain:
    """Drafts of links and of a use; `texts` are the tokens of the links."""

    links: list[Draft]
    use: Draft | None = None
    texts: list[str] = field(default_factory=list)

    def signed(self, kept: int = 0) -> Chain:
        """Sign all links but the first `kept` ones, each with the hash of the one before it."""
        self.texts = self.texts[:kept]
        for link in self.links[kept:]:
            above = self.texts[-1] if self.texts else None
            more = {"prf": [cid(above)]} if link.linked and above is not None else {}
            self.texts.append(link.token(**more))
        return self

    def copy(self) -> Chain:
        return Chain(list(self.links), self.use, list(self.texts))


def cid(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
