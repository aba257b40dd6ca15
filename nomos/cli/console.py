"""Where the commands print, and what happens to an error on its way to a person."""

from __future__ import annotations

import functools
import io
import sys
from codecs import register_error
from collections.abc import Callable
from typing import Annotated, Final, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from nomos.cli import insecure_hosts
from nomos.errors import ConfigurationError, InvalidPolicy, NomosError

P = ParamSpec("P")
T = TypeVar("T")

stdout: Final = Console(highlight=False, soft_wrap=True)
stderr: Final = Console(stderr=True, highlight=False, soft_wrap=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]

_PLAIN: Final = {
    **dict(zip("✓✗●•·…→“”", ("ok", "x", "*", "*", "-", "...", "->", '"', '"'), strict=True)),
    **dict.fromkeys("│┃┆║", "|"),
    **dict.fromkeys("─━═", "-"),
}
"""What our own marks are where they cannot be written."""

_FRAMES: Final = {range(0x2500, 0x2580): "+", range(0x2800, 0x2900): "*"}
"""The corners of any other frame, and what turns while somebody waits."""


def printable() -> None:
    """Let both streams print anything, whatever their encoding: a mark is never worth a crash."""
    register_error("nomos.plain", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="nomos.plain")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that cannot be written: a plain mark, or their numbers."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(map(_plain, letters)), error.end


def _plain(letter: str) -> str:
    number = ord(letter)
    frame = next((plain for frame, plain in _FRAMES.items() if number in frame), None)
    spelled = f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
    return _PLAIN.get(letter) or frame or spelled


def reports_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Turn our own errors into a sentence and exit status 1; bugs keep their traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with insecure_hosts.hosts_option(kwargs):
                return command(*args, **kwargs)
        except InvalidPolicy as invalid:
            for problem in invalid.problems:
                stderr.print(Text.assemble(("policy ", "bold red"), str(problem)))
        except NomosError as error:
            setting = f" ({error.setting})" if isinstance(error, ConfigurationError) else ""
            stderr.print(Text.assemble(("error: ", "bold red"), str(error), (setting, "dim")))
        raise typer.Exit(1)

    insecure_hosts.with_option(run, command)
    return run
