"""Tracebacks without the frames whose local variables hold keys and tokens.

Error reporters (rich, Sentry, `traceback.TracebackException(capture_locals=True)`) print the local
variables of each frame, and some frames of a failed request hold the API key. The error message
says what is wrong, so the frames of this package and of the libraries that it calls are removed.
Frames of the caller's code stay.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from nomos.errors import NomosError

F = TypeVar("F", bound=Callable[..., Any])

_HIDDEN: Final = frozenset(
    (
        *("nomos", "httpx", "httpcore", "h11", "anyio", "sniffio", "trio", "asyncio"),
        *("concurrent", "json", "threading", "subprocess", "socket", "ssl", "selectors"),
    )
)
"""Packages whose frames can hold secrets: this one, and those that its requests pass through."""


_HELD: Final = {"_request": None, "doc": ""}
"""Attributes of other packages' errors that hold secrets: httpx's request, json's whole text."""


def without_frames(function: F) -> F:
    """Decorate a function: its expected errors are raised without the frames of this package.

    Expected are `NomosError`, `OSError`, and any `BaseException` that is not an `Exception` (a
    cancellation, an interrupt). Any other error is a bug in this package and keeps its traceback.
    """
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def acall(*args: Any, **kwargs: Any) -> Any:
            handled = sys.exc_info()[1]
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                del args, kwargs
                _cut(error, handled)
                raise

        return cast("F", acall)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        handled = sys.exc_info()[1]
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            _name_class(error, function, args)
            del args, kwargs
            _cut(error, handled)
            raise

    return cast("F", call)


def _name_class(error: BaseException, function: Callable[..., Any], args: Sequence[Any]) -> None:
    """In an error about the arguments of an inherited method, name the class that was called."""
    trace = error.__traceback__
    if not isinstance(error, TypeError) or trace is None or trace.tb_next is not None:
        return  # raised inside of the function
    defined, _, name = function.__qualname__.rpartition(".")
    called = args[0] if args and isinstance(args[0], type) else type(args[0]) if args else object
    if any(base.__name__ == defined for base in called.__mro__):
        method = f"{called.__name__}.{name}"
        error.args = (str(error).replace(function.__qualname__, method, 1),)


def _cut(error: BaseException, handled: BaseException | None) -> None:
    """Remove hidden frames from an error and its causes, but not from an error being handled."""
    if isinstance(error, Exception) and not isinstance(error, NomosError | OSError):
        return
    left: list[BaseException | None] = [error]
    seen = {id(None), id(handled)}
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = _shown(one.__traceback__)
        left += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions
        for name, nothing in _HELD.items():
            if name in vars(one):
                setattr(one, name, nothing)


def _shown(trace: TracebackType | None) -> TracebackType | None:
    """Return the frames of a traceback that are outside of the hidden packages."""
    kept: list[TracebackType] = []
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] not in _HIDDEN:
            kept.append(trace)
        trace = trace.tb_next
    for one, following in itertools.pairwise(kept):
        one.tb_next = following
    if not kept:
        return None
    kept[-1].tb_next = None
    return kept[0]
