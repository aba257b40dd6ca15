"""The decision about one question: allow, deny, or requires_step_up.

Cedar evaluates the question at most twice. The first time without an approval: if that allows, the
decision is allow. If only step-ups forbid it, it is evaluated again as if a person had approved: if
that allows, a person must be asked. Everything else is a deny, and so is every error:

- Cedar skips a policy that fails while it is evaluated, and a skipped forbid would let
  through what it forbids. One such failure, in either pass, is `policy_error`.
- A forbid without `@step_up` beside a step-up is a deny.
- An agent without a permit is denied, and no approval is requested.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cedarpy import AuthzResult, Entities, PolicySet, is_authorized
from cedarpy import Decision as CedarDecision

from nomos.policy.bundle import Bundle, Policy
from nomos.policy.decision import PolicyDecision, PolicyQuestion
from nomos.resources import Provider, find_command

MAX_LONG: Final = 2**63 - 1  # the largest of Cedar's integers


def decide(bundle: Bundle, inquiry: PolicyQuestion) -> PolicyDecision:
    """Decide `inquiry`. Never raises: an evaluation error is `policy_error`, a deny."""
    try:
        return _decide(bundle, inquiry)
    except _EvaluationError as error:
        return PolicyDecision("deny", "policy_error", error.policies, message=str(error))
    except Exception as error:  # noqa: BLE001  (an unexpected error must be a deny)
        message = f"policy could not be evaluated ({type(error).__name__})"
        return PolicyDecision("deny", "policy_error", message=message)


def _decide(bundle: Bundle, inquiry: PolicyQuestion) -> PolicyDecision:
    found = find_command(bundle.catalog, inquiry.command)
    if found is None or found[0].name != inquiry.provider:
        message = f"{inquiry.command} is not a registered command of {inquiry.provider}"
        return PolicyDecision("deny", "command_unknown", message=message)
    question = CedarRequest(bundle, inquiry, found[0])
    allowed, policies = question.ask(cosigned=False)
    if allowed:
        return PolicyDecision("allow", policies=_names(policies))
    if not policies or any(policy.step_up is None for policy in policies):
        return _denied(inquiry, policies)
    lifted, remaining = question.ask(cosigned=True)
    if not lifted:
        return _denied(inquiry, remaining)
    roles = {policy.step_up for policy in policies if policy.step_up is not None}
    return PolicyDecision(
        "requires_step_up",
        "step_up_required",
        _names(policies),
        _reasons(policies) or f"requires the approval of: {', '.join(sorted(roles))}",
        tuple(sorted(roles)),
    )


def _denied(inquiry: PolicyQuestion, policies: Sequence[Policy]) -> PolicyDecision:
    names = _names(policies)
    if policies:
        message = _reasons(policies) or f"forbidden by {', '.join(names)}"
    else:
        message = f"no policy permits {inquiry.command} here"
    return PolicyDecision("deny", "policy_denied", names, message=message)


def _names(policies: Sequence[Policy]) -> tuple[str, ...]:
    return tuple(sorted(policy.name for policy in policies))


def _reasons(policies: Sequence[Policy]) -> str:
    return "; ".join(sorted({policy.reason for policy in policies if policy.reason}))


class _EvaluationError(Exception):
    """Cedar's result cannot be relied on."""

    def __init__(self, message: str, policies: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.policies = policies


class CedarRequest:
    """A question as a Cedar request; its entities are parsed once for both passes."""

    def __init__(self, bundle: Bundle, inquiry: PolicyQuestion, provider: Provider) -> None:
        self._bundle = bundle
        agent = {"type": "Agent", "id": inquiry.agent}
        # A policy reads a resource's attributes and cannot name its id, so that may be constant.
        resource = {"type": provider.kind, "id": ""}
        entities = [
            {
                "uid": agent,
                "attrs": {
                    "delegationDepth": inquiry.delegation_depth,
                    "rootAgent": inquiry.root_agent or inquiry.agent,
                    "invokedBy": list(inquiry.invoked_by),
                    "swarmId": inquiry.swarm_id or "",
                },
                "parents": [{"type": "App", "id": inquiry.app}],
            },
            {"uid": resource, "attrs": attributes_of(provider, inquiry.resource), "parents": []},
        ]
        self._entities = Entities.from_json_str(json.dumps(entities), bundle.schema)
        self._request = {
            "principal": agent,
            "action": {"type": "Action", "id": inquiry.command},
            "resource": resource,
        }
        self._context = context_of(bundle, inquiry)

    def ask(self, *, cosigned: bool) -> tuple[bool, tuple[Policy, ...]]:
        """Return whether Cedar allows it, and the policies that determined this."""
        result = self.put_to(self._bundle.policy_set, cosigned=cosigned)
        _refuse_errors(self._bundle, result)
        reasons = tuple(self._bundle.by_id[each] for each in result.diagnostics.reasons)
        return result.decision is CedarDecision.Allow, reasons

    def put_to(self, policies: PolicySet, *, cosigned: bool) -> AuthzResult:
        """Return Cedar's result for the question with these policies only."""
        context = {**self._context, "cosigned": cosigned, "cosigner": cosigned}
        return is_authorized(
            {**self._request, "context": context}, policies, self._entities, self._bundle.schema
        )


def attributes_of(provider: Provider, resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resource's fields; a required one that its command does not take is ""."""
    fields = {name: "" for name, declared in provider.fields.items() if declared.required}
    return fields | {name: value for name, value in resource.items() if name != "provider"}


def context_of(bundle: Bundle, inquiry: PolicyQuestion) -> dict[str, Any]:
    """Return the Cedar context of a question, without the approval."""
    days, seconds = divmod(inquiry.now, 86_400)
    return {
        "argsBound": inquiry.args_bound,
        # Unix time began on a Thursday; Monday is 1 and Sunday 7, as in ISO 8601.
        "now": {"epoch": inquiry.now, "hour": seconds // 3600, "dayOfWeek": (days + 3) % 7 + 1},
        "purpose": inquiry.purpose or "",
        "agent": {
            name: inquiry.facts[name]
            for name, kind in bundle.facts.items()
            if name in inquiry.facts and _is(kind, inquiry.facts[name])
        },
        "rate": inquiry.rate,
    }


def _is(kind: str, value: object) -> bool:
    """Whether a fact has its declared type; policy does not see facts of other types."""
    if kind == "Long":
        return type(value) is int and -MAX_LONG - 1 <= value <= MAX_LONG
    if kind == "Bool":
        return isinstance(value, bool)
    if kind == "Set<String>":
        return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    return isinstance(value, str)


_POLICY_ID = re.compile(r"`(policy\d+)`")


def _refuse_errors(bundle: Bundle, result: AuthzResult) -> None:
    if result.decision is CedarDecision.NoDecision:
        raise _EvaluationError("the question does not match the policy schema")
    if result.diagnostics.errors:
        ids = set(_POLICY_ID.findall(" ".join(result.diagnostics.errors)))
        names = tuple(sorted(policy.name for policy in bundle.policies if policy.id in ids))
        failed = " and ".join(names)
        raise _EvaluationError(f"evaluation failed, so the call is denied: {failed}", names)
