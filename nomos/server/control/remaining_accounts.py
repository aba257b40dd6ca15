"""Accounts that stay active when the operator who registered them is disabled, revoked or rotated.

The user of that operator's account may use the accounts that it registered, until an operator
outside of its line confirms them (`account_lines`), and may have seen the keys that it was shown.
They are not disabled with it, since that could lock a team out; the reply lists them instead.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from nomos.models import Absent
from nomos.server.control.context import Context
from nomos.server.control.messages import ReplyModel
from nomos.server.domain.accounts import Role

MOST: Final = 100


class LeftApp(ReplyModel):
    """An app that stays active."""

    id: str
    name: str
    role: Role


class LeftMembers(ReplyModel):
    """Members of a reply about an operator: the accounts that it registered."""

    left: int | Absent = Field(
        default=None,
        description="For an operator: how many accounts stay active that it registered, or whose "
        "keys it was shown, and that no operator outside of its line has confirmed.",
    )
    left_apps: list[LeftApp] | Absent = Field(default=None, description="At most 100 of them.")


async def members(context: Context, tenant: str, ident: str, role: Role | None) -> dict[str, Any]:
    """Return the members of the reply about this app; none if it is not an operator's."""
    if role != "operator":
        return {}
    found = await context.store.apps.left_by(tenant, ident)
    apps = [LeftApp(id=each.app.id, name=each.app.name, role=each.role) for each in found[:MOST]]
    return {"left": len(found), "left_apps": apps}
