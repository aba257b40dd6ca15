"""Read positions in a control plane's logs of revocations and keys.

A standalone PDP or a verifier stores them so that a control plane that was rolled back is detected
after a restart, too.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from nomos._core.feed_state import Floor
from nomos.audit.chain import Head, Log
from nomos.server.storage.tables import followed

REVOCATIONS: Final[Log] = "revocations"


def floor(connection: Connection, owner: str) -> Floor:
    """Return how far both logs were read."""
    return Floor(end(connection, owner), end(connection, owner, "keys"))


def end(connection: Connection, owner: str, log: Log = REVOCATIONS) -> Head:
    """Return the last row of a log that was read and verified."""
    of_log = sa.and_(followed.c.tenant == owner, followed.c.log == log)
    row = connection.execute(sa.select(followed.c.seq, followed.c.hash).where(of_log)).first()
    return Head() if row is None else Head(row.seq, row.hash)


def keep(connection: Connection, tenant: str, head: Head, log: Log = REVOCATIONS) -> None:
    """Store the end of a log, unless this or another process has already stored a later one."""
    if head.seq <= 0:
        return
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    row = insert(followed).values(tenant=tenant, log=log, seq=head.seq, hash=head.hash)
    farther = {"seq": row.excluded.seq, "hash": row.excluded.hash}
    connection.execute(
        row.on_conflict_do_update(
            index_elements=["tenant", "log"],
            set_=farther,
            where=row.excluded.seq > followed.c.seq,
        )
    )
