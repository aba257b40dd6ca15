"""Grants for services that are still valid, compared with other policies. Pure.

A service evaluates no policy, so its grants stay valid when the policies change. The operator who
activates policies receives the grants that the new ones would not give, and can revoke them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from nomos.policy.bundle import Bundle
from nomos.policy.decision import Open, PolicyDecision, PolicyQuestion
from nomos.policy.grant_closure import GrantedCalls, closure
from nomos.resources import find_command
from nomos.server.domain import closed_grants, decision
from nomos.server.domain.authorization import Evaluation


@dataclass(frozen=True)
class ServiceGrant:
    """One delegation for a service; `text` is the question and the coverage, as JSON."""

    tenant: str
    cid: str
    app: str
    agent: str
    audience: str
    receipt: str
    expires_at: int
    text: str


@dataclass(frozen=True)
class OutdatedIssue:
    """A live grant that policies would no longer give, with the policies against it.

    `delegated`: they would give it to the agent, but not to every agent that it is delegated to.
    """

    grant: ServiceGrant
    command: str
    resource: dict[str, Any]
    policies: tuple[str, ...]
    open: tuple[Open, ...]
    delegated: bool


def stored_grant(
    case: Evaluation, policy_decision: PolicyDecision, cid: str, *, exact: bool
) -> ServiceGrant:
    """Return what is stored of a grant that is signed for a service."""
    question = case.question
    held = case.origin.held.pol if case.origin.held else []
    covered = closed_grants.covered(case.bundle, question, [*held, *question.pol], exact=exact)
    bound = closed_grants.args_bound(question, exact=exact, whole_args=policy_decision.whole_args)
    content = {
        "inquiry": asdict(replace(decision.inquiry(case), args_bound=bound, now=0)),
        "grant": {**asdict(covered), "open": sorted(covered.open)},
        "cosigned": exact,
        "forkable": policy_decision.forkable,
    }
    return ServiceGrant(
        tenant=case.caller.tenant,
        cid=cid,
        app=case.caller.app,
        agent=case.agent,
        audience=question.audience or "",
        receipt=case.receipt,
        expires_at=case.expires,
        text=json.dumps(content),
    )


def outdated(bundle: Bundle, grant: ServiceGrant, now: int) -> OutdatedIssue | None:
    """Return why `bundle` would not give this grant; None if it would. `now` is in Unix seconds.

    A grant that another version of Nomos stored in another form counts as one that it would not
    give.
    """
    try:
        content = json.loads(grant.text)
        covered = _covered(content["grant"])
        question = PolicyQuestion(**{**content["inquiry"], "now": now})
        approved, forkable = bool(content["cosigned"]), bool(content["forkable"])
    except (KeyError, TypeError, ValueError):
        return OutdatedIssue(grant, "", {}, (), (), delegated=False)
    found = None
    if all(find_command(bundle.catalog, each) for each in covered.commands):
        found = closure(bundle, question, covered, cosigned=approved)
        if found.closed and (found.forkable or approved or not forkable):
            return None
    return OutdatedIssue(
        grant=grant,
        command=question.command,
        resource=dict(covered.resource),
        policies=found.policies if found else (),
        open=found.open if found else (),
        delegated=found is not None and found.closed,
    )


def _covered(content: dict[str, Any]) -> GrantedCalls:
    return GrantedCalls(
        commands=tuple(content["commands"]),
        resource=content["resource"],
        open=frozenset(content["open"]),
        folder=bool(content["folder"]),
    )
