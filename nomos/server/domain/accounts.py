"""Apps, their API keys and their roles. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

Role = Literal["agent", "operator", "auditor"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)

EVERY_ROLE: Final = "*"

SERVER: Final = "server"  # the actor of a command on the server's own machine


@dataclass(frozen=True)
class App:
    """An app: it acts for a tenant and has API keys.

    `owner` is the operator's app that registered it, None if the server made it. `confirmed_by` has
    confirmed that it belongs to another person than its owner does: an operator's app, or `SERVER`.
    """

    id: str
    tenant: str
    name: str
    created_at: int
    owner: str | None = None
    confirmed_at: int | None = None
    confirmed_by: str | None = None


@dataclass(frozen=True)
class ApiKey:
    """One API key, with the properties of its app that authentication needs.

    `covers` are the roles that an operator may vote for; `EVERY_ROLE` covers all. `shown_to` is the
    operator who made the key for another app, and could have kept it; for the audit log.
    """

    app: str
    tenant: str
    role: Role
    secret_hash: str = field(repr=False)
    disabled: bool = False
    covers: tuple[str, ...] = ()
    shown_to: str | None = None
