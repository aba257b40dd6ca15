"""Cedar expressions as text, from their JSON form, with the parentheses that they need.

Cedar can do this, too, but with parentheses around everything, and not for a long chain of `||`.
Chains are handled iteratively, so that their length does not matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from cedarpy import policies_from_json_str

from nomos.policy.tree import Node

OR, AND, RELATION, SUM, PRODUCT, UNARY, MEMBER = range(1, 8)
"""Precedence of operators; a part with a lower precedence than its place needs parentheses."""

_CHAINS: Final = {"||": OR, "&&": AND, "+": SUM, "-": SUM, "*": PRODUCT}
_RELATIONS: Final = ("==", "!=", "<", "<=", ">", ">=", "in")
_METHODS: Final = ("contains", "containsAll", "containsAny")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED: Final = frozenset({"true", "false", "if", "then", "else", "in", "like", "has", "is"})
_ANY: Final = {"op": "All"}
_BEFORE: Final = "permit(principal, action, resource) when { "
_AFTER: Final = " };"


def render(node: Node) -> str:
    """Return the text of an expression. Raises RecursionError for one that is nested too deeply."""
    return _at(node, 0)


def _at(node: Node, level: int) -> str:
    text, binds = _written(node)
    return text if binds >= level else f"({text})"


def _written(node: Node) -> tuple[str, int]:
    """Return the text, and the precedence of its outermost operator."""
    [(operator, parts)] = node.items()
    if operator in _CHAINS:
        return _chain(node, _CHAINS[operator])
    if operator in _RELATIONS:
        sides = (_at(parts[side], SUM) for side in ("left", "right"))
        return f" {operator} ".join(sides), RELATION
    if operator in _METHODS:
        return f"{_at(parts['left'], MEMBER)}.{operator}({render(parts['right'])})", MEMBER
    return _OTHERS[operator](parts) if operator in _OTHERS else _by_cedar(node)


def _chain(node: Node, level: int) -> tuple[str, int]:
    """Return the text of `a || b || c`, which is nested to the left, from the end."""
    words: list[str] = []
    while True:
        [(operator, parts)] = node.items()
        if _CHAINS.get(operator) != level:
            return " ".join([_at(node, level), *reversed(words)]), level
        words += [_at(parts["right"], level + 1), operator]
        node = parts["left"]


def _value(value: Any) -> tuple[str, int]:
    match value:
        case bool():
            return ("true" if value else "false"), MEMBER
        case int():
            return str(value), UNARY if value < 0 else MEMBER
        case str():
            return quoted(value), MEMBER
        case _:
            entity = value["__entity"]
            return f"{entity['type']}::{quoted(entity['id'])}", MEMBER


def _read(parts: Node) -> tuple[str, int]:
    left, name = _at(parts["left"], MEMBER), parts["attr"]
    return (f"{left}.{name}" if _is_name(name) else f"{left}[{quoted(name)}]"), MEMBER


def _has(parts: Node) -> tuple[str, int]:
    name = parts["attr"] if _is_name(parts["attr"]) else quoted(parts["attr"])
    return f"{_at(parts['left'], SUM)} has {name}", RELATION


def _like(parts: Node) -> tuple[str, int]:
    pieces = (
        "*" if isinstance(each, str) else quoted(each["Literal"])[1:-1].replace("*", "\\*")
        for each in parts["pattern"]
    )
    return f'{_at(parts["left"], SUM)} like "{"".join(pieces)}"', RELATION


def _is(parts: Node) -> tuple[str, int]:
    inside = f" in {_at(parts['in'], SUM)}" if "in" in parts else ""
    return f"{_at(parts['left'], SUM)} is {parts['entity_type']}{inside}", RELATION


def _choice(parts: Node) -> tuple[str, int]:
    first, then, other = (render(parts[name]) for name in ("if", "then", "else"))
    return f"if {first} then {then} else {other}", 0


_OTHERS: Final[dict[str, Callable[[Any], tuple[str, int]]]] = {
    "Value": _value,
    "Var": lambda name: (name, MEMBER),
    "Set": lambda items: (f"[{', '.join(map(render, items))}]", MEMBER),
    ".": _read,
    "has": _has,
    "like": _like,
    "is": _is,
    "!": lambda parts: (f"!{_at(parts['arg'], MEMBER)}", UNARY),
    "if-then-else": _choice,
}


def _by_cedar(node: Node) -> tuple[str, int]:
    """Return Cedar's own text of rare expressions: records, extension functions, a minus."""
    every = {"principal": _ANY, "action": _ANY, "resource": _ANY}
    body = {"effect": "permit", **every, "conditions": [{"kind": "when", "body": node}]}
    form = {"staticPolicies": {"policy0": body}, "templates": {}, "templateLinks": []}
    text = policies_from_json_str(json.dumps(form))
    return text.removeprefix(_BEFORE).removesuffix(_AFTER), 0


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and text not in _RESERVED


def quoted(text: str) -> str:
    """Return a string as a Cedar literal."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\u{{{ord(character):x}}}"
