"""How commands report errors: one sentence on stderr, and an exit status."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import typer
from rich.text import Text

from nomos.cli import insecure_hosts
from nomos.cli.console import stderr
from nomos.errors import ConfigurationError, InvalidPolicy, NomosError

P = ParamSpec("P")
T = TypeVar("T")


def reports_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Print a `NomosError` as one sentence and exit with 1. Other exceptions are not caught."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with insecure_hosts.hosts_option(kwargs):
                return command(*args, **kwargs)
        except InvalidPolicy as invalid:
            for problem in invalid.problems:
                stderr.print(Text.assemble(("policy ", "bold red"), str(problem)))
        except NomosError as error:
            setting = _setting(error, command) if isinstance(error, ConfigurationError) else ""
            stderr.print(Text.assemble(("error: ", "bold red"), str(error), (setting, "dim")))
        raise typer.Exit(1)

    insecure_hosts.with_option(run, command)
    return run


def _setting(error: ConfigurationError, command: Callable[..., object]) -> str:
    """Return the setting in parentheses; one that is an option of the command, as the option."""
    name = error.setting
    parameter = inspect.signature(command).parameters.get(name)
    is_option = parameter is not None and parameter.kind is inspect.Parameter.KEYWORD_ONLY
    return f" (--{name.replace('_', '-')})" if is_option else f" ({name})"


@contextmanager
def server_extra(command: str) -> Iterator[None]:
    """Report a missing dependency of `nomos.server` with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] == "nomos":
            raise
        raise ConfigurationError(
            f"`nomos {command}` needs the package {missing.name}: pip install 'nomos[cli,server]'",
            setting="installation",
        ) from missing
