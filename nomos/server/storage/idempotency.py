"""Answers kept for 24 hours, so that a repeated question gets the same answer.

Scoped per app. The stored answer holds a delegation, which is worth nothing without the agent's
key, but never an invocation: that one is signed again when the answer is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.server.storage.tables import idempotency

KEPT_SECONDS: Final = 24 * 3600

PRUNED_PER_WRITE: Final = 2
"""Old rows deleted with each new one: more than come in, so the table never outgrows a day."""


@dataclass(frozen=True)
class StoredAnswer:
    """The answer to one keyed question. `expires_at` and `cid` are those of an allow."""

    tenant: str
    app: str
    key: str
    request_hash: str
    receipt_id: str
    agent: str
    answer: Mapping[str, Any]
    created_at: int
    cid: str | None = None
    expires_at: int | None = None


_table = idempotency.c
_FIND = idempotency.select().where(
    _table.app == sa.bindparam("app_"),
    _table.key == sa.bindparam("key_"),
    _table.created_at > sa.bindparam("since"),
)
_OLD = (
    sa.select(_table.app, _table.key)
    .where(_table.created_at <= sa.bindparam("since"))
    .order_by(_table.created_at)
    .limit(PRUNED_PER_WRITE)
)
_DELETE = idempotency.delete().where(
    _table.app == sa.bindparam("app_"),
    _table.key == sa.bindparam("key_"),
    _table.created_at <= sa.bindparam("since"),
)


def find(connection: Connection, app: str, key: str, now: int) -> StoredAnswer | None:
    """What was answered to this key in the last 24 hours."""
    wanted = {"app_": app, "key_": key, "since": now - KEPT_SECONDS}
    row = connection.execute(_FIND, wanted).mappings().first()
    return None if row is None else StoredAnswer(**row)


def add(connection: Connection, stored: StoredAnswer) -> StoredAnswer | None:
    """Keep `stored`, unless its key has an answer already, which is then returned.

    The caller holds the write lock of this transaction, so nothing comes between.
    """
    since = stored.created_at - KEPT_SECONDS
    earlier = find(connection, stored.app, stored.key, stored.created_at)
    if earlier is not None:
        return earlier
    connection.execute(_DELETE, {"app_": stored.app, "key_": stored.key, "since": since})
    _prune(connection, since)
    connection.execute(idempotency.insert(), dict(vars(stored)) | {"answer": dict(stored.answer)})
    return None


def _prune(connection: Connection, since: int) -> None:
    old = connection.execute(_OLD, {"since": since}).all()
    if old:
        connection.execute(
            _DELETE, [{"app_": row.app, "key_": row.key, "since": since} for row in old]
        )
