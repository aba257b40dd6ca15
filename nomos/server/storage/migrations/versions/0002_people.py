"""Hash-chained logs, approvals, revocations as a feed, issuer keys, policy versions.

The records of older versions become the beginning of the audit log, in order of time.
"""

import hashlib
import json
import re
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

GENESIS = "0" * 64

CHOSEN = ("command", "resource", "purpose", "request_id")
"""Members of an old row that contain text of callers, besides the arguments."""

MAX_DEPTH = 32

SECRETS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (
            "github_pat",
            (
                r"gh[pousr](?:_|%5[Ff])[A-Za-z0-9]{20,}"
                r"|github(?:_|%5[Ff])pat(?:_|%5[Ff])(?:[A-Za-z0-9_]|%5[Ff]){20,}"
            ),
        ),
        ("slack_token", r"xox[a-z]-[A-Za-z0-9-]{10,}"),
        (
            "jwt",
            (
                r"(?<![A-Za-z0-9])eyJ(?:[A-Za-z0-9]|[_-](?!eyJ)){5,}"
                r"\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"
            ),
        ),
        ("aws_access_key", r"(?:AKIA|ASIA)[A-Z0-9]{16}"),
        ("google_oauth_token", r"ya29\.[A-Za-z0-9_-]{20,}"),
        ("google_api_key", r"AIza[A-Za-z0-9_-]{35}"),
        ("gitlab_token", r"gl(?:pat|ptt|dt|rt)-[A-Za-z0-9_-]{20,}"),
        ("npm_token", r"npm(?:_|%5[Ff])[A-Za-z0-9]{36}"),
        (
            "stripe_key",
            r"(?<![A-Za-z0-9])[sr]k(?:_|%5[Ff])(?:live|test)(?:_|%5[Ff])[A-Za-z0-9]{16,}",
        ),
        ("model_api_key", r"(?<![A-Za-z0-9-])sk-(?:ant-|proj-)?[A-Za-z0-9_-]{32,}"),
        (
            "nomos_api_key",
            r"nomos(?:_|%5[Ff])app(?:_|%5[Ff])[0-9a-z]{26}(?:_|%5[Ff])[0-9a-z]{52}",
        ),
        (
            "private_key",
            (
                r"-----BEGIN (?:[A-Z]{1,12} ){0,2}PRIVATE KEY-----(?:[^-]|-(?!----)){0,16384}"
                r"(?:-----END (?:[A-Z]{1,12} ){0,2}PRIVATE KEY-----)?"
            ),
        ),
        ("url_password", r"(?<=://)[^\s/:]{0,1024}:[^\s/]{1,1024}(?=@)"),
    )
)
"""Patterns of credentials, fixed at the time of this migration."""


