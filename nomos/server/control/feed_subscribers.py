"""Limits of the revocation feed: waiting followers, and checkpoints that they share."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from nomos.audit.chain import Head
from nomos.server.http.limits import ConcurrencyGate

MOST_WAITING: Final = 256
MOST_OF_ONE_APP: Final = 32
SIGNED_FOR_SECONDS: Final = 1.0
"""How long, in seconds, a checkpoint without a nonce is reused for all followers."""


@dataclass(frozen=True)
class Checkpointed:
    """A checkpoint, the head that it is over, and when it was made."""

    head: Head
    issuer: str
    token: str
    at: float


class FeedSubscribers:
    """Counts waiting followers, and keeps the last checkpoint of each tenant."""

    def __init__(self) -> None:
        self._waiting = ConcurrencyGate(MOST_OF_ONE_APP)
        self._signed: dict[str, Checkpointed] = {}

    def admit(self, app: str) -> AbstractContextManager[bool]:
        """Hold a waiting place; the value is False if there is none: then reply at once."""
        return self._waiting.admit(app, MOST_WAITING)

    def signed(self, tenant: str, issuer: str, head: Head, now: float) -> str | None:
        """Return the tenant's last checkpoint if it is over this head and recent."""
        last = self._signed.get(tenant)
        if last is None or (last.head, last.issuer) != (head, issuer):
            return None
        return last.token if 0 <= now - last.at < SIGNED_FOR_SECONDS else None

    def keep(self, tenant: str, made: Checkpointed) -> None:
        """Keep this checkpoint for other followers until it is too old."""
        self._signed[tenant] = made
