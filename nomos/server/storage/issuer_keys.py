"""Rows of the issuer keys: each tenant's log `keys`, oldest first.

The newest row's key is active: it signs, and cannot be revoked. Earlier keys are retiring: their
tokens are accepted until the longest-lived one has expired, unless the key is revoked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos._core.trust_anchor import RETIRING_SECONDS
from nomos.audit.chain import ChainedRow
from nomos.errors import NomosError
from nomos.server.storage import logs
from nomos.server.storage.tables import issuer_keys, tenants

State = Literal["active", "retiring", "revoked"]

_IN_ORDER: Final = sa.select(issuer_keys).order_by(issuer_keys.c.tenant, issuer_keys.c.seq)


class ActiveKeyError(NomosError):
    """The active key cannot be revoked."""

    def __init__(self, did: str) -> None:
        super().__init__(
            f"{did} is the active key. Replace it first: `nomos keys rotate --revoke-old` does both"
        )


class ConcurrentRotation(NomosError):
    """Another process added a key meanwhile; nothing was stored."""


@dataclass(frozen=True)
class IssuerKey:
    """A tenant's key, its row and checkpoint; times in Unix seconds, `file` without its ending."""

    tenant: str
    did: str
    file: str
    link: ChainedRow
    checkpoint: str
    created_at: int
    retired_at: int | None = None
    revoked_at: int | None = None

    @property
    def state(self) -> State:
        if self.revoked_at is not None:
            return "revoked"
        return "active" if self.retired_at is None else "retiring"

    @property
    def until(self) -> int | None:
        """The second from which tokens of a retiring key are rejected."""
        if self.state != "retiring" or self.retired_at is None:
            return None
        return self.retired_at + RETIRING_SECONDS

    def accepted(self, now: float) -> bool:
        """Return whether tokens that this key signed may still be valid."""
        return self.state == "active" or (self.until is not None and now < self.until)


def content(did: str, at: int) -> dict[str, Any]:
    """Return the content of a row of the log: which key, since when (milliseconds)."""
    return {"did": did, "at": at}


def every(connection: Connection) -> tuple[IssuerKey, ...]:
    """Return the keys of all tenants, each tenant's oldest first."""
    return tuple(map(_read, connection.execute(_IN_ORDER)))


def add(connection: Connection, key: IssuerKey, at: int) -> None:
    """Append a key, `at` in milliseconds. Raises ConcurrentRotation if it is not the log's next."""
    placed = logs.append(connection, key.tenant, "keys", content(key.did, at))
    if placed != key.link:
        raise ConcurrentRotation("another process has changed this tenant's keys meanwhile; retry")
    connection.execute(
        issuer_keys.update()
        .where(issuer_keys.c.tenant == key.tenant, issuer_keys.c.state == "active")
        .values(state="retiring", retired_at=key.created_at)
    )
    connection.execute(
        issuer_keys.insert().values(
            tenant=key.tenant,
            did=key.did,
            state="active",
            file=key.file,
            created_at=key.created_at,
            token=key.checkpoint,
            **vars(key.link),
        )
    )
    connection.execute(
        tenants.update().where(tenants.c.id == key.tenant).values(issuer_did=key.did)
    )


def revoke(connection: Connection, tenant: str, did: str, at: int) -> None:
    """Mark a retired key as revoked. Raises ActiveKeyError for the one that signs now."""
    named = sa.and_(issuer_keys.c.tenant == tenant, issuer_keys.c.did == did)
    if connection.scalar(sa.select(issuer_keys.c.state).where(named)) == "active":
        raise ActiveKeyError(did)
    connection.execute(
        issuer_keys.update()
        .where(named, issuer_keys.c.state == "retiring")
        .values(state="revoked", revoked_at=at)
    )


def _read(row: sa.Row[Any]) -> IssuerKey:
    return IssuerKey(
        tenant=row.tenant,
        did=row.did,
        file=row.file,
        link=ChainedRow(row.seq, row.hash, row.text),
        checkpoint=row.token,
        created_at=row.created_at,
        retired_at=row.retired_at,
        revoked_at=row.revoked_at,
    )
