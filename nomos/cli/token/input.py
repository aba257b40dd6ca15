"""Reads the tokens of `nomos token` from a file or stdin, never from arguments.

Every user of a machine can see arguments, and a shell keeps them in its history. A token given as
an argument is rejected, and no message of this module contains the input.
"""

from __future__ import annotations

import json
import os
import re
import sys
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Literal

from rich.text import Text

from nomos._core.parent_env import MAX_CHAINS
from nomos._core.parent_env import read as read_chains
from nomos.cli.console import stderr
from nomos.errors import ConfigurationError, MalformedChain

MAX_INPUT: Final = 1024 * 1024  # bytes of input, the limit of chains in a file
SETTING: Final = "FILE"

Kind = Literal["invocation", "chain", "receipt"]

_TOKEN: Final = re.compile(r"eyJ[\w-]{8}|[\w-]{8,}\.[\w-]{16,}\.[\w-]{16,}")
"""Text that looks like a token or part of one: base64 of a JSON object, or three segments."""

_THREE: Final = re.compile(r"[\w-]{8,}\.[\w-]+\.[\w-]+", re.ASCII)

_BEARER: Final = re.compile(r"(authorization:\s*)?bearer\s+", re.IGNORECASE)


@dataclass(frozen=True)
class TokenInput:
    """The tokens of one input: one invocation, one chain, or one receipt."""

    kind: Kind
    tokens: tuple[str, ...] = field(repr=False)


def read_token(sources: Sequence[str]) -> list[TokenInput]:
    """Return the tokens in the file that the argument names, or in stdin.

    Raises `ConfigurationError` if the argument is not a file or the input cannot be read, and
    `ChainError` for JSON that is not a chain.
    """
    text = _text(sources).strip()
    if not text:
        raise _wrong("the input is empty: pass a token, or a JSON array of delegations")
    if text[0] in '[{"':
        return _from_json(text)
    return [_token(_BEARER.sub("", text, count=1) if _BEARER.match(text) else text)]


def _from_json(text: str) -> list[TokenInput]:
    if text[0] == "[":
        chains = read_chains(text, where="the input")
        if len(chains) > MAX_CHAINS:
            raise MalformedChain(f"there are more than {MAX_CHAINS} chains", code="malformed_ucan")
        return [TokenInput("chain", tuple(chain)) for chain in chains]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, str):
        raise MalformedChain(
            "the input is neither a token nor a JSON array of delegations", code="malformed_ucan"
        )
    return [_token(value)]


def _token(text: str) -> TokenInput:
    """Return text that has the form of a token. The binary reads its content."""
    if _THREE.fullmatch("".join(text.split())) and len(text.split()) > 1:
        raise _wrong("the token has line breaks or spaces in it; remove them")
    if not _THREE.fullmatch(text):
        raise _wrong("not a complete token: a token is three parts joined by dots")
    return TokenInput(_KINDS.get(text.partition(".")[0], "invocation"), (text,))


def _header(typ: str, **more: str) -> str:
    text = json.dumps({"alg": "EdDSA", "typ": typ, **more}, separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


_KINDS: Final[dict[str, Kind]] = {
    _header("JWT", ucv="1.0.0-cb"): "chain",
    _header("nomos-receipt+jwt"): "receipt",
}
"""The kind of a token by its encoded header, which is the same for all tokens of a kind."""


def _text(sources: Sequence[str]) -> str:
    if any(_TOKEN.search(each) and not os.path.lexists(each) for each in sources):
        raise _wrong(
            "a token was passed as an argument, which other users of this machine can see and the "
            "shell keeps in its history. Pass it in a file or on stdin: "
            "nomos token inspect < token.txt"
        )
    if len(sources) > 1:
        raise _wrong("pass one file only")
    name = sources[0] if sources else "-"
    if name == "-":
        if sys.stdin.isatty():
            note = "Enter a token, then press Ctrl-D. A terminal cuts lines at 4095 characters."
            stderr.print(Text(note, style="dim"))
        return _bounded(sys.stdin.buffer, "stdin")
    try:
        with Path(name).open("rb") as file:
            return _bounded(file, f"{name!a:.200}")
    except (OSError, ValueError) as failure:
        why = failure.strerror if isinstance(failure, OSError) else "not a valid file name"
        raise _wrong(f"{name!a:.200}: {why}") from None


def _bounded(file: BinaryIO, name: str) -> str:
    data = file.read(MAX_INPUT + 1)
    if len(data) > MAX_INPUT:
        raise _wrong(f"{name} is longer than {MAX_INPUT} bytes, the limit for tokens")
    # A token is ASCII. Other bytes become a character that makes the token invalid.
    return data.decode("ascii", "replace")


def _wrong(message: str) -> ConfigurationError:
    return ConfigurationError(message, setting=SETTING)
