"""`SqlReplayStore`: a replay store in a database, shared by processes and kept across restarts.

    verifier = Verifier(…, replay=SqlReplayStore("/var/lib/notes/used.db"))

A claim is one transaction, which is on the disk when it returns; an `AsyncVerifier` makes it in a
thread. Deleted nonces are remembered as spans (`nonces`). A verifier that follows a control plane
also stores there how far it has read the control plane's logs.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final, Self

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection, Engine

from nomos._core.feed_state import Floor
from nomos._core.shares import LEEWAY_SECONDS
from nomos.audit.chain import Head, Log
from nomos.errors import ConfigurationError
from nomos.server.storage import feed_position
from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.engine import HIDE, RETRY_SECONDS, open_file, unavailable
from nomos.server.storage.files import Files
from nomos.server.storage.fork_safe import ForkSafeEngine
from nomos.server.storage.nonces import INSERTS, PRUNE_EVERY, UsedNonce, prune
from nomos.server.storage.replay_tables import make, take_turns
from nomos.server.storage.shares import NonceShares

EMPTY_SECONDS: Final = 1.0
"""How long, in seconds, a file that another process makes may stay empty."""


class SqlReplayStore:
    """Stores used tokens in a SQLite file, or a PostgreSQL database, until they have expired.

    `url` is the path of a file, `sqlite:///…`, or `postgresql+psycopg://…` (the extra `postgres`
    installs that driver; any other synchronous one works, too). All processes that share a
    database accept a token once between them. Threads may share it, and it may be used after a
    `fork()`.

    Raises `ConfigurationError` for a URL that is none of these. Raises `StorageUnavailable` if the
    database fails; if one agent has used 20,000 tokens that have not expired, or one app with all
    its agents 40,000 (others are not affected; each process beside the first may accept a 32nd
    more); or if tokens that expire at this one's time may have been deleted, by this process's
    clock or by that of another that shares the database. No error contains the URL, which may have
    a password in it.
    """

    shares: ClassVar = True
    """Its `claim` takes `family`."""

    def __init__(self, url: str | os.PathLike[str], clock: Callable[[], float] = time.time) -> None:
        self._url = _read(url)
        self._clock = clock
        is_file = self._url.get_backend_name() == "sqlite"
        self._database = ForkSafeEngine(functools.partial(_engine, self._url), is_file=is_file)
        self._claims = itertools.count()
        self._shares = NonceShares()
        self._files: Files | None = None

    def claim(
        self, issuer: str, audience: str, nonce: str, expires_at: int, *, family: str | None = None
    ) -> bool:
        """Return True to exactly one caller; `expires_at` is in Unix seconds.

        `family` is the issuer with the app, or the first agent, to which it granted the authority.
        """
        now = int(self._clock())
        if expires_at < now - LEEWAY_SECONDS:
            # It may have been used, and deleted since.
            raise StorageUnavailable(
                "used tokens with this expiry time were deleted; check the clocks"
            )
        used = UsedNonce(issuer, audience, nonce, expires_at, family)
        with self._transaction() as connection:
            if next(self._claims) % PRUNE_EVERY == 0:
                take_turns(connection)
                prune(connection, now)
            return self._shares.claim(connection, used, now)

    def floor(self, issuer: str) -> Floor:
        """Return how far the logs of an issuer were read, by any process that shares this."""
        with self._transaction() as connection:
            return feed_position.floor(connection, issuer)

    def keep_floor(self, issuer: str, log: Log, head: Head) -> None:
        """Store how far a log of an issuer was read, unless a later end is stored already."""
        with self._transaction() as connection:
            feed_position.keep(connection, issuer, head, log)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._database.use() as engine, engine.begin() as connection:
                yield connection
            self._check_file()
        except exc.SQLAlchemyError as failure:
            raise unavailable(failure) from None
        except OSError as failure:
            # The text of the error itself contains the path.
            why = failure.strerror or type(failure).__name__
            raise StorageUnavailable(f"the file cannot be used: {why}") from None

    def _check_file(self) -> None:
        """Refuse a claim in a file that was deleted or replaced: others would not see it."""
        if self._url.get_backend_name() != "sqlite":
            return
        if self._files is None:
            self._files = Files(Path(str(self._url.database)), ())
        self._files.check()

    def close(self) -> None:
        """Close the database. Idempotent."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SqlReplayStore({self._url.get_backend_name()})"


def _read(url: str | os.PathLike[str]) -> URL:
    text = os.fspath(url) if isinstance(url, str | os.PathLike) else None
    if not isinstance(text, str) or "\0" in text:
        raise _wrong("it is neither text nor a path")
    if "://" not in text:
        if not Path(text).absolute().parent.is_dir():
            raise _wrong("its folder does not exist")
        return URL.create("sqlite", database=str(Path(text).absolute()))
    try:
        read = sa.make_url(text)
    except exc.ArgumentError:
        raise _wrong("it cannot be read") from None
    if read.get_backend_name() not in INSERTS:
        raise _wrong(f"{read.get_backend_name()} is not supported")
    if read.get_backend_name() == "sqlite" and read.database in (None, "", ":memory:"):
        raise _wrong("a database in memory is not kept: use MemoryReplayStore for that")
    try:
        dialect = read.get_dialect()
        dialect.import_dbapi()
    except (exc.ArgumentError, ImportError):
        raise _wrong("its driver is not installed") from None
    if dialect.is_async:
        raise _wrong("its driver is asynchronous")
    return read


def _engine(url: URL) -> Engine:
    """Open the database, and make the tables if they do not exist."""
    if url.get_backend_name() == "sqlite":
        path = Path(str(url.database))
        _refuse_emptied(path)
        engine = open_file(path)
    else:
        engine = sa.create_engine(url, pool_pre_ping=True, **HIDE)
    try:
        with engine.begin() as connection:
            make(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _refuse_emptied(path: Path) -> None:
    """Reject an empty file, unless another process has just made it and writes to it."""
    end = time.monotonic() + EMPTY_SECONDS
    while path.exists() and path.stat().st_size == 0:
        if time.monotonic() > end:
            raise StorageUnavailable(
                "the file of used tokens was emptied, so it is unknown which tokens were used. "
                "Restore it from a backup; or wait until all earlier tokens have expired, an "
                "hour at most, and delete it: a missing file is made anew"
            )
        time.sleep(RETRY_SECONDS)


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"url must be the path of a SQLite file, or sqlite:/// or postgresql+<driver>://…: {what}",
        setting="url",
    )
