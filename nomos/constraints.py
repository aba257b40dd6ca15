"""Constraints on the arguments of a call, for grants and for forked children.

    from nomos.constraints import between, each, like, one_of, under

    guard.authorize(
        command="/mail/send",
        resource={"provider": "mail", "box": "sales"},
        constraints=[each("to", like(".", "*@example.com")), between("amount", 1, 50)],
    )

Each function returns a `Constraint`, which compiles to UCAN 1.0 policy (`constraint.pol`) that
every verifier evaluates, and whose `str` is a sentence. A path is the name of an argument, `state`
or `user.name`. Inside `each` and `some` it is relative to the element, and "." is the element
itself. A path that begins with a dot is a UCAN selector: `.resource.owner`, `.cmd`; inside `each`
and `some`, `.args.name` is `name`.

No constraint holds for an argument that is missing or of another type, not even `not_eq` or `not_`.
Wrong arguments raise `ConfigurationError`, whose `.setting` is the path.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nomos._limits import MAX_STATEMENTS
from nomos._pol import checks, negation, patterns, selectors, values, wording
from nomos._pol.checks import Statement, conjunction
from nomos._pol.values import refuse

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
    "not_",
    "not_eq",
    "one_of",
    "some",
    "under",
    "url",
]


@dataclass(frozen=True, repr=False)
class Constraint:
    """A condition on a call. Two are equal if they compile to the same statements.

    `a & b` holds if both hold, `a | b` if one of them holds, `~a` if the arguments that `a` names
    are there and `a` does not hold. Constraints are made by the functions of this module.
    """

    _text: str

    @property
    def pol(self) -> list[Any]:
        """The UCAN 1.0 policy statements, all of which must hold; a new list each time."""
        statements: list[Any] = json.loads(self._text)
        return statements

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
        # `a and b` would silently be `b` alone.
        raise TypeError("a constraint is neither true nor false: combine with &, | and ~")


def eq(path: str, value: Any) -> Constraint:
    """`path` equals the JSON `value`. Numbers are compared exactly, and True is not 1."""
    return _made(path, ["==", selectors.selector(path), _value(path, value)])


def not_eq(path: str, value: Any) -> Constraint:
    """`path` is there, is not null, and differs from the JSON `value`."""
    return _made(path, negation.unlike(selectors.selector(path), _value(path, value)))


def one_of(path: str, choices: Iterable[Any]) -> Constraint:
    """`path` equals one of `choices`, a list of at least one JSON value."""
    selector = selectors.selector(path)
    if isinstance(choices, str | bytes) or not isinstance(choices, Iterable):
        refuse(path, 'must have a list of choices, such as ["open", "closed"]')
    unique = {values.text(each): each for each in (_value(path, each) for each in choices)}
    if not unique:
        refuse(path, "must have at least one choice: no value is in an empty list")
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
    """`path` is a number and is not greater than `number`."""
    return _made(path, ["<=", selectors.selector(path), values.number(number, path)])


def at_least(path: str, number: float) -> Constraint:
    """`path` is a number and is not less than `number`."""
    return _made(path, [">=", selectors.selector(path), values.number(number, path)])


def like(path: str, pattern: str) -> Constraint:
    r"""`path` is text that matches `pattern`: `*` is any text, `\*` a star, all else is literal.

    Upper and lower case differ. Use `under` for paths and `url` for URLs: the pattern
    "https://example.com*" also matches hosts such as example.com.evil.net, and "/srv/*" matches
    "/srv/../etc".
    """
    selector = selectors.selector(path)
    if not isinstance(pattern, str):
        refuse(path, 'must have a text as pattern, such as "*@example.com"')
    return _made(path, ["like", selector, _value(path, pattern)])


def under(path: str, prefix: str) -> Constraint:
    r"""`path` is the path `prefix`, or a path under it, compared by whole segments.

    The constraint does not hold for a path with `..` or `.` after a slash or backslash, an empty
    segment between slashes, a slash or backslash at the end, a percent sign, a tab, a line break or
    NUL. It does hold for a backslash before a name: `src/\b` is under `src`, so a service that
    reads backslashes as slashes must not treat `\b` as an absolute path. Links, letter case and
    characters that a file system treats as equal cannot be checked here: only the service that
    opens the file can.
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

    The URL must not have a user, a password, a fragment, a percent sign or a space. Dots, slashes
    and backslashes in its path are restricted as in `under`, but the path may end in a slash. With
    `query=True` any query may follow the path.

    `host` is ASCII in lower case. Private, loopback, link-local and other non-public addresses, and
    names of local machines, raise `ConfigurationError` unless `allow_private`. A number in another
    spelling than 192.0.2.1 always raises. The addresses that a public name resolves to are not
    checked.
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
    """All of `constraints` hold; the same as `a & b`."""
    return _compiled([each for one in _given(constraints, "all_of") for each in one.pol])


def any_of(*constraints: Constraint) -> Constraint:
    """At least one of `constraints` holds; the same as `a | b`."""
    either = [conjunction(each.pol) for each in _given(constraints, "any_of")]
    return _compiled([either[0] if len(either) == 1 else ["or", either]])


def not_(constraint: Constraint) -> Constraint:
    """The arguments of `constraint` are there and of its type, and it does not hold.

    `not_(at_most("n", 5))` means a number above 5, so it does not hold for a text. `not_(each(…))`
    needs one element for which the inner constraint does not hold, `not_(some(…))` needs that of
    every element.
    """
    (one,) = _given((constraint,), "not_")
    return _compiled([negation.negated(conjunction(one.pol))])


def each(path: str, constraint: Constraint) -> Constraint:
    """`path` is a list or an object, possibly empty; `constraint` holds for every element."""
    one = _of_element(path, constraint)
    return _made(path, ["all", selectors.selector(path), negation.element(one.pol)])


def some(path: str, constraint: Constraint) -> Constraint:
    """`path` is a list or an object, and `constraint` holds for at least one element."""
    one = _of_element(path, constraint)
    return _made(path, negation.some(selectors.selector(path), negation.element(one.pol)))


def from_pol(pol: Sequence[Any], *, where: str = "pol") -> Constraint:
    """Return the constraint of the UCAN 1.0 policy statements in `pol`, from any source.

    Raises `ConfigurationError` for an invalid policy, and for one that is too large to be combined
    with others; its `setting` is the place, such as `pol[0][1]`, where `where` replaces `pol`.
    Statements that may hold without the arguments that they name can be read; they are signed only
    on request.
    """
    return Constraint(values.text(checks.policy(pol, where=where)))


def listed(constraints: object, where: str = "constraints") -> list[Statement]:
    """Return the statements of one or several constraints, in their order.

    Raises `ConfigurationError` for anything else. Statements that may hold vacuously are refused by
    the signer.
    """
    several = (constraints,) if isinstance(constraints, Constraint) else constraints
    if not isinstance(several, list | tuple):
        refuse(where, 'must be a constraint or a list of them, such as [eq("state", "open")]')
    for index, one in enumerate(several):
        if not isinstance(one, Constraint):
            refuse(f"{where}[{index}]", 'must be a constraint, such as eq("state", "open")')
    return checks.policy([each for one in several for each in one.pol], where=where)


def _given(constraints: tuple[Constraint, ...], where: str) -> tuple[Constraint, ...]:
    if not constraints:
        refuse(where, "must have at least one constraint")
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
