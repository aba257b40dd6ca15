"""Startup steps that a control plane and a standalone PDP share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from nomos._limits import MAX_LINKS
from nomos.errors import ConfigurationError
from nomos.server.data_folder import consistency
from nomos.server.signing.keys import KeyFiles, SignerPort
from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.failures import DiskUnusable
from nomos.server.storage.store import Store

PDP_KEY: Final = "pdp"  # the name of the PDP's key


def check_depth(depth: int) -> None:
    """Reject a chain depth that is beyond what the signing binary accepts."""
    if not 1 <= depth <= MAX_LINKS:
        message = f"max_chain_depth is {depth}, and must be from 1 to {MAX_LINKS}"
        raise ConfigurationError(message, setting="max_chain_depth")


async def open_folder(
    data: Path, signer: SignerPort, clock: Callable[[], float], closing: AsyncExitStack
) -> tuple[Store, KeyFiles]:
    """Open the database and the keys of a data folder that is locked; `closing` closes them."""
    expected = consistency.inspect(data)
    keys = KeyFiles(data / "keys", signer)
    store = Store(data, clock)
    closing.push_async_callback(store.close)
    await _migrate(store, data)
    await consistency.adopt(store, data, expected)
    closing.push_async_callback(keys.forget)
    return store, keys


async def _migrate(store: Store, folder: Path) -> None:
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
