"""`Lineage`: how an agent received its authority, from a verified chain.

It is read from the issuer's own token, the root, and from the keys that signed the links after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomos._core import unverified
from nomos._core.unverified import Payload, UnverifiedLink
from nomos._core.verification import SIGNED, root_agent
from nomos._json import mapping
from nomos._protocol import Verified
from nomos.audit.record import Record
from nomos.models import DenyReason

strings = unverified.strings

_RECEIPT: Final = re.compile(r"evt_[0-9a-z]{26}")
_LABEL: Final = re.compile(r"app_[0-9a-z]{26}/[A-Za-z0-9._:-]{1,64}|evt_[0-9a-z]{26}")


@dataclass(frozen=True)
class Lineage:
    """How an agent received its authority.

    `issuer` signed the root. `root` is the agent that received the authority from the issuer,
    `invoked_by` every agent between the issuer and `agent`, sorted, `depth` how often agents
    delegated it (0: never). `cids` are the links and all delegations that they replace, oldest
    first. `receipt` is the decision that the root records, `app` its app. `swarm` is the name of
    the swarm: the one that the app chose (`<app id>/<label>`), or else that receipt's once the
    authority was delegated.
    """

    agent: str
    issuer: str
    root: str
    invoked_by: tuple[str, ...]
    depth: int
    cids: tuple[str, ...]
    app: str | None
    receipt: str | None
    swarm: str | None


def lineage_of(verified: Verified, links: Sequence[UnverifiedLink]) -> Lineage:
    """Return the lineage of a verified chain's holder."""
    meta = verified.meta or {}
    lineage = mapping(meta.get("lineage"))
    app, receipt = meta.get("app_id"), meta.get("receipt_id")
    holders = [str(link.payload["aud"]) for link in links]
    depth = max(verified.depth - 1, 0)
    receipt = receipt if isinstance(receipt, str) and _RECEIPT.fullmatch(receipt) else None
    named = lineage.get("swarmId")
    # A label without an app id is from an older server; any app could have chosen it.
    label = named if isinstance(named, str) and _LABEL.fullmatch(named) else None
    before = {*strings(lineage.get("invokedBy")), *holders[:-1]}
    return Lineage(
        agent=verified.agent,
        issuer=verified.root,
        root=root_agent(links[0].payload),
        invoked_by=tuple(sorted(before)),
        depth=depth,
        cids=(*verified.lineage, *verified.cids),
        app=app if isinstance(app, str) else None,
        receipt=receipt,
        swarm=label or (receipt if depth else None),
    )


def delegation_records(
    tenant: str,
    descent: Lineage,
    links: Sequence[UnverifiedLink],
    at: int,
    new_id: Callable[[int], str],
) -> tuple[Record, ...]:
    """Return the records of the links that agents signed, in order; none of the root.

    `links` are those that `descent` was read from, `at` is in milliseconds, and `new_id` makes the
    identifier of a record of that time. The recorded resource is the one that a link states or
    inherits. The parent of the first record is the decision that signed the root; the parents of
    the others are set where they are stored.
    """
    found: list[Record] = []
    before = descent.depth - (len(links) - 1)
    held: Mapping[str, Any] | None = None
    for hop, link in enumerate(links):
        claims = link.payload
        held = mapping(claims.get("meta")).get("resource_constraint", held)
        if hop == 0:
            continue
        detail: dict[str, Any] = {"by": claims["iss"], "depth": before + hop}
        if claims["pol"]:
            detail["pol"] = claims["pol"]
        if descent.swarm not in (None, descent.receipt):
            detail["swarm"] = descent.swarm
        found.append(
            Record(
                id=new_id(at),
                tenant=tenant,
                kind="delegation",
                at=at,
                app=descent.app,
                agent=str(claims["aud"]),
                command=str(claims["cmd"]),
                resource=held,
                expires_at=int(claims["exp"]),
                cid=link.cid,
                parent=found[-1].id if found else descent.receipt,
                root=descent.root,
                detail=detail,
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class Sender:
    """The sender of a rejected token, as far as signatures prove it."""

    tenant: str
    agent: str
    root: str


def sender(
    reason: DenyReason | None,
    invocation: Payload,
    links: Sequence[UnverifiedLink],
    trusted: Mapping[str, str],
) -> Sender | None:
    """Return the sender of a token that was rejected for `reason`; None if that is not proven.

    `trusted` maps each trusted issuer to its tenant. The sender may be outside of the chain's
    swarm: anyone who has obtained a chain can send it.
    """
    if reason not in SIGNED or not links:
        return None
    tenant = trusted.get(links[0].payload["iss"])
    if tenant is None:
        return None
    return Sender(tenant, str(invocation["iss"]), root_agent(links[0].payload))
