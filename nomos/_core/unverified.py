"""What an invocation says of itself, before anything of it is believed.

It is read for two things: to know what to look up among revocations, and to tell people what is in
it. Both only ever lead to more refusals or to words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from nomos._core.tokens import decode_unverified
from nomos.errors import Unintelligible

Payload = Mapping[str, Any]

MAX_IDS: Final = 1024
"""Identifiers that one token can make a service look up; the longest lawful chain has fewer."""

KEPT: Final = 128
LONGEST: Final = 4 * 1024
"""Links that are remembered, and characters of the longest. What is read from one takes many times
its text, so all together are some ten megabytes at the worst."""


@dataclass(frozen=True)
class UnverifiedToken:
    """A token that was read: its payload and cid, and those of its links, root first."""

    cid: str
    payload: Payload = field(repr=False)
    cids: tuple[str, ...] = ()
    links: tuple[Payload, ...] = field(default=(), repr=False)

    @property
    def root(self) -> Payload:
        """The first link; an empty payload if there is none."""
        return self.links[0] if self.links else {}

    def ids(self) -> frozenset[str]:
        """Return what must not be revoked for this token to be honoured."""
        named = (each for link in self.links for each in strings(link.get("prf")))
        cids = (self.cid, *self.cids, *named)
        return frozenset(revocation_ids((self.payload, *self.links), cids, self.root))


def read(token: object, max_links: int) -> UnverifiedToken | None:
    """Return what a token says; None if that cannot be read.

    A chain of more than `max_links` is left out: the binary refuses it before it looks at any. A
    delegation that was sent as a token has none: it names others by cid.
    """
    if not isinstance(token, str) or not token.isascii():
        return None
    try:
        payload = decode_unverified(token)
        prf = None if "pol" in payload else payload.get("prf")
        chain = prf if isinstance(prf, list) and len(prf) <= max_links else []
        if not all(isinstance(link, str) and link.isascii() for link in chain):
            return None
        links = [_link(link) if len(link) <= LONGEST else _read(link) for link in chain]
        cids = tuple(cid for cid, _ in links)
        return UnverifiedToken(cid_of(token), payload, cids, tuple(said for _, said in links))
    except Unintelligible:
        return None


def _read(link: str) -> tuple[str, Payload]:
    return cid_of(link), decode_unverified(link)


_link = lru_cache(KEPT)(_read)
"""Links come with every call that is made on them, and none of them can change."""


def revocation_ids(payloads: Iterable[Payload], cids: Iterable[str], root: Payload) -> set[str]:
    """Return what must not be revoked for tokens to be honoured; `root` is the first link.

    Every token by its cid and by those of its lineage; every key that gave, took or inherited
    the authority; the apps and the approval that it was granted to and by.
    """
    parties = [payload.get(party) for payload in payloads for party in ("iss", "aud")]
    meta = mapping(root.get("meta"))
    lineage, approved = mapping(meta.get("lineage")), mapping(meta.get("approval"))
    named = [meta.get("app_id"), approved.get("id"), lineage.get("root"), *parties]
    more = strings(lineage.get("invokedBy")) | strings(lineage.get("apps"))
    return {*cids, *strings(named), *more}


def cid_of(token: str) -> str:
    """Return the name of a token: the sha256 of its text."""
    return sha256(token.encode()).hexdigest()


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is an object, an empty one otherwise."""
    return value if isinstance(value, dict) else {}


def strings(values: object) -> set[str]:
    """The strings of a list; none of anything else."""
    return {each for each in values if isinstance(each, str)} if isinstance(values, list) else set()
