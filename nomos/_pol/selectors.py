"""UCAN 1.0 selectors, the paths in statements (`ucan-bin/src/verify/selector.ts`).

A person names an argument, `user.name`, which is `.args.user.name` in a statement. A path that
begins with a dot is a selector already.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Literal

from nomos._pol.values import refuse

MAX_SELECTOR: Final = 256  # characters in one selector
MAX_STEPS: Final = 64  # steps in one selector; no call is nested as deeply

_STEP: Final = re.compile(
    r"(?:\.(?P<name>[^.\[\]?\"\s]+)"
    r"|\.?\[(?:(?P<index>-?[0-9]{1,15})"
    r"|(?P<quoted>\"(?:[^\"\\]|\\.)*\")"
    r"|(?!:\])(?P<start>-?[0-9]{1,15})?(?P<colon>:)(?P<end>-?[0-9]{1,15})?)?\])"
    r"(?P<optional>\?*)"
)
_NAMED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]*(?:\.[A-Za-z_][A-Za-z0-9_$-]*)*")
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]*")
_WHOLE: Final = re.compile(r"\.\?*")
_AT_MOST: Final = f" of at most {MAX_STEPS} steps"


@dataclass(frozen=True)
class Step:
    """One step of a path: a member's name, an index, a slice, or each element."""

    kind: Literal["member", "element", "slice", "each"]
    what: Any = None
    optional: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is a name of ASCII letters and digits, an index, or each element."""
        if self.kind == "member":
            return _PLAIN.fullmatch(self.what) is not None
        return self.kind in ("element", "each")

    @property
    def bare(self) -> Step:
        """The same step, without the mark that makes it optional."""
        return replace(self, optional=False)


Steps = tuple[Step, ...]


def selector(path: object, *, setting: str = "path") -> str:
    """Return the selector for a path; raise `ConfigurationError` for an invalid one."""
    if not isinstance(path, str) or not path:
        refuse(setting, 'must be the name of an argument, such as "state" or "user.name"')
    if len(path) > MAX_SELECTOR:
        refuse(path[:32], f"has more than {MAX_SELECTOR} characters")
    if path.startswith("."):
        if steps(path) is None:
            refuse(
                path, f"is not a selector{_AT_MOST}; write one as .args.title or .resource.owner"
            )
        return path
    if not _NAMED.fullmatch(path):
        refuse(path, f"is not an argument's name; write it as .args[{json.dumps(path[:32])}]")
    if path.split(".")[0] == "resource":
        refuse(path, f"is not an argument: the resource of a call is .{path}")
    if steps(f".args.{path}") is None:
        refuse(path[:32], f"is not a path{_AT_MOST}")
    return f".args.{path}"


@lru_cache(maxsize=1024)
def steps(text: str) -> Steps | None:
    """Parse a selector; None if it is invalid."""
    if _WHOLE.fullmatch(text):
        return ()
    if not text.startswith("."):
        return None
    found: list[Step] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        step = None if match is None else _step(match)
        if match is None or step is None or len(found) == MAX_STEPS:
            return None
        found.append(step)
        at = match.end()
    return tuple(found)


def known(text: str) -> Steps:
    """Return the steps of a selector that was validated."""
    found = steps(text)
    assert found is not None, "statements are checked before they are read"
    return found


def written(path: Steps) -> str:
    """Return the selector's text."""
    joined = "".join(_written(step) for step in path)
    return joined if joined.startswith(".") else f".{joined}"


def first_each(path: Steps) -> int:
    """Return the index of the first `[]`, where a path becomes several values, or its length."""
    return next((at for at, step in enumerate(path) if step.kind == "each"), len(path))


def loose(path: Steps) -> bool:
    """Whether the path has an optional step at or after its first `[]`."""
    return any(step.optional for step in path[first_each(path) :])


def optional(text: str) -> str:
    """Return the selector that finds null where `text` finds nothing. Every call has `.args`."""
    path = known(text)
    if not path:
        return text
    marked = tuple(replace(step, optional=True) for step in path)
    given = len(path) > 1 and path[0] == Step("member", "args")
    return written((path[0], *marked[1:]) if given else marked)


def strict(text: str) -> str:
    """Return the same path without optional steps."""
    path = known(text)
    return written(tuple(step.bare for step in path)) if path else "."


def within_element(text: str) -> str:
    """Return an argument's path relative to an element: `.args.name` becomes `.name`."""
    path = known(text)
    return written(path[1:]) if len(path) > 1 and path[0] == Step("member", "args") else text


def _step(match: re.Match[str]) -> Step | None:
    maybe = bool(match["optional"])
    if match["name"] is not None:
        return Step("member", match["name"], maybe) if _is_name(match["name"]) else None
    if match["index"] is not None:
        return Step("element", int(match["index"]), maybe)
    if match["colon"] is not None:
        end = None if match["end"] is None else int(match["end"])
        return Step("slice", (int(match["start"] or 0), end), maybe)
    if match["quoted"] is None:
        return Step("each", None, maybe)
    try:
        return Step("member", json.loads(match["quoted"]), maybe)
    except ValueError:
        return None


def _is_name(name: str) -> bool:
    """Whether a name needs no quotes: a letter or `_` first, then letters, marks, digits, `_$-`."""
    kinds = [unicodedata.category(one)[0] for one in name]
    return (name[0] == "_" or kinds[0] == "L") and all(
        one in "_$-" or kind in "LMN" for one, kind in zip(name[1:], kinds[1:], strict=True)
    )


def _written(step: Step) -> str:
    mark = "?" if step.optional else ""
    match step.kind:
        case "member" if _PLAIN.fullmatch(step.what):
            return f".{step.what}{mark}"
        case "member":
            return f"[{json.dumps(step.what, ensure_ascii=False)}]{mark}"
        case "element":
            return f"[{step.what}]{mark}"
        case "slice":
            start, end = step.what
            return f"[{start}:{'' if end is None else end}]{mark}"
    return f"[]{mark}"
