"""Explanations of a decision: how each policy applies, and which changes would alter it.

Nothing is guessed. Cedar evaluates each policy, and each of its conditions, by itself. Every
suggested change was tried: `then` is the decision about the same question with that condition met,
that forbid lifted, or that permit added. `question` is another question, for which the unchanged
policies decide `answered`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from cedarpy import PolicySet

from nomos.policy.bundle import Bundle, Policy
from nomos.policy.conditions import (
    Condition,
    State,
    body_of,
    examined,
    mentions,
    state_of,
    without,
)
from nomos.policy.counterfactuals import counterfactuals
from nomos.policy.decide import CedarRequest, decide
from nomos.policy.decision import PolicyDecision, PolicyQuestion
from nomos.policy.tree import ACTION, RESOURCE, Node
from nomos.resources import find_command, nearest_command

MAX_NEAR: Final = 20
"""Suggested policies that nearly apply; those with the fewest unmet conditions come first."""

Kind = Literal["approve", "meet", "lift", "add", "mend", "forbid", "withdraw", "command"]


@dataclass(frozen=True)
class PolicyTrace:
    """How one policy applies to the question. `concerns`: it is about this command and type."""

    policy: Policy
    state: State
    conditions: tuple[Condition, ...]
    concerns: bool
    body: Node = field(repr=False)

    @property
    def unmet(self) -> tuple[Condition, ...]:
        """The conditions because of which it does not apply."""
        return tuple(each for each in self.conditions if each.state != "holds")


@dataclass(frozen=True)
class PolicyPart:
    """A policy, and those of its conditions that a change is about."""

    policy: Policy
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Suggestion:
    """One change that would alter the decision.

    approve    people of `roles` approve
    meet       the conditions of a permit hold; the forbids in `lifted` do not apply
    lift       these forbids do not apply: of each, one of its conditions does not hold
    add        a permit, `text`, is added; the forbids in `lifted` do not apply
    mend       these policies no longer fail
    forbid     the conditions of a forbid hold
    withdraw   none of these permits applies
    command    another command, `text`, is meant
    """

    kind: Kind
    parts: tuple[PolicyPart, ...] = ()
    lifted: tuple[Policy, ...] = ()
    roles: tuple[str, ...] = ()
    text: str | None = None
    then: PolicyDecision | None = None
    question: Mapping[str, Any] = field(default_factory=dict)
    answered: PolicyDecision | None = None


@dataclass(frozen=True)
class PolicyExplanation:
    """The decision, the policies that determined it, how all policies apply, and changes to it."""

    verdict: PolicyDecision
    determined: tuple[Policy, ...]
    looks: tuple[PolicyTrace, ...]
    changes: tuple[Suggestion, ...]


def explain(bundle: Bundle, inquiry: PolicyQuestion) -> PolicyExplanation:
    """Explain the decision about one question."""
    verdict = decide(bundle, inquiry)
    found = find_command(bundle.catalog, inquiry.command)
    if found is None:
        nearest = nearest_command(bundle.catalog, inquiry.command)
        changes = () if nearest is None else (Suggestion("command", text=nearest),)
        return PolicyExplanation(verdict, (), (), changes)
    if verdict.reason == "policy_error" and not verdict.policies:
        # Cedar could not evaluate the question at all.
        return PolicyExplanation(verdict, (), (), ())
    question = CedarRequest(bundle, inquiry, found[0])
    looks = tuple(_look(policy, question) for policy in bundle.policies)
    named = tuple(each for each in bundle.policies if each.name in verdict.policies)
    case = _ExplainedQuestion(bundle, inquiry, question, verdict, looks)
    return PolicyExplanation(verdict, named, looks, tuple(case.changes()))


def _look(policy: Policy, question: CedarRequest) -> PolicyTrace:
    body = body_of(policy.text)
    conditions = examined(body, question)
    elsewhere = any(
        each.state != "holds" and _is_about(each.node, ACTION, RESOURCE) for each in conditions
    )
    return PolicyTrace(policy, state_of(policy.text, question), conditions, not elsewhere, body)


def _is_about(node: Node, *subjects: Node) -> bool:
    """Whether the condition tests the command or the type only."""
    for operator in ("==", "in", "is"):
        if operator in node and node[operator].get("left") in subjects:
            return True
    return False


@dataclass(frozen=True)
class _ExplainedQuestion:
    """One question, its decision, and how every policy applies to it."""

    bundle: Bundle
    inquiry: PolicyQuestion
    question: CedarRequest
    verdict: PolicyDecision
    looks: tuple[PolicyTrace, ...]

    def changes(self) -> Iterator[Suggestion]:
        """Yield the changes that would alter the decision."""
        if self.verdict.reason == "policy_error":
            yield from self._mend()
        elif self.verdict.decision == "allow":
            yield from self._against()
        elif self.verdict.decision == "requires_step_up":
            yield self._approve()
            yield self._lift(self._named(self.verdict))
        else:
            yield from self._for()

    def _named(self, verdict: PolicyDecision) -> list[PolicyTrace]:
        return [each for each in self.looks if each.policy.name in verdict.policies]

    def _without(self, looks: Iterable[PolicyTrace]) -> Bundle:
        return _variant(self.bundle, {each.policy.name: None for each in looks})

    def _approve(self) -> Suggestion:
        _, policies = self.question.ask(cosigned=True)
        then = PolicyDecision("allow", policies=tuple(sorted(each.name for each in policies)))
        parts = tuple(PolicyPart(each.policy) for each in self._named(self.verdict))
        return Suggestion("approve", parts, roles=self.verdict.roles, then=then)

    def _lift(self, fired: Collection[PolicyTrace]) -> Suggestion:
        """Return the change under which none of these forbids applies, apart from an approval."""
        parts = tuple(
            PolicyPart(each.policy, tuple(one for one in each.conditions if _can_change(one.node)))
            for each in fired
        )
        change = Suggestion("lift", parts, then=decide(self._without(fired), self.inquiry))
        return self._with_question(change)

    def _for(self) -> Iterator[Suggestion]:
        """Yield what would change a deny: forbids first, then permits."""
        base, verdict, lifted = self.bundle, self.verdict, list[PolicyTrace]()
        while verdict.reason == "policy_denied" and verdict.policies:
            lifted += self._named(verdict)
            base = self._without(lifted)
            verdict = decide(base, self.inquiry)
        if lifted:
            yield self._lift(lifted)
        if verdict.reason == "policy_denied":
            away = tuple(each.policy for each in lifted)
            for look in self._near("permit"):
                yield self._met("meet", look, base, away)
            added = _suggested(self.bundle, self.inquiry)
            then = decide(_variant(base, {}, [added]), self.inquiry)
            yield Suggestion("add", lifted=away, text=added.text, then=then)

    def _against(self) -> Iterator[Suggestion]:
        """Yield what would change an allow."""
        permits = [
            each for each in self.looks if each.policy.effect == "permit" and each.state == "holds"
        ]
        then = decide(self._without(permits), self.inquiry)
        yield Suggestion("withdraw", tuple(PolicyPart(each.policy) for each in permits), then=then)
        for look in self._near("forbid"):
            yield self._met("forbid", look, self.bundle, ())

    def _near(self, effect: Literal["permit", "forbid"]) -> Iterable[PolicyTrace]:
        """Return the policies about this command that do not apply, the nearest first."""
        near = [
            each
            for each in self.looks
            if each.policy.effect == effect and each.concerns and each.unmet
        ]
        return sorted(near, key=lambda each: len(each.unmet))[:MAX_NEAR]

    def _met(
        self,
        kind: Literal["meet", "forbid"],
        look: PolicyTrace,
        base: Bundle,
        away: tuple[Policy, ...],
    ) -> Suggestion:
        unmet = [each.node for each in look.unmet]
        text = without(look.policy.effect, look.body, unmet)
        met = _variant(base, {look.policy.name: replace(look.policy, text=text)})
        part = PolicyPart(look.policy, look.unmet)
        change = Suggestion(kind, (part,), away, then=decide(met, self.inquiry))
        return self._with_question(change)

    def _mend(self) -> Iterator[Suggestion]:
        failing = self._named(self.verdict)
        # Evaluation stopped at the first unmet condition, if that one fails.
        parts = tuple(
            PolicyPart(each.policy, tuple(one for one in each.unmet[:1] if one.state == "fails"))
            for each in failing
        )
        yield Suggestion("mend", parts, then=decide(self._without(failing), self.inquiry))

    def _with_question(self, change: Suggestion) -> Suggestion:
        """Add a similar question with another decision, if one is found."""
        nodes = [each.node for part in change.parts for each in part.conditions]
        catalog, facts = self.bundle.catalog, self.bundle.facts
        for inquiry, edits in counterfactuals(nodes, self.inquiry, catalog, facts):
            answered = decide(self.bundle, inquiry)
            if (answered.decision, answered.reason) not in (
                (self.verdict.decision, self.verdict.reason),
                ("deny", "policy_error"),
            ):
                return replace(change, question=edits, answered=answered)
        return change


def _can_change(node: Node) -> bool:
    """Whether the condition is about more than the command and the approval."""
    cosigned = mentions(node, "context", "cosigned") or mentions(node, "context", "cosigner")
    return not cosigned and not _is_about(node, ACTION, RESOURCE)


def _suggested(bundle: Bundle, inquiry: PolicyQuestion) -> Policy:
    """Return the narrowest permit for the question: this command on exactly this resource."""
    provider, compared = bundle.catalog[inquiry.provider], []
    for name, value in inquiry.resource.items():
        if name != "provider":
            has = "" if provider.fields[name].required else f"resource has {name} && "
            compared.append(f"{has}resource.{name} == {json.dumps(value, ensure_ascii=False)}")
    when = f"\nwhen {{ {' && '.join(compared)} }}" if compared else ""
    taken = {each.name for each in bundle.policies}
    plain = inquiry.command.strip("/").replace("/", "-")
    names = (plain, *(f"{plain}-{number}" for number in range(2, len(taken) + 3)))
    name = next(each for each in names if each not in taken)
    text = (
        f'@id("{name}")\n'
        f'permit (principal, action == Action::"{inquiry.command}", '
        f"resource is {provider.kind}){when};"
    )
    return Policy("", name, "", 0, "permit", text=text)


def _variant(
    bundle: Bundle, changed: Mapping[str, Policy | None], added: Iterable[Policy] = ()
) -> Bundle:
    """Return the bundle with policies replaced or left out (None), by name, and others added."""
    kept = [changed.get(each.name, each) for each in bundle.policies]
    whole = [*(each for each in kept if each is not None), *added]
    # Cedar names the policies of a text by their order in it.
    policies = tuple(replace(each, id=f"policy{place}") for place, each in enumerate(whole))
    return replace(
        bundle,
        policies=policies,
        policy_set=PolicySet.from_str("\n".join(each.text for each in policies)),
        by_id=MappingProxyType({each.id: each for each in policies}),
    )
