"""Partial evaluation of one policy: some of the values that it reads are unknown.

It evaluates Cedar's JSON form of the policy, and is never more certain than Cedar: an expression
that is not supported here is unknown, depends on all fields that it mentions, and may fail.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from nomos.policy import terms
from nomos.policy.conditions import body_of, conditions
from nomos.policy.terms import Attribute, Term, World
from nomos.policy.tree import ACTION, Node, nodes, scope_actions

MAX_KEPT: Final = 8192  # parsed policies that are cached


@dataclass(frozen=True)
class Parts:
    """A parsed policy: its conditions, the scope first, and the commands that it is about.

    `scope` names the actions of its scope, None for all. `by_action`: its other conditions depend
    on the action, too.
    """

    conditions: tuple[Node, ...]
    scope: frozenset[str] | None
    within: bool
    by_action: bool

    def is_about(self, command: str) -> bool:
        """Whether the scope has this command, or a group that contains it."""
        if self.scope is None or command in self.scope:
            return True
        return self.within and any(command.startswith(f"{each}/") for each in self.scope)


@lru_cache(maxsize=MAX_KEPT)
def partially_evaluated(text: str) -> Parts:
    """Return the parsed form of a policy; it is cached and must not be changed."""
    body = body_of(text)
    scope = body["action"]
    return Parts(
        conditions=tuple(conditions(body)),
        scope=None if scope["op"] == "All" else frozenset(scope_actions(body)),
        within=scope["op"] == "in",
        by_action=any(each == ACTION for each in nodes(body)),
    )


def applies(text: str, world: World) -> Term:
    """Return whether a policy applies: in every call of `world`, in none, or unknown."""
    try:
        looking = _Evaluator(world)
        return terms.all_hold(looking.later(part) for part in partially_evaluated(text).conditions)
    except RecursionError:
        return terms.unknown(world.open, fails=True)


_COMPARE: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COUNT: Final[Mapping[str, Callable[[int, int], int]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}
_CHAINS: Final = {"&&": terms.all_hold, "||": terms.any_holds}


class _Evaluator:
    """Evaluates the expressions of one policy."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._variables = {
            "principal": world.principal,
            "action": world.action,
            "resource": world.resource,
            "context": world.context,
        }

    def later(self, node: Node) -> Callable[[], Term]:
        return lambda: self.at(node)

    def at(self, node: Node) -> Term:
        """Evaluate an expression."""
        [(name, parts)] = node.items()
        if name in _CHAINS:
            return _CHAINS[name](self.later(each) for each in _chain(node, name))
        if name in _OPERATORS:
            return _OPERATORS[name](self, parts)
        if name in _PAIRS or name in _COUNT:
            return self._pair(name, self.at(parts["left"]), self.at(parts["right"]))
        return self._other(parts)

    def _other(self, parts: Any) -> Term:
        """Evaluate an unsupported operator: unknown, and dependent on its arguments' fields."""
        if isinstance(parts, list):
            fields, _ = terms.joined(map(self.at, parts))
            return terms.unknown(fields, fails=True)
        return terms.unknown(self._world.open, fails=True)

    def value(self, parts: Any) -> Term:
        term = terms.known(parts)
        if term.value is not None and term.value[0] == "entity":
            return Term(term.value, kind=term.value[1])
        return term

    def variable(self, parts: str) -> Term:
        return self._variables[parts]

    def not_(self, parts: Node) -> Term:
        term = self.at(parts["arg"])
        value = None if term.holds is None else not term.holds
        return terms.truth(value, term.fields, fails=term.fails)

    def negated(self, parts: Node) -> Term:
        return self._pair("-", terms.known(0), self.at(parts["arg"]))

    def is_empty(self, parts: Node) -> Term:
        term = self.at(parts["arg"])
        found = terms.items(term)
        return terms.truth(None if found is None else not found, term.fields, fails=term.fails)

    def set(self, parts: Sequence[Node]) -> Term:
        found = [self.at(each) for each in parts]
        fields, fails = terms.joined(found)
        values = [each.value for each in found]
        if None in values:
            return Term(None, fields, fails)
        return Term(("set", frozenset(values)), fields, fails)

    def record(self, parts: Mapping[str, Node]) -> Term:
        members = {name: self.at(each) for name, each in parts.items()}
        return terms.record(members, terms.joined(members.values())[0])

    def if_(self, parts: Node) -> Term:
        test = self.at(parts["if"])
        if test.holds is not None:
            term = self.at(parts["then" if test.holds else "else"])
            return _with(term, test.fields, fails=test.fails)
        yes, no = self.at(parts["then"]), self.at(parts["else"])
        fields, fails = terms.joined([test, yes, no])
        return Term(yes.value if yes.value == no.value else None, fields, fails)

    def read(self, parts: Node) -> Term:
        left = self.at(parts["left"])
        if left.members is None:
            return self.of_value(left, parts["attr"])
        member = left.members.get(parts["attr"])
        if member is None or member.sure is False:
            return terms.unknown(left.fields, fails=True)
        # If evaluating the record may fail, so may reading its members, for the same fields.
        fields = left.fields if left.fails else terms.NOTHING
        return _with(member.term, fields, fails=left.fails)

    def of_value(self, left: Term, name: str) -> Term:
        members = dict(left.value[1]) if left.value and left.value[0] == "record" else {}
        if name not in members:
            return terms.unknown(left.fields or self._world.open, fails=True)
        return Term(members[name], left.fields, left.fails)

    def has(self, parts: Node) -> Term:
        left, name = self.at(parts["left"]), parts["attr"]
        if left.members is None:
            if left.value is None or left.value[0] != "record":
                return terms.unknown(left.fields or self._world.open, fails=left.fails)
            return terms.truth(name in dict(left.value[1]), left.fields, fails=left.fails)
        member = left.members.get(name, _ABSENT)
        fields = member.term.fields | (left.fields if left.fails else terms.NOTHING)
        return terms.truth(member.sure, fields, fails=left.fails)

    def like(self, parts: Node) -> Term:
        term = self.at(parts["left"])
        pattern = [None if isinstance(each, str) else each["Literal"] for each in parts["pattern"]]
        return terms.truth(terms.like(term, pattern), term.fields, fails=term.fails)

    def is_(self, parts: Node) -> Term:
        term = self.at(parts["left"])
        found = None if term.kind is None else term.kind == parts["entity_type"]
        right = terms.truth(found, term.fields if found is None else terms.NOTHING)
        if "in" not in parts:
            return right
        return terms.all_hold([lambda: right, lambda: self._pair("in", term, self.at(parts["in"]))])

    def _pair(self, name: str, left: Term, right: Term) -> Term:
        fields, fails = terms.joined((left, right))
        if name in _COUNT:
            one, other = terms.number(left), terms.number(right)
            if one is None or other is None:
                return terms.unknown(fields, fails=True)
            return _with(terms.counted(_COUNT[name](one, other), fields), fields, fails=fails)
        return terms.truth(_PAIRS[name](left, right), fields, fails=fails)


