"""Closed grants: whether policy allows every call that a grant covers.

A service that verifies tokens itself does not decide by policy. So a grant for it must be closed:
for every value that the grant leaves open, policy would allow the call. Each policy is evaluated
with the open values unknown; a folder is evaluated as itself and as the paths under it. Time and
rate are those of the question.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from cedarpy import Decision as CedarDecision
from cedarpy import PolicySet

from nomos.policy import terms
from nomos.policy.bundle import Bundle, Policy
from nomos.policy.decide import CedarRequest, attributes_of, context_of
from nomos.policy.decision import Closure, Open, PolicyQuestion
from nomos.policy.partial import applies, partially_evaluated
from nomos.policy.terms import Attribute, Term, World
from nomos.resources import Provider

MAX_OPEN: Final = 32  # open fields that are listed at most
PATH: Final = "path"
"""The only field for which a constraint covers the paths under its value."""

ARGS: Final = "args"


@dataclass(frozen=True)
class GrantedCalls:
    """What all calls of a grant have in common.

    `resource` has the fields with one value each. `open` names those that a call may have, with any
    value, or not have. A call has no other fields. With `folder`, `path` covers the paths under its
    value as well.
    """

    commands: tuple[str, ...]
    resource: Mapping[str, Any]
    open: frozenset[str] = frozenset()
    folder: bool = False


def closure(
    bundle: Bundle, inquiry: PolicyQuestion, grant: GrantedCalls, *, cosigned: bool = False
) -> Closure:
    """Evaluate all calls of the grant, for its agent and its children; `cosigned`: approved."""
    apart: set[Open] = set()
    if _look(bundle, inquiry, grant, apart, cosigned=cosigned, forked=True):
        return Closure(closed=True, forkable=True)
    found: set[Open] = set()
    if not _look(bundle, inquiry, grant, found, cosigned=cosigned, forked=False):
        return _refused(found)
    return Closure(closed=True, policies=_refused(apart).policies)


def _look(
    bundle: Bundle,
    inquiry: PolicyQuestion,
    grant: GrantedCalls,
    found: set[Open],
    *,
    cosigned: bool,
    forked: bool,
) -> bool:
    """Whether every call is allowed; with `forked`, for any agent that may hold the grant."""
    closed = bool(grant.commands)
    for inside in (False, True) if grant.folder else (False,):
        case = _GrantCalls(bundle, inquiry, grant, cosigned=cosigned, forked=forked, inside=inside)
        closed = case.collect_open(found) and closed
    return closed


def _refused(found: set[Open]) -> Closure:
    policies = sorted({each.policy for each in found})
    opened = sorted(each for each in found if each.field)
    return Closure(closed=False, policies=tuple(policies[:MAX_OPEN]), open=tuple(opened[:MAX_OPEN]))


class _GrantCalls:
    """All calls of a grant, with their unknown values."""

    def __init__(
        self,
        bundle: Bundle,
        inquiry: PolicyQuestion,
        grant: GrantedCalls,
        *,
        cosigned: bool,
        forked: bool,
        inside: bool,
    ) -> None:
        self._bundle = bundle
        self._inquiry = inquiry
        self._commands = grant.commands
        self._cosigned = cosigned
        self._provider = bundle.catalog[inquiry.provider]
        resource = _resource(grant, self._provider, inside=inside)
        principal = _principal(inquiry, forked=forked)
        context = _context(bundle, inquiry, cosigned=cosigned)
        self._open = resource.fields | principal.fields | context.fields
        self._world = World(principal, _action(inquiry.command), resource, context, self._open)

    def collect_open(self, found: set[Open]) -> bool:
        """Return whether every such call is allowed; add to `found` what prevents it."""
        against, unsure = list[_PolicyOutcomes](), list[_PolicyOutcomes]()
        permitted: set[str] = set()
        for policy in self._bundle.policies:
            for seen in self._seen(policy):
                term = seen.term
                if term.fails or (policy.effect == "forbid" and term.holds is not False):
                    against.append(seen)
                elif policy.effect == "permit" and term.holds:
                    permitted.update(seen.commands)
                elif policy.effect == "permit" and term.fields:
                    unsure.append(seen)
        missing = [each for each in self._commands if each not in permitted]
        if missing:
            near = [each for each in unsure if not permitted.issuperset(each.commands)]
            against += [each for each in near if each.term.holds is None] or near
        for seen in against:
            # Without a field to name, the policy denies calls that leave nothing open.
            fields = seen.term.fields or self._open or {""}
            found.update(Open(seen.policy.name, each) for each in fields)
        return not missing and not against

    def _seen(self, policy: Policy) -> Iterator[_PolicyOutcomes]:
        """Yield a policy's outcome: for all commands together, or for each if it names some."""
        parts = partially_evaluated(policy.text)
        commands = [each for each in self._commands if parts.is_about(each)]
        if commands and not parts.by_action:
            yield _PolicyOutcomes(policy, commands, self._settled(policy, commands[0]))
            return
        for command in commands:
            yield _PolicyOutcomes(policy, [command], self._settled(policy, command))

    def _settled(self, policy: Policy, command: str) -> Term:
        """Return whether a policy applies; if that depends on nothing open, Cedar evaluates it."""
        term = applies(policy.text, replace(self._world, action=_action(command)))
        if term.fields or (term.holds is not None and not term.fails):
            return term
        question = CedarRequest(
            self._bundle, replace(self._inquiry, command=command), self._provider
        )
        result = question.put_to(PolicySet.from_str(policy.text), cosigned=self._cosigned)
        failed = bool(result.diagnostics.errors) or result.decision is CedarDecision.NoDecision
        return terms.truth(bool(result.diagnostics.reasons), terms.NOTHING, fails=failed)


