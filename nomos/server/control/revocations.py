"""The route that revokes delegations, agents, apps, approvals and issuer keys.

A revocation is a numbered row of the tenant's log `revocations`, and is permanent. Services receive
it by the feed (`nomos.server.control.feed`).

A delegation that an agent signed is unknown here until it is first used. Its chain proves who may
revoke it: the app that the chain began with may revoke any link; an agent may revoke what it
received, what it delegated, and every link after that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field
from starlette.requests import Request

from nomos._identifiers import DID_FORM, SHA256_FORM
from nomos._limits import MAX_BODY_WITH_CHAIN
from nomos._times import iso
from nomos.audit.record import Record
from nomos.models import Absent, Purpose
from nomos.server.control import (
    body,
    chain_verification,
    feed,
    messages,
    permissions,
    remaining_accounts,
)
from nomos.server.control.apps import kind_of
from nomos.server.control.context import Context
from nomos.server.control.errors import ControlError, invalid, shown
from nomos.server.control.invocation_auth import AgentPrincipal, authenticate
from nomos.server.control.messages import MAX_SENT_LINKS, MessageModel
from nomos.server.control.route import route
from nomos.server.domain.accounts import ApiKey
from nomos.server.domain.delegation import ChainFault, HeldCapability
from nomos.server.storage.api_keys import LastOperator
from nomos.server.storage.issuer_keys import ActiveKeyError
from nomos.server.storage.records import new_receipt_id
from nomos.server.storage.revocations import Kind, RevocationRequest, RevocationRow, ServiceInUse

_IDENT: Final = re.compile(rf"{SHA256_FORM}|{DID_FORM}|(?:app|env)_[0-9a-z]{{26}}")


class RevokeRequest(MessageModel):
    """What to revoke; for operators, as the table of permissions allows."""

    id: str = Field(description="A cid, an agent's or issuer's DID, an app's or envelope's id.")
    reason: Purpose | Absent = Field(default=None, description="Recorded in the audit log.")
    chain: list[str] | Absent = Field(
        default=None,
        min_length=1,
        max_length=MAX_SENT_LINKS,
        description="The chain that a delegation belongs to, root first, as proof of who may "
        "revoke it.",
    )


class RevokeReply(remaining_accounts.LeftMembers):
    """The revocation, by its number in the log."""

    id: str
    kind: Kind
    seq: int
    at: str
    already_revoked: bool
    known: bool = Field(
        description="False if the audit log does not have the id (it may be mistyped); the "
        "revocation applies either way."
    )


@route(
    "POST",
    "/v1/revocations",
    ("agent", "operator"),
    RevokeReply,
    accepts=RevokeRequest,
    refuses=(404, 429),
    holder=authenticate,
)
async def post_revocation(context: Context, request: Request, caller: ApiKey) -> RevokeReply:
    """Revoke a delegation, an agent, an app, an approval or an issuer key, permanently."""
    content = await body.raw(request, MAX_BODY_WITH_CHAIN)
    message = messages.read(RevokeRequest, body.parse(content))
    if caller.role == "agent":
        # A revocation is stored permanently, here and by every service; agents make delegations
        # freely.
        context.take_quota(caller.app, len(content))
    if not _IDENT.fullmatch(message.id):
        raise invalid(
            "id", f"{shown(message.id)} is not a cid (64 hex digits), a did:key, app_… or env_…"
        )
    held = None if message.chain is None else await _proven(context, caller, message)
    kind = await _may(context, caller, message.id, held)
    at = int(context.clock() * 1000)
    wanted = RevocationRequest(caller.tenant, message.id, kind, at)
    request_id: str = request.state.request_id
    try:
        done = await context.store.feed.revoke(
            wanted, lambda revoked: _receipt(caller, revoked, message.reason, request_id, held)
        )
    except (ActiveKeyError, ServiceInUse, LastOperator) as failure:
        raise invalid("id", str(failure)) from failure
    context.notifier.notify(feed.topic(caller.tenant))
    if done.kind == "issuer":
        await context.key_log.refresh()
    return RevokeReply(
        id=done.id,
        kind=done.kind,
        seq=done.seq,
        at=iso(done.at / 1000),
        already_revoked=done.already,
        known=held is not None
        or kind not in ("agent", "cid")
        or await context.store.feed.known(caller.tenant, done.id),
        **await _left(context, caller.tenant, done),
    )


async def _left(context: Context, tenant: str, done: RevocationRow) -> dict[str, Any]:
    found = await context.store.apps.find_to_end(tenant, done.id) if done.kind == "app" else None
    return await remaining_accounts.members(
        context, tenant, done.id, None if found is None else found.role
    )


async def _proven(context: Context, caller: ApiKey, message: RevokeRequest) -> HeldCapability:
    """Return the request's verified chain, which has the link `id`; may be expired or revoked."""
    claims = chain_verification.read(context, message.chain or ())
    found = (
        claims
        if isinstance(claims, ChainFault)
        else await chain_verification.verify_while_valid(context, claims, caller.tenant)
    )
    if isinstance(found, ChainFault):
        raise invalid("chain", f"is not a valid proof ({found.reason}): {found.message}")
    if message.id not in [link.cid for link in found.links]:
        raise invalid("id", "is not the cid of a link of `chain`")
    return found


