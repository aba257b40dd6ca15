"""How much of what is remembered of used tokens one agent may hold, and one app. Pure.

Forks cost an app nothing, so a bound for each agent alone bounds nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

MAX_USED: Final = 100_000
"""Uses that one process remembers, and of which the shares are taken wherever they are kept."""

AGENT_SHARE: Final = 5
FAMILY_SHARE: Final = 2.5
"""One agent may hold a fifth of what is remembered, and one app with all its agents two fifths."""

FEWEST_SHARED: Final = 1000
"""A limit below this is not shared out."""

APPROVAL: Final = "approval"
"""What stands for the issuer where an approval is claimed; no agent has this name."""

LEEWAY_SECONDS: Final = 60 + 60
"""The most that a verifier forgives, and as much again for clocks that disagree."""

Kind = Literal["agent", "app"]


@dataclass(frozen=True)
class Holder:
    """For whom a use counts, and the most uses that it may have."""

    what: Kind
    name: str
    most: int


def holders(limit: int, issuer: str, family: str | None) -> tuple[Holder, ...]:
    """Return for whom a use counts: the agent, unless it is an approval, and its app if known."""
    found = []
    if issuer != APPROVAL:
        found.append(Holder("agent", issuer, _share(limit, AGENT_SHARE)))
    if family is not None:
        found.append(Holder("app", family, _share(limit, FAMILY_SHARE)))
    return tuple(found)


def _share(limit: int, part: float) -> int:
    return int(limit / part) if limit >= FEWEST_SHARED else limit
