"""Random chains before they are signed, and keys that only some verifiers accept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from vectors import points
from vectors.catalogue import forged
from vectors.forge import DELEGATION, Party, cid, did
from vectors.making import Forge, Making

Json = dict[str, Any]

ORDER_TWO: Final = (0, points.P - 1)


class Twisted(Party):
    """A key with a part of small order: of large order as a whole, so it is a key like any other.

    A signature by it holds for every verifier only if that part drops out; this signs as often as
    it takes, when `patient`, and else leaves that to chance.
    """

    def __init__(self, number: int, *, patient: bool) -> None:
        super().__init__(number)
        self.public = points.encoded(points.add(points.decoded(self.public), ORDER_TWO))
        self.did = did(self.public)
        self.patient = patient

    def sign(self, data: bytes) -> bytes:
        for attempt in range(64):
            seed = hashlib.sha256(attempt.to_bytes(1) + data).digest()
            commitment = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
            if points.number(commitment, self.public, data) % 2 == 0 or not self.patient:
                break
        return answered(self, commitment, data, points.secret(seed))


def answered(party: Party, commitment: bytes, data: bytes, nonce: int = 0) -> bytes:
    """The signature whose R is `commitment`, of which `nonce` should be the logarithm.

    With an R of small order and no nonce the equation holds for some verifiers, or for all: such a
    signature reveals the key.
    """
    challenge = points.number(commitment, party.public, data)
    s = (nonce + challenge * points.secret(bytes.fromhex(party.seed))) % points.ORDER
    return commitment + s.to_bytes(32, "little")


@dataclass(frozen=True)
class Draft:
    """A token that is not signed yet, and what is to go wrong with it.

    `linked` fills in `prf` from the link before it; `forge` makes the token in place of its signer.
    """

    payload: Json
    by: Party
    header: Json = field(default_factory=lambda: DELEGATION)
    linked: bool = True
    forge: Forge | None = None

    def changed(self, **members: Any) -> Draft:
        """With other members; a change to `...` leaves one out."""
        payload = {**self.payload, **members}
        return replace(self, payload={k: v for k, v in payload.items() if v is not ...})

    def token(self, **more: Any) -> str:
        making = Making(self.header, {**self.payload, **more}, self.by)
        return forged(self.forge, making) if self.forge else making.token


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
