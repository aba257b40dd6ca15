"""Tokens on their way into `nomos token`: from a file or the standard input, never as arguments.

Arguments are seen by every user of a machine and stay in a shell's history. A token that came as
one is refused, and no message of this file repeats what it is about.
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

MAX_INPUT: Final = 1024 * 1024
"""Bytes that are read: as many as chains in a file may have."""

SETTING: Final = "FILE"

Kind = Literal["invocation", "chain", "receipt"]

_TOKEN: Final = re.compile(r"eyJ[\w-]{8}|[\w-]{8,}\.[\w-]{16,}\.[\w-]{16,}")
"""What a token looks like, or a part of one: the base64 of a JSON object, or three segments."""

_THREE: Final = re.compile(r"[\w-]{8,}\.[\w-]+\.[\w-]+", re.ASCII)

_BEARER: Final = re.compile(r"(authorization:\s*)?bearer\s+", re.IGNORECASE)


@dataclass(frozen=True)
class TokenInput:
    """What somebody wants to know about: one invocation, one chain, or one receipt."""

    kind: Kind
    tokens: tuple[str, ...] = field(repr=False)


def read_token(sources: Sequence[str]) -> list[TokenInput]:
    """Return what the argument names, or the standard input holds.

    Raises `ConfigurationError` for an argument that is no file, and for what cannot be read;
    `ChainError` for JSON that is no chain.
    """
    text = _text(sources).strip()
    if not text:
        raise _wrong("there is nothing to read: pass a token, or a JSON array of delegations")
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
            "this is neither a token nor a JSON array of delegations", code="malformed_ucan"
        )
    return [_token(value)]


def _token(text: str) -> TokenInput:
    """What has the form of a token; what it says is for the binary to judge."""
    if _THREE.fullmatch("".join(text.split())) and len(text.split()) > 1:
        raise _wrong("it has line breaks or spaces in it; a token is one word")
    if not _THREE.fullmatch(text):
        raise _wrong("this is no token, or only a part of one: three parts joined by dots")
    return TokenInput(_KINDS.get(text.partition(".")[0], "invocation"), (text,))


def _header(typ: str, **more: str) -> str:
    text = json.dumps({"alg": "EdDSA", "typ": typ, **more}, separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


_KINDS: Final[dict[str, Kind]] = {
    _header("JWT", ucv="1.0.0-cb"): "chain",
    _header("nomos-receipt+jwt"): "receipt",
}
"""By the one text that the header of a kind of token has."""


def _text(sources: Sequence[str]) -> str:
    if any(_TOKEN.search(each) and not os.path.lexists(each) for each in sources):
        raise _wrong(
            "a token was given as an argument, where every user of this machine can see it and "
            "the shell remembers it. Pass it on the standard input, or in a file: "
            "nomos token inspect < token.txt"
        )
    if len(sources) > 1:
        raise _wrong("one file is read at a time")
    name = sources[0] if sources else "-"
    if name == "-":
        if sys.stdin.isatty():
            note = "Waiting for a token; a terminal takes lines of 4095 characters. ^D ends it."
            stderr.print(Text(note, style="dim"))
        return _bounded(sys.stdin.buffer, "the standard input")
    try:
        with Path(name).open("rb") as file:
            return _bounded(file, f"{name!a:.200}")
    except (OSError, ValueError) as failure:
        why = failure.strerror if isinstance(failure, OSError) else "no file has such a name"
        raise _wrong(f"{name!a:.200}: {why}") from None


def _bounded(file: BinaryIO, name: str) -> str:
    data = file.read(MAX_INPUT + 1)
    if len(data) > MAX_INPUT:
        raise _wrong(f"{name} holds more than {MAX_INPUT} bytes, which no token needs")
    # Other bytes than ASCII are in no token; what they become here is refused as such.
    return data.decode("ascii", "replace")


def _wrong(message: str) -> ConfigurationError:
    return ConfigurationError(message, setting=SETTING)