def upgrade() -> None:
    with op.batch_alter_table("apps") as apps:
        apps.add_column(sa.Column("owner", sa.String(64)))
    with op.batch_alter_table("api_keys") as keys:
        keys.add_column(sa.Column("covers", sa.JSON, nullable=False, server_default="[]"))
        keys.add_column(sa.Column("shown_to", sa.String(64)))
    heads, records = _logs()
    _approvals()
    _policies()
    op.rename_table("revocations", "old_revocations")
    revocations = op.create_table(
        "revocations",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("id", sa.String(128), nullable=False, unique=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    _carry_over(heads, records, revocations)
    op.drop_table("old_revocations")
    op.drop_index("ix_receipts_tenant_at", "receipts")
    op.drop_table("receipts")


def _logs() -> tuple[sa.Table, sa.Table]:
    heads = op.create_table(
        "heads",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("log", sa.String(16), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    records = op.create_table(
        "records",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("id", sa.String(68), nullable=False, unique=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("app", sa.String(64)),
        sa.Column("cid", sa.String(64), index=True),
        sa.Column("parent", sa.String(68), index=True),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Index(None, "tenant", "app", "seq"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("log", sa.String(16), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "issuer_keys",
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
    return heads, records


def _approvals() -> None:
    op.create_table(
        "envelopes",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("app", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("deed", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("question", sa.JSON, nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("policies", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("receipt_id", sa.String(68), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("decided_at", sa.BigInteger),
        sa.Column("consumed_at", sa.BigInteger),
        sa.Index(None, "tenant", "state", "created_at"),
        sa.Index(None, "fingerprint", "created_at"),
        sa.Index(None, "deed", "decided_at"),
        sa.Index(None, "app", "state"),
    )
    op.create_table(
        "votes",
        sa.Column("envelope", sa.String(64), primary_key=True),
        sa.Column("operator", sa.String(64), primary_key=True),
        sa.Column("approve", sa.Boolean, nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "outbox",
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
    for name, ends in (("login_links", [sa.Column("used_at", sa.BigInteger)]), ("sessions", [])):
        op.create_table(
            name,
            sa.Column("hash", sa.String(64), primary_key=True),
            sa.Column("tenant", sa.String(64), nullable=False),
            sa.Column("operator", sa.String(64), nullable=False),
            sa.Column("created_at", sa.BigInteger, nullable=False),
            sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
            *ends,
        )


def _policies() -> None:
    op.create_table(
        "bundles",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("sources", sa.JSON, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("put_at", sa.BigInteger, nullable=False),
        sa.Column("put_by", sa.String(64)),
    )
    op.create_table(
        "activations",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("by", sa.String(64)),
    )
    op.create_table(
        "services",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("did", sa.String(64), nullable=False, unique=True),
        sa.Column("url", sa.String(512), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def _carry_over(heads: sa.Table, records: sa.Table, revocations: sa.Table) -> None:
    """Move the rows of the old tables into their logs.

    The canonical form is written out here, because a migration must not change with the code.
    Rows of older versions contain no numbers that RFC 8785 writes differently from Python,
    except in the arguments of a call; those are stored as text. What looks like a credential is
    removed first: once a row is hashed, that is not possible.
    """
    connection = op.get_bind()
    ends: dict[tuple[str, str], tuple[int, str]] = {}

    def place(log: str, tenant: str, content: dict[str, object]) -> dict[str, object]:
        seq, before = ends.get((tenant, log), (0, GENESIS))
        row = {**content, "v": 1, "tenant": tenant, "seq": seq + 1, "prev_hash": before}
        text = json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        ends[tenant, log] = (seq + 1, digest)
        return {"tenant": tenant, "seq": seq + 1, "hash": digest, "text": text}

    for old in connection.execute(
        sa.text("SELECT id, tenant, at FROM old_revocations ORDER BY at, id")
    ):
        kind = "agent" if old.id.startswith("did:") else "cid"
        content = {"id": old.id, "kind": kind, "at": old.at}
        placed = place("revocations", old.tenant, content)
        connection.execute(revocations.insert(), content | placed)
    receipts = connection.execute(sa.text("SELECT * FROM receipts ORDER BY at, id")).mappings()
    for receipt in receipts:
        row = {name: value for name, value in receipt.items() if value is not None}
        tenant = row.pop("tenant")
        for name in ("resource", "policies"):
            row[name] = json.loads(row[name]) if isinstance(row[name], str) else row[name]
        if not row["policies"]:
            del row["policies"]
        args = row.pop("args", None)
        if isinstance(args, str):
            args = json.loads(args)
        row |= {name: _redacted(row[name]) for name in CHOSEN if name in row}
        if args is not None:
            row["detail"] = {"args": json.dumps(_redacted(args))}
        placed = place("audit", tenant, row)
        columns = {name: row.get(name) for name in ("id", "kind", "at", "app", "cid")}
        connection.execute(records.insert(), columns | placed)
    for (tenant, log), (seq, digest) in ends.items():
        connection.execute(
            heads.insert(), {"tenant": tenant, "log": log, "seq": seq, "hash": digest}
        )


def _redacted(value: Any, depth: int = 0) -> Any:
    """A JSON value without what looks like a credential, in its keys as well."""
    if isinstance(value, str):
        for kind, pattern in SECRETS:
            value = pattern.sub(f"[REDACTED:{kind}]", value)
        return value
    if not isinstance(value, dict | list):
        return value
    if depth >= MAX_DEPTH:
        return "[REDACTED:depth]"
    if isinstance(value, list):
        return [_redacted(item, depth + 1) for item in value]
    return {_redacted(key): _redacted(item, depth + 1) for key, item in value.items()}
