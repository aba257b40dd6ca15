"""`--insecure-host`: an option of every command that talks to a control plane."""

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
        help="A host that may be called over plain http. Repeatable.",
        show_default=False,
    ),
]

_hosts: ContextVar[tuple[str, ...]] = ContextVar("insecure_hosts", default=())


def hosts() -> tuple[str, ...]:
    """Return the hosts that the running command was given."""
    return _hosts.get()


def with_option(run: Callable[..., Any], command: Callable[..., Any]) -> None:
    """Give `run`, which stands for `command`, the option if that has a `control_url`."""
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
    """Take the option out of a command's arguments, for as long as the command runs."""
    held = _hosts.set(tuple(kwargs.pop(NAME, None) or ()))
    try:
        yield
    finally:
        _hosts.reset(held)
