"""Where the commands print, and how they print what a stream cannot encode."""

from __future__ import annotations

import io
import sys
from codecs import register_error
from typing import Annotated, Final

import typer
from rich.console import Console

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
