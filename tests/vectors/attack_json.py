"""Attacks on the payload's JSON: text that two parsers could read differently."""

# ruff: noqa: ARG005 - the functions of a table have one shape

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from vectors.attack_base import Attack
from vectors.attack_places import CHAIN, everywhere, taken_in_turns
from vectors.cases import nested
from vectors.making import Forge, Making

ABOUT: Final = (
    "JSON that two readers could understand differently, and every second spelling of one."
)

HERE: Final = b'"@"'
"""What a literal takes the place of."""


def attacks() -> Iterator[Attack]:
    yield from everywhere(OF_VALUES, "malformed_ucan", at=taken_in_turns)
    yield from everywhere(OF_TEXTS, "malformed_ucan")
    yield from everywhere(DEEPEST, "malformed_ucan", at=lambda _: [(CHAIN[1], 0)])


def literal(value: bytes) -> Forge:
    """Put a value where any is allowed, in exactly this spelling."""
    return lambda making: making.holding("@").spelled(lambda p: _replaced(p, HERE, value))


def member(pairs: bytes) -> Forge:
    return literal(b"{" + pairs + b"}")


def spelled(change: Callable[[bytes], bytes]) -> Forge:
    return lambda making: making.spelled(change)


def again(name: str, value: object, *, first: bool = True) -> Forge:
    """Say one member twice: the honest value first or last."""

    def forge(making: Making) -> str:
        pair = f"{name}:{json.dumps(value)}".encode()
        return making.spelled(
            lambda p: p[:-1] + b"," + pair + b"}" if first else b"{" + pair + b"," + p[1:]
        )

    return forge


def _replaced(text: bytes, old: bytes, new: bytes) -> bytes:
    assert text.count(old) == 1
    return text.replace(old, new)


