r"""Path and URL constraints as patterns that no other spelling can evade.

In UCAN 1.0 patterns `*` is any text and `\*` a star; there are no character classes, and no way to
say "a backslash, and then anything". So a path is restricted by its beginning, and by excluding
everything after it that could lead out of it: `..` and `.` after a slash or backslash, empty
segments, percent signs, tabs, line breaks and NUL. A backslash before a name cannot be excluded in
this way: `/\b` is under the prefix only for a service that reads it as one path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from nomos._pol.checks import Statement
from nomos._pol.hosts import SCHEMES, host
from nomos._pol.values import refuse
from nomos.errors import ConfigurationError

MAX_PREFIX: Final = 1000
"""Characters of a path prefix: its patterns are texts of at most 1,024."""

INSIDE: Final = ("/..", "\\.", "//", "/./", "\\/", "%", "\0")
"""Texts that must not be anywhere in a path."""

AT_END: Final = ("/.", "\\")  # texts that must not be at the end of a path
DROPPED: Final = ("\t", "\n", "\r")
"""Characters that URL parsers drop: `/.` with one of them before `./` would become `/..`."""

ANYWHERE: Final = ("#", " ", *DROPPED, "\0")
"""Characters that must not be anywhere in a URL: some parsers drop them and read another path."""

_UNREADABLE: Final = re.compile(r"[\x00-\x1f\x7f%\\]")
_NO_URL: Final = re.compile(r"[^\x21-\x7e]|[?#%\\]")
_BASE: Final = re.compile(r"([a-z]+)://(\[[0-9a-f:.]+\]|[^/:]+)(?::([0-9]+))?(/.*)?")


@dataclass(frozen=True)
class Address:
    """The beginning of URLs: `origin`, and a path that is "" or such as "/v1"."""

    origin: str
    path: str
    query: bool

    def __str__(self) -> str:
        return self.origin + self.path


def folder(prefix: object, where: str) -> str:
    """Return a path prefix without a slash at its end; "/" is the root."""
    if not isinstance(prefix, str) or not 0 < len(prefix) <= MAX_PREFIX:
        refuse(where, f"must have a path prefix of 1 to {MAX_PREFIX} characters, such as src/a")
    if _UNREADABLE.search(prefix):
        refuse(where, "must have a path prefix without %, backslashes and control characters")
    if prefix == "/":
        return prefix
    kept = prefix.removesuffix("/")
    segments = kept.removeprefix("/").split("/") if kept != "/" else [""]
    if any(segment in ("", ".", "..") for segment in segments):
        refuse(where, "must have a path prefix without empty segments, . and ..")
    return kept


def address(
    where: str,
    *,
    host_: object,
    scheme: object,
    port: object,
    path_prefix: object,
    query: object,
    allow_private: bool,
) -> Address:
    """Return the beginning of URLs; raise `ConfigurationError` for an ambiguous one."""
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        refuse(where, f"must have the scheme {' or '.join(SCHEMES)}")
    if port is not None:
        whole = isinstance(port, int) and not isinstance(port, bool)
        if not whole or not 1 <= int(str(port)) <= 65535:
            refuse(where, "must have a port from 1 to 65535, or None for the scheme's own")
        if port == SCHEMES[scheme]:
            refuse(
                where,
                f"must not have port {port}: it is the default of {scheme} and is left out in URLs",
            )
    if not isinstance(path_prefix, str) or not path_prefix.startswith("/"):
        refuse(where, 'must have a path_prefix that begins with a slash, such as "/v1"')
    if _NO_URL.search(path_prefix):
        refuse(where, "must have a path_prefix of ASCII without spaces, ?, #, % and backslashes")
    if not isinstance(query, bool):
        refuse(where, "must have True or False for query")
    origin = f"{scheme}://{host(host_, where, allow_private=allow_private)}"
    path = folder(path_prefix, where)
    return Address(
        origin if port is None else f"{origin}:{port}", "" if path == "/" else path, query
    )


def under(path: str, prefix: str) -> Statement:
    """Return the statement that a text is `prefix` or a path under it."""
    inside = "" if prefix == "/" else escaped(prefix)
    nowhere = _none(path, [*_paths(("/",)), *(f"*{each}*" for each in DROPPED)])
    within: list[Statement] = [["like", path, f"{inside}/*"]]
    if inside:
        either: Statement = ["or", [["==", path, prefix], *within]]
        within = [["like", path, f"{inside}*"], either]
    else:
        # Only the root itself may end in a slash.
        return ["or", [["==", path, "/"], ["and", [*within, nowhere]]]]
    return ["and", [*within, nowhere]]


def url(path: str, at: Address) -> Statement:
    """Return the statement that a text is a URL at this address."""
    base = escaped(str(at))
    either: list[Statement] = [["==", path, str(at)], ["like", path, f"{base}/*"]]
    if at.query and at.path:
        either.append(["like", path, f"{base}?*"])
    double = f"{at.origin.partition('/')[0]}//*//*"
    plain = _none(path, ["*?*", *_paths((), double=double)])
    if at.query:
        asking = ["like", path, "*?*"]
        kept: Statement = _none(path, _paths((), double=double, then="?*"))
        plain = ["or", [plain, ["and", [asking, kept]]]]
    return [
        "and",
        [
            ["like", path, f"{base}*"],
            ["or", either],
            _none(path, [f"*{each}*" for each in ANYWHERE]),
            plain,
        ],
    ]


def read_under(statement: Statement) -> tuple[str, str] | None:
    """Return the selector and prefix of a statement made by `under`; None for any other."""
    match statement:
        case ["and", [["like", str(path), str(glob)], *_]]:
            prefix = "".join(pieces(glob))
        case ["or", [["==", str(path), "/"], _]]:
            prefix = "/"
        case _:
            return None
    try:
        made = under(path, folder(prefix, path))
    except ConfigurationError:
        return None
    return (path, prefix) if made == statement else None


def read_url(statement: Statement) -> tuple[str, Address] | None:
    """Return the selector and address of a statement made by `url`; None for any other."""
    match statement:
        case ["and", [["like", str(path), str(glob)], *_]]:
            found = _BASE.fullmatch("".join(pieces(glob)))
        case _:
            return None
    if found is None:
        return None
    scheme, name, port, prefix = found.groups()
    for query in (False, True):
        try:
            made = address(
                path,
                host_=name,
                scheme=scheme,
                port=None if port is None else int(port),
                path_prefix=prefix or "/",
                query=query,
                allow_private=True,
            )
        except ConfigurationError:
            return None
        if url(path, made) == statement:
            return path, made
    return None


def escaped(text: str) -> str:
    """Return the pattern that only this text matches."""
    return text.replace("*", "\\*")


def pieces(glob: str) -> list[str]:
    """Return the texts between the stars of a pattern; there is always one."""
    found = [""]
    for sign in re.findall(r"\\\*|[\s\S]", glob):
        if sign == "*":
            found.append("")
        else:
            found[-1] += "*" if sign == "\\*" else sign
    return found


def _none(path: str, globs: Sequence[str]) -> Statement:
    return ["not", ["or", [["like", path, glob] for glob in globs]]]


def _paths(ends: Sequence[str], *, double: str = "*//*", then: str = "") -> list[str]:
    """Return patterns of paths that may lead elsewhere, each followed by the pattern `then`."""
    return list(_each_path(ends, double, then))


def _each_path(ends: Sequence[str], double: str, then: str) -> Iterator[str]:
    for piece in INSIDE:
        yield f"{double if piece == '//' else f'*{piece}*'}{then}"
    for piece in (*AT_END, *ends):
        yield f"*{piece}{then}"