def _with(term: Term, fields: frozenset[str], *, fails: bool) -> Term:
    """Return the same term with further fields."""
    if not fields and not fails:
        return term
    return replace(term, fields=term.fields | fields, fails=term.fails or fails)


def _chain(node: Node, name: str) -> Iterator[Node]:
    """Yield the parts of `a || b || c`, which is nested to the left, in their order."""
    found: list[Node] = []
    while name in node:
        found.append(node[name]["right"])
        node = node[name]["left"]
    yield node
    yield from reversed(found)


def _ordered(name: str) -> Callable[[Term, Term], bool | None]:
    def compare(left: Term, right: Term) -> bool | None:
        for each in (left, right):
            if each.value is None or each.value[0] != "long":
                return None
        assert left.value is not None and right.value is not None
        return _COMPARE[name](left.value[1], right.value[1])

    return compare


def _differ(left: Term, right: Term) -> bool | None:
    found = terms.equal(left, right)
    return None if found is None else not found


def _contains(left: Term, right: Term) -> bool | None:
    found = terms.items(left)
    return None if found is None else terms.has_any(right, found)


def _contains_all(left: Term, right: Term) -> bool | None:
    one, other = terms.items(left), terms.items(right)
    if one is None or other is None:
        return None
    return all(terms.has_any(each, one) for each in other)


def _contains_any(left: Term, right: Term) -> bool | None:
    one, other = terms.items(left), terms.items(right)
    if one is None or other is None:
        return None
    return any(terms.has_any(each, one) for each in other)


_ABSENT: Final = Attribute(terms.unknown(terms.NOTHING), sure=False)
_PAIRS: Final[Mapping[str, Callable[[Term, Term], bool | None]]] = {
    "==": terms.equal,
    "!=": _differ,
    "in": terms.within,
    "contains": _contains,
    "containsAll": _contains_all,
    "containsAny": _contains_any,
    **{name: _ordered(name) for name in _COMPARE},
}
_OPERATORS: Final[Mapping[str, Callable[[_Evaluator, Any], Term]]] = {
    "Value": _Evaluator.value,
    "Var": _Evaluator.variable,
    "!": _Evaluator.not_,
    "neg": _Evaluator.negated,
    "isEmpty": _Evaluator.is_empty,
    "Set": _Evaluator.set,
    "Record": _Evaluator.record,
    "if-then-else": _Evaluator.if_,
    ".": _Evaluator.read,
    "has": _Evaluator.has,
    "like": _Evaluator.like,
    "is": _Evaluator.is_,
}
