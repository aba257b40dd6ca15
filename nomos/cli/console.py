"""Where the commands print, and what happens to an error on its way to a person."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Final, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from nomos.errors import ConfigurationError, InvalidPolicy, NomosError

P = ParamSpec("P")
T = TypeVar("T")

stdout: Final = Console(highlight=False, soft_wrap=True)
stderr: Final = Console(stderr=True, highlight=False, soft_wrap=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


def told(command: Callable[P, T]) -> Callable[P, T]:
    """Turn our own errors into a sentence and exit status 1; bugs keep their traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except InvalidPolicy as invalid:
            for problem in invalid.problems:
                stderr.print(Text.assemble(("policy ", "bold red"), str(problem)))
        except NomosError as error:
            setting = f" ({error.setting})" if isinstance(error, ConfigurationError) else ""
            stderr.print(Text.assemble(("error: ", "bold red"), str(error), (setting, "dim")))
        raise typer.Exit(1)

    return run
