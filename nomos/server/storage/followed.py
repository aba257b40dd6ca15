"""How far a PDP that stands alone has read its control plane's log of revocations.

It is kept so that a control plane which was rolled back is noticed after a restart, too.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.chain import Head, Log
from nomos.server.storage.tables import followed

LOG: Final[Log] = "revocations"


def end(connection: Connection, tenant: str) -> Head:
    """The last row that was read and proved."""
    mine = sa.and_(followed.c.tenant == tenant, followed.c.log == LOG)
    row = connection.execute(sa.select(followed.c.seq, followed.c.hash).where(mine)).first()
    return Head() if row is None else Head(row.seq, row.hash)


def keep(connection: Connection, tenant: str, head: Head) -> None:
    """Keep the end of the log, unless one farther on is kept already."""
    if head.seq <= end(connection, tenant).seq:
        return
    connection.execute(followed.delete().where(followed.c.tenant == tenant, followed.c.log == LOG))
    values = {"tenant": tenant, "log": LOG, "seq": head.seq, "hash": head.hash}
    connection.execute(followed.insert(), values)
