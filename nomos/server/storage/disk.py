"""Free space on the disk of a data folder, checked before writes begin to fail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nomos.server.storage.failures import StorageUnavailable

LEAST_FREE: Final = 32 * 1024 * 1024
"""Bytes that must be free for a server to be ready."""


def check_room(folder: Path) -> None:
    """Raise StorageUnavailable if less than `LEAST_FREE` bytes are free for this user."""
    try:
        found = os.statvfs(folder)
    except OSError as failure:
        raise StorageUnavailable(
            f"the disk of the data folder cannot be looked at: {failure.strerror}"
        ) from None
    free = found.f_bavail * found.f_frsize
    if free < LEAST_FREE:
        raise StorageUnavailable(
            f"the disk of the data folder has {free // 1024} KiB left, and "
            f"{LEAST_FREE // 1024} KiB are the least: make room before decisions cannot be stored"
        )
