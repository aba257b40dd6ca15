"""Rows that are there and cannot be read: a listing names them and goes on, all else stops.

Bytes of the file may change without anybody's doing, and then a text is no UTF-8, no JSON, or not
what its column holds. Nothing is decided by such a row.
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

LATEST: Final = 253_402_300_799
"""The last second of the year 9999; no `_at` is later."""


class Damaged(StorageUnavailable):
    """One row cannot be read. Nothing was decided by it, and other rows are not affected."""

    def __init__(self, what: str = "a row of the database") -> None:
        super().__init__(
            f"{what} is damaged and cannot be read. Restore the server's data folder from a backup"
        )


def undecodable(failure: BaseException) -> bool:
    """Whether the driver was given a text that is no UTF-8. Its own message holds the text."""
    origin = getattr(failure, "orig", None)
    return origin is not None and str(origin).startswith("Could not decode to UTF-8")


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Raise Damaged of `what` if reading it fails; its content goes into no message."""
    try:
        yield
    except (Damaged, AttributeError, LookupError, TypeError, ValueError):
        raise Damaged(what) from None
    except exc.OperationalError as failure:
        if undecodable(failure):
            raise Damaged(what) from None
        raise


def readable(read: Callable[[], T], otherwise: T) -> T:
    """What `read` finds, or `otherwise` if that is damaged: for those who end something.

    What cannot be read must not keep it going. `otherwise` is what lets the fewest do that.
    """
    try:
        with naming("a value"):
            return read()
    except Damaged:
        return otherwise


@dataclass(frozen=True)
class Listed(Generic[T]):
    """What a listing found, and what it had to leave out, by name."""

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
    """Read rows at once; if that fails, one by one, leaving out those that cannot be read.

    `read` makes one thing of each row. Rows are known, and named, by their `key`.
    """
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
    """Read the first row, if there is one. Raises Damaged of `what` if that cannot be read."""
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
    """Raise TypeError or ValueError unless each value is what its column holds."""
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
    """A list of texts as it was kept. A single text is none: its letters are not what was meant."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TypeError("not a list of texts")
    return tuple(value)


def raw_truth(column: sa.Column[bool]) -> sa.ColumnElement[Any]:
    """A truth value as it was kept: the driver's own reading takes any text for true."""
    return sa.type_coerce(column, sa.Integer).label(column.name)


def truth(value: object) -> bool:
    """What `raw_truth` read."""
    return bool(one_of(value, (0, 1)))


def one_of(value: T, names: Iterable[T]) -> T:
    """`value`, which must be one of `names`."""
    if value not in names:
        raise ValueError("not one of its names")
    return value
