"""Errors of the database: unavailable, closed, lost data, deleted nonces."""

from __future__ import annotations

from nomos.errors import NomosError


class StorageUnavailable(NomosError):
    """The database failed. Nothing of the transaction was stored."""


class DiskUnusable(StorageUnavailable):
    """The disk of the database is full, or cannot be read or written."""


class StorageClosed(StorageUnavailable):
    """The database is closed, or the process around it is ending."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down")


class StorageLost(StorageUnavailable):
    """Files were replaced, or rows are missing. The message names file and remedy, but no path."""


class Forgotten(StorageUnavailable):
    """It is not known whether a nonce was used: those with its expiry time were deleted."""

    def __init__(self, until: int) -> None:
        super().__init__(
            "a nonce that expires so early may have been used and deleted, because a clock was "
            "ahead. Check the clocks; tokens that expire later work"
        )
        self.until = until
        """Unix seconds: nonces that expire after this are known."""
