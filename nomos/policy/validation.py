"""What is wrong with policies, in words that say how to mend it.

Cedar checks policies against the schema and tells each problem once per action that a policy
could be about: thirty times for one field. Here a problem is told once, with a hint where the
mistake is a common one. What our annotations need is checked beside it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from cedarpy import Schema, validate_policies

from nomos.resources import Catalog, nearest_command

MAX_NAME: Final = 200
"""Characters in an annotation's text."""

_PREFIX = re.compile(r"^for policy `policy\d+`, ")
_ACTION = re.compile(r'Action::"([^"]*)"')
_NO_ATTRIBUTE = re.compile(r"attribute `([^`]*)` on entity type `[^`]*` not found")
_NO_ACTION = re.compile(r'unrecognized action `Action::"([^"]*)"`')
_OPTIONAL = re.compile(r"unable to guarantee safety of access to optional attribute")
_FOLLOWS = "unable to find an applicable action given the policy scope constraints"


def schema_problems(
    texts: Sequence[str], schema: Schema, catalog: Catalog
) -> Iterator[tuple[int, str]]:
    """Yield what the schema finds wrong in `texts`, each with the index of its policy."""
    found: dict[tuple[int, str], list[str]] = {}
    for error in validate_policies("\n".join(texts), schema).errors:
        place = int(error.policy_id.removeprefix("policy"))
        message = _PREFIX.sub("", error.error)
        found.setdefault((place, _ACTION.sub("", message)), []).append(message)
    causes = {place for place, kind in found if kind != _FOLLOWS}
    for (place, kind), messages in found.items():
        if kind != _FOLLOWS or place not in causes:
            more = f" and {len(messages) - 1} more actions" if len(messages) > 1 else ""
            yield place, min(messages) + more + _hint(messages[0], catalog)


def _hint(message: str, catalog: Catalog) -> str:
    if missing := _NO_ATTRIBUTE.search(message):
        kinds = [each.kind for each in catalog.values() if missing.group(1) in each.fields]
        if kinds:
            return f"; say which resources the policy is for: `resource is {min(kinds)}`"
    if unknown := _NO_ACTION.search(message):
        near = nearest_command(catalog, unknown.group(1))
        return f"; did you mean {near}?" if near else ""
    if _OPTIONAL.search(message):
        return "; ask first whether it is there: `… has … && …`"
    return ""


def own_problems(body: Mapping[str, Any], attributes: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with one parsed policy that its schema has nothing to say about."""
    annotations = body.get("annotations", {})
    for key in ("id", "reason", "step_up"):
        text = annotations.get(key, "-")
        if not text or not text.isprintable() or len(text) > MAX_NAME:
            yield f'@{key} needs a text of 1 to {MAX_NAME} printable characters: @{key}("…")'
    if "step_up" in annotations and body["effect"] != "forbid":
        yield "@step_up is for a forbid; a permit cannot ask for approval"
    elif "step_up" in annotations and not any(map(_reads_cosigned, _nodes(body))):
        yield "no approval could lift this @step_up: add `unless { context.cosigned }`"
    # Cedar takes `has` of an unknown name for false, and a misspelt forbid would never hold.
    asked = {node["has"]["attr"] for node in _nodes(body) if "has" in node}
    for name in sorted(asked - set(attributes)):
        yield f"`has {name}` is never true: nothing has an attribute of that name"


def _nodes(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every object in the conditions' JSON form; a stack, for an expression can be deep."""
    remaining: list[Any] = list(body["conditions"])
    while remaining:
        node = remaining.pop()
        if isinstance(node, list):
            remaining.extend(node)
        elif isinstance(node, dict):
            yield node
            remaining.extend(node.values())


def _reads_cosigned(node: Mapping[str, Any]) -> bool:
    """Whether this is what an approval changes."""
    return node.get("left") == {"Var": "context"} and node.get("attr") in ("cosigned", "cosigner")
