"""Tenants, apps, API keys, receipts, idempotency keys, nonces, revocations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("issuer_did", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("issuer_did", name="uq_tenants_issuer_did"),
    )
    op.create_table(
        "apps",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("disabled_at", sa.BigInteger),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_apps_tenant"),
    )
    op.create_index("ix_apps_tenant", "apps", ["tenant"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("app", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_api_keys_tenant"),
        sa.ForeignKeyConstraint(["app"], ["apps.id"], name="fk_api_keys_app"),
    )
    op.create_index("ix_api_keys_app", "api_keys", ["app"])
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
    )
    op.create_index("ix_receipts_tenant_at", "receipts", ["tenant", "at"])
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
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
    op.create_table(
        "nonces",
        sa.Column("issuer", sa.String(128), primary_key=True),
        sa.Column("audience", sa.String(128), primary_key=True),
        sa.Column("nonce", sa.String(256), primary_key=True),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_nonces_expires_at", "nonces", ["expires_at"])
    op.create_table(
        "revocations",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("revocations")
    op.drop_table("nonces")
    op.drop_table("idempotency")
    op.drop_table("receipts")
    op.drop_table("api_keys")
    op.drop_table("apps")
    op.drop_table("tenants")
