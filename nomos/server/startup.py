"""Startup steps that a control plane and a standalone PDP share."""

from __future__ import annotations

from pathlib import Path

from nomos._limits import MAX_LINKS
from nomos.errors import ConfigurationError
from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.failures import DiskUnusable
from nomos.server.storage.store import Store


def check_depth(depth: int) -> None:
    """Reject a chain depth that is beyond what the signing binary accepts."""
    if not 1 <= depth <= MAX_LINKS:
        message = f"max_chain_depth is {depth}, and must be from 1 to {MAX_LINKS}"
        raise ConfigurationError(message, setting="max_chain_depth")


async def migrate(store: Store, folder: Path) -> None:
    """Migrate the database to the newest schema; raise if it cannot be used."""
    try:
        await store.migrate()
    except StorageUnavailable as failure:
        why = getattr(failure.__cause__, "orig", failure)
        what = f"{why}. Restore it from a backup, or choose another data folder"
        if isinstance(failure, DiskUnusable):
            what = str(failure)
        raise ConfigurationError(
            f"the database in {folder} cannot be used: {what}", setting="data"
        ) from failure