@dataclass(frozen=True)
class _PolicyOutcomes:
    """The outcome of a policy for calls of these commands."""

    policy: Policy
    commands: Sequence[str]
    term: Term


def _resource(grant: GrantedCalls, provider: Provider, *, inside: bool) -> Term:
    known = attributes_of(provider, grant.resource)
    members: dict[str, Attribute] = {}
    for name, declared in provider.fields.items():
        fields = frozenset({f"resource.{name}"})
        if name in grant.open:
            members[name] = Attribute(terms.unknown(fields), True if declared.required else None)
        elif name == PATH and grant.folder:
            folder = str(grant.resource[PATH])
            within = Term(None, fields, folder=folder) if inside else terms.known(folder, fields)
            members[name] = Attribute(within)
        elif name in known:
            members[name] = Attribute(terms.known(known[name]))
    left = frozenset(f"resource.{name}" for name in grant.open)
    left |= {f"resource.{PATH}"} if grant.folder else terms.NOTHING
    ident = json.dumps(grant.resource, sort_keys=True)
    return Term(
        None if left else terms.entity(provider.kind, ident),
        left,
        members=members,
        kind=provider.kind,
        above=frozenset(),
    )


_OF_THE_AGENT: Final = ("principal", "delegationDepth", "invokedBy", "swarmId")
"""What differs for an agent that the grant is delegated to: not its app, and not its root."""


def _principal(asked: PolicyQuestion, *, forked: bool) -> Term:
    attributes = {
        "delegationDepth": asked.delegation_depth,
        "rootAgent": asked.root_agent or asked.agent,
        "invokedBy": list(asked.invoked_by),
        "swarmId": asked.swarm_id or "",
    }
    fields = frozenset({"principal"}) if forked else terms.NOTHING
    return Term(
        None if forked else terms.entity("Agent", asked.agent),
        fields,
        members={
            name: Attribute(
                terms.unknown(fields) if forked and name in _OF_THE_AGENT else terms.known(value)
            )
            for name, value in attributes.items()
        },
        kind="Agent",
        above=frozenset({terms.entity("App", asked.app)}),
    )


def _action(command: str) -> Term:
    segments = command[1:].split("/")
    groups = [f"/{'/'.join(segments[:end])}" for end in range(1, len(segments))]
    return Term(
        terms.entity("Action", command),
        kind="Action",
        above=frozenset(terms.entity("Action", each) for each in groups),
    )


def _context(bundle: Bundle, asked: PolicyQuestion, *, cosigned: bool) -> Term:
    context = {**context_of(bundle, asked), "cosigned": cosigned, "cosigner": cosigned}
    members = {name: Attribute(terms.known(each)) for name, each in context.items()}
    if asked.args_bound:
        return Term(members=members)
    # Each call may have arguments of its own; they are bound if the call is asked for exactly.
    args = frozenset({ARGS})
    return Term(None, args, members=members | {"argsBound": Attribute(terms.unknown(args))})
