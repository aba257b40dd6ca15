"""Flows for revocations and receipts.

revoke     revokes a token, agent, app or approval
receipt    reads the audit record of one decision or one act
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from nomos._core import replies, requests, retry
from nomos._core.approval_bodies import RevocationBody
from nomos._core.effects import ChildCredential, Flow
from nomos._core.parent_env import as_parent_chain
from nomos._identifiers import DID, SHA256, cid_of
from nomos._limits import MAX_INTEGER, MAX_TOKEN
from nomos._sealed import make
from nomos.errors import InvalidRequest
from nomos.models import Chain, Digest, GrantBase, Line, ParentChain, ResponseModel
from nomos.receipts import ReceiptBase, Revocation

IDENT: Final = re.compile(r"(?:app|env)_[0-9A-Za-z_-]{1,64}")
RECEIPT: Final = re.compile(r"evt_[0-9A-Za-z_-]{1,64}")

MAX_KEYS: Final = 1000
LAST_MOMENT: Final = 253_402_300_799_000  # the end of the year 9999 in milliseconds


class _RowPlace(ResponseModel):
    """The members that every row has; the others depend on its kind."""

    id: Line
    seq: int = Field(ge=1, le=MAX_INTEGER, strict=True)
    at: int = Field(ge=0, le=LAST_MOMENT, strict=True)
    kind: Line


def _parse_place(row: dict[str, Any]) -> dict[str, Any]:
    _RowPlace.model_validate(row)
    return row


class _RecordedRow(ResponseModel):
    row: Annotated[dict[str, Any], AfterValidator(_parse_place)]
    hash: Digest
    checkpoint: str = Field(max_length=MAX_TOKEN, repr=False)
    issuer: Line
    keys: tuple[dict[str, Any], ...] = Field(default=(), max_length=MAX_KEYS, repr=False)


@dataclass(frozen=True)
class RevocationTarget:
    """The id of what is revoked and, for a chain that was forked, the chain that it ends."""

    id: str
    chain: Chain | None = None


def revoke(
    target: RevocationTarget,
    *,
    reason: str | None,
    pauses: Sequence[float],
    by: Chain | None = None,
) -> Flow[Revocation]:
    """Revoke `target`, one of `named`; idempotent. `by` is the chain that authenticates a child."""
    chain = {} if target.chain is None else {"chain": list(target.chain)}
    send = requests.post("/v1/revocations", {"id": target.id, **chain, **requests.reason(reason)})
    if by is not None:
        send = replace(send, claim=ChildCredential(by))
    reply = yield from retry.send(send, pauses)
    revoked = replies.parse(reply, RevocationBody, what="a revocation").value()
    replies.check_id(target.id, revoked.id)
    return revoked


def named(what: object) -> tuple[RevocationTarget, ...]:
    """Return what is to be revoked: one target, or the last link of each of several chains.

    A grant is revoked by its delegation, or by its approval while that is undecided. Raises
    `InvalidRequest` for what cannot be revoked, `ChainError` for an invalid chain; the message
    never repeats the value, because it may be a token.
    """
    if isinstance(what, GrantBase):
        return (RevocationTarget(_granted(what)),)
    if isinstance(what, str) and any(form.fullmatch(what) for form in (SHA256, DID, IDENT)):
        return (RevocationTarget(what),)
    if isinstance(what, ParentChain | Sequence) and what and not isinstance(what, str | bytes):
        chains = as_parent_chain(what, setting="grant_or_id").chains
        return tuple(RevocationTarget(cid_of(chain[-1]), chain) for chain in chains)
    raise InvalidRequest(
        "revoke takes a grant, a child, a chain, the cid of a delegation (64 hex digits), an "
        "agent's did:key, an app (app_…) or an approval (env_…)",
        fields=("grant_or_id",),
    )


def _granted(grant: GrantBase) -> str:
    if grant.chain:
        return cid_of(grant.chain[-1])
    if grant.approval_envelope_id is not None:
        return grant.approval_envelope_id
    raise InvalidRequest(
        f"there is nothing to revoke in this grant of {grant.command}: it is "
        f"{'degraded' if grant.degraded else grant.decision} and holds no delegation",
        fields=("grant_or_id",),
    )


def receipt(receipt_id: str, pauses: Sequence[float]) -> Flow[ReceiptBase]:
    """Return a record as the control plane reports it; nothing of it is verified yet."""
    if not (isinstance(receipt_id, str) and RECEIPT.fullmatch(receipt_id)):
        raise InvalidRequest(
            "receipt_id must be the receipt_id of a grant, such as evt_01jb…",
            fields=("receipt_id",),
        )
    reply = yield from retry.send(requests.get(f"/v1/receipts/{receipt_id}"), pauses)
    found = replies.parse(reply, _RecordedRow, what="a receipt")
    replies.check_id(receipt_id, found.row["id"])
    return make(
        ReceiptBase,
        row=MappingProxyType(found.row),
        hash=found.hash,
        checkpoint=found.checkpoint,
        issuer=found.issuer,
        keys=found.keys,
    )
