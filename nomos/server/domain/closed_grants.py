"""Closed grants: grants for services of which policy allows every possible call. Pure.

A service that verifies tokens itself evaluates no policy. So a field that a command has no value
for is signed as absent, and policy must not read what stays open (a folder, fields of a prefix,
arguments): otherwise the question is denied, and the deny says which fields to name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from nomos.errors import InvalidRequest
from nomos.policy import grant_closure
from nomos.policy.bundle import Bundle
from nomos.policy.decision import Closure, PolicyQuestion
from nomos.policy.grant_closure import ARGS, PATH, GrantedCalls
from nomos.policy.terms import start_of
from nomos.resources import Provider, canonical_resource, find_command
from nomos.server.domain.authorization import CanonicalRequest

MAX_NAMED: Final = 6
"""The maximum number of fields, and of policies of each, in a message."""

_FIELD: Final = re.compile(r'\.resource(?:\.([a-z][a-z0-9_]*)|\["([a-z][a-z0-9_]*)"\])')


def closure_of(
    bundle: Bundle,
    inquiry: PolicyQuestion,
    question: CanonicalRequest,
    held: Sequence[Any],
    *,
    exact: bool,
) -> Closure:
    """Return whether policy allows every call of the grant that would be signed.

    `held` are the statements of the question's chain; `exact` is true if operators approved it and
    it is signed as one call. If policy allows more with bound arguments, `whole_args` is true.
    """
    grant = covered(bundle, question, [*held, *question.pol], exact=exact)
    asked_for = replace(inquiry, resource=grant.resource)
    found = grant_closure.closure(bundle, asked_for, grant, cosigned=exact)
    if not found.closed or args_bound(question, exact=exact) == inquiry.args_bound:
        return found
    open_args = replace(asked_for, args_bound=False)
    loose = grant_closure.closure(bundle, open_args, grant, cosigned=exact)
    same = loose.closed and loose.forkable == found.forkable
    return loose if same else replace(found, whole_args=True)


def args_bound(
    question: CanonicalRequest, *, exact: bool = False, whole_args: bool = False
) -> bool:
    """Return whether every call has the question's arguments only; a read may have others."""
    if question.args is None:
        return False
    return exact or whole_args or question.spec is None or question.spec.risk != "read"


def covered(
    bundle: Bundle, question: CanonicalRequest, pol: Sequence[Any], *, exact: bool = False
) -> GrantedCalls:
    """Return what all calls of a grant have in common, given further statements that it signs."""
    pinned = _pinned(question, pol)
    resource, folder = dict(question.resource), False
    if PATH in resource and not exact:
        one = pinned.get(PATH)
        folder = one is None or not f"{one}/".startswith(start_of(resource[PATH]))
        resource[PATH] = resource[PATH] if folder else one
    if not question.commands:
        return GrantedCalls((question.command,), resource, folder=folder)
    resource = {**pinned, **resource}
    taken: set[str] = set()
    for command in question.commands:
        found = find_command(bundle.catalog, command)
        taken |= set((*found[1].resource, *found[1].optional) if found else ())
    return GrantedCalls(question.commands, resource, frozenset(taken - set(resource)), folder)


def statements(bundle: Bundle, question: CanonicalRequest, pol: Sequence[Any]) -> list[list[Any]]:
    """Return the statements that close a grant: its calls have no field that was not named."""
    grant = covered(bundle, question, pol)
    if not question.commands and not grant.folder and grant.resource == question.resource:
        return [["==", ".resource", dict(question.resource)]]
    absent = set(question.provider.fields) - set(grant.resource) - grant.open
    return [["==", f".resource.{name}?", None] for name in sorted(absent)]


def _pinned(question: CanonicalRequest, pol: Sequence[Any]) -> dict[str, Any]:
    """Return the fields that statements require to be one canonical value; of two, the first."""
    found: dict[str, Any] = {}
    for name, value in _equal(pol):
        if name not in found and _is_canonical(question.provider, name, value):
            found[name] = value
    return found


def _equal(pol: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for statement in pol:
        match statement:
            case ["and" | "or", [one]]:
                yield from _equal([one])
            case ["and", [*several]]:
                yield from _equal(several)
            case ["==", ".resource", dict() as fields]:
                yield from fields.items()
            case ["==", str(selector), value] if match := _FIELD.fullmatch(selector):
                yield match[1] or match[2], value


def _is_canonical(provider: Provider, name: str, value: Any) -> bool:
    if name not in provider.fields:
        return False
    try:
        read = canonical_resource(provider, {"provider": provider.name, name: value})
    except InvalidRequest:
        return False
    return bool(read[name] == value) and type(read[name]) is type(value)


def sentence(question: CanonicalRequest, closure: Closure) -> str:
    """Return a message with the open fields, the policies that read them, and what to do."""
    if not closure.open:
        return f"policy does not allow all of its calls: {', '.join(closure.policies[:MAX_NAMED])}"
    by: dict[str, list[str]] = {}
    for each in closure.open:
        by.setdefault(each.field, []).append(each.policy)
    open_fields = "; ".join(
        f"{name} ({', '.join(policies[:MAX_NAMED])}{', ...' if policies[MAX_NAMED:] else ''})"
        for name, policies in list(by.items())[:MAX_NAMED]
    )
    return (
        "a service evaluates no policy, so its grant must not leave open what policy reads. "
        f"Open here: {open_fields}. {' '.join(_remedies(question, by))}"
    )


def _remedies(question: CanonicalRequest, by: Mapping[str, Any]) -> Iterator[str]:
    path = f"resource.{PATH}"
    if path in by and PATH in question.resource:
        value = question.resource[PATH]
        yield (
            "A path covers everything under it: add the constraint "
            f"eq('.resource.{PATH}', {value!r}) for exactly this one."
        )
    there = {f"resource.{name}" for name in question.resource} | {ARGS}
    names = [name for name in by if name not in there]
    if names:
        yield f"Name {' and '.join(names[:MAX_NAMED])} in the resource."
    if ARGS in by:
        yield "Give args, which binds them."
    if question.commands:
        yield "Or ask for one command at a time."
