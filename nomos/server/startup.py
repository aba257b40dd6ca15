"""What every server checks and does while it opens, with a control plane or without."""

from __future__ import annotations

from pathlib import Path

from nomos._limits import MAX_LINKS
from nomos.errors import ConfigurationError
from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.store import Store


def check_depth(depth: int) -> None:
    """Refuse a depth of chains that the signing binary cannot be told to accept."""
    if not 1 <= depth <= MAX_LINKS:
        message = f"max_chain_depth is {depth}, and must be from 1 to {MAX_LINKS}"
        raise ConfigurationError(message, setting="max_chain_depth")


async def migrate(store: Store, folder: Path) -> None:
    """Bring the database up to date, or say why it cannot be used."""
    try:
        await store.migrate()
    except StorageUnavailable as failure:
        why = getattr(failure.__cause__, "orig", failure)
        raise ConfigurationError(
            f"the database in {folder} cannot be used: {why}. Restore it from a backup, or choose "
            "another data folder",
            setting="data",
        ) from failure
