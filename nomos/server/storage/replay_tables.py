"""The tables of `SqlReplayStore`, made or migrated when the database is opened.

An older version stored one time before which nonces may have been deleted. It becomes a span, and
is replaced by a time with which an older version that shares the database refuses everything:
otherwise that would delete nonces without adding spans, and accept those that were deleted here.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateIndex, CreateTable

from nomos.server.storage.nonces import remember_span
from nomos.server.storage.tables import followed, nonces, nonces_spans

_LOCK: Final = 0x6E6F6D6F73
"""The advisory lock under which processes that start together make the tables, on PostgreSQL."""

_SPANS: Final = 2**62  # stored instead of a time: deleted nonces are described by spans

_forgotten: Final = sa.Table(
    "nonces_forgotten",
    sa.MetaData(),
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("before", sa.BigInteger, nullable=False),
)
"""One row, which older versions read as a time. It is locked while nonces are deleted."""

_TURN: Final = sa.select(_forgotten.c.before).where(_forgotten.c.id == 1).with_for_update()


def make(connection: Connection) -> None:
    """Make missing tables, and migrate those of an older version."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    if _is_made(connection):
        return
    # The turn is locked before any other table: deletions lock in the same order.
    connection.execute(CreateTable(_forgotten, if_not_exists=True))
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(insert(_forgotten).values(id=1, before=0).on_conflict_do_nothing())
    before = int(connection.execute(_TURN).scalar_one())
    for table in (nonces, nonces_spans, followed):
        connection.execute(CreateTable(table, if_not_exists=True))
    _add_family(connection)
    for index in nonces.indexes:
        connection.execute(CreateIndex(index, if_not_exists=True))
    if before > 0:
        remember_span(connection, 0, before - 1)
    connection.execute(_forgotten.update().values(before=_SPANS))


def take_turns(connection: Connection) -> None:
    """Lock the deletion of nonces, which reads and writes the spans."""
    connection.execute(_TURN)


def _is_made(connection: Connection) -> bool:
    if not sa.inspect(connection).has_table(_forgotten.name):
        return False
    return connection.scalar(sa.select(_forgotten.c.before)) == _SPANS


def _add_family(connection: Connection) -> None:
    columns = sa.inspect(connection).get_columns(nonces.name)
    if all(column["name"] != "family" for column in columns):
        connection.exec_driver_sql("ALTER TABLE nonces ADD COLUMN family VARCHAR(256)")
