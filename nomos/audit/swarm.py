"""Swarms as the audit log shows them: which agent delegated to which, and what each one did.

A swarm is named by its root agent, from which all others received their authority, directly or
not. The API returns these values, and `nomos swarm` prints them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from nomos._times import iso
from nomos.models import Absent, Value

_LAST: Final = 253402300799_999  # the last millisecond of the year 9999


class SwarmModel(Value):
    """Base of these values: camelCase in JSON, without absent members.

    Members that a newer server adds are ignored.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, extra="ignore", validate_by_name=True, validate_by_alias=True
    )

    def as_json(self) -> dict[str, Any]:
        """Return the value as plain JSON, with the names of the API."""
        return self.model_dump(by_alias=True, exclude_none=True)


class RevocationSummary(SwarmModel):
    """When something was revoked, with which app's key, and why."""

    at: str
    by: str | Absent = None
    reason: str | Absent = None
    receipt_id: str


class DelegationSummary(SwarmModel):
    """A delegation of `command` and all commands under it, on `resource`, restricted by `pol`.

    `by` is the agent that delegated, absent if the issuer signed it; `cid` identifies it for a
    revocation. `receipt_id` is its record, made when it was signed or first used.
    """

    command: str
    resource: dict[str, Any]
    pol: list[Any] = Field(default_factory=list)
    by: str | Absent = None
    cid: str | Absent = None
    at: str
    expires_at: str | Absent = None
    receipt_id: str
    revoked: RevocationSummary | Absent = None


class AgentAction(SwarmModel):
    """A question to the control plane (`decision`) or a call at the PDP (`call`).

    Equal actions are listed once, with their number; time and receipt are those of the last.
    """

    kind: Literal["decision", "call"]
    command: str | Absent = None
    resource: dict[str, Any] = Field(default_factory=dict)
    reason: str | Absent = None
    times: int
    last_at: str
    receipt_id: str


class Counts(SwarmModel):
    """How often the decision was allow, deny, and that a person must be asked."""

    allowed: int = 0
    refused: int = 0
    asked: int = 0


class AgentSummary(SwarmModel):
    """One agent: its parent, its delegations, and its actions.

    `forked_by` is the agent from which it first received authority. Of the issuer's grants, `given`
    has those that were delegated further or revoked. `allowed`, `refused` and `asked` (a person
    must be asked) are its latest actions, newest first; `unlisted` counts the others.
    """

    agent: str
    forked_by: str | Absent = None
    depth: int
    given: list[DelegationSummary]
    decisions: Counts
    calls: Counts
    allowed: list[AgentAction]
    refused: list[AgentAction]
    asked: list[AgentAction]
    unlisted: int = 0
    last_at: str | Absent = None
    revoked: RevocationSummary | Absent = None


class SwarmSummary(SwarmModel):
    """A swarm without its members. `depth` is the number of delegations to its deepest agent.

    `revoked` counts the revoked delegations and agents. `complete` is false if only a part of the
    log was read, so that counts are too low.
    """

    root: str
    labels: list[str]
    apps: list[str]
    agents: int
    depth: int
    decisions: Counts
    calls: Counts
    revoked: int
    first_at: str
    last_at: str
    complete: bool = True


class Swarm(SwarmSummary):
    """A swarm with its members: the root agent first, every other agent after its parent.

    `unverified_agents` are agents without a verified link on record: the chains that they sent were
    another agent's, too wide, or expired.
    """

    members: list[AgentSummary]
    unverified_agents: list[AgentSummary] = Field(default_factory=list)

    def summary(self) -> SwarmSummary:
        """Return the swarm without its members."""
        return SwarmSummary(**{name: getattr(self, name) for name in SwarmSummary.model_fields})


def recorded_at(at: object, *, unit: int = 1) -> str:
    """Return a time, `unit` ms each, as `2026-05-23T18:12:00.000Z`; the nearest valid otherwise."""
    whole = max(0, min(at * unit if type(at) is int else 0, _LAST))
    moment = datetime.fromtimestamp(whole // 1000, UTC)
    return iso(moment.replace(microsecond=whole % 1000 * 1000))
