"""Step-up: the answer when policy requires an operator's approval.

Without an approval, the question becomes an approval request, once however often it is asked. With
one, the approval must be for exactly this question, given for every role that policy requires now,
and not used yet. Then the allow is signed; the use of the approval, the record and the answer are
written in one transaction. If another process changed the approval first, the signed token is
dropped and the approval is read again.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from nomos._times import in_words
from nomos.policy.bundle import Policy
from nomos.policy.decision import PolicyDecision
from nomos.server.control import approval_view
from nomos.server.control.context import Context
from nomos.server.control.errors import ControlError, shown, unavailable
from nomos.server.control.signing import complete, delegate
from nomos.server.domain import decision, envelope
from nomos.server.domain.authorization import Evaluation, Reply, StoredAnswer
from nomos.server.domain.envelope import ApprovalCheck, Envelope
from nomos.server.domain.token_claims import ApprovalStamp
from nomos.server.storage.approval_lookup import ApprovalLookup
from nomos.server.storage.envelopes import AnswerRecord
from nomos.server.storage.identifiers import new_ident

TRIES: Final = 3
"""How often an approval is read again after another process changed it."""

Answered = Reply | StoredAnswer
"""A recorded reply, or the answer that was stored for this question's key in the meantime."""


async def step_up(context: Context, case: Evaluation, policy_decision: PolicyDecision) -> Answered:
    """Make an approval request of the question, or use the approval that it names."""
    if case.question.cosigner is None:
        return await _ask(context, case, policy_decision)
    for _ in range(TRIES):
        found = await context.store.envelopes.find(case.caller.tenant, case.question.cosigner)
        if found is None or found.app != case.caller.app:
            return await _deny(context, case, _not_found(case, policy_decision), None)
        check = envelope.check_approval(
            found, case.bound, policy_decision.roles, int(context.clock())
        )
        match check.use:
            case "ready":
                used = await _use(context, case, policy_decision, found)
                if used is not None:
                    return used
            case "pending":
                return await _ask(context, case, policy_decision)
            case "expired":
                return await _ask(context, case, policy_decision, expired=found)
            case _:
                return await _deny(context, case, _refused(policy_decision, found, check), found)
    raise unavailable("other processes are changing this approval; ask again")


async def _ask(
    context: Context,
    case: Evaluation,
    policy_decision: PolicyDecision,
    *,
    expired: Envelope | None = None,
) -> Answered:
    """Answer with the envelope of this question; make one if there is none."""
    bound = case.bound
    draft = Envelope(
        id=new_ident("env", case.at),
        tenant=case.caller.tenant,
        app=case.caller.app,
        fingerprint=envelope.fingerprint(bound),
        bound=bound,
        sent=None if case.question.args is None else case.question.sent,
        purpose=case.question.purpose,
        roles=policy_decision.roles,
        policies=policy_decision.policies,
        reason=_reasons(case, policy_decision),
        receipt_id=case.receipt,
        created_at=case.now,
        expires_at=case.now + _life(case, policy_decision),
    )
    make_answer = partial(_answer_record, context.control_url, case, policy_decision, expired)
    show = partial(approval_view.view, context.control_url)
    lookup = await context.store.envelopes.ask(draft, make_answer, show)
    if isinstance(lookup, StoredAnswer):
        return lookup
    if lookup.kind == "full":
        raise ControlError("rate_limited", _TOO_MANY, headers={"retry-after": "60"})
    if lookup.changed:
        context.notifier.notify(f"approvals:{case.caller.tenant}")
        context.notifier.notify("outbox")
    return await complete(context, case.question, make_answer(lookup).stored)


def _asking(case: Evaluation, policy_decision: PolicyDecision) -> list[Policy]:
    """Return the policies that require the approval."""
    return [each for each in case.bundle.policies if each.name in policy_decision.policies]


def _life(case: Evaluation, policy_decision: PolicyDecision) -> int:
    """Return how long the request stays open, in seconds: the shortest time of its policies."""
    lifetimes = [
        each.expires for each in _asking(case, policy_decision) if each.expires is not None
    ]
    return min(lifetimes, default=envelope.LIFE_SECONDS)


def _reasons(case: Evaluation, policy_decision: PolicyDecision) -> str | None:
    """Return the reasons that those policies give."""
    policies = _asking(case, policy_decision)
    return "; ".join(sorted({each.reason for each in policies if each.reason})) or None


_TOO_MANY: Final = (
    f"{envelope.MAX_PENDING} questions of this app are pending, the maximum: ask again when "
    "some of them are decided"
)


def _answer_record(
    control_url: str,
    case: Evaluation,
    policy_decision: PolicyDecision,
    expired: Envelope | None,
    lookup: ApprovalLookup,
) -> AnswerRecord:
    """Return the record and the answer for the envelope of this question."""
    found = lookup.envelope
    if found.state == "denied":
        own = found.app == case.caller.app
        policy_decision = (
            _refused(policy_decision, found, ApprovalCheck("denied"))
            if own
            else _elsewhere(policy_decision, found)
        )
        record = case.record(policy_decision, found if own else None)
        return AnswerRecord(record, case.stored(record, decision.deny(record.id, policy_decision)))
    policy_decision = replace(
        policy_decision,
        reason="step_up_required" if expired is None else "approval_expired",
        message=_pending(found, expired),
    )
    record = case.record(policy_decision, found)
    url = approval_view.url(control_url, found.id)
    answer = decision.step_up(record.id, policy_decision, found.id, url, found.expires_at)
    return AnswerRecord(record, case.stored(record, answer))


