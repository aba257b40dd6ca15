"""How far whoever stands alone has read its control plane's logs of revocations and of keys.

It is kept so that a control plane which was rolled back is noticed after a restart, too.
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


def floor(connection: Connection, whose: str) -> Floor:
    """How far both logs were read."""
    return Floor(end(connection, whose), end(connection, whose, "keys"))


def end(connection: Connection, whose: str, log: Log = REVOCATIONS) -> Head:
    """The last row of a log that was read and proved."""
    mine = sa.and_(followed.c.tenant == whose, followed.c.log == log)
    row = connection.execute(sa.select(followed.c.seq, followed.c.hash).where(mine)).first()
    return Head() if row is None else Head(row.seq, row.hash)


def keep(connection: Connection, tenant: str, head: Head, log: Log = REVOCATIONS) -> None:
    """Keep the end of a log, unless one farther on is kept already, by whomever."""
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
