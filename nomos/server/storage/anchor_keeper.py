"""Comparison of the database with its anchor: at a start, with each commit, and in between."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.chain import Head
from nomos.server.storage.anchor import MAX_HEADS, Anchor, AnchorMark
from nomos.server.storage.engine import FILE
from nomos.server.storage.failures import StorageLost
from nomos.server.storage.files import JOURNALS, Files
from nomos.server.storage.tables import keeping

# As text, because they run with every commit.
_COUNT: Final = (
    'UPDATE keeping SET commits = commits + 1 WHERE id = 1 RETURNING commits, "database"'
)
_HEADS: Final = f"SELECT tenant, log, seq, hash FROM heads ORDER BY tenant, log LIMIT {MAX_HEADS}"  # noqa: S608 (a number)

_ROLLED_BACK: Final = (
    "nomos.db was rolled back, or replaced, while the server was running: stored rows are "
    "missing. Stop the server and restore the whole data folder from a backup"
)


class AnchorKeeper:
    """The files of one open database, and the anchor that is updated with each commit."""

    def __init__(self, folder: Path, mark: AnchorMark, others: tuple[Path, ...] = ()) -> None:
        self.trouble: str | None = None
        """Why no data is read or stored any more. It stays set until the server is restarted."""
        self._anchor = Anchor(folder)
        database = folder / FILE
        journals = [database.with_name(database.name + ending) for ending in JOURNALS]
        self._files = Files(database, (*journals, self._anchor.path, *others))
        self._mark = mark

    @property
    def mark(self) -> AnchorMark:
        """The mark of the last commit."""
        return self._mark

    def check(self) -> None:
        """Raise StorageLost if the open files were replaced."""
        if self.trouble is not None:
            raise StorageLost(self.trouble)
        self._files.check()

    def count(self, connection: Connection) -> AnchorMark:
        """Count the commit that is about to be made, within its transaction."""
        self.check()
        row = connection.exec_driver_sql(_COUNT).first()
        if row is None or row.database != self._mark.database or row.commits <= self._mark.commits:
            self.trouble = _ROLLED_BACK
            raise StorageLost(_ROLLED_BACK)
        return AnchorMark(row.database, row.commits, _ends(connection))

    def kept(self, mark: AnchorMark) -> None:
        """Update the anchor after a commit. Raises StorageLost if the files were replaced."""
        self.check()
        self._mark = mark
        try:
            self._anchor.write(mark)
        except OSError as failure:
            raise StorageLost(
                f"{self._anchor.path.name} cannot be written: {failure.strerror}. Free the disk, "
                "or restore the data folder"
            ) from failure

    def close(self) -> None:
        """Flush the anchor. Idempotent."""
        self._anchor.close()


def mark_of(connection: Connection) -> tuple[AnchorMark, bool]:
    """Return the mark of the database, and whether it had an anchor before."""
    row = connection.execute(sa.select(keeping)).first()
    if row is None:
        raise StorageLost("nomos.db has lost the row that counts its commits")
    return AnchorMark(row.database, row.commits, _ends(connection)), row.anchored


def note_anchored(connection: Connection) -> None:
    """Record that there is an anchor: if it is missing later, it was deleted."""
    connection.execute(keeping.update().values(anchored=True))


def compare(mark: AnchorMark, now: AnchorMark) -> str | None:
    """Return what is wrong with a database whose mark is `now`, by its anchor; None if nothing."""
    if mark.commits == 0:
        return None
    if mark.database != now.database:
        return (
            "nomos.db is not the database that nomos.anchor belongs to: another one, or an older "
            "version of it, was put in its place"
        )
    if now.commits < mark.commits:
        return (
            f"nomos.db was rolled back: it ends with commit {now.commits}, and commit "
            f"{mark.commits} was made (nomos.anchor){_lost(mark, now)}. If it was restored on "
            'purpose: docs/audit.md, "Going back to a backup on purpose"'
        )
    return None


_LOGS: Final = {"audit": "audit log", "revocations": "revocations", "keys": "issuer keys"}


def _lost(mark: AnchorMark, now: AnchorMark) -> str:
    """Return which rows of the logs are missing now."""
    ends = {(tenant, log): head.seq for tenant, log, head in now.heads}
    lost = [
        f"rows {end + 1} to {head.seq} of the {_LOGS.get(log, log)} of tenant {tenant}"
        for tenant, log, head in mark.heads
        if (end := ends.get((tenant, log), 0)) < head.seq
    ]
    return f"; lost are {', '.join(lost)}" if lost else ""


def _ends(connection: Connection) -> tuple[tuple[str, str, Head], ...]:
    rows = connection.exec_driver_sql(_HEADS).all()
    return tuple((row.tenant, row.log, Head(row.seq, row.hash)) for row in rows)