def _reversed(value: Any) -> Any:
    """Members in the other order, at every level."""
    if isinstance(value, dict):
        return {name: _reversed(value[name]) for name in sorted(value, reverse=True)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


def _dumps(value: Any, **more: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, **more).encode()


def at_depth(levels: int) -> Forge:
    """Nest so deep in all, where the payload and the member that holds it are two levels."""
    return lambda making: making.holding(nested(levels - 2)).token


LITERALS: Final = {
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "-0": b"-0",
    "0.0": b"0.0",
    "-0.0": b"-0.0",
    "1.0": b"1.0",
    "1.50": b"1.50",
    "1e2": b"1e2",
    "1E2": b"1E2",
    "1e+2": b"1e+2",
    "1000e-1": b"1000e-1",
    "01": b"01",
    "+1": b"+1",
    ".5": b".5",
    "1.": b"1.",
    "0x10": b"0x10",
    "1_000": b"1_000",
    "1n": b"1n",
    "2^53": b"9007199254740992",
    "-2^53": b"-9007199254740992",
    "2^53+1": b"9007199254740993",
    "twenty digits": b"12345678901234567890",
    "400 digits": b"1" + b"0" * 400,
    "1e400": b"1e400",
    "1e21 in digits": b"1" + b"0" * 21,
    "1e21 without its sign": b"1e21",
    "1e-7 in digits": b"0.0000001",
    "too many digits": b"0.1000000000000000055511151231257827",
    "undefined": b"undefined",
    "True": b"True",
    "nothing": b"",
    "a text in single quotes": b"'a'",
    "a text without quotes": b"a",
    "an open text": b'"a',
    "a lone high surrogate": b'"\\ud800"',
    "a lone low surrogate": b'"\\udc00"',
    "surrogates in the wrong order": b'"\\udc00\\ud800"',
    "an escaped letter": b'"\\u0061"',
    "an escaped accent": b'"\\u00e9"',
    "an escaped emoji": b'"\\ud83d\\ude00"',
    "an escaped slash": b'"\\/"',
    "a newline by its number": b'"\\u000a"',
    "an escape in upper case": b'"\\u001F"',
    "a hexadecimal escape": b'"\\x41"',
    "an unknown escape": b'"\\q"',
    "a raw newline": b'"\n"',
    "a raw tab": b'"\t"',
    "a raw NUL": b'"\0"',
    "invalid UTF-8": b'"\xff"',
    "an overlong NUL": b'"\xc0\x80"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a letter beyond Unicode": b'"\xf4\x90\x80\x80"',
    "half a letter": b'"\xc3"',
    "a list with a trailing comma": b"[1,]",
    "a list with a hole": b"[1,,2]",
    "a list with a space": b"[1, 2]",
    "an open list": b"[1",
    "a list closed as an object": b"[1}",
    "a comment": b"1/*x*/",
    "a comment to the end of the line": b"1//x\n",
}

NAMES: Final = {
    "twice": b'"a":1,"a":1',
    "twice, escaped once": b'"a":1,"\\u0061":2',
    "twice, deep within": b'"a":[{"b":{"c":1,"c":2}}]',
    "__proto__ twice": b'"__proto__":1,"__proto__":{}',
    "in a form that is not NFC": '"e\u0301":1'.encode(),
    "in a form that is not NFC, deep within": '"a":[{"e\u0301":1}]'.encode(),
    "by a ligature that NFC takes apart": '"\ufb33":1'.encode(),
    "after the next one": b'"b":1,"a":1',
    "in the order of code points": '"\U0001f600":1,"\ufb33":1'.encode(),
    "by a number, in the order of numbers": b'"2":1,"10":1',
    "without quotes": b"a:1",
    "in single quotes": b"'a':1",
    "by a lone surrogate": b'"\\ud800":1',
    "without a value": b'"a"',
    "without a colon": b'"a" 1',
    "and a trailing comma": b'"a":1,',
}

SPELLINGS: Final[dict[str, Forge]] = {
    "a byte order mark in the payload": spelled(lambda p: b"\xef\xbb\xbf" + p),
    "a newline after the payload": spelled(lambda p: p + b"\n"),
    "a NUL after the payload": spelled(lambda p: p + b"\0"),
    "a space before the payload": spelled(lambda p: b" " + p),
    "a space after a colon": spelled(lambda p: p.replace(b":", b": ", 1)),
    "a space after a comma": spelled(lambda p: p.replace(b",", b", ", 1)),
    "a payload over several lines": spelled(lambda p: _dumps(json.loads(p), indent=1)),
    "members in another order": spelled(lambda p: _dumps(_reversed(json.loads(p)))),
    "a trailing comma": spelled(lambda p: p[:-1] + b",}"),
    "a comment": spelled(lambda p: b"{/**/" + p[1:]),
    "an open payload": spelled(lambda p: p[:-1]),
    "a brace too many": spelled(lambda p: p + b"}"),
    "two payloads": spelled(lambda p: p + p),
    "the payload in a list": spelled(lambda p: b"[" + p + b"]"),
    "the payload as a text": spelled(lambda p: _dumps(p.decode())),
    "an empty list": spelled(lambda p: b"[]"),
    "an empty object": spelled(lambda p: b"{}"),
    "null": spelled(lambda p: b"null"),
    "a number": spelled(lambda p: b"1"),
    "the payload in UTF-16": spelled(lambda p: p.decode().encode("utf-16-le")),
    "the payload in UTF-16 with its mark": spelled(lambda p: p.decode().encode("utf-16")),
    "the payload compressed": spelled(lambda p: gzip.compress(p, mtime=0)),
    "an escaped letter in a name": spelled(lambda p: p.replace(b'"cmd"', b'"\\u0063md"')),
    "a name in upper case": spelled(lambda p: p.replace(b'"cmd"', b'"CMD"')),
    "a look-alike in a name": spelled(lambda p: p.replace(b'"cmd"', '"\u0441md"'.encode())),
    "a time with an exponent": spelled(lambda p: re.sub(rb'"exp":(\d+)', rb'"exp":\1e0', p)),
    "a time with a fraction of zero": spelled(lambda p: re.sub(rb'"exp":(\d+)', rb'"exp":\1.0', p)),
}

TWICE: Final[dict[str, Forge]] = {
    "cmd twice, the honest one first": again('"cmd"', "/github"),
    "cmd twice, the honest one last": again('"cmd"', "/github", first=False),
    "cmd twice, escaped once": again('"\\u0063md"', "/github"),
    "aud twice": again('"aud"', "did:key:z6Mk"),
    "iss twice, the honest one last": again('"iss"', "did:key:z6Mk", first=False),
    "exp twice": again('"exp"', 253402300799),
    "nonce twice, with one value": again('"nonce"', "n-0"),
    "prf twice, escaped once": again('"\\u0070rf"', []),
}

DEEP: Final[dict[str, Forge]] = {
    "33 levels": at_depth(33),
    "40 levels": at_depth(40),
    "33 levels of lists": literal(b"[" * 31 + b"]" * 31),
}

OF_VALUES: Final = {f"a value: {name}": literal(value) for name, value in LITERALS.items()}
OF_TEXTS: Final = {
    **{f"a member named {name}": member(value) for name, value in NAMES.items()},
    **SPELLINGS,
    **TWICE,
    **DEEP,
}
FORGERIES: Final = {**OF_VALUES, **OF_TEXTS}
DEEPEST: Final = {"10,000 levels": spelled(lambda p: b"[" * 10_000 + b"]" * 10_000)}
