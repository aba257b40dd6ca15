"""Tenants, apps, API keys, receipts, idempotency keys, nonces, revocations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("issuer_did", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "apps",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), sa.ForeignKey("tenants.id"), nullable=False, index=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("disabled_at", sa.BigInteger),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("app", sa.String(64), sa.ForeignKey("apps.id"), nullable=False, index=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "receipts",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("app", sa.String(64)),
        sa.Column("agent", sa.String(128)),
        sa.Column("command", sa.String(256), nullable=False),
        sa.Column("resource", sa.JSON, nullable=False),
        sa.Column("args", sa.JSON),
        sa.Column("decision", sa.String(32), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("policies", sa.JSON, nullable=False),
        sa.Column("bundle", sa.String(64), nullable=False),
        sa.Column("purpose", sa.Text),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("cid", sa.String(64)),
        sa.Column("request_id", sa.String(128)),
        sa.Column("status", sa.Integer),
        sa.Index(None, "tenant", "at"),
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("app", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(256), primary_key=True),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("receipt_id", sa.String(64), nullable=False),
        sa.Column("agent", sa.String(128), nullable=False),
        sa.Column("cid", sa.String(64)),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("answer", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "nonces",
        sa.Column("issuer", sa.String(128), primary_key=True),
        sa.Column("audience", sa.String(128), primary_key=True),
        sa.Column("nonce", sa.String(256), primary_key=True),
        sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "revocations",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
