"""Detection of lost rows: commits, spans of deleted nonces, how far a feed was read."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    keeping = op.create_table(
        "keeping",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("database", sa.String(32), nullable=False),
        sa.Column("commits", sa.BigInteger, nullable=False),
        sa.Column("anchored", sa.Boolean, nullable=False),
    )
    op.create_table(
        "nonces_spans",
        sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "followed",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("log", sa.String(16), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_table(
        "probes",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    row = {"id": 1, "database": secrets.token_hex(16), "commits": 0, "anchored": False}
    op.bulk_insert(keeping, [row])
