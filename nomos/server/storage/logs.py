"""The end of each log of a tenant, and appending rows to it.

The head is read and updated in the transaction that writes the row, under the database's write
lock: no two rows have the same number, and every stored row has its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.chain import ChainedRow, Head, Log, chained
from nomos.server.storage.tables import heads

_MATCH: Final = sa.and_(
    heads.c.tenant == sa.bindparam("tenant_"), heads.c.log == sa.bindparam("log_")
)
_READ: Final = sa.select(heads.c.seq, heads.c.hash).where(_MATCH)
_LOCK: Final = _READ.with_for_update()  # for databases without one write lock
_MOVE: Final = heads.update().where(_MATCH)


def head(connection: Connection, tenant: str, log: Log) -> Head:
    """Return the log's last row; `Head()` for a log that is empty."""
    row = connection.execute(_READ, {"tenant_": tenant, "log_": log}).first()
    return Head() if row is None else Head(row.seq, row.hash)


def append(connection: Connection, tenant: str, log: Log, content: Mapping[str, Any]) -> ChainedRow:
    """Append `content` to the log; the caller stores the returned row."""
    match = {"tenant_": tenant, "log_": log}
    row = connection.execute(_LOCK, match).first()
    placed = chained(content, tenant, Head() if row is None else Head(row.seq, row.hash))
    end = vars(placed.head)
    if row is None:
        connection.execute(heads.insert(), {"tenant": tenant, "log": log, **end})
    else:
        connection.execute(_MOVE, {**match, **end})
    return placed
