"""Rows of approval envelopes and of votes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.server.domain import account_lines
from nomos.server.domain import envelope as rules
from nomos.server.domain.envelope import Envelope, State, Vote
from nomos.server.storage import registered_apps
from nomos.server.storage.damaged_rows import (
    Listed,
    Rows,
    listed,
    one,
    raw_truth,
    texts,
    truth,
)
from nomos.server.storage.tables import apps, envelopes, votes
from nomos.server.storage.tables import revocations as revoked

MAX_LISTED: Final = 200


SHOWN: Final = sa.select(
    envelopes,
    apps.c.name.label("app_name"),
    apps.c.owner.label("owner"),
    sa.exists().where(revoked.c.id == envelopes.c.id).label("revoked"),
).select_from(envelopes.outerjoin(apps, apps.c.id == envelopes.c.app))
_VOTES: Final = (
    sa.select(
        *(column for column in votes.c if column.name != "approve"),
        raw_truth(votes.c.approve),
        apps.c.id.label("account"),
        apps.c.name,
        apps.c.disabled_at,
    )
    .select_from(votes.outerjoin(apps, apps.c.id == votes.c.operator))
    .where(votes.c.envelope.in_(sa.bindparam("ids", expanding=True)))
    .order_by(votes.c.at, votes.c.operator)
)


def find(connection: Connection, tenant: str, ident: str) -> Envelope | None:
    """Return one envelope of the tenant, with its votes."""
    wanted = SHOWN.where(envelopes.c.id == ident, envelopes.c.tenant == tenant)
    return one(connection, wanted, partial(made, connection), f"approval {ident}")


def newest(
    connection: Connection, tenant: str, state: State | None, limit: int, now: int
) -> Listed[Envelope]:
    """Return the tenant's envelopes that are in `state` at `now`, or all, the newest first."""
    wanted = SHOWN.where(envelopes.c.tenant == tenant)
    if state is not None:
        wanted = wanted.where(_in_state(state, now))
    order = (envelopes.c.created_at.desc(), envelopes.c.id.desc())
    if state == "pending":  # rows beyond the limit must not be those that expire first
        order = (envelopes.c.expires_at.asc(), envelopes.c.id.asc())
    wanted = wanted.order_by(*order).limit(min(limit, MAX_LISTED))
    return listed(connection, wanted, envelopes.c.id, partial(made, connection))


def add(connection: Connection, envelope: Envelope) -> None:
    """Store a new envelope."""
    connection.execute(
        envelopes.insert(),
        {
            "id": envelope.id,
            "tenant": envelope.tenant,
            "app": envelope.app,
            "fingerprint": envelope.fingerprint,
            "action_hash": rules.action_hash(envelope.bound),
            "state": envelope.state,
            "receipt_id": envelope.receipt_id,
            "created_at": envelope.created_at,
            **_shown(envelope),
        },
    )


def widen(connection: Connection, envelope: Envelope) -> None:
    """Store the roles that must approve, which are only ever added to, and the reasons."""
    connection.execute(
        envelopes.update()
        .where(envelopes.c.id == envelope.id, envelopes.c.state == "pending")
        .values(_shown(envelope))
    )


def _shown(envelope: Envelope) -> dict[str, Any]:
    """Return the columns that operators are shown, which `widen` replaces."""
    return {
        "question": {
            "bound": dict(envelope.bound),
            "sent": None if envelope.sent is None else dict(envelope.sent),
            "purpose": envelope.purpose,
        },
        "roles": list(envelope.roles),
        "policies": list(envelope.policies),
        "reason": envelope.reason,
        "expires_at": envelope.expires_at,
    }


def use(connection: Connection, tenant: str, ident: str, now: int) -> bool:
    """Mark an approval as used. True once, and only while it is valid."""
    result = connection.execute(
        envelopes.update()
        .where(
            envelopes.c.id == ident,
            envelopes.c.tenant == tenant,
            envelopes.c.state == "approved",
            alive(now),
        )
        .values(state="consumed", consumed_at=now)
    )
    return result.rowcount == 1


