"""Problems of policies as messages that say how to fix them.

Cedar validates policies against the schema and reports each problem once per action that a policy
could be about: thirty times for one field. Here each problem is reported once, with a hint for
common mistakes. Annotations are checked as well.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from cedarpy import Schema, validate_policies

from nomos.policy.tree import Node, missing, nodes, providers
from nomos.policy.unsatisfied import group, unknown_names, unsatisfied_conditions
from nomos.resources import Catalog, nearest_command, provider_name

MAX_NAME: Final = 200  # characters in an annotation's text
SHORTEST_QUESTION: Final = 60
LONGEST_QUESTION: Final = 24 * 3600  # seconds for which an approval may stay open
OURS: Final = ("id", "step_up", "reason", "expires")
"""Annotations with a meaning; others are the author's own, unless they are similar to these."""

_LIFETIME = re.compile(r"([1-9][0-9]{0,4})([smh])")

_PREFIX = re.compile(r"^for policy `policy\d+`, ")
_ACTION = re.compile(r'Action::"([^"]*)"')
_NO_ATTRIBUTE = re.compile(r"attribute `([^`]*)` on entity type `[^`]*` not found")
_NO_ACTION = re.compile(r'unrecognized action `Action::"([^"]*)"`')
_NO_TYPE = re.compile(r"unrecognized entity type")
_OPTIONAL = re.compile(
    r"unable to guarantee safety of access to optional attribute `([^`]*)`(?: on entity type)?"
)
_FOLLOWS = "unable to find an applicable action given the policy scope constraints"
_ELSEWHERE = "its YAML is passed with --providers (embedded: providers=)"


def schema_problems(
    policies: Sequence[tuple[str, Node]], schema: Schema, catalog: Catalog
) -> Iterator[tuple[int, str]]:
    """Yield the schema's problems with the index of the policy, given as its text and its JSON."""
    absent = [missing(body, catalog) for _, body in policies]
    found: dict[tuple[int, str], list[str]] = {}
    for error in validate_policies("\n".join(text for text, _ in policies), schema).errors:
        place = int(error.policy_id.removeprefix("policy"))
        message = _PREFIX.sub("", error.error)
        if not _stems(message, absent[place]):
            found.setdefault((place, _ACTION.sub("", message)), []).append(message)
    causes = {place for place, kind in found if kind != _FOLLOWS}
    for (place, kind), messages in found.items():
        if kind != _FOLLOWS or place not in causes:
            more = f" and {len(messages) - 1} more actions" if len(messages) > 1 else ""
            hint = _hint(messages[0], policies[place][1], catalog)
            yield place, min(messages) + more + hint


def _stems(message: str, absent: Collection[str]) -> bool:
    """Whether a missing provider is the cause, which `own_problems` reports."""
    unknown = _NO_ACTION.search(message)
    return bool(absent) and (unknown is None or provider_name(unknown.group(1)) in absent)


def _hint(message: str, body: Node, catalog: Catalog) -> str:
    if found := _NO_ATTRIBUTE.search(message):
        return _field_hint(found.group(1), catalog)
    if found := _NO_ACTION.search(message):
        near = nearest_command(catalog, found.group(1))
        return f"; did you mean {near}?" if near else ""
    if _NO_TYPE.search(message):
        kinds = [each.kind for each in catalog.values()]
        return f"; resources are {' or '.join(sorted(kinds))}; of another provider, {_ELSEWHERE}"
    if found := _OPTIONAL.search(message):
        return "; test first that it is there: `… has … && …`" + _always(found, body, catalog)
    if message == _FOLLOWS and body["action"]["op"] == "==":
        wrong = group(body["action"]["entity"]["id"], catalog)
        return f"; {wrong}" if wrong else ""
    return ""


def _field_hint(name: str, catalog: Catalog) -> str:
    kinds = [each.kind for each in catalog.values() if name in each.fields]
    if kinds:
        return f"; say which resources the policy is for: `resource is {min(kinds)}`"
    fields = {field for each in catalog.values() for field in each.fields}
    close = difflib.get_close_matches(name, sorted(fields), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _always(found: re.Match[str], body: Node, catalog: Catalog) -> str:
    """Suggest a restriction to a provider in which the optional field is required."""
    name = found.group(1)
    if not found.group().endswith("on entity type"):
        return ""
    for each in providers(body, catalog):
        if name in each.fields and each.fields[name].required:
            return (
                f"; or restrict the policy to resources that always have `{name}`: "
                f'`action in Action::"/{each.name}"` or `resource is {each.kind}`'
            )
    return ""


def own_problems(body: Node, attributes: Collection[str], catalog: Catalog) -> Iterator[str]:
    """Yield the problems of one parsed policy that the schema does not cover."""
    annotations = body.get("annotations", {})
    for key in ("id", "reason", "step_up"):
        text = annotations.get(key, "-")
        if not text or not text.isprintable() or len(text) > MAX_NAME:
            yield f'@{key} needs a text of 1 to {MAX_NAME} printable characters: @{key}("…")'
    if "step_up" in annotations and body["effect"] != "forbid":
        yield "@step_up is for a forbid; a permit cannot require an approval"
    elif "step_up" in annotations and not any(map(_reads_cosigned, nodes(body))):
        yield "no approval could lift this @step_up: add `unless { context.cosigned }`"
    yield from _expiry(annotations)
    for key in annotations:
        close = difflib.get_close_matches(key, OURS, n=1, cutoff=0.75)
        if key not in OURS and close:
            yield f"@{key} is unknown; did you mean @{close[0]}?"
    yield from unsatisfied_conditions(body, catalog)
    absent = missing(body, catalog)
    for name in absent:
        close = difflib.get_close_matches(name, catalog, n=1, cutoff=0.8)
        meant = f"did you mean `{close[0]}`? If not, " if close else ""
        yield f"there is no provider `{name}`; {meant}{_ELSEWHERE}"
    if not absent:
        yield from unknown_names(body, attributes)


def lifetime(text: str | None) -> int | None:
    """Return the seconds of an `@expires` (`90s`, `10m`, `2h`); None if it is invalid."""
    found = _LIFETIME.fullmatch(text or "")
    seconds = int(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0
    return seconds if SHORTEST_QUESTION <= seconds <= LONGEST_QUESTION else None


def _expiry(annotations: Mapping[str, Any]) -> Iterator[str]:
    if "expires" not in annotations:
        return
    if "step_up" not in annotations:
        yield "@expires is for a @step_up: it sets how long an approval stays open"
    elif lifetime(annotations["expires"]) is None:
        yield '@expires must be a time from one minute to a day: @expires("90s"), "10m" or "2h"'


_METHOD = re.compile(r"`(starts|ends)_?with` is not a valid", re.IGNORECASE)
_CALL = re.compile(r'(?:starts|ends)_?with\s*\(\s*"([^"\\*]*)"\s*\)', re.IGNORECASE)


def parse_hint(error: str, text: str) -> str:
    """Return how to write a method that Cedar does not have, if that is clear."""
    if not (method := _METHOD.search(error)):
        return ""
    call = _CALL.search(text)
    part = call.group(1) if call else "…"
    pattern = f"{part}*" if method.group(1).lower() == "starts" else f"*{part}"
    return f'; write `like "{pattern}"`'


def _reads_cosigned(node: Node) -> bool:
    """Whether this reads what an approval changes."""
    return node.get("left") == {"Var": "context"} and node.get("attr") in ("cosigned", "cosigner")
