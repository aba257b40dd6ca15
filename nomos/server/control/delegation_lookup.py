"""Finds the authority of a question: the app alone, or a chain, which is verified here.

With an API key, the question names its chain; without one, the invocation that signs the question
has its chain. A faulty chain leads to a recorded deny.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nomos.server.control import chain_verification, invocation_auth
from nomos.server.control.context import Context
from nomos.server.control.errors import ControlError, invalid, shown
from nomos.server.control.invocation_auth import AgentPrincipal
from nomos.server.control.messages import AuthorizeRequest
from nomos.server.domain.accounts import ApiKey
from nomos.server.domain.authorization import CanonicalRequest
from nomos.server.domain.delegation import ChainFault, DelegationContext, HeldCapability
from nomos.server.domain.lineage import delegation_records
from nomos.server.storage.records import new_receipt_id

MAX_FAULTS: Final = 600
"""The number of faulty chains without an API key that are recorded for an app in a minute."""


def signed(caller: ApiKey, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what identifies a repeated question: its body and its signer."""
    if not isinstance(caller, AgentPrincipal):
        return body
    return {**body, "agentDid": caller.agent, "delegatedChain": list(caller.tokens)}


async def origin(
    context: Context,
    caller: ApiKey,
    message: AuthorizeRequest,
    question: CanonicalRequest,
    agent: str,
) -> DelegationContext:
    """Return the authority of a question, with its faults.

    Raises InvalidRequest for a parent or a swarm that is not the chain's, Refusal if there are too
    many faulty chains to record.
    """
    found = await _held(context, caller, message, agent)
    if found is None:
        record = await _parent_receipt(context, caller, message.parent_receipt_id)
        # The same label chosen by another app names another swarm.
        label = None if message.swarm_id is None else f"{caller.app}/{message.swarm_id}"
        return DelegationContext(record=record, label=label)
    if isinstance(found, ChainFault):
        return _at_fault(context, caller, DelegationContext(fault=found))
    _check_family(found, message)
    at = int(context.clock() * 1000)
    links = delegation_records(caller.tenant, found.descent, found.links, at, new_receipt_id)
    record = await context.store.delegations.note(links) or found.descent.receipt
    fault = None
    if isinstance(caller, AgentPrincipal):
        fault = invocation_auth.check_request(caller, message)
    fault = fault or await chain_verification.check_attenuation(
        context, found, question, caller.tenant
    )
    origin = DelegationContext(held=found, fault=fault, record=record)
    return origin if fault is None else _at_fault(context, caller, origin)


async def _held(
    context: Context, caller: ApiKey, message: AuthorizeRequest, agent: str
) -> HeldCapability | ChainFault | None:
    if isinstance(caller, AgentPrincipal):
        return await _held_still(context, caller)
    if message.delegated_chain is None:
        return None
    claims = chain_verification.read(context, message.delegated_chain)
    if isinstance(claims, ChainFault):
        return claims
    return await chain_verification.prove(context, claims, caller.tenant, agent)


async def _held_still(
    context: Context, caller: AgentPrincipal
) -> HeldCapability | ChainFault | None:
    """Return the chain as verified before the body was read, unless it was revoked meanwhile."""
    if caller.held is None:
        return caller.fault
    revoked = await context.store.revoked(caller.held.ids)
    if revoked:
        root = caller.held.descent.root
        return ChainFault("revoked", f"revoked: {', '.join(sorted(revoked))}", root)
    return caller.held


def _at_fault(context: Context, caller: ApiKey, origin: DelegationContext) -> DelegationContext:
    """Count a faulty chain: any holder of a token of the app can send them, so few are recorded."""
    if isinstance(caller, AgentPrincipal):
        now = int(context.clock())
        if not context.faults.admits(caller.app, now, MAX_FAULTS):
            message = "too many faulty chains of this app within a minute"
            raise ControlError("rate_limited", message, headers={"retry-after": "60"})
    return origin


async def _parent_receipt(context: Context, caller: ApiKey, receipt: str | None) -> str | None:
    """Return the record that the app names as the question's parent; it must be the app's own."""
    if receipt is None:
        return None
    row = await context.store.row(caller.tenant, receipt)
    if row is None or row.record.app != caller.app:
        raise invalid("parentReceiptId", f"your app has no receipt {shown(receipt)}")
    return receipt


def _check_family(held: HeldCapability, message: AuthorizeRequest) -> None:
    """Raise InvalidRequest if the question names another swarm than its chain."""
    if message.parent_receipt_id not in (None, held.descent.receipt):
        raise invalid(
            "parentReceiptId",
            "is not the receipt of the chain's root, which led to this question: leave it out",
        )
    family = held.descent.swarm
    if message.swarm_id not in (None, family, (family or "").partition("/")[2]):
        raise invalid(
            "swarmId",
            "is not that of the chain, whose agents all belong to one swarm: leave it out",
        )
