"""Similar questions that a condition suggests, such as the same one with another owner.

These are only candidates: the caller decides each with the whole bundle, and keeps the result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from nomos._times import iso_seconds
from nomos.errors import InvalidRequest
from nomos.policy.conditions import mentions
from nomos.policy.decision import PolicyQuestion
from nomos.policy.tree import STAR, WILDCARD, Comparison, Node, comparisons, nodes, read_path
from nomos.resources import Catalog, canonical_resource, find_command

HOUR: Final = 3600
WEEK: Final = 7 * 24
MAX_TRIED: Final = 512  # questions that are made from one policy's conditions
SAMPLES: Final[Mapping[str, Any]] = {"String": "…", "Long": 1, "Bool": True, "Set<String>": ["…"]}

Edit = tuple[str, Any]  # a change of the question: its path, and the new value


def counterfactuals(
    conditions: Iterable[Node], inquiry: PolicyQuestion, catalog: Catalog, facts: Mapping[str, str]
) -> Iterator[tuple[PolicyQuestion, dict[str, Any]]]:
    """Yield questions that differ in what `conditions` read, each with its differences."""
    options = [_options(each, inquiry, facts) for each in conditions]
    for chosen in itertools.islice(itertools.product(*options), MAX_TRIED):
        edits = dict(edit for edit in chosen if edit is not None)
        edited = _edited(inquiry, edits, catalog)
        if edited is not None and edits:
            yield edited, {path: _shown(path, value) for path, value in edits.items()}


def _options(
    node: Node, inquiry: PolicyQuestion, facts: Mapping[str, str]
) -> Sequence[Edit | None]:
    """Return the changes that one condition suggests, and None for no change."""
    found: dict[str, Edit | None] = {}
    for each in comparisons({"conditions": [node]}):
        path = read_path(each.subject)
        if path is not None and path[0] in ("resource", "context"):
            edit = (".".join(path), _constant(each))
            found.setdefault(repr(edit), edit)
    for name, kind in facts.items():
        if any(each.get("has", {}).get("attr") == name for each in nodes({"conditions": [node]})):
            edit = (f"context.agent.{name}", SAMPLES[kind])
            found.setdefault(repr(edit), edit)
    if mentions(node, "context", "argsBound"):
        found["args"] = ("context.argsBound", not inquiry.args_bound)
    if mentions(node, "context", "rate"):
        found["rate"] = ("context.rate", 0)
    if mentions(node, "context", "now"):
        begin = inquiry.now - inquiry.now % HOUR
        for hour in range(1, WEEK + 1):
            found[f"now {hour}"] = ("context.now", begin + hour * HOUR)
    return [*found.values(), None]


def _constant(each: Comparison) -> Any:
    """Return the constant of a comparison; for a pattern, a text that matches it."""
    if each.operator == "like":
        return str(each.value).replace(WILDCARD, "x").replace(STAR, "*")
    return each.value


def _edited(
    inquiry: PolicyQuestion, edits: Mapping[str, Any], catalog: Catalog
) -> PolicyQuestion | None:
    """Return the question with `edits`; None if such a question is not possible."""
    fields, facts = dict(inquiry.resource), dict(inquiry.facts)
    changes: dict[str, Any] = {}
    for path, value in edits.items():
        match path.split("."):
            case ["resource", name]:
                fields[name] = value
            case ["context", "agent", name]:
                facts[name] = value
            case ["context", "now"]:
                changes["now"] = value
            case ["context", "rate"]:
                changes["rate"] = value
            case ["context", "argsBound"]:
                changes["args_bound"] = value
            case ["context", "purpose"]:
                changes["purpose"] = value
            case _:
                return None
    found = find_command(catalog, inquiry.command)
    assert found is not None, "an unknown command has no conditions"
    try:
        resource = canonical_resource(found[0], fields, found[1])
    except InvalidRequest:
        return None
    return replace(inquiry, resource=resource, facts=facts, **changes)


def _shown(path: str, value: Any) -> Any:
    if path != "context.now":
        return value
    return iso_seconds(value)
