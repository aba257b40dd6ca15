"""Confirmed accounts, the version that a vote is for, the app of each agent, wider denials.

No account is confirmed by this: those that an operator registered count as that operator until
they are confirmed. Earlier approvals do not say which version was shown, and must be given again.
An agent belongs to the app that asked for it first, by the audit log.
"""

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

AT_ONCE = 1000


def upgrade() -> None:
    with op.batch_alter_table("apps") as apps:
        apps.add_column(sa.Column("confirmed_at", sa.BigInteger))
        apps.add_column(sa.Column("confirmed_by", sa.String(64)))
    with op.batch_alter_table("votes") as votes:
        votes.add_column(sa.Column("version", sa.String(64)))
    op.create_table(
        "agents",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("did", sa.String(128), primary_key=True),
        sa.Column("app", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    _deeds()
    _agents()


def _deeds() -> None:
    connection = op.get_bind()
    envelopes = sa.table("envelopes", sa.column("id"), sa.column("question"), sa.column("deed"))
    for row in connection.execute(sa.select(envelopes.c.id, envelopes.c.question)).all():
        bound = json.loads(row.question)["bound"]
        named = {name: bound.get(name) for name in ("command", "tenant")}
        text = json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        deed = hashlib.sha256(text.encode()).hexdigest()
        connection.execute(envelopes.update().where(envelopes.c.id == row.id).values(deed=deed))


def _agents() -> None:
    """An agent belongs to the app of its first decision."""
    connection = op.get_bind()
    records = sa.table("records", *map(sa.column, ("tenant", "seq", "kind", "app", "at", "text")))
    agents = sa.table("agents", *map(sa.column, ("tenant", "did", "app", "at")))
    known: set[tuple[str, str]] = set()
    decisions = (
        sa.select(records.c.tenant, records.c.app, records.c.at, records.c.text)
        .where(records.c.kind == "decision", records.c.app.is_not(None))
        .order_by(records.c.tenant, records.c.seq)
    )
    for row in connection.execute(decisions).yield_per(AT_ONCE):
        did = json.loads(row.text).get("agent")
        if isinstance(did, str) and len(did) <= 128 and (row.tenant, did) not in known:
            known.add((row.tenant, did))
            connection.execute(
                agents.insert().values(tenant=row.tenant, did=did, app=row.app, at=row.at)
            )
