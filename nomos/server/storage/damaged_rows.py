"""Handling of rows that cannot be read: a listing names them and continues, all other reads fail.

Bytes of the file may change through a fault of the disk. Then a text is not UTF-8, not JSON, or not
a value of its column. No decision is based on such a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection

from nomos.server.storage.failures import StorageUnavailable

T = TypeVar("T")

LATEST: Final = 253_402_300_799  # the last second of the year 9999; no `_at` is later


class Damaged(StorageUnavailable):
    """One row cannot be read. No decision was based on it; other rows are not affected."""

    def __init__(self, what: str = "a row of the database") -> None:
        super().__init__(
            f"{what} is damaged and cannot be read. Restore the server's data folder from a backup"
        )


def undecodable(failure: BaseException) -> bool:
    """Return whether the driver failed on text that is not UTF-8. Its message contains the text."""
    origin = getattr(failure, "orig", None)
    return origin is not None and str(origin).startswith("Could not decode to UTF-8")


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Raise Damaged, naming `what`, if reading it fails; no message shows its content."""
    try:
        yield
    except (Damaged, AttributeError, LookupError, TypeError, ValueError):
        raise Damaged(what) from None
    except exc.OperationalError as failure:
        if undecodable(failure):
            raise Damaged(what) from None
        raise


def readable(read: Callable[[], T], otherwise: T) -> T:
    """Return what `read` finds, or `otherwise` if that is damaged: for revoking and disabling.

    A damaged value must not prevent that. `otherwise` is the value with the strictest permissions.
    """
    try:
        with naming("a value"):
            return read()
    except Damaged:
        return otherwise


@dataclass(frozen=True)
class Listed(Generic[T]):
    """The result of a listing, and the names of the rows that it left out."""

    found: tuple[T, ...]
    damaged: tuple[str, ...] = ()


Rows = Sequence[sa.Row[Any]]


def listed(
    connection: Connection,
    wanted: sa.Select[Any],
    key: sa.Column[Any],
    read: Callable[[Rows], Iterable[T]],
    values: Mapping[str, Any] | None = None,
) -> Listed[T]:
    """Read rows with `read`; if that fails, one by one without damaged ones, named by `key`."""
    try:
        with naming("a row"):
            return Listed(_all(connection, wanted, read, values))
    except Damaged:
        pass
    found: list[T] = []
    damaged: list[str] = []
    names = wanted.with_only_columns(sa.cast(key, sa.LargeBinary), maintain_column_froms=True)
    for name in connection.scalars(names, values).all():
        ident = bytes(name or b"").decode(errors="backslashreplace")
        try:
            with naming(ident):
                [one] = _all(connection, wanted.where(key == ident), read, values)
            found.append(one)
        except Damaged:
            damaged.append(ident)
    return Listed(tuple(found), tuple(damaged))


def one(
    connection: Connection,
    wanted: sa.Select[Any],
    read: Callable[[Rows], Iterable[T]],
    what: str,
) -> T | None:
    """Read the first row, if there is one. Raises Damaged, naming `what`."""
    with naming(what):
        return next(iter(_all(connection, wanted.limit(1), read, None)), None)


def _all(
    connection: Connection,
    wanted: sa.Select[Any],
    read: Callable[[Rows], Iterable[T]],
    values: Mapping[str, Any] | None,
) -> tuple[T, ...]:
    rows = connection.execute(wanted, values).all()
    for row in rows:
        check(row, wanted)
    return tuple(read(rows))


def check(row: sa.Row[Any], wanted: sa.Select[Any]) -> None:
    """Raise TypeError or ValueError unless each value is valid for its column."""
    for column, value in zip(wanted.selected_columns, row, strict=True):
        if value is None:
            continue
        if isinstance(column.type, sa.String) and not isinstance(value, str):
            raise TypeError(column.name)
        if isinstance(column.type, sa.Integer):
            if not isinstance(value, int):
                raise TypeError(column.name)
            if column.name.endswith("_at") and not 0 <= value <= LATEST:
                raise ValueError(column.name)


def texts(value: object) -> tuple[str, ...]:
    """Return a stored list of texts. A single text is an error, not a list of its characters."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TypeError("not a list of texts")
    return tuple(value)


def raw_truth(column: sa.Column[bool]) -> sa.ColumnElement[Any]:
    """Return a stored boolean, raw: the driver would read any text as true."""
    return sa.type_coerce(column, sa.Integer).label(column.name)


def truth(value: object) -> bool:
    """Return the boolean that `raw_truth` selected."""
    return bool(one_of(value, (0, 1)))


def one_of(value: T, names: Iterable[T]) -> T:
    """Return `value`, which must be one of `names`."""
    if value not in names:
        raise ValueError("not one of its names")
    return value
