"""What following the feed of revocations may cost: so many waiting, so many signatures."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from nomos.audit.chain import Head
from nomos.server.http.limits import ConcurrencyGate

MOST_WAITING: Final = 256
MOST_OF_ONE_APP: Final = 32
SIGNED_FOR_SECONDS: Final = 1.0
"""How long a checkpoint that carries nobody's nonce is given to everybody."""


@dataclass(frozen=True)
class Checkpointed:
    """A checkpoint, of what, and when it was made."""

    head: Head
    issuer: str
    token: str
    at: float


class FeedSubscribers:
    """Counts who waits, and keeps the last checkpoint of each tenant."""

    def __init__(self) -> None:
        self._waiting = ConcurrencyGate(MOST_OF_ONE_APP)
        self._signed: dict[str, Checkpointed] = {}

    def admit(self, app: str) -> AbstractContextManager[bool]:
        """Whether there is room for one more that waits; without, it is answered at once."""
        return self._waiting.admit(app, MOST_WAITING)

    def signed(self, tenant: str, issuer: str, head: Head, now: float) -> str | None:
        """Return the tenant's last checkpoint if it is of this head, and young."""
        last = self._signed.get(tenant)
        if last is None or (last.head, last.issuer) != (head, issuer):
            return None
        return last.token if 0 <= now - last.at < SIGNED_FOR_SECONDS else None

    def keep(self, tenant: str, made: Checkpointed) -> None:
        """Give this checkpoint to others until it is old."""
        self._signed[tenant] = made
