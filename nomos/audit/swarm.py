"""A family of agents as the record shows it: who handed what to whom, and what each one did.

A family is named by its root agent, the one that the issuer gave authority to; the others got
theirs from it, hand to hand. These values are what the API answers, what `nomos swarm` prints
with `--json`, and what it draws trees from.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.json_schema import SkipJsonSchema

from nomos.models import Value

Absent = SkipJsonSchema[None]
"""A member that may be left out, but is never null."""

_LAST: Final = 253402300799_999
"""The last millisecond that a calendar with years of four digits has."""


class SwarmModel(Value):
    """Base of these values: camelCase outside, and what is absent is left out.

    Members that a newer server sends are no reason not to read the others.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, extra="ignore", validate_by_name=True, validate_by_alias=True
    )

    def as_json(self) -> dict[str, Any]:
        """It as plain JSON, by the names of the API."""
        return self.model_dump(by_alias=True, exclude_none=True)


class RevocationSummary(SwarmModel):
    """When something was taken back, by which app's key, and why."""

    at: str
    by: str | Absent = None
    reason: str | Absent = None
    receipt_id: str


class DelegationSummary(SwarmModel):
    """A delegation: `command` and all beneath it, on what `resource` covers, as far as `pol` lets.

    `by` is the agent that handed it on, absent where the issuer signed it; `cid` names it for a
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
    """What an agent asked the control plane (`decision`) or did at the PDP (`call`).

    Equal ones are one, with how often it was; the times and the receipt are those of the last.
    """

    kind: Literal["decision", "call"]
    command: str | Absent = None
    resource: dict[str, Any] = Field(default_factory=dict)
    reason: str | Absent = None
    times: int
    last_at: str
    receipt_id: str


class Counts(SwarmModel):
    """How often the answer was yes, no, and that a person has to be asked."""

    allowed: int = 0
    refused: int = 0
    asked: int = 0


class AgentSummary(SwarmModel):
    """An agent: from whom it first got authority, what it was given, and what it did.

    `given` has of the issuer's grants those that were handed on or revoked. `allowed`, `refused`
    and `asked` (a person has to be asked) are what it did, the latest first and so many of each;
    `unlisted` counts what is not among them.
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
    """A family in short. `depth` is how often authority was handed on to the farthest of them.

    `revoked` counts delegations and agents that were revoked; `complete` is false where the
    record has more than was looked through, so that counts are too low.
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
    """A family with its members: the root agent first, each other after the one it came from.

    `strangers` are agents of whom no link is on record, for no chain that they sent held:
    it was somebody else's, or wider than what they were given, or over.
    """

    members: list[AgentSummary]
    strangers: list[AgentSummary] = Field(default_factory=list)

    def summary(self) -> SwarmSummary:
        """It without its members."""
        return SwarmSummary(**{name: getattr(self, name) for name in SwarmSummary.model_fields})


def iso(at: object, *, unit: int = 1) -> str:
    """A time of the record (in milliseconds, or `unit` of them) as `2026-05-23T18:12:00.000Z`.

    A time that no calendar has becomes the nearest that one has.
    """
    whole = at * unit if type(at) is int else 0
    moment = datetime.fromtimestamp(max(0, min(whole, _LAST)) // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{max(0, min(whole, _LAST)) % 1000:03}Z"
