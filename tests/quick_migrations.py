"""Migrates one database, and copies it for the other tests.

The migrations themselves are tested in `server/storage`, and by every `nomos dev` that is started.
"""

from __future__ import annotations

from secrets import token_hex

from sqlalchemy.engine import Connection

from nomos.server.storage import migrate

_copy: list[str] = []


def upgrade(connection: Connection) -> None:
    """Do what `migrate.upgrade` does, in a tenth of its time where the database is empty.

    Every database has its own name, as those have that are migrated.
    """
    if connection.dialect.name != "sqlite" or _tables(connection):
        migrate.upgrade(connection)
    elif _copy:
        for statement in _copy:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("UPDATE keeping SET database = ?", (token_hex(16),))
    else:
        migrate.upgrade(connection)
        database = connection.connection.driver_connection
        assert database is not None
        # Without the first and the last, which begin and end a transaction.
        _copy[:] = list(database.iterdump())[1:-1]


def _tables(connection: Connection) -> int:
    found = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
    assert isinstance(found, int)
    return found
