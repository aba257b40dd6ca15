"""The tables, as the newest migration leaves them.

Every row that belongs to someone names its tenant. Times are Unix seconds, except `at`, which is
milliseconds and orders what happened. Text that a client chose is bounded before it gets here.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

metadata: Final = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

JSON: Final = sa.JSON(none_as_null=True)

tenants: Final = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("issuer_did", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

apps: Final = sa.Table(
    "apps",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), sa.ForeignKey("tenants.id"), nullable=False, index=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("disabled_at", sa.BigInteger),
)

api_keys: Final = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("app", sa.String(64), sa.ForeignKey("apps.id"), nullable=False, index=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("secret_hash", sa.String(64), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

receipts: Final = sa.Table(
    "receipts",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("app", sa.String(64)),
    sa.Column("agent", sa.String(128)),
    sa.Column("command", sa.String(256), nullable=False),
    sa.Column("resource", JSON, nullable=False),
    sa.Column("args", JSON),
    sa.Column("decision", sa.String(32), nullable=False),
    sa.Column("reason", sa.String(64)),
    sa.Column("policies", JSON, nullable=False),
    sa.Column("bundle", sa.String(64), nullable=False),
    sa.Column("purpose", sa.Text),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("cid", sa.String(64)),
    sa.Column("request_id", sa.String(128)),
    sa.Column("status", sa.Integer),
    sa.Index(None, "tenant", "at"),
)

idempotency: Final = sa.Table(
    "idempotency",
    metadata,
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("app", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(256), primary_key=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("receipt_id", sa.String(64), nullable=False),
    sa.Column("agent", sa.String(128), nullable=False),
    sa.Column("cid", sa.String(64)),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("answer", JSON, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False, index=True),
)

nonces: Final = sa.Table(
    "nonces",
    metadata,
    sa.Column("issuer", sa.String(128), primary_key=True),
    sa.Column("audience", sa.String(128), primary_key=True),
    sa.Column("nonce", sa.String(256), primary_key=True),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
)

revocations: Final = sa.Table(
    "revocations",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
