"""Detection of statements that may hold although the values that they are about are missing.

In UCAN 1.0 an empty `or` holds, an `any` holds for an empty list, and a `not` or `!=` holds for a
path that does not resolve. The signing binary refuses to sign these; here they are reported
earlier, by the same rules (`ucan-bin/src/verify/vacuous.ts`, which gives the reasons).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from nomos._pol.checks import Statement
from nomos._pol.selectors import Step, Steps, first_each, known, loose
from nomos._pol.values import text

_Fact = tuple[Steps, str]
"""A path and a fact about it: "" that it resolves, "[]" or "{}" that it differs from that."""

_Facts = frozenset[_Fact]

_CALL: Final[_Facts] = frozenset(
    ((Step("member", name),), "") for name in ("cmd", "resource", "args")
)
"""The members that every call has."""

_ELEMENT: Final[_Facts] = frozenset()

_OR: Final = "an empty `or` holds for every call"
_ANY: Final = 'holds for an empty collection; put ["!=", path, []] and ["!=", path, {}] before it'
_NOT: Final = 'holds where its path is missing; put ["!=", "<path>?", null] before it'


def vacuous(pol: Sequence[Statement], where: str = "pol") -> str | None:
    """Return why a validated statement may hold vacuously, with its place; None if none may."""
    return _in_all(pol, _CALL, where)


def _in_all(pol: Sequence[Statement], outer: _Facts, at: str) -> str | None:
    facts = _with(pol, outer)
    return _first(_in_one(each, facts, f"{at}[{index}]") for index, each in enumerate(pol))


def _alone(statement: Statement, outer: _Facts, at: str) -> str | None:
    return _in_one(statement, _with([statement], outer), at)


def _in_one(statement: Statement, facts: _Facts, at: str) -> str | None:
    own = _own(statement, facts)
    if own is not None:
        return f"{at}: {own}"
    match statement:
        case ["and", inner]:
            return _in_all(inner, facts, f"{at}[1]")
        case ["or", inner]:
            return _first(
                _alone(each, facts, f"{at}[1][{index}]") for index, each in enumerate(inner)
            )
        case ["not", inner]:
            return _in_one(inner, facts, f"{at}[1]")
        case ["all" | "any", _, inner]:
            return _alone(inner, _ELEMENT, f"{at}[2]")
    return None


def _own(statement: Statement, facts: _Facts) -> str | None:
    """Return why the statement itself, apart from nested ones, may hold vacuously."""
    match statement:
        case ["or", []]:
            return _OR
        case ["not", inner] if _unsure(inner, facts):
            return f"a `not` {_NOT}"
        case ["!=", path, _] if not _is_sure(path, facts):
            return f"a `!=` {_NOT}"
        case ["any", path, _] if not _is_filled(path, facts):
            return f"an `any` {_ANY}"
    return None


def _unsure(statement: Statement, facts: _Facts) -> bool:
    """Whether the statement may fail only because one of its paths does not resolve."""
    match statement:
        case ["and" | "or", inner]:
            return any(_unsure(each, facts) for each in inner)
        case ["not", inner]:
            return _unsure(inner, facts)
        case ["all" | "any", path, inner]:
            return not _is_sure(path, facts) or _unsure(inner, _ELEMENT)
    return not _is_sure(statement[1], facts)


def _with(pol: Sequence[Statement], outer: _Facts) -> _Facts:
    """Return the known facts, and those implied by these statements together, in any order."""
    facts, before = _once(pol, outer), outer
    while facts != before:
        # Repeated, because later statements may add facts; at most once for each step of a path.
        facts, before = _once(pol, facts), facts
    return facts


def _once(pol: Sequence[Statement], facts: _Facts) -> _Facts:
    for statement in pol:
        facts = facts | _learnt(statement, facts)
    return facts


def _learnt(statement: Statement, facts: _Facts) -> _Facts:
    match statement:
        case ["and", inner]:
            return _once(inner, facts)
        case ["or" | "not", _]:
            return frozenset()
        case ["!=", path, value]:
            return _differs(path, value) if _is_sure(path, facts) else frozenset()
        case ["==", path, None] if any(step.optional for step in known(path)):
            return frozenset()
    return _reaches(statement[1])


def _differs(path: str, value: Any) -> _Facts:
    if value is None:
        return _reaches(path)
    if value in ([], {}):
        return frozenset({(_bare(path), text(value))})
    return frozenset()


def _reaches(path: str) -> _Facts:
    """Return the facts that the path resolves, and so do its prefixes, as far as it is one path."""
    steps = _bare(path)
    if loose(known(path)):
        steps = steps[: first_each(steps)]
    return frozenset((steps[: index + 1], "") for index in range(len(steps)))


def _is_sure(path: str, facts: _Facts) -> bool:
    # An optional step after [] proves nothing, and neither does a path over an empty list.
    bare = _bare(path)
    return not loose(known(path)) and all(
        step.optional or (bare[: index + 1], "") in facts for index, step in enumerate(known(path))
    )


def _is_filled(path: str, facts: _Facts) -> bool:
    return all((_bare(path), empty) in facts for empty in ("[]", "{}"))


def _bare(path: str) -> Steps:
    return tuple(step.bare for step in known(path))


def _first(found: Iterator[str | None]) -> str | None:
    return next((each for each in found if each is not None), None)
