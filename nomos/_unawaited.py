"""Coroutines of the async API that raise when they are used without `await`.

A plain coroutine is truthy, so `if guard.authorize(...)` without `await` would allow everything.
The objects returned here work with `await` and with everything that takes a coroutine
(`asyncio.gather`, tasks, `wait_for`, anyio and trio task groups). Truth tests, comparisons, the
attributes of the result and all other uses as a value raise `UnawaitedError`. A coroutine that is
dropped without being awaited is logged as an error, with the place of the call.
"""

from __future__ import annotations

import asyncio.coroutines
import contextlib
import functools
import inspect
import logging
import sys
import typing
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])

_log = logging.getLogger("nomos")

_OF_COROUTINES: Final = frozenset(
    (
        *("__name__", "__qualname__", "cr_await", "cr_code", "cr_frame"),
        *("cr_origin", "cr_running", "cr_suspended"),
    )
)
"""Attributes that debuggers and event loops read of any coroutine."""

_REFUSED: Final = (
    *("__bool__", "__str__", "__format__", "__int__", "__float__", "__len__", "__iter__"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__contains__"),
    *("__getitem__", "__setitem__", "__delitem__", "__call__"),
    *("__add__", "__radd__", "__or__", "__ror__", "__and__", "__rand__", "__mod__", "__rmod__"),
    *("__enter__", "__exit__", "__aenter__", "__aexit__", "__aiter__", "__reduce_ex__"),
)
"""Operations that would use the coroutine as if it were its result."""


class UnawaitedError(TypeError):
    """The result of an async call is used, but the call was not awaited."""


class UnawaitedAttributeError(UnawaitedError, AttributeError):
    """An attribute of an unawaited call is read, and the result has no such attribute either.

    It is an `AttributeError` as well, so that `hasattr` returns False to tools that probe for
    protocols.
    """


def must_be_awaited(function: F) -> F:
    """Decorate a public `async def`, so that its result cannot be used without `await`.

    Type checkers see the function unchanged. `asyncio.iscoroutinefunction` is true for it; so is
    `inspect.iscoroutinefunction` since Python 3.12, which can mark a function as one.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Unawaited:
        # The frame itself is not stored: it would keep the caller's values alive.
        frame = sys._getframe(1)  # noqa: SLF001 - the way to the caller
        place = (frame.f_code.co_filename, frame.f_lineno)
        return Unawaited(
            function(*args, **kwargs), function, place, type(args[0]) if args else object
        )

    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(call)
    else:
        marker = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]  # noqa: SLF001
        call._is_coroutine = marker  # type: ignore[attr-defined]  # noqa: SLF001
    return cast("F", call)


class Asynchronous:
    """Base of public classes whose public `async def` methods must be awaited.

    It applies to subclasses, too: an overriding method is guarded like the original. If the class
    is an async context manager, `with` raises and names `async with`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, member in list(vars(cls).items()):
            if not name.startswith("_") and inspect.iscoroutinefunction(member):
                setattr(cls, name, must_be_awaited(member))
        if "__aenter__" in vars(cls):
            for name in ("__enter__", "__exit__"):
                setattr(cls, name, _use_async_with)


def _use_async_with(self: object, *args: object) -> NoReturn:
    raise TypeError(f"{type(self).__name__} is asynchronous: write `async with`, not `with`")


class Unawaited:
    """A coroutine for `await` and event loops; for any other use it raises a `TypeError`."""

    __slots__ = ("__weakref__", "_awaited", "_coroutine", "_function", "_owner", "_place")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        function: Callable[..., Any],
        place: tuple[str, int],
        owner: type,
    ) -> None:
        self._coroutine = coroutine
        self._function = function
        self._place = place
        self._owner = owner
        self._awaited = False

    # Properties, so that a coroutine's traceback has no frame of this package.
    @property
    def send(self) -> Any:
        return self._taken().send

    @property
    def throw(self) -> Any:
        return self._taken().throw

    @property
    def close(self) -> Any:
        return self._taken().close

    def __await__(self) -> Any:
        return self._taken().__await__()

    def __getattr__(self, name: str) -> Any:
        if name in _OF_COROUTINES:
            return getattr(self._coroutine, name)
        if name in Unawaited.__slots__:  # of an instance whose constructor has not finished
            raise AttributeError(name)
        kind = (
            UnawaitedError
            if name in _names(self._function, self._owner)
            else UnawaitedAttributeError
        )
        raise kind(self._explained())

    def __hash__(self) -> int:
        # `asyncio.gather` keeps its arguments in a dict. Elsewhere, a lookup in a set would
        # return False for a value that is not known yet.
        caller = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001 - as above
        if caller.partition(".")[0] == "asyncio":
            return id(self)
        raise UnawaitedError(self._explained())

    def __repr__(self) -> str:
        file, line = self._place
        return f"<unawaited {self._function.__qualname__}(…), called at {file}:{line}>"

    def __del__(self) -> None:
        # At interpreter shutdown, logging may no longer work.
        with contextlib.suppress(Exception):
            if not self._awaited:
                self._coroutine.close()
                _log.error("%s It was dropped, so the call was not made.", self._explained())

    def _taken(self) -> Coroutine[Any, Any, Any]:
        """Return the coroutine to the code that runs or closes it."""
        self._awaited = True
        return self._coroutine

    def _explained(self) -> str:
        file, line = self._place
        name = self._function.__qualname__
        return (
            f"the call of {name} at {file}:{line} was not awaited: await it, as in "
            f"`await {name.partition('.')[2] or name}(…)`."
        )


def _refuse(self: Unawaited, *args: object) -> NoReturn:
    raise UnawaitedError(self._explained())


for _name in _REFUSED:
    setattr(Unawaited, _name, _refuse)


@functools.cache
def _names(function: Callable[..., Any], owner: type) -> frozenset[str]:
    """Return the public attribute names of the result of `function`."""
    kind: Any = typing.get_type_hints(function)["return"]
    kind = owner if kind is typing.Self else typing.get_origin(kind) or kind
    members = {name for each in kind.__mro__ for name in inspect.get_annotations(each)}
    return frozenset(name for name in members.union(dir(kind)) if not name.startswith("_"))
