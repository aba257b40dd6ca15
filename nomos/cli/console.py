"""Where the commands print, and how they print what a stream cannot encode."""

from __future__ import annotations

import io
import json
import sys
from codecs import register_error
from typing import Any, Final

from rich.console import Console

stdout: Final = Console(highlight=False, soft_wrap=True)
stderr: Final = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value as one line of JSON in ASCII, which cannot steer a terminal."""
    print(json.dumps(value), flush=True)


_PLAIN: Final = {
    **dict(zip("✓✗●•·…→“”", ("ok", "x", "*", "*", "-", "...", "->", '"', '"'), strict=True)),
    **dict.fromkeys("│┃┆║", "|"),
    **dict.fromkeys("─━═", "-"),
}
"""What replaces the symbols of our own output on a stream that cannot encode them."""

_FRAMES: Final = {range(0x2500, 0x2580): "+", range(0x2800, 0x2900): "*"}
"""What replaces all other box-drawing characters, and the frames of the progress spinner."""


def printable() -> None:
    """Make stdout and stderr replace what they cannot encode, instead of raising."""
    register_error("nomos.plain", _replacement)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="nomos.plain")


def _replacement(error: UnicodeError) -> tuple[str, int]:
    """Return the replacement for characters that cannot be encoded: ASCII, or their code points."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(map(_plain, letters)), error.end


def _plain(letter: str) -> str:
    number = ord(letter)
    frame = next((plain for frame, plain in _FRAMES.items() if number in frame), None)
    spelled = f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
    return _PLAIN.get(letter) or frame or spelled
