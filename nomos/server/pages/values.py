"""What is asked for, as rows that a person can read: name, kind, value, nothing cut off.

A value's kind is said beside it, so that the text "5" and the number 5 differ on the page. Long
texts carry their size and sha256; a short text with anything outside ASCII is also given in
ASCII, where letters that only look alike differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nomos.server.pages.visible_text import count_unseen, has_rtl

SHORT: Final = 96
"""Characters of a value that stands in its row; a longer one has a box of its own."""

BOX_LINES: Final = 16
"""With more lines, or as much in long ones, a value may not fit into its box without scrolling."""

KINDS: Final[Mapping[type, str]] = {
    str: "text",
    bool: "true or false",
    int: "number",
    float: "number",
    list: "list",
    dict: "object",
    type(None): "null",
}


@dataclass(frozen=True)
class ShownValue:
    """One named value.

    `label` is the name in ASCII, `ascii` a short value's form without lookalikes, if it has
    another; `foreign` counts what is outside ASCII.
    """

    name: str
    label: str
    kind: str
    text: str
    long: bool
    size: int
    lines: int
    scrolls: bool
    sha256: str
    unseen: int
    turns: bool
    foreign: int
    ascii: str | None
    only_hash: bool


def shown_values(
    content: Mapping[str, Any], bound: Mapping[str, Any] | None = None
) -> tuple[ShownValue, ...]:
    """Rows for each member; `bound` is what will be signed for them."""
    return tuple(
        _value(name, value, only_hash=_only_hash(value, (bound or {}).get(name)))
        for name, value in content.items()
    )


def differing(content: Mapping[str, Any], bound: Mapping[str, Any]) -> tuple[ShownValue, ...]:
    """Rows for what will be signed in another form than it was sent in; hashes are the same."""
    return shown_values(
        {
            name: value
            for name, value in bound.items()
            if name not in content or not _stands_for(value, content[name])
        }
    )


def _stands_for(bound: Any, sent: Any) -> bool:
    if json.dumps(bound, sort_keys=True) == json.dumps(sent, sort_keys=True):
        return True
    return isinstance(sent, str) and bound == {"sha256": _sha256(sent)}


def _value(name: str, value: Any, *, only_hash: bool = False) -> ShownValue:
    text = value if isinstance(value, str) else _json(value)
    long = len(text) > SHORT or "\n" in text
    foreign = not text.isascii() or not name.isascii()
    lines = max(1, text.count("\n") + (not text.endswith("\n")))
    spelled = json.dumps({name: value} if not name.isascii() else value)
    return ShownValue(
        name=name,
        label=name.encode("ascii", "backslashreplace").decode(),
        kind=KINDS.get(type(value), "value"),
        text=text,
        long=long,
        size=len(_utf8(text)),
        lines=lines,
        scrolls=lines > BOX_LINES or len(text) > BOX_LINES * 60,
        sha256=_sha256(text),
        unseen=count_unseen(text) + count_unseen(name),
        turns=has_rtl(text) or has_rtl(name),
        foreign=sum(not letter.isascii() for letter in text),
        ascii=spelled if foreign and not long else None,
        only_hash=only_hash,
    )


def _json(value: Any) -> str:
    """Plain values in one line; lists and objects laid out, so that nothing hides in them."""
    flat = json.dumps(value, ensure_ascii=False)
    return flat if len(flat) <= SHORT else json.dumps(value, ensure_ascii=False, indent=2)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _sha256(text: str) -> str:
    return hashlib.sha256(_utf8(text)).hexdigest()


def _only_hash(value: Any, bound: Any) -> bool:
    """Whether the agent sent the hash of a text in place of the text."""
    return isinstance(value, dict) and set(value) == {"sha256"} and value == bound
