"""The option `--insecure-host` of every command that calls a control plane."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, Final

import typer

NAME: Final = "insecure_host"

InsecureHost = Annotated[
    list[str] | None,
    typer.Option(
        "--insecure-host",
        help="Host that may be called over plain http, besides this machine and those in "
        "$NOMOS_ALLOW_INSECURE_HOSTS. Repeatable.",
    ),
]

_hosts: ContextVar[tuple[str, ...]] = ContextVar("insecure_hosts", default=())


def hosts() -> tuple[str, ...]:
    """Return the hosts that the options of the running command name."""
    return _hosts.get()


def with_option(run: Callable[..., Any], command: Callable[..., Any]) -> None:
    """Add the option to `run`, the wrapper of `command`, if `command` has a `control_url`."""
    signature = inspect.signature(command, eval_str=True)
    if "control_url" not in signature.parameters:
        return
    option = inspect.Parameter(
        NAME, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=InsecureHost
    )
    given = [*signature.parameters.values(), option]
    run.__signature__ = signature.replace(parameters=given)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in given}


@contextmanager
def hosts_option(kwargs: dict[str, Any]) -> Iterator[None]:
    """Remove the option from `kwargs`; `hosts()` returns it until the context ends."""
    held = _hosts.set(tuple(kwargs.pop(NAME, None) or ()))
    try:
        yield
    finally:
        _hosts.reset(held)
