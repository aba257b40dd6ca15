"""An approval envelope: one question for operators, its votes and its states. Pure.

    pending --- every named role approved ---> approved --- one allow ---> consumed
       |
       +------ one operator denied ---> denied

Pending and approved ones expire 15 minutes after the question, or when policy says (`@expires`). An
envelope is bound to one question by a fingerprint of everything except the purpose. The agent must
repeat exactly that question to use the approval; otherwise the reply names the parts that differ.

Its `version` is the hash of everything that operators are shown, the purpose and the roles
included. A vote names the version, and counts for that one alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from nomos._json import same
from nomos._times import in_words
from nomos.audit.canonical import canonical
from nomos.server.domain.accounts import EVERY_ROLE

LIFE_SECONDS: Final = 15 * 60
"""Seconds from the question until its approval can no longer be given or used, unless policy
sets another time (`@expires`)."""

DENIAL_SECONDS: Final = 15 * 60
"""How long after a denial the same question is denied without asking operators, in seconds."""

AHEAD_SECONDS: Final = 60
"""How far in the future a creation time may lie, in seconds: clocks are corrected by seconds."""

MAX_PENDING: Final = 20
"""The maximum number of an app's pending questions: operators must be able to read them all."""

Kept = Literal["pending", "approved", "denied", "consumed"]
State = Literal["pending", "approved", "denied", "expired", "consumed"]


@dataclass(frozen=True)
class Vote:
    """One operator's vote; `roles` are the named roles that it counts for.

    `stands` is true while that operator is not disabled and may vote on this app's questions. An
    approval counts only for the `version` that was shown. `persons` are the accounts that the
    operator counts as (`account_lines`).
    """

    operator: str
    approve: bool
    roles: tuple[str, ...]
    at: int
    reason: str | None = None
    name: str = ""
    stands: bool = True
    version: str | None = None
    persons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Envelope:
    """One question for operators.

    `bound` is the content of the fingerprint, `sent` the args as the agent sent them, `roles` must
    all approve, `reason` is the policy's text, `receipt_id` the record of the question. Times are
    in Unix seconds. `owner` is the app of the operator who registered the asking app; `askers` are
    the accounts that this operator counts as, which may not vote.
    """

    id: str
    tenant: str
    app: str
    fingerprint: str
    bound: Mapping[str, Any]
    roles: tuple[str, ...]
    policies: tuple[str, ...]
    receipt_id: str
    created_at: int
    expires_at: int
    state: Kept = "pending"
    sent: Mapping[str, Any] | None = None
    purpose: str | None = None
    reason: str | None = None
    decided_at: int | None = None
    consumed_at: int | None = None
    votes: tuple[Vote, ...] = ()
    app_name: str = ""
    owner: str | None = None
    askers: tuple[str, ...] = ()
    revoked: bool = False

    @property
    def version(self) -> str:
        """The sha256 of everything that operators are shown of the question."""
        return fingerprint(
            {
                "id": self.id,
                "bound": dict(self.bound),
                "sent": None if self.sent is None else dict(self.sent),
                "purpose": self.purpose,
                "roles": list(self.roles),
                "policies": list(self.policies),
                "reason": self.reason,
                "expires": self.expires_at,
            }
        )

    def counts(self, vote: Vote) -> bool:
        """Return whether a vote is an approval of this version by an operator who may vote."""
        return (
            vote.approve
            and vote.stands
            and vote.version == self.version
            and not {vote.operator, *vote.persons} & {*self.askers}
        )

    def state_at(self, now: int) -> State:
        """Return the public state; a revoked envelope is denied."""
        if self.state in ("denied", "consumed"):
            return self.state
        if self.revoked:
            return "denied"
        return self.state if self.alive_at(now) else "expired"

    def alive_at(self, now: int) -> bool:
        """Return whether it can be voted on and used at that time.

        False if its creation time lies in the future, because a clock was ahead: it would live too
        long.
        """
        return self.created_at <= now + AHEAD_SECONDS and now < self.expires_at

    @property
    def approved_roles(self) -> tuple[str, ...]:
        """The named roles with an approval."""
        given = {role for vote in self.votes if self.counts(vote) for role in vote.roles}
        return tuple(role for role in self.roles if role in given)

    @property
    def missing_roles(self) -> tuple[str, ...]:
        """The named roles without an approval."""
        given = self.approved_roles
        return tuple(role for role in self.roles if role not in given)

    @property
    def denial(self) -> Vote | None:
        """The vote that denied it."""
        return next((vote for vote in self.votes if not vote.approve), None)

    @property
    def asked_again_at(self) -> int | None:
        """Until when the same question is denied after its denial; None if it was not denied."""
        denied = self.state == "denied" and self.decided_at is not None
        return (self.decided_at or 0) + DENIAL_SECONDS if denied else None


