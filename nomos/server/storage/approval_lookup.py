"""Looks for the approval envelope that answers a question, and opens one if there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.server.domain import envelope as rules
from nomos.server.domain.envelope import Envelope
from nomos.server.storage.damaged_rows import naming
from nomos.server.storage.envelope_rows import SHOWN, alive, askers_of, find, made
from nomos.server.storage.tables import apps, envelopes

MAX_CANDIDATES: Final = 8
"""The latest envelopes of one question that are searched for one that answers it."""

Kind = Literal["opened", "found", "widened", "full"]


@dataclass(frozen=True)
class ApprovalLookup:
    """The envelope for a question: a new one, an existing one, or one beyond the limit.

    An existing one is widened if policy now requires more roles than it did then.
    """

    kind: Kind
    envelope: Envelope

    @property
    def changed(self) -> bool:
        """Return whether there is something new for operators to see."""
        return self.kind in ("opened", "widened")


def find_or_open(connection: Connection, draft: Envelope, now: int) -> ApprovalLookup:
    """Find or make the envelope for the question `draft`; nothing is written."""
    same = SHOWN.where(
        envelopes.c.fingerprint == draft.fingerprint, envelopes.c.tenant == draft.tenant
    )
    latest = same.where(envelopes.c.created_at <= now + rules.AHEAD_SECONDS).order_by(
        envelopes.c.created_at.desc(), envelopes.c.id.desc()
    )
    with naming("an earlier request for this approval"):
        rows = connection.execute(latest.limit(MAX_CANDIDATES)).all()
        candidates = made(connection, rows)
    # A decision on exactly this question takes precedence over one on a similar question.
    given = [found for found in candidates if found.state_at(now) == "approved"]
    denied = _denied(connection, draft, now)
    if denied is not None and not any(rules.answers(each, draft.roles, now) for each in given):
        return ApprovalLookup("found", denied)
    for found in candidates:
        if rules.answers(found, draft.roles, now):
            if found.state_at(now) == "pending" and _more(found, draft):
                return ApprovalLookup("widened", rules.add_roles(found, draft))
            return ApprovalLookup("found", found)
    # Those that the app revoked count as well, because operators were notified of each.
    waiting = sa.select(sa.func.count()).where(
        envelopes.c.app == draft.app, envelopes.c.state == "pending", alive(now)
    )
    if (connection.scalar(waiting) or 0) >= rules.MAX_PENDING:
        return ApprovalLookup("full", draft)
    app = connection.execute(sa.select(apps.c.name, apps.c.owner).where(apps.c.id == draft.app))
    name, owner = app.first() or ("", None)
    askers = askers_of(connection, [draft.app])[draft.app]
    return ApprovalLookup("opened", replace(draft, app_name=name, owner=owner, askers=askers))


def _more(found: Envelope, draft: Envelope) -> bool:
    """Return whether policy now has more roles, other reasons or an earlier expiry than `found`."""
    # The same policies may have another text by now.
    same = set(draft.policies) == set(found.policies)
    reworded = same and (draft.reason or "") not in (found.reason or "")
    return reworded or not (
        set(draft.roles) <= set(found.roles)
        and set(draft.policies) <= set(found.policies)
        and draft.expires_at >= found.expires_at
    )


def _denied(connection: Connection, draft: Envelope, now: int) -> Envelope | None:
    """Return the latest recent denial of this action and resource, of any question and any app."""
    wanted = SHOWN.where(
        envelopes.c.action_hash == rules.action_hash(draft.bound),
        envelopes.c.tenant == draft.tenant,
        envelopes.c.state == "denied",
        envelopes.c.decided_at > now - rules.DENIAL_SECONDS,
        envelopes.c.decided_at < now + rules.DENIAL_SECONDS,
    )
    latest = wanted.order_by(envelopes.c.decided_at.desc(), envelopes.c.id.desc())
    with naming("an earlier denial of this action"):
        for row in connection.execute(
            latest.with_only_columns(envelopes.c.id, envelopes.c.question)
        ):
            if rules.same_resource(row.question["bound"], draft.bound):
                return find(connection, draft.tenant, row.id)
    return None
