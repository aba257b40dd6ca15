"""Warnings about valid conditions that can never hold, because of the values compared.

Cedar silently evaluates them to false. A policy with one is still accepted, because another server
may have the app that it names; its author gets a warning.

    App::"app_…"                     an app is named by its id, as `nomos apps list` shows it
    Agent::"did:key:z6Mk…"           an agent by its DID; so are rootAgent and invokedBy
    principal.swarmId                "", a receipt's id, or "<app id>/<label>"
    resource.repo == "a" && resource.repo == "b"    one of them, joined with `||`
    resource is Filesystem           the provider of the actions, and no other type
    context.now.dayOfWeek            1 (Monday) to 7 (Sunday)
    context.now.hour                 0 to 23, in UTC
    principal.delegationDepth, context.rate, context.now.epoch, integer fields    from 0
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from nomos._identifiers import is_did
from nomos._limits import MAX_INTEGER
from nomos.models import MAX_PURPOSE
from nomos.policy.tree import (
    RESOURCE,
    Node,
    comparisons,
    conjuncts,
    nodes,
    providers,
    read_path,
)
from nomos.resources import Catalog

NO_POLICIES: Final = "there are no policies, so every question is denied"

APP_ID: Final = re.compile(r"app_[0-9a-z]{26}")
SWARM: Final = re.compile(r"|evt_[0-9a-z]{26}|app_[0-9a-z]{26}/.+|.*/.*")
DEEPEST: Final = 96
"""More than any delegation depth: links of a chain, and those of its lineage."""

Path = tuple[str, ...]
_RANGES: Final[Mapping[Path, tuple[int, int]]] = {
    ("context", "now", "dayOfWeek"): (1, 7),
    ("context", "now", "hour"): (0, 23),
    ("context", "now", "epoch"): (0, MAX_INTEGER),
    ("context", "rate"): (0, MAX_INTEGER),
    ("principal", "delegationDepth"): (0, DEEPEST),
}
_FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}
_NEVER: Final[Mapping[str, Callable[[int, int, int], bool]]] = {
    "==": lambda value, low, high: not low <= value <= high,
    "<": lambda value, low, _: value <= low,
    "<=": lambda value, low, _: value < low,
    ">": lambda value, _, high: value >= high,
    ">=": lambda value, _, high: value > high,
}
"""Whether no number in a range compares so with a value."""


def impossible_conditions(body: Node, catalog: Catalog) -> Iterator[str]:
    """Yield each condition of one parsed policy that can never hold, once and sorted."""
    found = (_entities, _texts, _numbers, _odd, _contradictions)
    yield from sorted({text for each in found for text in each(body)} | {*_types(body, catalog)})


def _entities(body: Node) -> Iterator[str]:
    """Yield apps and agents with impossible ids, in the scope and in the conditions."""
    scope = body["principal"]
    named = [scope.get("entity"), scope.get("in", {}).get("entity")]
    named += [each.entity for each in comparisons(body)]
    for entity in filter(None, named):
        kind, ident = entity["type"], entity["id"]
        if kind == "App" and not APP_ID.fullmatch(ident):
            yield f'no app is App::"{_short(ident)}": write its id, app_…, from `nomos apps list`'
        if kind == "Agent" and not is_did(ident):
            yield f'no agent is Agent::"{_short(ident)}": write its DID, did:key:z6Mk…'


def _texts(body: Node) -> Iterator[str]:
    for each in comparisons(body):
        path, value = read_path(each.subject) or (), each.value
        if not isinstance(value, str) or each.operator == "like":
            continue
        if path == ("principal", "rootAgent") and not is_did(value):
            yield _no_did(path, value)
        if path == ("principal", "swarmId") and not SWARM.fullmatch(value):
            yield (
                f'principal.swarmId is never "{_short(value)}": it is the app\'s id and the label '
                'that the app gave, "app_…/label"'
            )
        if path == ("context", "purpose") and len(value) > MAX_PURPOSE:
            yield f"context.purpose is never so long: the limit is {MAX_PURPOSE} characters"


def _numbers(body: Node) -> Iterator[str]:
    for node in nodes(body):
        for name, sides in node.items():
            if name not in _NEVER or not isinstance(sides, dict):
                continue
            for one, other, order in (
                ("left", "right", name),
                ("right", "left", _FLIPPED[name]),
            ):
                yield from _out_of_range(sides[one], order, sides[other])
    for each in comparisons(body):
        if each.operator == "contains":
            yield from _out_of_range(each.subject, "==", {"Value": each.value})


def _out_of_range(subject: Node, order: str, constant: Node) -> Iterator[str]:
    value, path = constant.get("Value"), read_path(subject)
    if isinstance(value, bool) or not isinstance(value, int) or path is None:
        return
    low, high = _RANGES.get(path, (None, None))
    if path[0] == "resource" and len(path) == 2:
        low, high = 0, MAX_INTEGER
    if low is None or high is None or not _NEVER[order](value, low, high):
        return
    limits = f"{low} to {high}" if high != MAX_INTEGER else f"at least {low}"
    yield f"{'.'.join(path)} {order} {value} never holds: it is {limits}"


def _odd(body: Node) -> Iterator[str]:
    for node in nodes(body):
        for name in ("contains", "containsAll", "containsAny"):
            sides = node.get(name, {})
            if read_path(sides.get("left", {})) == ("principal", "invokedBy"):
                yield from _not_dids(sides["right"])
        if "hasTag" in node or "getTag" in node:
            yield "nothing has tags: `hasTag` is never true; compare a field of the resource"


def _contradictions(body: Node) -> Iterator[str]:
    """Yield the fields that must be equal to two different constants in every call."""
    wanted: dict[Path, set[str]] = {}
    for node in conjuncts(body):
        sides = node.get("==", {})
        for subject, constant in (("left", "right"), ("right", "left")):
            path = read_path(sides.get(subject, {}))
            value = sides.get(constant, {}).get("Value")
            if path is not None and isinstance(value, str | int):
                wanted.setdefault(path, set()).add(json.dumps(value, ensure_ascii=False))
    for path, values in wanted.items():
        if len(values) > 1:
            both = " and ".join(map(_short, sorted(values)))
            yield f"{'.'.join(path)} is never both {both}: join the two comparisons with `||`"


def _types(body: Node, catalog: Catalog) -> Iterator[str]:
    """Yield the types of `resource is …` if no provider has them all and the policy's actions."""
    tests = [node.get("is", {}) for node in conjuncts(body)]
    kinds = {each["entity_type"] for each in tests if each.get("left") == RESOURCE}
    if kinds and not providers(body, catalog):
        yield (
            f"no resource is {' and '.join(sorted(kinds))} here: it must be of the action's "
            "provider, and of one type"
        )


def _not_dids(expression: Node) -> Iterator[str]:
    for each in expression.get("Set", [expression]):
        value = each.get("Value")
        if isinstance(value, str) and not is_did(value):
            yield _no_did(("principal", "invokedBy"), value)


def _no_did(path: Path, value: str) -> str:
    return f'{".".join(path)} never has "{_short(value)}": agents are named by their DIDs'


def _short(text: str, most: int = 60) -> str:
    shown = "".join(each if each.isprintable() else "?" for each in text)
    return shown if len(shown) <= most else f"{shown[:most]}…"
