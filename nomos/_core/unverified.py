"""The unverified content of a token, for revocation lookups and messages.

It is used for two things: to know which ids to look up among revocations, and to tell people what
the token says. Neither can turn a refusal into an allow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from nomos._core.tokens import decode_unverified
from nomos._identifiers import cid_of
from nomos._json import mapping
from nomos._limits import MAX_NESTING
from nomos.errors import InvalidResponse

Payload = Mapping[str, Any]

MAX_IDS: Final = 1024
"""Ids that one token can make a service look up; the longest valid chain has fewer."""

KEPT: Final = 128
LONGEST: Final = 4 * 1024
"""Links that are cached, and characters of the longest. A parsed link takes many times the memory
of its text: the cache takes some ten megabytes at most."""


@dataclass(frozen=True)
class UnverifiedLink:
    """One token that was read: its cid and its payload."""

    cid: str
    payload: Payload = field(repr=False)


@dataclass(frozen=True)
class UnverifiedChain:
    """A chain of delegations that was read, root first."""

    chain: tuple[UnverifiedLink, ...] = ()

    @property
    def cids(self) -> tuple[str, ...]:
        """The cid of each link."""
        return tuple(link.cid for link in self.chain)

    @property
    def links(self) -> tuple[Payload, ...]:
        """The payload of each link."""
        return tuple(link.payload for link in self.chain)

    @property
    def root(self) -> Payload:
        """The first link's payload; an empty one if there is no link."""
        return self.chain[0].payload if self.chain else {}

    def ids(self) -> frozenset[str]:
        """Return what must not be revoked for this to be accepted."""
        return self._ids(self.chain)

    def _ids(self, tokens: Sequence[UnverifiedLink]) -> frozenset[str]:
        payloads = [token.payload for token in tokens]
        # The `prf` of a delegation has cids; that of an invocation has the links themselves.
        lineage = (cid for link in self.links for cid in strings(link.get("prf")))
        cids = (*(token.cid for token in tokens), *lineage)
        return frozenset(revocation_ids(payloads, cids, self.root))


@dataclass(frozen=True, kw_only=True)
class UnverifiedToken(UnverifiedChain):
    """A parsed token: its payload and cid, and those of its links, root first."""

    cid: str
    payload: Payload = field(repr=False)

    def ids(self) -> frozenset[str]:
        """Return the ids of which none may be revoked for this token to be accepted."""
        return self._ids((UnverifiedLink(self.cid, self.payload), *self.chain))


def read(token: object, max_links: int) -> UnverifiedToken | None:
    """Parse a token; None if it cannot be parsed.

    A chain of more than `max_links` is left out: the binary rejects it before it reads any link. A
    delegation has no links here: it names others by cid.
    """
    if not isinstance(token, str) or not token.isascii():
        return None
    try:
        payload = _payload(token)
    except InvalidResponse:
        return None
    prf = None if "pol" in payload else payload.get("prf")
    links = read_chain(prf if isinstance(prf, list) and len(prf) <= max_links else [])
    if links is None:
        return None
    return UnverifiedToken(chain=links.chain, cid=cid_of(token), payload=payload)


def read_chain(tokens: Sequence[object]) -> UnverifiedChain | None:
    """Return what the delegations of a chain say; None if one of them cannot be read."""
    try:
        return UnverifiedChain(tuple(_read_link(token) for token in tokens))
    except InvalidResponse:
        return None


def _read_link(token: object) -> UnverifiedLink:
    if not isinstance(token, str) or not token.isascii():
        raise InvalidResponse("a link of a chain is a text of ASCII characters")
    return _link(token) if len(token) <= LONGEST else _read(token)


def _read(link: str) -> UnverifiedLink:
    return UnverifiedLink(cid_of(link), _payload(link))


def _payload(token: str) -> Payload:
    """Return what a token says; raises `InvalidResponse` for text that no binary accepts either."""
    payload = decode_unverified(token)
    if is_deeper(payload, MAX_NESTING):
        raise InvalidResponse(f"a token is nested deeper than {MAX_NESTING} levels")
    try:
        # A lone surrogate can be looked up nowhere.
        json.dumps(payload, ensure_ascii=False).encode()
    except ValueError as error:
        raise InvalidResponse("a token holds what is no text") from error
    return payload


def is_deeper(value: Mapping[str, Any], most: int) -> bool:
    """Whether plain JSON is nested deeper than `most` levels; `{}` has one."""
    level: list[Any] = [value]
    for _ in range(most):
        level = [
            each
            for one in level
            for each in (one.values() if isinstance(one, dict) else one)
            if isinstance(each, dict | list | tuple)
        ]
    return bool(level)


_link = lru_cache(KEPT)(_read)
"""Links are sent with every call and never change, so they are cached."""


def revocation_ids(payloads: Iterable[Payload], cids: Iterable[str], root: Payload) -> set[str]:
    """Return the ids of which none may be revoked; `root` is the payload of the first link.

    Every token by its cid and by those of its lineage; every key that delegated, received or
    inherited the authority; the apps and the approval behind it.
    """
    parties = [payload.get(party) for payload in payloads for party in ("iss", "aud")]
    meta = mapping(root.get("meta"))
    lineage, approved = mapping(meta.get("lineage")), mapping(meta.get("approval"))
    named = [meta.get("app_id"), approved.get("id"), lineage.get("root"), *parties]
    more = strings(lineage.get("invokedBy")) | strings(lineage.get("apps"))
    return {*cids, *strings(named), *more}


def strings(values: object) -> set[str]:
    """Return the strings in a list; none for any other value."""
    return {each for each in values if isinstance(each, str)} if isinstance(values, list) else set()
