"""Consistency checks of the data folder, before the server answers and while it runs.

The database, the anchor beside it (`storage/anchor.py`), and the issuer's signatures must agree.
Otherwise the folder is rejected, with the row that shows the problem and the remedy: no token may
become valid again because rows are missing. `docs/audit.md` says what can be detected.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import Connection

from nomos._core.tokens import decode_unverified
from nomos._io.checkpoints import checking_async
from nomos._protocol import Checkpoint
from nomos.audit.chain import Head
from nomos.audit.check import MAX_CHECKPOINT
from nomos.errors import ConfigurationError, InvalidResponse
from nomos.server.data_folder.lock import FILE as LOCK
from nomos.server.signing.issuers import Issuers
from nomos.server.signing.keys import SignerPort
from nomos.server.storage import anchor, anchor_keeper, integrity
from nomos.server.storage.anchor import AnchorMark, DamagedAnchor
from nomos.server.storage.anchor_keeper import AnchorKeeper
from nomos.server.storage.engine import FILE
from nomos.server.storage.failures import StorageLost, StorageUnavailable
from nomos.server.storage.store import Store

MAX_CHECKED_BYTES: Final = 256 * 1024 * 1024
"""The pages of a larger database are checked while the server runs, not before it answers."""

MAX_WALKED: Final = 20_000
"""Rows of the audit log that are checked before the server answers; the others follow later."""

MAX_CHECKPOINTS: Final = 1000

SLICE: Final = 2000
PAUSE_SECONDS: Final = 0.1
"""Rows that are checked at a time while the server runs, and the pause after them."""

REMEDY: Final = (
    "Restore the whole folder from a backup, or move it away and start with an empty one, which "
    'has a new issuer (docs/audit.md, "When the data folder is damaged")'
)

log = logging.getLogger("nomos.server")


@dataclass(frozen=True)
class Expected:
    """The state of a folder before the server opened it: its last mark, and whether it is new."""

    mark: AnchorMark | None
    new: bool


def inconsistent(folder: Path, problem: str) -> ConfigurationError:
    """Return the error for a folder that is not consistent."""
    return ConfigurationError(
        f"the data folder {folder} is not consistent: {problem}. {REMEDY}", setting="data"
    )


def inspect(folder: Path) -> Expected:
    """Read the anchor before the database is opened; make one for a folder that is new.

    Raises ConfigurationError for a folder that has lost its database, or a damaged anchor.
    """
    try:
        mark = anchor.read(folder)
    except DamagedAnchor as damaged:
        raise inconsistent(folder, str(damaged)) from None
    database = folder / FILE
    empty = not database.exists() or database.lstat().st_size == 0
    keys = sorted(path.name for path in (folder / "keys").glob("*.key"))
    if not empty:
        return Expected(mark, new=mark is not None and mark.commits == 0)
    if mark is None and not keys:
        mark = AnchorMark()
        anchor.make(folder, mark)
    if mark is None or mark.commits:
        what = "is empty" if database.exists() else "is missing"
        kept = f"the keys ({keys[0]}) exist" if keys else f"{anchor.FILE} exists"
        raise inconsistent(folder, f"{FILE} {what}, but {kept}")
    return Expected(mark, new=True)


async def adopt(store: Store, folder: Path, expected: Expected) -> None:
    """Compare the database with the anchor, and count its commits from now on.

    A folder of an older version has no anchor: it gets one, if its rows are consistent.
    """
    issuer = next((folder / "keys").glob("issuer-*.key"), None) is not None
    try:
        problem, mark = await store.database.read(_compared, expected, issuer=issuer)
    except StorageUnavailable as failure:
        raise inconsistent(folder, str(failure)) from failure
    if problem is not None:
        raise inconsistent(folder, problem)
    if expected.mark is None or expected.mark.commits == 0:
        await asyncio.to_thread(anchor.make, folder, mark)
        await store.database.write(anchor_keeper.note_anchored)
    lock = folder / LOCK
    await store.database.keep(lambda: AnchorKeeper(folder, mark, (lock,)))


def _compared(
    connection: Connection, expected: Expected, *, issuer: bool
) -> tuple[str | None, AnchorMark]:
    """Return the first problem or None, and the mark; `issuer`: the folder has an issuer's key."""
    now, anchored = anchor_keeper.mark_of(connection)
    problem: str | None = None
    if expected.mark is None and anchored:
        problem = f"{anchor.FILE} is missing"
    elif expected.mark is not None:
        problem = anchor_keeper.compare(expected.mark, now) or integrity.behind(
            connection, expected.mark
        )
    if problem is None and issuer and not expected.new and not integrity.has_tenant(connection):
        problem = f"{FILE} has no issuer, but the file of an issuer's key exists"
    if problem is None and integrity.size(connection) <= MAX_CHECKED_BYTES:
        problem = integrity.broken_pages(connection)
    return problem or rows_problem(connection), now


def rows_problem(connection: Connection) -> str | None:
    """Return what is missing from the logs or contradicts them; None if nothing."""
    problem = _ends_problem(connection)
    for tenant, head in sorted(integrity.ends_of(connection, "audit").items()):
        if problem is None:
            problem = _audit_problem(connection, tenant, max(0, head.seq - MAX_WALKED))
    return problem


