"""Apps, their API keys and their roles. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

Role = Literal["agent", "operator", "auditor"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)

EVERY_ROLE: Final = "*"

SERVER: Final = "server"
"""Who acts when a command on the server's own machine does."""


@dataclass(frozen=True)
class App:
    """Something that acts for a tenant and has API keys.

    `owner` is the operator's app that registered it, None for those the server itself makes.
    `confirmed_by` has confirmed that it is another person's than its owner's: an operator's app,
    or `SERVER`.
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
    """One API key, with what must be known of its app to accept it.

    `covers` are the roles that an operator may answer for; `EVERY_ROLE` covers all. `shown_to`
    is the operator who made the key for somebody else, and could have kept it; for the record.
    """

    app: str
    tenant: str
    role: Role
    secret_hash: str = field(repr=False)
    disabled: bool = False
    covers: tuple[str, ...] = ()
    shown_to: str | None = None