async def _may(context: Context, caller: ApiKey, ident: str, held: HeldCapability | None) -> Kind:
    """Return the kind of `ident` if the caller may revoke it; raises an error otherwise."""
    if held is not None:
        if caller.role == "agent" and not _is_delegator(caller, ident, held):
            raise ControlError(
                "not_found",
                f"you may not revoke {ident}: a delegation is revoked by the app that its chain "
                "began with, by the agent that received it, by an agent that signed it or a "
                "link before it, or by an operator",
            )
        if caller.role == "operator":
            await _permitted(context, caller, ident, app=held.descent.app or "")
        return "cid"
    kind = await context.store.feed.kind(caller.tenant, ident)
    if isinstance(caller, AgentPrincipal):
        raise invalid("chain", "is required, as proof that you may revoke this")
    if caller.role == "agent" and not await context.store.feed.belongs(
        caller.tenant, caller.app, ident
    ):
        raise ControlError(
            "not_found",
            f"your app has no delegation or envelope {ident}. Agents, apps and what belongs to "
            "other apps are revoked by an operator",
        )
    if kind is None:
        raise ControlError("not_found", f"there is no {ident}")
    if caller.role == "operator":
        await _permitted(context, caller, ident)
    return kind


_KINDS: Final[Mapping[Kind, permissions.Kind]] = {
    "cid": "delegation",
    "agent": "agent",
    "envelope": "approval",
    "issuer": "issuer key",
}


async def _permitted(
    context: Context, operator: ApiKey, ident: str, app: str | None = None
) -> None:
    """Raise ControlError for what the table of permissions does not let this operator revoke."""
    named = await context.store.feed.named(operator.tenant, ident, app=app)
    if named is None or (named.kind == "app" and named.role is None):
        raise ControlError("not_found", f"there is no {ident}")
    kind: permissions.Kind
    if ident == context.pdp_did:
        kind = "PDP"
    elif named.service:
        kind = "service"
    elif named.role is not None and named.kind == "app":
        kind = kind_of(named.role)
    else:
        kind = _KINDS[named.kind]
    covers = named.covers if named.kind == "app" else ()
    target = permissions.PermissionTarget(kind, ident, named.owner, covers, named.roles)
    permissions.check(operator, "revoke", target)


def _is_delegator(caller: ApiKey, ident: str, held: HeldCapability) -> bool:
    """Return whether the caller signed the link `ident` or an earlier one, or is its audience."""
    if not isinstance(caller, AgentPrincipal):
        return held.descent.app == caller.app
    place = [link.cid for link in held.links].index(ident)
    delegators = [link.payload["iss"] for link in held.links[: place + 1]]
    return caller.agent in (*delegators, held.links[place].payload["aud"])


def _receipt(
    caller: ApiKey,
    revoked: RevocationRow,
    reason: str | None,
    request_id: str,
    held: HeldCapability | None,
) -> Record:
    detail: dict[str, Any] = {"id": revoked.id, "kind": revoked.kind, "seq": revoked.seq}
    if isinstance(caller, AgentPrincipal):
        detail["by"] = caller.agent
    return Record(
        id=new_receipt_id(revoked.at),
        tenant=caller.tenant,
        kind="revocation",
        at=revoked.at,
        app=caller.app if caller.role == "agent" else None,
        actor=caller.app,
        act="revoke",
        detail=detail if reason is None else {**detail, "reason": reason},
        request_id=request_id,
        agent=revoked.id if revoked.kind == "agent" else None,
        cid=revoked.id if revoked.kind == "cid" else None,
        envelope=revoked.id if revoked.kind == "envelope" else None,
        root=None if held is None else held.descent.root,
    )


ROUTES: Final = (post_revocation, *feed.ROUTES)
