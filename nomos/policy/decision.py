"""The question that policy decides, and its decision: values without behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nomos.models import Decision, DenyReason


@dataclass(frozen=True)
class PolicyQuestion:
    """One question in the form that policy decides. `resource` is canonical, `now` in Unix seconds.

    `args_bound`: the call's other parameters are fixed. `facts` are asserted by the agent. `rate`
    counts the app's calls within the last minute. Without `root_agent` it is the agent itself.
    """

    agent: str
    app: str
    command: str
    provider: str
    resource: Mapping[str, Any]
    args_bound: bool
    now: int
    purpose: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    rate: int = 0
    delegation_depth: int = 0
    root_agent: str | None = None
    invoked_by: Sequence[str] = ()
    swarm_id: str | None = None


@dataclass(frozen=True, order=True)
class Open:
    """A policy, and a field that it reads but a grant leaves open (`resource.queue`)."""

    policy: str
    field: str


@dataclass(frozen=True)
class Closure:
    """`closed`: policy allows every call. If not, `policies` and `open` say why.

    `forkable`: policy allows every call of any agent that the grant can be delegated to, too.
    `whole_args`: this is so if the grant is signed for its arguments as a whole.
    """

    closed: bool
    policies: tuple[str, ...] = ()
    open: tuple[Open, ...] = ()
    forkable: bool = False
    whole_args: bool = False


@dataclass(frozen=True)
class PolicyDecision:
    """A decision. `policies` are the names of those that made it, sorted. `message` is for people.

    `roles` are those that must all approve a step-up; `fields` are the members of the question
    that differ from what was approved. `closure` is that of a grant for a service, None for others.
    """

    decision: Decision
    reason: DenyReason | None = None
    policies: tuple[str, ...] = ()
    message: str | None = None
    roles: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    closure: Closure | None = None

    @property
    def closed(self) -> bool:
        """Whether policy allows every call of the grant, which is for a service."""
        return self.closure is not None and self.closure.closed

    @property
    def forkable(self) -> bool:
        """Whether policy also does so for each agent that the grant can be delegated to."""
        return self.closure is None or self.closure.forkable

    @property
    def whole_args(self) -> bool:
        """Whether this takes arguments that are bound as a whole."""
        return self.closure is not None and self.closure.whole_args

    @property
    def open(self) -> tuple[Open, ...]:
        """The fields that a grant for a service would leave open, and that policy reads."""
        return () if self.closure is None or self.closure.closed else self.closure.open
