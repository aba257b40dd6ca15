"""Limits on how many used tokens one agent, and one app, may have in a replay store. Pure.

An app can fork any number of agents at no cost, so a limit for each agent would not limit the app.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from nomos.models import MAX_LEEWAY_SECONDS

MAX_USED: Final = 100_000
"""Used tokens that one process remembers; the shares below are parts of it."""

AGENT_SHARE: Final = 5
FAMILY_SHARE: Final = 2.5
"""One agent may have a fifth of the used tokens, and one app with all its agents two fifths."""

FEWEST_SHARED: Final = 1000  # a limit below this is not divided into shares
APPROVAL: Final = "approval"
"""The issuer under which a used approval is stored; no agent has this name."""

LEEWAY_SECONDS: Final = 2 * MAX_LEEWAY_SECONDS
"""A verifier's largest leeway, and as much again for clocks that differ."""

Kind = Literal["agent", "app"]


@dataclass(frozen=True)
class Holder:
    """The agent or app that a use counts for, and the most uses it may have."""

    what: Kind
    name: str
    most: int


def holders(limit: int, issuer: str, family: str | None) -> tuple[Holder, ...]:
    """Return what a use counts for: the agent, unless it is an approval, and its app if known."""
    found = []
    if issuer != APPROVAL:
        found.append(Holder("agent", issuer, _share(limit, AGENT_SHARE)))
    if family is not None:
        found.append(Holder("app", family, _share(limit, FAMILY_SHARE)))
    return tuple(found)


def _share(limit: int, part: float) -> int:
    return int(limit / part) if limit >= FEWEST_SHARED else limit
