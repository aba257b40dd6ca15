"""Payloads that Python and the binary could read differently, made from a valid one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any


def rewritten(token: str, change: Callable[[bytes], bytes]) -> str:
    """A token whose payload has other bytes; its signature does not matter before its text."""
    head, body, signature = token.split(".")
    text = change(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return f"{head}.{base64.urlsafe_b64encode(text).decode().rstrip('=')}.{signature}"


def member(name: str, value: Any) -> Callable[[bytes], bytes]:
    def change(text: bytes) -> bytes:
        claims = json.loads(text)
        claims[name] = value
        return json.dumps(claims, sort_keys=True, separators=(",", ":")).encode()

    return change


def spare_bits(token: str) -> str:
    """The same bytes in another base64 text, where the last character has bits to spare."""
    head, body, signature = token.split(".")
    assert len(body) % 4, "there are bits to spare"
    return f"{head}.{body[:-1]}{chr(ord(body[-1]) + 1)}.{signature}"


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


READABLE: dict[str, Callable[[bytes], bytes]] = {
    "a member twice": lambda text: text[:-1] + b',"aud":"did:key:other"}',
    "spaces": lambda text: text.replace(b'"aud":', b'"aud": '),
    "another order": lambda text: (
        json.dumps(json.loads(text), separators=(",", ":")).encode()[:-1]
        + b',"args":{"resource":{}}}'
    ),
    "a number with a fraction": lambda text: text.replace(b'"exp":', b'"exp":1.0,"x":'),
    "an escaped letter": lambda text: text.replace(b'"iss"', b'"\\u0069ss"'),
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "NaN": lambda text: text[:-1] + b',"x":NaN}',
    "a number too large": lambda text: text[:-1] + b',"x":9007199254740993}',
    "another name of a principal": member("iss", "did:key:x"),
    "no list of links": member("prf", "x"),
    "a time that is text": member("exp", "1900000000"),
}
UNREADABLE: dict[str, Callable[[bytes], bytes]] = {
    "half a character": lambda text: text[:-1] + b',"x":"\\ud800"}',
    "half a character as bytes": lambda text: text[:-1] + b',"x":"\xed\xa0\x80"}',
    "nested deeper than a token is": member("args", nested(40)),
    "nested without end": lambda text: text[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a number of many digits": lambda text: text[:-1] + b',"x":' + b"1" * 5000 + b"}",
    "no JSON": lambda text: text[:-1],
    "a list": lambda text: b"[" + text + b"]",
    "a link that is no text": member("prf", [7]),
}
