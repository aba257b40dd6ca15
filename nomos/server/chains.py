"""Chains of delegations as the server reads them: what to look up, and who stands behind them.

`ids` comes from tokens that nobody has verified yet, and only ever leads to more refusals.
`descent` is for a chain that the binary has verified: what it says about authority it takes from
the issuer's own token, the root, and from the keys that signed the links below it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomos._wire import Inspected, Verified

_RECEIPT: Final = re.compile(r"evt_[0-9a-z]{26}")


@dataclass(frozen=True)
class Descent:
    """By whom, and through whom, an agent came to its authority.

    `root` is the agent that the tenant's issuer gave it to, `invoked_by` everybody between the
    issuer and `agent`, sorted, `depth` how often it was handed on (0: never). `cids` are the
    links and all that they took the place of, oldest first. `receipt` names the decision that
    the chain's first token records, `app` whose it was, `swarm` the name of the family: the
    one that the app gave it, or that receipt's if it was handed on without one.
    """

    agent: str
    root: str
    invoked_by: tuple[str, ...]
    depth: int
    cids: tuple[str, ...]
    app: str | None
    receipt: str | None
    swarm: str | None


def ids(tokens: Sequence[Inspected], links: Sequence[Inspected]) -> set[str]:
    """Return what must not be revoked for these tokens to be honoured; `links` root first.

    Every token by its cid and by those of its lineage; every key that gave, took or inherited
    the authority; the app and the approval that it was granted to and by.
    """
    parties = [each.payload.get(party) for each in tokens for party in ("iss", "aud")]
    meta = mapping(links[0].payload.get("meta")) if links else {}
    lineage, approved = mapping(meta.get("lineage")), mapping(meta.get("approval"))
    named = [meta.get("app_id"), approved.get("id"), lineage.get("root"), *parties]
    cids = {cid for each in tokens for cid in (each.cid, *each.cids)}
    return cids | strings(named) | strings(lineage.get("invokedBy"))


def descent(verified: Verified, links: Sequence[Inspected]) -> Descent:
    """Return how the holder of a verified chain came to it."""
    meta = verified.meta or {}
    lineage = mapping(meta.get("lineage"))
    app, receipt = meta.get("app_id"), meta.get("receipt_id")
    holders = [str(link.payload["aud"]) for link in links]
    depth = max(verified.depth - 1, 0)
    receipt = receipt if isinstance(receipt, str) and _RECEIPT.fullmatch(receipt) else None
    label = lineage.get("swarmId")
    before = {*strings(lineage.get("invokedBy")), *holders[:-1]}
    return Descent(
        agent=verified.agent,
        root=str(lineage.get("root", holders[0])),
        invoked_by=tuple(sorted(before)),
        depth=depth,
        cids=(*verified.lineage, *verified.cids),
        app=app if isinstance(app, str) else None,
        receipt=receipt,
        swarm=label if isinstance(label, str) else receipt if depth else None,
    )


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is an object, an empty one otherwise."""
    return value if isinstance(value, dict) else {}


def strings(values: object) -> set[str]:
    """The strings of a list; none of anything else."""
    return {each for each in values if isinstance(each, str)} if isinstance(values, list) else set()