def _ends_problem(connection: Connection) -> str | None:
    """Return what `rows_problem` does, without walking the audit log, which is long."""
    problem = integrity.missing_rows(connection) or integrity.restored(connection)
    for name in ("revocations", "keys"):
        for tenant in sorted(integrity.ends_of(connection, name)):
            problem = problem or integrity.walk(connection, name, tenant).problem
    return problem


def _audit_problem(
    connection: Connection, tenant: str, after: int, until: int | None = None
) -> str | None:
    """Walk rows of the audit log. Damaged rows whose place is intact are logged."""
    found = integrity.walk(connection, "audit", tenant, after, until)
    if found.damaged:
        rows = ", ".join(map(str, found.damaged[: integrity.MAX_NAMED]))
        log.error(
            "the audit log of tenant %s has %d damaged rows (%s): an export names them, and "
            "`nomos audit verify` reports them. Restore the data folder from a backup",
            *(tenant, len(found.damaged), rows),
        )
    return found.problem


# Signatures


async def check_checkpoints(
    store: Store, signer: SignerPort, issuers: Issuers, folder: Path, pinned: str | None = None
) -> None:
    """Compare the audit log with its checkpoints, and with `pinned`, one that was stored elsewhere.

    Raises ConfigurationError.
    """
    for tenant in list(issuers.active):
        problem = await _signed_otherwise(store, signer, issuers, tenant)
        if problem is not None:
            raise inconsistent(folder, problem)
    if pinned is not None:
        await _check_pinned(store, signer, issuers, folder, pinned)


async def _signed_otherwise(
    store: Store, signer: SignerPort, issuers: Issuers, tenant: str
) -> str | None:
    kept = await store.database.read(integrity.checkpoint_rows, tenant, MAX_CHECKPOINTS)
    for seq, token, hash_ in kept:
        claims, where = _payload(token), f"row {seq} of the audit log of tenant {tenant}"
        if hash_ is None:
            return f"{where} is missing, although it was signed"
        if claims.get("seq") != seq or claims.get("head") != hash_:
            return f"{where} differs from the one that was signed"
    if not kept:
        return None
    seq, token, hash_ = kept[0]
    dids = [key.did for key in issuers.log_of(tenant)]
    signed = await checking_async(signer)(token, dids)
    if not isinstance(signed, Checkpoint) or (signed.tenant, signed.log) != (tenant, "audit"):
        return f"the checkpoint over row {seq} of the audit log is not signed by the issuer"
    return None


async def _check_pinned(
    store: Store, signer: SignerPort, issuers: Issuers, folder: Path, pinned: str
) -> None:
    checkpoint = None
    if len(pinned) <= MAX_CHECKPOINT:
        dids = [key.did for tenant in issuers.active for key in issuers.log_of(tenant)]
        checkpoint = await checking_async(signer)(pinned, dids)
    if not isinstance(checkpoint, Checkpoint) or checkpoint.log != "audit":
        raise ConfigurationError(
            "the checkpoint was not signed by this server's issuer over its audit log. Name "
            "the file that `nomos audit checkpoint` wrote, or the data folder that it belongs "
            "to",
            setting="checkpoint",
        )
    part = await store.log.part(checkpoint.tenant, checkpoint.seq - 1, checkpoint.seq, 1)
    found = part.links[0].head if part.links else Head()
    if found != Head(checkpoint.seq, checkpoint.head):
        what = "is missing" if not part.links else "differs"
        raise inconsistent(
            folder,
            f"row {checkpoint.seq} of the audit log of tenant {checkpoint.tenant} {what}: the "
            "folder is older than the checkpoint, or was rewritten",
        )


def _payload(token: str) -> Mapping[str, Any]:
    """Return the payload of a token, not verified; empty if it cannot be decoded."""
    try:
        return decode_unverified(token)
    except InvalidResponse:
        return {}


# While the server runs


def checking(store: Store, seconds: float) -> Callable[[], Awaitable[None]]:
    """Return a background task that reads all rows afresh; at a problem the store refuses all work.

    Each row of the audit log is checked once; its end, and the other logs, every time.
    """
    walked: dict[str, int] = {}

    async def check_repeatedly() -> None:
        first = True
        while True:
            await asyncio.sleep(seconds)
            try:
                problem = await _round(store, walked, first=first)
            except StorageLost as lost:
                problem = str(lost)
            first = False
            if problem is not None and store.database.lost(f"{problem}. {REMEDY}"):
                log.critical("%s: all requests are rejected from now on. %s", problem, REMEDY)

    return check_repeatedly


async def _round(store: Store, walked: dict[str, int], *, first: bool) -> str | None:
    mark = store.database.mark
    ends, problem = await store.database.read_afresh(_ends_and_problem, mark, pages=first)
    for tenant, head in ends.items():
        while problem is None and walked.get(tenant, 0) < head.seq:
            after = walked.get(tenant, 0)
            until = min(head.seq, after + SLICE)
            problem = await store.database.read_afresh(_audit_problem, tenant, after, until)
            walked[tenant] = until
            await asyncio.sleep(PAUSE_SECONDS)
    return problem


def _ends_and_problem(
    connection: Connection, mark: AnchorMark, *, pages: bool
) -> tuple[Mapping[str, Head], str | None]:
    now, _ = anchor_keeper.mark_of(connection)
    problem = anchor_keeper.compare(mark, now) or integrity.behind(connection, mark)
    if problem is None and pages:
        problem = integrity.broken_pages(connection)
    return integrity.ends_of(connection, "audit"), problem or _ends_problem(connection)
