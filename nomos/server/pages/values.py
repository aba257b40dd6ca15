"""Values of a question as rows of a page: name, kind and full value.

The kind is shown, so that the text "5" and the number 5 differ on the page. A long text has its
size and sha256. A short text with letters outside ASCII is also shown in ASCII, in which lookalike
letters differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nomos.server.pages.visible_text import count_unseen, has_rtl

SHORT: Final = 96
"""Maximum length of a value in its row; a longer value has its own box."""

BOX_LINES: Final = 16  # lines that a box shows without scrolling

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

    `label` is the name in ASCII. `ascii` is a short value in ASCII, or None if it is the same as
    the value. `unseen` counts invisible characters, `foreign` characters outside ASCII. `rtl` is
    true if there are right-to-left letters. `only_hash` is true if the agent sent a hash in place
    of a text.
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
    rtl: bool
    foreign: int
    ascii: str | None
    only_hash: bool


def shown_values(
    content: Mapping[str, Any], bound: Mapping[str, Any] | None = None
) -> tuple[ShownValue, ...]:
    """Return a row for each member. `bound` are the values that will be signed."""
    return tuple(
        _value(name, value, only_hash=_only_hash(value, (bound or {}).get(name)))
        for name, value in content.items()
    )


def differing(content: Mapping[str, Any], bound: Mapping[str, Any]) -> tuple[ShownValue, ...]:
    """Return rows for values that will be signed in another form than sent, except as hashes."""
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
    in_ascii = json.dumps({name: value} if not name.isascii() else value)
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
        rtl=has_rtl(text) or has_rtl(name),
        foreign=sum(not letter.isascii() for letter in text),
        ascii=in_ascii if foreign and not long else None,
        only_hash=only_hash,
    )


def _json(value: Any) -> str:
    """Return a value as JSON: in one line if it is short, else indented."""
    flat = json.dumps(value, ensure_ascii=False)
    return flat if len(flat) <= SHORT else json.dumps(value, ensure_ascii=False, indent=2)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _sha256(text: str) -> str:
    return hashlib.sha256(_utf8(text)).hexdigest()


def _only_hash(value: Any, bound: Any) -> bool:
    """Return whether the agent sent the hash of a text in place of the text."""
    return isinstance(value, dict) and set(value) == {"sha256"} and value == bound
