"""Why the database did not do it."""

from __future__ import annotations

from nomos.errors import NomosError


class StorageUnavailable(NomosError):
    """The database did not do it. Nothing of the transaction at hand was kept."""


class StorageClosed(StorageUnavailable):
    """The database is closed, or the process around it is ending."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down")


class StorageLost(StorageUnavailable):
    """What is open is not what was kept: files were replaced, or rows are gone.

    The message names the file and what an operator does; it holds no path.
    """


class Forgotten(StorageUnavailable):
    """Whether a nonce was used is not known: what ended at that time was forgotten."""

    def __init__(self, until: int) -> None:
        super().__init__(
            "a nonce that ends so early may have been used and forgotten, because a clock was "
            "ahead. Check the clocks; tokens that end later work"
        )
        self.until = until
        """Unix seconds: nonces that end after this are known."""
