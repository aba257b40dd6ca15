"""The database's tables, as of the newest migration.

Every row that belongs to a tenant names it. Times are Unix seconds, except `at`, which is in
milliseconds and orders events. Text that a client chose is limited in length before it gets here.
"""

from __future__ import annotations

from typing import Any, Final

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
    sa.Column("owner", sa.String(64)),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("disabled_at", sa.BigInteger),
    sa.Column("confirmed_at", sa.BigInteger),
    sa.Column("confirmed_by", sa.String(64)),
)

# The app that first asked for an agent; no other app can ask for it.
agents: Final = sa.Table(
    "agents",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("did", sa.String(128), primary_key=True),
    sa.Column("app", sa.String(64), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

api_keys: Final = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("app", sa.String(64), sa.ForeignKey("apps.id"), nullable=False, index=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("covers", JSON, nullable=False, server_default="[]"),
    sa.Column("shown_to", sa.String(64)),
    sa.Column("secret_hash", sa.String(64), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

# Logs: numbered rows, each with the hash of the row before (`nomos.audit.chain`)

heads: Final = sa.Table(
    "heads",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("log", sa.String(16), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)

_LINKS: Final[dict[str, Any]] = dict.fromkeys(
    ("sqlite_where", "postgresql_where"), sa.text("kind = 'delegation'")
)
"""Few records are of links that agents signed, and each link has one."""

records: Final = sa.Table(
    "records",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("id", sa.String(68), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("app", sa.String(64)),
    sa.Column("cid", sa.String(64), index=True),
    sa.Column("parent", sa.String(68), index=True),
    sa.Column("root", sa.String(64)),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Index(None, "tenant", "app", "seq"),
    sa.Index(None, "tenant", "root", "seq"),
    sa.Index("ix_records_links_cid", "tenant", "cid", unique=True, **_LINKS),
    sa.Index("ix_records_links_root", "tenant", "root", "seq", **_LINKS),
    sa.Index("ix_records_links_seq", "tenant", "seq", **_LINKS),
)

checkpoints: Final = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("log", sa.String(16), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

issuer_keys: Final = sa.Table(
    "issuer_keys",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("did", sa.String(64), nullable=False, unique=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("file", sa.String(128), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("retired_at", sa.BigInteger),
    sa.Column("revoked_at", sa.BigInteger),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("token", sa.Text, nullable=False),
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
    sa.Column("family", sa.String(256)),
    sa.Index(None, "family", "expires_at"),
)

nonces_spans: Final = sa.Table(
    "nonces_spans",
    metadata,
    sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("last", sa.BigInteger, nullable=False),
)
"""Expiry times of deleted nonces: one that expires within a span may have been used."""

revocations: Final = sa.Table(
    "revocations",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("id", sa.String(128), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)

# Approvals: questions that operators decide, and the messages about them

envelopes: Final = sa.Table(
    "envelopes",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("app", sa.String(64), nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    # The column has an older name; `envelope.action_hash` makes its values.
    sa.Column("deed", sa.String(64), nullable=False, key="action_hash"),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("question", JSON, nullable=False),
    sa.Column("roles", JSON, nullable=False),
    sa.Column("policies", JSON, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("receipt_id", sa.String(68), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("decided_at", sa.BigInteger),
    sa.Column("consumed_at", sa.BigInteger),
    sa.Index(None, "tenant", "state", "created_at"),
    sa.Index(None, "fingerprint", "created_at"),
    sa.Index(None, "action_hash", "decided_at"),
    sa.Index(None, "app", "state"),
)

votes: Final = sa.Table(
    "votes",
    metadata,
    sa.Column("envelope", sa.String(64), primary_key=True),
    sa.Column("operator", sa.String(64), primary_key=True),
    sa.Column("approve", sa.Boolean, nullable=False),
    sa.Column("roles", JSON, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("version", sa.String(64)),
)

outbox: Final = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("next_at", sa.BigInteger, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("delivered_at", sa.BigInteger),
    sa.Column("failed_at", sa.BigInteger),
    sa.Column("error", sa.Text),
    sa.Index(None, "delivered_at", "failed_at", "next_at"),
)

login_links: Final = sa.Table(
    "login_links",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("operator", sa.String(64), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("used_at", sa.BigInteger),
)

sessions: Final = sa.Table(
    "sessions",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("operator", sa.String(64), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
)

# Policy versions, and services that accept tokens

bundles: Final = sa.Table(
    "bundles",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("origin", sa.String(16), nullable=False),
    sa.Column("sources", JSON, nullable=False),
    sa.Column("facts", JSON, nullable=False),
    sa.Column("put_at", sa.BigInteger, nullable=False),
    sa.Column("put_by", sa.String(64)),
)

activations: Final = sa.Table(
    "activations",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("by", sa.String(64)),
)

services: Final = sa.Table(
    "services",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("did", sa.String(64), nullable=False, unique=True),
    sa.Column("url", sa.String(512), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("decides", sa.Boolean, nullable=False, server_default=sa.false()),
)

service_grants: Final = sa.Table(
    "service_grants",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("cid", sa.String(64), primary_key=True),
    sa.Column("app", sa.String(64), nullable=False),
    sa.Column("agent", sa.String(64), nullable=False),
    sa.Column("audience", sa.String(64), nullable=False),
    sa.Column("receipt", sa.String(68), nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("text", sa.Text, nullable=False),
)

# Detection of lost rows, and of a database that cannot be written

keeping: Final = sa.Table(
    "keeping",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("database", sa.String(32), nullable=False),
    sa.Column("commits", sa.BigInteger, nullable=False),
    sa.Column("anchored", sa.Boolean, nullable=False),
)
"""One row, with which the file `nomos.anchor` is compared."""

followed: Final = sa.Table(
    "followed",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("log", sa.String(16), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
"""Read positions of a PDP in its control plane's logs."""

probes: Final = sa.Table(
    "probes",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
)
"""One row, rewritten to find out whether the database can be written."""