def count(connection: Connection, after: Envelope, vote: Vote) -> None:
    """Store a vote, replacing an earlier one of the same operator, and the resulting state."""
    of_operator = sa.and_(votes.c.envelope == after.id, votes.c.operator == vote.operator)
    connection.execute(votes.delete().where(of_operator))
    connection.execute(
        votes.insert(),
        {
            "envelope": after.id,
            "operator": vote.operator,
            "approve": vote.approve,
            "roles": list(vote.roles),
            "reason": vote.reason,
            "at": vote.at,
            "version": vote.version,
        },
    )
    connection.execute(
        envelopes.update()
        .where(envelopes.c.id == after.id)
        .values(state=after.state, decided_at=after.decided_at)
    )


def alive(now: int) -> sa.ColumnElement[bool]:
    """`Envelope.alive_at` as an SQL condition."""
    asked = envelopes.c.created_at <= now + rules.AHEAD_SECONDS
    return sa.and_(envelopes.c.expires_at > now, asked)


def _in_state(state: State, now: int) -> sa.ColumnElement[bool]:
    """`Envelope.state_at` as an SQL condition."""
    column, living = envelopes.c.state, alive(now)
    is_revoked = sa.exists().where(revoked.c.id == envelopes.c.id)
    open_ = column.in_(("pending", "approved"))
    match state:
        case "consumed":
            return column == "consumed"
        case "denied":
            return sa.or_(column == "denied", sa.and_(open_, is_revoked))
        case "expired":
            return sa.and_(open_, ~is_revoked, ~living)
    return sa.and_(column == state, ~is_revoked, living)


def made(connection: Connection, rows: Rows) -> tuple[Envelope, ...]:
    """Return the envelopes of rows of `SHOWN`, with their votes."""
    cast = _votes(connection, [row.id for row in rows])
    askers = askers_of(connection, {row.app for row in rows})
    return tuple(
        _envelope(row._mapping, cast.get(row.id, ()), askers[row.app])  # noqa: SLF001 (public)
        for row in rows
    )


def askers_of(connection: Connection, idents: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the persons who may use each app; one that the server made counts as itself.

    Raises ValueError if they are unknown: then any operator could be one of them.
    """
    accounts = registered_apps.accounts(connection, idents) if idents else {}
    if not all(account_lines.is_known(accounts, ident) for ident in idents):
        raise ValueError("the maker of an app is unknown")
    return {ident: account_lines.persons(accounts, ident) for ident in idents}


def _votes(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[Vote, ...]]:
    found: dict[str, tuple[Vote, ...]] = {}
    if not ids:
        return found
    rows = connection.execute(_VOTES, {"ids": list(ids)}).all()
    accounts = registered_apps.accounts(connection, {row.operator for row in rows}) if rows else {}
    for row in rows:
        vote = Vote(
            operator=row.operator,
            approve=truth(row.approve),
            roles=texts(row.roles),
            at=row.at,
            reason=row.reason,
            name=row.name or "",
            # The same for the vote of an operator who has no account, or whose maker is unknown.
            stands=row.account is not None
            and row.disabled_at is None
            and account_lines.is_known(accounts, row.operator),
            version=row.version,
            persons=account_lines.persons(accounts, row.operator),
        )
        found[row.envelope] = (*found.get(row.envelope, ()), vote)
    return found


def _envelope(row: Mapping[Any, Any], cast: tuple[Vote, ...], askers: tuple[str, ...]) -> Envelope:
    question = row["question"]
    if rules.fingerprint(question["bound"]) != row["fingerprint"]:
        raise ValueError("the stored question does not match its fingerprint")
    return Envelope(
        **{name: row[name] for name in _MEMBERS},
        bound=question["bound"],
        sent=question.get("sent"),
        purpose=question.get("purpose"),
        roles=texts(row["roles"]),
        policies=texts(row["policies"]),
        votes=cast,
        app_name=row["app_name"] or "",
        askers=askers,
        revoked=bool(row["revoked"]),
    )


_MEMBERS: Final = (
    *("id", "tenant", "app", "fingerprint", "state", "reason", "receipt_id", "owner"),
    *("created_at", "expires_at", "decided_at", "consumed_at"),
)
"""Columns of `SHOWN` that are members of an envelope as they are."""