def _pending(found: Envelope, expired: Envelope | None) -> str:
    sentences = []
    if expired is not None:
        when = in_words(expired.expires_at)
        sentences.append(f"Approval {expired.id} expired at {when}; this is a new question.")
    if found.missing_roles:
        why = f": {found.reason}" if found.reason else ""
        sentences.append(f"A person must approve this ({', '.join(found.missing_roles)}){why}.")
    else:
        sentences.append(f"This is approved: ask again with cosignerEnvelopeId {found.id}.")
    return " ".join(sentences)


async def _use(
    context: Context, case: Evaluation, policy_decision: PolicyDecision, found: Envelope
) -> Answered | None:
    """Sign what was approved and use the approval. Return None if it was changed meanwhile."""
    # The text that operators read is signed and recorded, not the agent's present text.
    case = case.with_purpose(found.purpose)
    audience = case.question.audience or context.pdp_did
    row = case.record(PolicyDecision("allow", None, policy_decision.policies), found)
    approval = ApprovalStamp(found.id, found.fingerprint, found.approved_roles)
    signed = await delegate(context, case, row, policy_decision, approval)
    row = replace(row, cid=signed.cid, expires_at=case.expires)
    answer = decision.allow(case.question, row.id, audience, signed.jwt, case.expires)
    stored = case.stored(row, answer)
    reply = await complete(context, case.question, stored)
    subjects = (case.caller.app, case.agent, *case.origin.ids)
    used = await context.store.envelopes.consume(found.id, AnswerRecord(row, stored), subjects)
    if isinstance(used, StoredAnswer):
        return used
    if not used:
        return None
    context.notifier.notify(f"approval:{found.id}")
    context.notifier.notify(f"approvals:{found.tenant}")
    return reply


async def _deny(
    context: Context, case: Evaluation, policy_decision: PolicyDecision, found: Envelope | None
) -> Answered:
    row = case.record(policy_decision, found)
    stored = case.stored(row, decision.deny(row.id, policy_decision))
    earlier = await context.store.record_answer(row, stored)
    return earlier or await complete(context, case.question, stored)


def _not_found(case: Evaluation, policy_decision: PolicyDecision) -> PolicyDecision:
    """Return the deny for an unknown approval; another app's approval gets the same words."""
    message = (
        f"this app has no approval {shown(case.question.cosigner or '')}: an approval is valid "
        "only for the app that asked"
    )
    return PolicyDecision("deny", "approval_not_found", policy_decision.policies, message)


def _refused(
    policy_decision: PolicyDecision, found: Envelope, check: ApprovalCheck
) -> PolicyDecision:
    """Return the deny for an approval that cannot be used."""
    match check.use:
        case "consumed":
            at = "" if found.consumed_at is None else f" at {in_words(found.consumed_at)}"
            message = f"approval {found.id} was already used{at}; request a new one"
            return PolicyDecision(
                "deny", "approval_already_used", policy_decision.policies, message
            )
        case "mismatch":
            message = _mismatch(policy_decision, found, check.fields)
            fields = tuple(shown(field)[1:-1] for field in check.fields)
            return PolicyDecision(
                "deny", "approval_mismatch", policy_decision.policies, message, fields=fields
            )
    if found.revoked:
        message = f"approval {found.id} was revoked"
        return PolicyDecision("deny", "revoked", policy_decision.policies, message)
    return PolicyDecision("deny", "approval_denied", policy_decision.policies, _denied(found))


def _elsewhere(policy_decision: PolicyDecision, found: Envelope) -> PolicyDecision:
    """Return the deny for an action that was denied to another app, without its details."""
    until = found.asked_again_at
    again = "" if until is None else f". It can be asked again after {in_words(until)}"
    message = f"a person denied this to another app of this tenant{again}"
    return PolicyDecision("deny", "approval_denied", policy_decision.policies, message)


def _denied(found: Envelope) -> str:
    vote, until = found.denial, found.asked_again_at
    who = ", ".join(vote.roles) if vote is not None else ""
    at = "" if found.decided_at is None else f" at {in_words(found.decided_at)}"
    why = f': "{vote.reason}"' if vote is not None and vote.reason else ""
    again = "" if until is None else f". It can be asked again after {in_words(until)}"
    return f"a person{f' ({who})' if who else ''} denied this{at}{why}{again}"


MAX_NAMED: Final = 8


def _mismatch(policy_decision: PolicyDecision, found: Envelope, fields: tuple[str, ...]) -> str:
    if fields == ("roles",):
        missing = sorted(set(policy_decision.roles) - set(found.approved_roles))
        return (
            f"roles: policy now also requires the approval of {', '.join(missing)}, which "
            f"approval {found.id} does not have; ask without it"
        )
    some = ", ".join(shown(field)[1:-1] for field in fields[:MAX_NAMED])
    more = ", ..." if len(fields) > MAX_NAMED else ""
    message = (
        f"approval {found.id} is for another question: {some}{more} differs. Send exactly what "
        "was approved, or ask without it"
    )
    if "agentDid" in fields:
        message += (
            ". A process that was restarted has another key unless it has a persistent one: set "
            "agent_key_file or NOMOS_AGENT_KEY_FILE"
        )
    return message