def fingerprint(bound: Mapping[str, Any]) -> str:
    """Return the sha256 of a question's canonical form."""
    return hashlib.sha256(canonical(dict(bound))).hexdigest()


def action_hash(bound: Mapping[str, Any]) -> str:
    """Return the sha256 of the action, for any agent and wording: of tenant and command.

    A denial also applies to later questions with this hash and the same resource (`same_resource`).
    Arguments are ignored: which of them make it another action differs between providers.
    """
    return fingerprint({name: bound.get(name) for name in ("tenant", "command")})


def same_resource(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether the fields of both `bound` resources are equal; a missing one matches any."""
    one, other = then.get("resource") or {}, now.get("resource") or {}
    return all(same(one[name], other[name]) for name in one if name in other)


# Comparison of questions

_NAMES: Final = {"ttl": "ttlSeconds", "context": "context", "args": "args", "resource": "resource"}
_NESTED: Final = ("resource", "args", "context")


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths that differ between two questions: `command`, `args.title`, `ttlSeconds`."""
    return tuple(
        path
        for name in sorted({*then, *now})
        if not same(then.get(name), now.get(name))
        for path in _paths(name, then.get(name), now.get(name))
    )


def _paths(name: str, then: Any, now: Any) -> Iterator[str]:
    shown = _NAMES.get(name, name)
    if name not in _NESTED or not isinstance(then, Mapping) or not isinstance(now, Mapping):
        yield shown
        return
    for member in sorted({*then, *now}):
        both = member in then and member in now
        if not both or not same(then[member], now[member]):
            yield f"{shown}.{member}"


# Use of an approval

Use = Literal["ready", "pending", "denied", "expired", "consumed", "mismatch"]


@dataclass(frozen=True)
class ApprovalCheck:
    """Whether an envelope can be used now; `fields` are those that differ."""

    use: Use
    fields: tuple[str, ...] = ()


def check_approval(
    envelope: Envelope, bound: Mapping[str, Any], roles: Collection[str], now: int
) -> ApprovalCheck:
    """Return whether `envelope` approves this question, which needs the approval of `roles`."""
    fields = differences(envelope.bound, bound)
    if fields:
        return ApprovalCheck("mismatch", fields)
    state = envelope.state_at(now)
    if state != "approved":
        return ApprovalCheck(state)
    if not set(roles) <= set(envelope.approved_roles):
        return ApprovalCheck("mismatch", ("roles",))
    return ApprovalCheck("ready")


def answers(envelope: Envelope, roles: Collection[str], now: int) -> bool:
    """Return whether this envelope is the answer to the same question, asked again."""
    match envelope.state_at(now):
        case "pending":
            return True
        case "approved":
            return set(roles) <= set(envelope.approved_roles)
    until = envelope.asked_again_at
    return until is not None and now < until


def add_roles(envelope: Envelope, draft: Envelope) -> Envelope:
    """Return a pending envelope with the roles that policy requires by now, in addition.

    `draft` is the same question as it is asked now. The new roles must see the reason: the
    policies, their text, and the purpose, on which the policies may depend. Earlier approvals were
    for another version, and no longer count.
    """
    then, now = envelope.reason, draft.reason
    reason = f"{then}; {now}" if then and now and then not in now else now or then
    return replace(
        envelope,
        roles=tuple(sorted({*envelope.roles, *draft.roles})),
        policies=tuple(sorted({*envelope.policies, *draft.policies})),
        reason=reason,
        purpose=draft.purpose,
        expires_at=min(envelope.expires_at, draft.expires_at),
    )


# Voting

Refused = Literal["forbidden", "already_decided", "question_changed"]


@dataclass(frozen=True)
class Ballot:
    """An operator's vote on the `version` that was shown, before it is known if it counts.

    `covers` are the roles that the operator may vote for, `persons` the accounts that the operator
    counts as, besides their own.
    """

    operator: str
    covers: tuple[str, ...]
    approve: bool
    version: str = ""
    reason: str | None = None
    persons: tuple[str, ...] = ()


@dataclass(frozen=True)
class VoteError:
    """Why a vote does not count."""

    code: Refused
    message: str


def covered_roles(covers: Collection[str], roles: Collection[str]) -> tuple[str, ...]:
    """Return those of `roles` that an operator who covers `covers` may vote for."""
    return tuple(role for role in roles if EVERY_ROLE in covers or role in covers)


def vote_error(envelope: Envelope, ballot: Ballot, now: int) -> VoteError | None:
    """Return why this operator may not vote now, on any version; None if they may."""
    operator, covers = ballot.operator, ballot.covers
    if operator in (envelope.app, envelope.owner):
        message = (
            "you cannot decide this request: an app of your own sent it. Another operator must"
        )
        return VoteError("forbidden", message)
    same = sorted({operator, *ballot.persons} & {*envelope.askers})
    if same:
        message = (
            f"you cannot decide this request: {operator} counts as the same person as "
            f"{same[0]}, who is responsible for the app that sent it. If it is another person's "
            "account, an operator outside of its line confirms that (nomos apps confirm "
            f"{operator}), or it is confirmed on the server's machine: nomos operators confirm "
            f"{operator}"
        )
        return VoteError("forbidden", message)
    state = envelope.state_at(now)
    if state != "pending":
        return VoteError("already_decided", _decided(envelope, state))
    wanted = envelope.missing_roles if ballot.approve else envelope.roles
    if not covered_roles(covers, wanted):
        if any(vote.operator == operator and envelope.counts(vote) for vote in envelope.votes):
            message = f"you have approved this already; it still needs {' and '.join(wanted)}"
            return VoteError("forbidden", message)
        covered = ", ".join(covers) or "no role"
        message = f"this needs the role {' or '.join(wanted)}, and your API key covers {covered}"
        return VoteError("forbidden", message)
    return None


def version_error(envelope: Envelope, version: str) -> VoteError | None:
    """Return why a vote on this version does not count; None for the present version."""
    if version == envelope.version:
        return None
    message = (
        "the request has changed since it was shown to you, so your vote was not recorded. "
        "Read its current version, then vote"
    )
    return VoteError("question_changed", message)


def record_vote(envelope: Envelope, ballot: Ballot, now: int) -> tuple[Envelope, Vote]:
    """Record a vote without a `vote_error`. It replaces an earlier one of the same operator."""
    vote = Vote(
        operator=ballot.operator,
        approve=ballot.approve,
        roles=covered_roles(ballot.covers, envelope.roles),
        at=now,
        reason=ballot.reason,
        version=envelope.version,
        persons=ballot.persons,
    )
    others = tuple(each for each in envelope.votes if each.operator != ballot.operator)
    after = replace(envelope, votes=(*others, vote))
    if not ballot.approve:
        return replace(after, state="denied", decided_at=now), vote
    if not after.missing_roles:
        return replace(after, state="approved", decided_at=now), vote
    return after, vote


def _decided(envelope: Envelope, state: State) -> str:
    if state == "expired":
        return f"this expired at {in_words(envelope.expires_at)}; it can no longer be decided"
    if envelope.revoked and state == "denied" and envelope.state != "denied":
        return "this was revoked; it can no longer be decided"
    by = ", ".join(vote.name or vote.operator for vote in envelope.votes)
    word = "denied" if state == "denied" else "approved"
    sentence = f"this was {word} by {by} at {in_words(envelope.decided_at or 0)}"
    if envelope.consumed_at is not None:
        sentence += f", and used at {in_words(envelope.consumed_at)}"
    return sentence
