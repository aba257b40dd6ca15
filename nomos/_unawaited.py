"""What a call of a public `async def` returns: a coroutine that raises when it is used unawaited.

A plain coroutine is true, so `if guard.authorize(...)` without `await` would let everything
through. This one gives its value to `await`, and to everything that takes a coroutine
(`asyncio.gather`, tasks, `wait_for`, anyio and trio task groups). Its truth, its comparison, the
attributes of its result and whatever else reads a value raise `UnawaitedError`. If it is dropped
without having been awaited, that is logged as an error, with the place of the call.
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
"""What debuggers and event loops read of any coroutine."""

_REFUSED: Final = (
    *("__bool__", "__str__", "__format__", "__int__", "__float__", "__len__", "__iter__"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__contains__"),
    *("__getitem__", "__setitem__", "__delitem__", "__call__"),
    *("__add__", "__radd__", "__or__", "__ror__", "__and__", "__rand__", "__mod__", "__rmod__"),
    *("__enter__", "__exit__", "__aenter__", "__aexit__", "__aiter__", "__reduce_ex__"),
)
"""Operations that would take the coroutine for its result."""


class UnawaitedError(TypeError):
    """The result of an asynchronous call is used, and the call was not awaited."""


class UnawaitedAttributeError(UnawaitedError, AttributeError):
    """The same, for an attribute that the result does not have either.

    An `AttributeError` too, so that `hasattr` answers False to tools that look for protocols.
    """


def must_be_awaited(function: F) -> F:
    """Decorate a public `async def`, so that what it returns cannot be used without `await`.

    Type checkers see the function as it is. `asyncio.iscoroutinefunction` is true for it;
    `inspect.iscoroutinefunction` is since Python 3.12, where it can be told so.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Unawaited:
        # The caller's frame itself is not kept: it would keep the caller's values alive.
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
    """Base of public classes whose public `async def` methods have to be awaited.

    Holds for subclasses too: a method that overrides one of these is guarded like it. Where such
    a class is a context manager, `with` raises and names `async with`.
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
    """A coroutine that is one for `await` and for event loops, and a `TypeError` for the rest."""

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

    # Properties, so that no frame of ours stands in a coroutine's traceback.
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
        if name in Unawaited.__slots__:  # of one that is not complete
            raise AttributeError(name)
        kind = (
            UnawaitedError
            if name in _names(self._function, self._owner)
            else UnawaitedAttributeError
        )
        raise kind(self._explained())

    def __hash__(self) -> int:
        # `asyncio.gather` keeps its arguments in a dict. Elsewhere, a lookup in a set would
        # answer "not in there" for a value that nobody has looked at.
        caller = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001 - as above
        if caller.partition(".")[0] == "asyncio":
            return id(self)
        raise UnawaitedError(self._explained())

    def __repr__(self) -> str:
        file, line = self._place
        return f"<unawaited {self._function.__qualname__}(…), called at {file}:{line}>"

    def __del__(self) -> None:
        # An interpreter that ends may have taken the logging apart already.
        with contextlib.suppress(Exception):
            if not self._awaited:
                self._coroutine.close()
                _log.error("%s It was dropped, so the call was not made.", self._explained())

    def _taken(self) -> Coroutine[Any, Any, Any]:
        """Return the coroutine to what runs or closes it."""
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
    """Return the public attributes that the result of `function` has."""
    kind: Any = typing.get_type_hints(function)["return"]
    kind = owner if kind is typing.Self else typing.get_origin(kind) or kind
    members = {name for each in kind.__mro__ for name in inspect.get_annotations(each)}
    return frozenset(name for name in members.union(dir(kind)) if not name.startswith("_"))
