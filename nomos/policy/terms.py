"""Values of Cedar expressions in partial evaluation, where some values are unknown.

A `Term` is the result of one expression: a certain value, a path under a folder, or unknown.
`fields` are the open fields that it was read from, whether or not they made a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

Frozen = tuple[Any, ...]  # a hashable value with its type first, so that True is not 1
NOTHING: Final[frozenset[str]] = frozenset()
LEAST: Final = -(2**63)
MOST: Final = 2**63 - 1  # the range of Cedar's integers; a result beyond it is an error


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of an entity or a record; `sure` is None if it may be there or not."""

    term: Term
    sure: bool | None = True


@dataclass(frozen=True, slots=True)
class Term:
    """One value, or what is known of it.

    `value` is None if it is unknown; `folder` then names the folder that an unknown path is under.
    `fails`: evaluating it may be an error. `members` are the attributes of an entity or a record,
    `kind` is the type of an entity, `above` are the entities that contain it.
    """

    value: Frozen | None = None
    fields: frozenset[str] = NOTHING
    fails: bool = False
    folder: str | None = None
    members: Mapping[str, Attribute] | None = None
    kind: str | None = None
    above: frozenset[Frozen] | None = None

    @property
    def holds(self) -> bool | None:
        """Whether it is true or false; None if that is unknown."""
        return None if self.value is None or self.value[0] != "bool" else self.value[1]


def freeze(value: object) -> Frozen:
    """Return a Python value as a Cedar value."""
    match value:
        case bool():
            return ("bool", value)
        case int():
            return ("long", value)
        case str():
            return ("text", value)
        case {"__entity": {"type": kind, "id": ident}}:
            return entity(kind, ident)
        case Mapping():
            return ("record", frozenset((name, freeze(each)) for name, each in value.items()))
        case Iterable():
            return ("set", frozenset(map(freeze, value)))
    raise TypeError(f"{type(value).__name__} is not a Cedar value")


def entity(kind: str, ident: str) -> Frozen:
    """Return the reference to an entity."""
    return ("entity", kind, ident)


def known(value: object, fields: frozenset[str] = NOTHING) -> Term:
    """Return a certain value."""
    return Term(freeze(value), fields)


def truth(value: bool | None, fields: frozenset[str], *, fails: bool = False) -> Term:  # noqa: FBT001
    """Return a truth value; None is unknown."""
    return Term(None if value is None else ("bool", value), fields, fails)


def record(members: Mapping[str, Term], fields: frozenset[str]) -> Term:
    """Return a record of these members, which are all there."""
    values = {name: each.value for name, each in members.items()}
    sure = all(each is not None for each in values.values())
    return Term(
        ("record", frozenset(values.items())) if sure else None,
        fields,
        any(each.fails for each in members.values()),
        members=MappingProxyType({name: Attribute(each) for name, each in members.items()}),
    )


def joined(terms: Iterable[Term]) -> tuple[frozenset[str], bool]:
    """Return the fields that several terms were read from, and whether one of them may fail."""
    fields, fails = NOTHING, False
    for each in terms:
        fields, fails = fields | each.fields, fails or each.fails
    return fields, fails


def all_hold(parts: Iterable[Callable[[], Term]]) -> Term:
    """Return `a && b && …`: parts after a false one are not evaluated."""
    return _until(parts, stop=False)


def any_holds(parts: Iterable[Callable[[], Term]]) -> Term:
    """Return `a || b || …`: parts after a true one are not evaluated."""
    return _until(parts, stop=True)


def _until(parts: Iterable[Callable[[], Term]], *, stop: bool) -> Term:
    fields, fails, sure = NOTHING, False, True
    for part in parts:
        term = part()
        fields, fails = fields | term.fields, fails or term.fails
        if term.holds is stop:
            return truth(stop, fields, fails=fails)
        sure = sure and term.holds is not None
    return truth(not stop if sure else None, fields, fails=fails)


def equal(one: Term, other: Term) -> bool | None:
    """Whether two values are equal; None if that is unknown."""
    if one.value is not None and other.value is not None:
        return one.value == other.value
    for text, known_ in ((one, other), (other, one)):
        if text.folder is not None and known_.value is not None:
            return None if _is_under(known_.value[1], text.folder) else False
    if one.kind is not None and other.kind is not None and one.kind != other.kind:
        return False
    return None


def _is_under(text: object, folder: str) -> bool:
    start = start_of(folder)
    return isinstance(text, str) and text.startswith(start) and text != start


def start_of(folder: str) -> str:
    """Return the prefix of every path under a folder; empty for the root."""
    return f"{folder}/" if folder else ""


Piece = str | None  # a piece of a pattern: a text, or None for `*`


def like(term: Term, pattern: Sequence[Piece]) -> bool | None:
    """Whether a text matches a pattern; None if that is unknown."""
    if term.value is not None:
        return fits(str(term.value[1]), pattern)
    if term.folder is None:
        return None
    start = start_of(term.folder)
    if pattern and pattern[-1] is None and fits(start, pattern):
        return True
    literal = ""
    for piece in pattern:
        if piece is None:
            near = literal.startswith(start) or start.startswith(literal)
            return None if near else False
        literal += piece
    return None if _is_under(literal, term.folder) else False


def fits(text: str, pattern: Sequence[Piece]) -> bool:
    """Whether a whole text matches a pattern, at worst in time linear in the product of both."""
    at, position, star, mark = 0, 0, -1, 0
    units = [unit for piece in pattern for unit in ([None] if piece is None else piece)]
    while at < len(text):
        if position < len(units) and units[position] == text[at]:
            at, position = at + 1, position + 1
        elif position < len(units) and units[position] is None:
            star, mark, position = position, at, position + 1
        elif star >= 0:
            mark, at, position = mark + 1, mark + 1, star + 1
        else:
            return False
    return all(unit is None for unit in units[position:])


def within(one: Term, other: Term) -> bool | None:
    """Cedar's `in`: whether an entity is another or in it, or in one of a set; None if unknown."""
    if other.value is None:
        return None
    if other.value[0] == "set":
        found = [_within_one(one, each) for each in other.value[1]]
        return True if True in found else None if None in found else False
    return _within_one(one, other.value)


def _within_one(one: Term, other: Frozen) -> bool | None:
    if one.value == other or (one.above is not None and other in one.above):
        return True
    if one.above is None:
        return None
    # Only the type of an unknown entity is known.
    return False if one.value is not None or one.kind != other[1] else None


def has_any(one: Term, others: Iterable[Term]) -> bool | None:
    """Whether a value is among others; None if that is unknown."""
    found = [equal(one, each) for each in others]
    return True if True in found else None if None in found else False


def items(term: Term) -> list[Term] | None:
    """Return the elements of a known set; None for any other term."""
    if term.value is None or term.value[0] != "set":
        return None
    return [Term(each, term.fields) for each in term.value[1]]


def number(term: Term) -> int | None:
    """Return its integer; None if it is unknown."""
    return None if term.value is None else int(term.value[1])


def counted(value: int, fields: frozenset[str]) -> Term:
    """Return the result of arithmetic, which fails beyond Cedar's range."""
    if LEAST <= value <= MOST:
        return Term(("long", value), fields)
    return Term(None, fields, fails=True)


def unknown(fields: frozenset[str], *, fails: bool = False) -> Term:
    """Return an unknown value that was read from these fields."""
    return Term(None, fields, fails)


@dataclass(frozen=True)
class World:
    """What a policy may read. `open` are all fields that the grant leaves open."""

    principal: Term
    action: Term
    resource: Term
    context: Term
    open: frozenset[str]
