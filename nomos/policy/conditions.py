"""The conditions of a policy, one by one, and whether each holds for a question.

A policy applies if its scope and every `when` hold and no `unless` does. So it is a list of
conditions, in the order in which Cedar evaluates them: `when { a && b }` is two, and `unless { a ||
b }` is two that must not hold. Cedar evaluates each of them by itself for one question.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from cedarpy import Decision as CedarDecision
from cedarpy import PolicySet, policies_to_json_str

from nomos.policy.decide import CedarRequest
from nomos.policy.render import render
from nomos.policy.tree import Node, nodes, read_path

State = Literal["holds", "does not hold", "fails"]
"""The state of one condition; `fails` if Cedar cannot evaluate it, such as for an absent field."""

_SCOPE: Final = "(principal, action, resource)"


@dataclass(frozen=True)
class Condition:
    """One condition as Cedar text, with its state; `node` is its JSON form."""

    text: str
    state: State
    node: Node


def body_of(text: str) -> Node:
    """Return the JSON form of one policy, which must be valid."""
    [body] = json.loads(policies_to_json_str(text))["staticPolicies"].values()
    found: Node = body
    return found


def conditions(body: Node) -> list[Node]:
    """Return all conditions of a policy, the scope first."""
    found = [*_scope(body)]
    for each in body["conditions"]:
        found.extend(_parts(each["body"], negated=each["kind"] == "unless"))
    return found


def without(effect: str, body: Node, left_out: Collection[Node]) -> str:
    """Return the text of a policy that applies if all conditions but `left_out` hold."""
    kept = [node for node in conditions(body) if node not in left_out]
    return f"{effect}{_SCOPE}{''.join(f' when {{ {render(node)} }}' for node in kept)};"


def examined(body: Node, question: CedarRequest) -> tuple[Condition, ...]:
    """Return a policy's conditions with their states; none if it is nested too deeply."""
    try:
        texts = [(render(node), node) for node in conditions(body)]
    except RecursionError:
        return ()
    return tuple(
        Condition(text, state_of(f"permit{_SCOPE} when {{ {text} }};", question), node)
        for text, node in texts
    )


def state_of(text: str, question: CedarRequest) -> State:
    """Return whether one policy applies to the question, without a person's approval."""
    result = question.put_to(PolicySet.from_str(text), cosigned=False)
    if result.diagnostics.errors or result.decision is CedarDecision.NoDecision:
        return "fails"
    return "holds" if result.diagnostics.reasons else "does not hold"


def _scope(body: Node) -> Iterator[Node]:
    for name in ("principal", "action", "resource"):
        scope, subject = body[name], {"Var": name}
        match scope:
            case {"op": "is", "entity_type": kind, "in": {"entity": entity}}:
                yield {"is": {"left": subject, "entity_type": kind, "in": _entity(entity)}}
            case {"op": "is", "entity_type": kind}:
                yield {"is": {"left": subject, "entity_type": kind}}
            case {"op": operator, "entity": entity}:
                yield {operator: {"left": subject, "right": _entity(entity)}}
            case {"op": operator, "entities": entities}:
                members = [_entity(each) for each in entities]
                yield {operator: {"left": subject, "right": {"Set": members}}}


def _entity(entity: Any) -> Node:
    return {"Value": {"__entity": entity}}


def _parts(node: Node, *, negated: bool) -> Iterator[Node]:
    """Yield the parts of an expression that must all hold; iterative, as a chain can be long."""
    remaining = [(node, negated)]
    while remaining:
        each, no = remaining.pop()
        match each:
            case {"&&": sides} if not no:
                remaining += [(sides["right"], no), (sides["left"], no)]
            case {"||": sides} if no:
                remaining += [(sides["right"], no), (sides["left"], no)]
            case {"!": {"arg": inner}}:
                remaining.append((inner, not no))
            case _:
                yield {"!": {"arg": each}} if no else each


def mentions(node: Node, *path: str) -> bool:
    """Whether the condition reads `path`, such as context, now."""
    return any(read_path(each) == path for each in nodes({"conditions": [node]}))
