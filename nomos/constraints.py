"""Readable constraints on the arguments of a call, for grants and for what a child is given.

    from nomos.constraints import between, each, like, one_of, under

    guard.authorize(
        command="/mail/send",
        resource={"provider": "mail", "box": "sales"},
        constraints=[each("to", like(".", "*@example.com")), between("amount", 1, 50)],
    )

Each compiles to the standard policy of a UCAN 1.0 delegation (`constraint.pol`), which every
verifier evaluates, and reads as a sentence (`str(constraint)`). A path is the name of an argument,
`state` or `user.name`; inside `each` and `some` it is a path from the element, and "." is the
element itself. What begins with a dot is a selector already: `.resource.owner`, `.cmd`; inside
`each` and `some`, `.args.name` is `name`.

A constraint holds only for what is there and of its kind: an argument that is missing fulfils
none, not even `not_eq` or `not_`. Wrong arguments raise `ConfigurationError` naming the path.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nomos._pol import checks, negation, patterns, selectors, values, wording
from nomos._pol.checks import MAX_STATEMENTS, Statement, conjunction
from nomos._pol.narrowing import narrower
from nomos._pol.vacuous import vacuous
from nomos._pol.values import refuse
from nomos.errors import ConfigurationError

__all__ = [
    "MAX_STATEMENTS",
    "Constraint",
    "all_of",
    "any_of",
    "at_least",
    "at_most",
    "between",
    "each",
    "eq",
    "from_pol",
    "like",
    "narrows",
    "not_",
    "not_eq",
    "one_of",
    "some",
    "under",
    "url",
]


@dataclass(frozen=True, repr=False)
class Constraint:
    """What must hold for a call. Two are equal if they compile to the same statements.

    `a & b` holds where both do, `a | b` where one does, `~a` where the arguments that `a` names
    are there and `a` does not hold. Make one with the functions of this module.
    """

    _text: str

    @property
    def pol(self) -> list[Any]:
        """The statements of UCAN 1.0 policy, all of which must hold; a new list each time."""
        statements: list[Any] = json.loads(self._text)
        return statements

    @property
    def vacuous(self) -> str | None:
        """Why it may hold where there is nothing to hold for, None if it may not.

        Nobody signs such statements unasked. The functions of this module make none;
        `from_pol` may be given one.
        """
        return vacuous(self.pol)

    def __str__(self) -> str:
        return wording.worded(self.pol)

    def __repr__(self) -> str:
        return f"Constraint({self})"

    def __and__(self, other: object) -> Constraint:
        return all_of(self, other) if isinstance(other, Constraint) else NotImplemented

    def __or__(self, other: object) -> Constraint:
        return any_of(self, other) if isinstance(other, Constraint) else NotImplemented

    def __invert__(self) -> Constraint:
        return not_(self)

    def __bool__(self) -> bool:
        # `a and b` would be b alone, and nobody would notice.
        raise TypeError("a constraint is neither true nor false: combine with &, | and ~")


def eq(path: str, value: Any) -> Constraint:
    """`path` is this JSON value. Numbers are compared exactly, and True is not 1."""
    return _made(path, ["==", selectors.selector(path), _value(path, value)])


def not_eq(path: str, value: Any) -> Constraint:
    """`path` is there, is not null, and is another value than this."""
    return _made(path, negation.unlike(selectors.selector(path), _value(path, value)))


def one_of(path: str, choices: Iterable[Any]) -> Constraint:
    """`path` is one of these JSON values, of which there is at least one."""
    selector = selectors.selector(path)
    if isinstance(choices, str | bytes) or not isinstance(choices, Iterable):
        refuse(path, 'must have a list to choose from, such as ["open", "closed"]')
    unique = {values.text(each): each for each in (_value(path, each) for each in choices)}
    if not unique:
        refuse(path, "must have something to choose from: nothing is one of nothing")
    either: list[Statement] = [["==", selector, each] for each in unique.values()]
    return _made(path, either[0] if len(either) == 1 else ["or", either])


def between(path: str, low: float, high: float) -> Constraint:
    """`path` is a number from `low` to `high`, both included."""
    selector = selectors.selector(path)
    least, most = values.number(low, path), values.number(high, path)
    if least > most:
        refuse(path, f"cannot be between {least} and {most}: the lower number comes first")
    return _made(path, ["and", [[">=", selector, least], ["<=", selector, most]]])


def at_most(path: str, number: float) -> Constraint:
    """`path` is a number, this or a lower one."""
    return _made(path, ["<=", selectors.selector(path), values.number(number, path)])


def at_least(path: str, number: float) -> Constraint:
    """`path` is a number, this or a higher one."""
    return _made(path, [">=", selectors.selector(path), values.number(number, path)])


def like(path: str, pattern: str) -> Constraint:
    r"""`path` is text that fits `pattern`: `*` is any characters, `\*` a star, all else itself.

    Upper and lower case differ. Use `under` for paths and `url` for URLs: a pattern such as
    "https://example.com*" fits hosts of strangers, and "/srv/*" fits "/srv/../etc".
    """
    selector = selectors.selector(path)
    if not isinstance(pattern, str):
        refuse(path, 'must be like a text, such as "*@example.com"')
    return _made(path, ["like", selector, _value(path, pattern)])


def under(path: str, prefix: str) -> Constraint:
    r"""`path` is the path `prefix`, or lies beneath it, by whole segments.

    Refused are `..` and `.` behind slashes or backslashes, empty segments between slashes, a
    slash or backslash at the end, percent signs, tabs, line breaks and NUL, however the path goes
    on. A backslash before a name is not: `src/\b` is under `src`, and who reads backslashes as
    slashes must not take `\b` for a path of its own. Not held is what only the one who opens it
    can know: links, letter case, and characters that a file system takes for others.
    """
    selector = selectors.selector(path)
    return _made(path, patterns.under(selector, patterns.folder(prefix, path)))


def url(
    path: str,
    *,
    host: str,
    scheme: str = "https",
    port: int | None = None,
    path_prefix: str = "/",
    query: bool = False,
    allow_private: bool = False,
) -> Constraint:
    """`path` is a URL of exactly this scheme, host and port, whose path is under `path_prefix`.

    A user or password is never in it, nor a fragment, a percent sign or a space; dots, slashes
    and backslashes in its path as in `under`, though it may end in a slash. With `query=True` a
    query of any content may follow the path.

    `host` is ASCII in lower case. Addresses that are private, loopback, link-local or otherwise
    not of the internet, and names of machines nearby, are refused here unless `allow_private`;
    numbers in any spelling but 192.0.2.1 are always. What a public name resolves to is not held.
    """
    selector = selectors.selector(path)
    at = patterns.address(
        path,
        host_=host,
        scheme=scheme,
        port=port,
        path_prefix=path_prefix,
        query=query,
        allow_private=allow_private,
    )
    return _made(path, patterns.url(selector, at))


def all_of(*constraints: Constraint) -> Constraint:
    """All of these hold; the same as `a & b`."""
    return _compiled([each for one in _given(constraints, "all_of") for each in one.pol])


def any_of(*constraints: Constraint) -> Constraint:
    """At least one of these holds; the same as `a | b`."""
    either = [conjunction(each.pol) for each in _given(constraints, "any_of")]
    return _compiled([either[0] if len(either) == 1 else ["or", either]])


def not_(constraint: Constraint) -> Constraint:
    """What the constraint names is there and of its kind, and the constraint does not hold.

    `not_(at_most("n", 5))` is a number above 5; a text is neither. `not_(each(…))` asks for an
    element that differs, `not_(some(…))` that every element does.
    """
    (one,) = _given((constraint,), "not_")
    return _compiled([negation.negated(conjunction(one.pol))])


def each(path: str, constraint: Constraint) -> Constraint:
    """`path` is a list, or an object, and the constraint holds for each element; so does none."""
    one = _of_element(path, constraint)
    return _made(path, ["all", selectors.selector(path), negation.element(one.pol)])


def some(path: str, constraint: Constraint) -> Constraint:
    """`path` is a list, or an object, with at least one element for which the constraint holds."""
    one = _of_element(path, constraint)
    return _made(path, negation.some(selectors.selector(path), negation.element(one.pol)))


def from_pol(pol: Sequence[Any], *, where: str = "pol") -> Constraint:
    """Read statements of UCAN 1.0 policy, whoever made them.

    Raises `ConfigurationError` for what is no policy, and for one that is too large to be put
    beside others; its `setting` is the place, such as `pol[0][1]`.
    """
    return Constraint(values.text(checks.policy(pol, where=where)))


def narrows(asked: Constraint, held: Constraint) -> bool | None:
    """Whether what `asked` leaves of each path is within what `held` leaves of it.

    True: wherever `asked` holds, `held` does. False: on some path that both are about, `asked`
    leaves a value that `held` does not, be it wider or another. None: that cannot be told from
    the statements alone. Nothing depends on it: a chain carries both, and both must hold.
    Raises `ConfigurationError` for anything but two constraints.
    """
    for where, one in (("asked", asked), ("held", held)):
        if not isinstance(one, Constraint):
            refuse(where, 'must be one constraint, such as at_most("n", 5) or from_pol(statements)')
    return narrower(asked.pol, held.pol)


def listed(constraints: object, where: str = "constraints") -> list[Statement]:
    """The statements of one constraint or several, in their order.

    Raises `ConfigurationError` for anything else, and for what may hold over nothing.
    """
    several = (constraints,) if isinstance(constraints, Constraint) else constraints
    if not isinstance(several, list | tuple):
        refuse(where, 'must be a constraint or a list of them, such as [eq("state", "open")]')
    for index, one in enumerate(several):
        if not isinstance(one, Constraint):
            refuse(f"{where}[{index}]", 'must be a constraint, such as eq("state", "open")')
    pol = checks.policy([each for one in several for each in one.pol], where=where)
    nothing = vacuous(pol, where)
    if nothing is not None:
        raise ConfigurationError(nothing, setting=where)
    return pol


def _given(constraints: tuple[Constraint, ...], where: str) -> tuple[Constraint, ...]:
    if not constraints:
        refuse(where, "must have constraints to combine")
    for one in constraints:
        if not isinstance(one, Constraint):
            refuse(where, 'must be given constraints, such as eq("state", "open")')
    return constraints


def _of_element(path: str, constraint: Constraint) -> Constraint:
    if isinstance(constraint, str):
        shown = json.dumps(constraint[:32])
        refuse(path, f'must be given constraints on its elements, such as like(".", {shown})')
    (one,) = _given((constraint,), path)
    return one


def _value(path: str, value: Any) -> Any:
    plain = values.exact(values.plain(value, path, checks.MAX_LEVELS))
    values.bounded(plain, path)
    return plain


def _made(path: str, statement: Statement) -> Constraint:
    return Constraint(values.text(checks.policy([statement], where=path)))


def _compiled(statements: list[Statement]) -> Constraint:
    return Constraint(values.text(checks.policy(statements, where="constraints")))
