"""Which accounts go on working when an operator is disabled or revoked, or has a new key.

Whoever used that operator's account may use those that it registered, until somebody outside of its
line confirms them (`account_lines`), and has seen the keys that it was shown. They are not ended
with it, for that could shut a team out; whoever ends it is told.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from nomos.server.control.context import Context
from nomos.server.control.messages import Absent, ReplyModel
from nomos.server.domain.accounts import Role

MOST: Final = 100


class LeftApp(ReplyModel):
    """An app that still works."""

    id: str
    name: str
    role: Role


class LeftMembers(ReplyModel):
    """What a reply about an operator says of accounts that it made."""

    left: int | Absent = Field(
        default=None,
        description="Of an operator: how many accounts that it registered, or whose keys it was "
        "shown, still work and nobody outside of its line has confirmed.",
    )
    left_apps: list[LeftApp] | Absent = Field(default=None, description="At most 100 of them.")


async def members(ports: Context, tenant: str, ident: str, role: Role | None) -> dict[str, Any]:
    """The members of a reply about this app; none if it is no operator's."""
    if role != "operator":
        return {}
    found = await ports.store.apps.left_by(tenant, ident)
    apps = [LeftApp(id=each.app.id, name=each.app.name, role=each.role) for each in found[:MOST]]
    return {"left": len(found), "left_apps": apps}
