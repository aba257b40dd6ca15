"""Limits on the used tokens that one agent, and one app with its agents, has in the table.

The numbers are those of `nomos._core.shares`. They prevent one holder from filling the shared table
by using tokens faster than they expire.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos._core.shares import LEEWAY_SECONDS, MAX_USED, Holder, Kind, holders
from nomos.server.storage import nonces
from nomos.server.storage.failures import Forgotten, StorageUnavailable
from nomos.server.storage.nonces import UsedNonce
from nomos.server.storage.tables import nonces as rows

MOST_COUNTED: Final = 10_000
"""The maximum number of agents, and of apps, whose number of nonces is cached."""

MOST_PARTS: Final = 32
"""A process uses at most one of these parts of a share before it counts again."""

_HOLDERS: Final[dict[Kind, str]] = {"agent": "this agent", "app": "this app, with all its agents,"}


class ShareExceeded(StorageUnavailable):
    """One agent or app has used so many tokens that have not expired; others are not affected."""


class NonceShares:
    """Limits the nonces of each agent and each app in the table; used by one thread at a time.

    The nonces of a holder are counted again when it has used half of what was left, or a 32nd of
    its share. Of several processes on one database, each but one may exceed a share by a 32nd.
    """

    def __init__(self, limit: int = MAX_USED) -> None:
        self._limit = limit
        self._counted: dict[Kind, _Counted] = {
            "agent": _Counted(rows.c.issuer),
            "app": _Counted(rows.c.family),
        }

    def check(self, connection: Connection, issuer: str, family: str | None, now: int) -> None:
        """Raise ShareExceeded if the issuer, or the app that it is of, has used up its share."""
        for holder in holders(self._limit, issuer, family):
            self._counted[holder.what].take(connection, holder, now)

    def claim(self, connection: Connection, used: UsedNonce, now: int) -> bool:
        """Claim a nonce, True once. Raises ShareExceeded; Forgotten if perhaps used and deleted."""
        self.check(connection, used.issuer, used.family, now)
        first = nonces.claim(connection, used)
        # Checked last: a claim that succeeded because of a deletion just now is detected here.
        until = nonces.forgotten_until(connection, used.expires_at) if first else None
        if until is not None:
            raise Forgotten(until)
        return first


class _Counted:
    """The rest of the share of each holder of one kind, for the most recent holders."""

    def __init__(self, column: sa.Column[str]) -> None:
        self._count = _count(column)
        self._left: OrderedDict[str, int] = OrderedDict()
        self._full: OrderedDict[str, int] = OrderedDict()

    def take(self, connection: Connection, holder: Holder, now: int) -> None:
        left = self._left.pop(holder.name, 0)
        if left <= 0:
            left = self._half(connection, holder, now)
        self._left[holder.name] = left - 1
        _bound(self._left)

    def _half(self, connection: Connection, holder: Holder, now: int) -> int:
        """Count, and return half of what is left, or less."""
        # At most once a second if nothing is left: counting is slow.
        if self._full.pop(holder.name, None) == now:
            free = 0
        else:
            asked = {"name": holder.name, "before": now - LEEWAY_SECONDS, "most": holder.most}
            free = holder.most - (connection.scalar(self._count, asked) or 0)
        if free <= 0:
            self._full[holder.name] = now
            _bound(self._full)
            raise ShareExceeded(
                f"{_HOLDERS[holder.what]} has used {holder.most} tokens that have not expired yet; "
                "others are not affected"
            )
        return min((free + 1) // 2, -(-holder.most // MOST_PARTS))


def _count(column: sa.Column[str]) -> sa.Select[int]:
    held = sa.and_(column == sa.bindparam("name"), rows.c.expires_at >= sa.bindparam("before"))
    some = sa.select(column).where(held).limit(sa.bindparam("most")).subquery()
    return sa.select(sa.func.count()).select_from(some)


def _bound(kept: OrderedDict[str, int]) -> None:
    if len(kept) > MOST_COUNTED:
        kept.popitem(last=False)
