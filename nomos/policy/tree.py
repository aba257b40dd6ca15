"""Cedar's JSON form of one policy: its comparisons, actions and providers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from nomos.resources import Catalog, Provider, provider_name

Node = Mapping[str, Any]

RESOURCE: Final = {"Var": "resource"}
ACTION: Final = {"Var": "action"}

WILDCARD: Final = "\ue000"
"""Represents the `*` of a `like`: a character that no rule for names or paths mentions."""

STAR: Final = "\ue001"  # represents its `\*` in the same way

_SIDES: Final = {
    "==": (("left", "right"), ("right", "left")),
    "!=": (("left", "right"), ("right", "left")),
    "in": (("left", "right"),),
    "contains": (("right", "left"),),
}
"""For each operator, the places of the compared expression and of the constant."""


_COMMAND: Final = re.compile(r"/([a-z0-9_-]{1,64})(?=/|\Z)")


class Comparison(NamedTuple):
    """An expression and one constant that it is compared with; for `like`, the pattern's text."""

    operator: str
    subject: Node
    value: object

    @property
    def entity(self) -> Mapping[str, str] | None:
        """The constant's `type` and `id`, if it is an entity."""
        return _entity(self.value)

    @property
    def field(self) -> str | None:
        """The name of the resource's field that is compared, None for other expressions."""
        read = self.subject.get(".", {})
        return read["attr"] if read.get("left") == RESOURCE else None


def nodes(body: Node) -> Iterator[Node]:
    """Yield every object in the conditions' JSON form; iterative, as expressions can be deep."""
    remaining: list[Any] = list(body["conditions"])
    while remaining:
        node = remaining.pop()
        if isinstance(node, list):
            remaining.extend(node)
        elif isinstance(node, dict):
            yield node
            # The names in a record are chosen by the policy, and may look like operators.
            remaining.extend(node.get("Record", node).values())


def read_path(node: Node) -> tuple[str, ...] | None:
    """Return `("context", "now")` for the expression `context.now`."""
    names: list[str] = []
    while "." in node:
        names.append(node["."]["attr"])
        node = node["."]["left"]
    return (node["Var"], *reversed(names)) if "Var" in node else None


def comparisons(body: Node) -> Iterator[Comparison]:
    """Yield every comparison with a constant in the conditions."""
    for node in nodes(body):
        for operator, orders in _SIDES.items():
            sides = node.get(operator, {})
            for subject, constant in orders:
                if subject in sides and constant in sides:
                    for value in _constants(sides[constant]):
                        yield Comparison(operator, sides[subject], value)
        if "in" in node.get("is", {}):
            for value in _constants(node["is"]["in"]):
                yield Comparison("in", node["is"]["left"], value)
        if "like" in node:
            pattern = "".join(map(_piece, node["like"]["pattern"]))
            yield Comparison("like", node["like"]["left"], pattern)


def actions(body: Node) -> frozenset[str]:
    """Return the ids of all actions that the policy names."""
    entities = [_entity(node["Value"]) for node in nodes(body) if "Value" in node]
    return frozenset(scope_actions(body)) | {
        entity["id"] for entity in entities if entity is not None and entity["type"] == "Action"
    }


def scope_actions(body: Node) -> tuple[str, ...]:
    """Return the ids of the actions in the policy's scope; none if it is for all."""
    scope = body["action"]
    entities = [scope["entity"]] if "entity" in scope else scope.get("entities", ())
    return tuple(entity["id"] for entity in entities)


def missing(body: Node, catalog: Catalog) -> list[str]:
    """Return the unknown providers that the policy's actions name, sorted."""
    found = filter(None, map(_COMMAND.match, actions(body)))
    return sorted({each.group(1) for each in found} - set(catalog))


def providers(body: Node, catalog: Catalog) -> list[Provider]:
    """Return the providers that the policy can be about, by its scope and its `when` conditions."""
    names = [{provider_name(each) for each in scope_actions(body)}]
    kinds = [body["resource"].get("entity_type")]
    for node in conjuncts(body):
        test = node.get("is", {})
        if test.get("left") == RESOURCE:
            kinds.append(test["entity_type"])
    return [
        each
        for name, each in sorted(catalog.items())
        if all(name in some for some in names if some)
        and all(each.kind == kind for kind in kinds if kind)
    ]


def conjuncts(body: Node) -> Iterator[Node]:
    """Yield what must hold in every call that the policy is about."""
    remaining = [each["body"] for each in body["conditions"] if each["kind"] == "when"]
    while remaining:
        node = remaining.pop()
        yield node
        remaining.extend(node.get("&&", {}).values())


def _constants(expression: Node) -> list[object]:
    each = expression.get("Set", [expression])
    return [node["Value"] for node in each if "Value" in node]


def _piece(piece: str | Mapping[str, str]) -> str:
    """Return one piece of a pattern: "Wildcard", or literal characters."""
    return WILDCARD if isinstance(piece, str) else piece["Literal"].replace("*", STAR)


def _entity(value: object) -> Mapping[str, str] | None:
    return value.get("__entity") if isinstance(value, dict) else None
