"""Answers stored for 24 hours, so that a repeated question gets the same answer.

Keys are scoped per app. A stored answer may contain a delegation, which is useless without the
agent's key, but never an invocation: that one is signed again for each repetition.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection

from nomos.audit.record import Record
from nomos.server.domain.authorization import StoredAnswer
from nomos.server.storage import records
from nomos.server.storage.damaged_rows import naming
from nomos.server.storage.tables import idempotency

KEPT_SECONDS: Final = 24 * 3600

PRUNE_EVERY: Final = 32
PRUNED_AT_ONCE: Final = 2 * PRUNE_EVERY
"""Old rows deleted by each 32nd write: more than were added, so the table has a day's rows."""


_table = idempotency.c
_MATCH = sa.and_(_table.app == sa.bindparam("app_"), _table.key == sa.bindparam("key_"))
_FIND = idempotency.select().where(_MATCH)
_DELETE = idempotency.delete().where(_MATCH)
_INSERT_NEW = sqlite.insert(idempotency).on_conflict_do_nothing()
_OLD = (
    sa.select(_table.app.label("app_"), _table.key.label("key_"))
    .where(_table.created_at <= sa.bindparam("since"))
    .order_by(_table.created_at)
    .limit(PRUNED_AT_ONCE)
)


def find(connection: Connection, app: str, key: str, now: int) -> StoredAnswer | None:
    """Return the answer to this key in the last 24 hours; None for the empty key."""
    if not key:
        return None
    stored = _find(connection, app, key)
    return stored if stored is not None and _kept(stored, now) else None


def add(connection: Connection, stored: StoredAnswer) -> StoredAnswer | None:
    """Store `stored`, or return the answer that its key has. The caller holds the write lock."""
    while connection.execute(_INSERT_NEW, dict(vars(stored))).rowcount == 0:
        earlier = _find(connection, stored.app, stored.key)
        if earlier is not None and _kept(earlier, stored.created_at):
            return earlier
        connection.execute(_DELETE, {"app_": stored.app, "key_": stored.key})
    return None


def add_recorded(
    connection: Connection, record: Record, stored: StoredAnswer, now: int | None
) -> StoredAnswer | None:
    """Store a record, with the answer to be repeated if its question had a key.

    If the key was answered meanwhile, nothing is stored, and that answer is returned. Some old
    answers are deleted if `now` is given: None while the clock may be wrong.
    """
    if stored.key:
        if now is not None:
            prune(connection, now)
        earlier = add(connection, stored)
        if earlier is not None:
            return earlier
    records.add(connection, record)
    return None


def prune(connection: Connection, now: int) -> None:
    """Delete some of the answers that are older than a day, the oldest first."""
    old = connection.execute(_OLD, {"since": now - KEPT_SECONDS}).mappings().all()
    if old:
        connection.execute(_DELETE, [dict(row) for row in old])


def _find(connection: Connection, app: str, key: str) -> StoredAnswer | None:
    with naming("the stored answer of this idempotency key"):
        row = connection.execute(_FIND, {"app_": app, "key_": key}).mappings().first()
        return None if row is None else StoredAnswer(**row)


def _kept(stored: StoredAnswer, now: int) -> bool:
    # One that is a day or more in the future was stored while a clock was far ahead.
    return abs(now - stored.created_at) < KEPT_SECONDS
