"""Routes for the audit log: receipts, the signed checkpoint, and the export as a file.

An agent sees the receipts of its own app; operators and auditors see the tenant's. Each receipt has
a checkpoint over exactly its row, so it can be verified without the rest of the log.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import StreamingResponse

from nomos._core import reply_identity
from nomos._times import iso
from nomos.audit.chain import Head
from nomos.audit.export import ExportWriter, Header
from nomos.audit.record import Record
from nomos.errors import InvalidRequest, SignerError
from nomos.models import Did
from nomos.server.control.checkpoints import sign, sign_head
from nomos.server.control.context import Context
from nomos.server.control.errors import ControlError, shown, unavailable
from nomos.server.control.invocation_auth import AgentPrincipal, authenticate
from nomos.server.control.messages import ReplyModel
from nomos.server.control.route import route
from nomos.server.domain.accounts import ApiKey
from nomos.server.http.query import Number, Query, Word
from nomos.server.storage.records import Found, Lost, Row

MEDIA_TYPE: Final = "application/x-ndjson"
MAX_LIMIT: Final = 500
LIMIT: Final = 50
ROWS_AT_ONCE: Final = 200  # the maximum number of rows of an export in memory
log = logging.getLogger("nomos.server")

_ID: Final = re.compile(r"evt_[0-9a-z]{26}(?:_end)?")
_LISTED: Final = Query(
    Number("limit", least=1, most=MAX_LIMIT, default=LIMIT),
    Number("before"),
    Number("after"),
    Word("tree", _ID.pattern, "the id of a receipt, evt_..."),
)
_KEY_MEMBERS: Final = ("row", "hash", "checkpoint")


class ReceiptEntry(ReplyModel):
    """A row of the audit log as it was hashed."""

    row: dict[str, Any]
    hash: str


class KeyLogEntry(ReceiptEntry):
    """A row of the key log, and the checkpoint over it by the key before."""

    checkpoint: str


class DamagedRow(ReplyModel):
    """A row of the audit log that cannot be read: its number, and the hash that it had."""

    seq: int
    hash: str


class ReceiptsReply(ReplyModel):
    """Rows of the log; `more` is true if there are further ones after the last."""

    receipts: list[ReceiptEntry]
    damaged: list[DamagedRow] = Field(
        default=[], description="Damaged rows among these: they are stored and cannot be read."
    )
    more: bool
    server_time: str


class ReceiptReply(ReceiptEntry):
    """One row with a checkpoint over exactly it, and the keys that lead to its signer."""

    checkpoint: str
    issuer: Did
    keys: list[KeyLogEntry]


class CheckpointReply(ReplyModel):
    """The end of the log, signed. With it, a truncated export can be detected later."""

    checkpoint: str
    issuer: Did
    tenant: str
    seq: int
    hash: str
    server_time: str


@dataclass(frozen=True)
class ReceiptQuery:
    """Which receipts to list: the latest, those before or after a row, or of one tree."""

    limit: int = LIMIT
    before: int | None = None
    after: int | None = None
    tree: str | None = None


@route("GET", "/v1/receipts", ("agent", "operator", "auditor"), ReceiptsReply, query=_LISTED)
async def get_receipts(context: Context, request: Request, caller: ApiKey) -> ReceiptsReply:
    """Receipts, newest first; oldest first after a row or of one tree."""
    query = receipt_query(request.scope["query_string"])
    rows = await _rows(context, caller, query)
    listed = _listed(rows, query)
    return ReceiptsReply(
        receipts=[_entry(row) for row in listed if isinstance(row, Row)],
        damaged=[_damaged(row) for row in listed if isinstance(row, Lost)],
        more=len(rows) > query.limit,
        server_time=iso(context.clock()),
    )


async def _rows(context: Context, caller: ApiKey, query: ReceiptQuery) -> tuple[Found, ...]:
    """Return the matching rows, and one more than the limit if there is one."""
    tenant, limit = caller.tenant, query.limit + 1
    app = caller.app if caller.role == "agent" else None
    if query.tree is not None:
        rows = await context.store.log.family(tenant, query.tree)
        return tuple(
            row for row in rows if app is None or (isinstance(row, Row) and row.record.app == app)
        )
    if query.after is not None:
        return await context.store.log.following(tenant, query.after, limit, app=app)
    return await context.store.rows(tenant, limit, app=app, before=query.before)


def _listed(rows: tuple[Found, ...], query: ReceiptQuery) -> tuple[Found, ...]:
    """Return as many rows as requested; of a tree, always with the receipt that was named."""
    named = [
        row for row in rows[query.limit :] if isinstance(row, Row) and row.record.id == query.tree
    ]
    return (*rows[: query.limit - len(named)], *named)


@route(
    "GET", "/v1/receipts/{id}", ("agent", "operator", "auditor"), ReceiptReply, holder=authenticate
)
async def get_receipt(context: Context, request: Request, caller: ApiKey) -> ReceiptReply:
    """One receipt with a signature over exactly it."""
    ident: str = request.path_params["id"]
    row = await context.store.row(caller.tenant, ident) if _ID.fullmatch(ident) else None
    if row is None or not _may_see(caller, row.record):
        raise ControlError("not_found", f"there is no receipt {shown(ident)} that you may see")
    keys = await _keys(context, caller.tenant)
    issuer = keys[-1]["row"]["did"]
    with _signing():
        token = await sign(context, caller.tenant, row.link.head, issuer=issuer)
    return ReceiptReply(
        **dict(_entry(row)),
        checkpoint=token,
        issuer=issuer,
        keys=[KeyLogEntry(**each) for each in keys],
    )


@route("GET", "/v1/audit/checkpoint", ("auditor", "operator"), CheckpointReply)
async def get_checkpoint(context: Context, request: Request, caller: ApiKey) -> CheckpointReply:
    """A signed checkpoint over the newest record. Keep it."""
    issuer = context.issuers[caller.tenant]
    with _signing():
        head, token = await sign_head(context, caller.tenant, issuer)
    return CheckpointReply(
        checkpoint=token,
        issuer=issuer,
        tenant=caller.tenant,
        seq=head.seq,
        hash=head.hash,
        server_time=iso(context.clock()),
    )


@route("GET", "/v1/audit/export", ("auditor", "operator"), None)
async def get_export(context: Context, request: Request, caller: ApiKey) -> StreamingResponse:
    """The whole audit log as newline-delimited JSON, for `nomos audit verify`."""
    tenant = caller.tenant
    head = await context.store.log.head(tenant)
    # Read after the head, so that every key that signed a row up to it is included.
    keys = await _keys(context, tenant)
    header = Header(
        tenant=tenant,
        issuer=keys[-1]["row"]["did"],
        keys=keys,
        at=iso(context.clock()),
    )
    file = export(context, header, head)
    call_id: str | None = request.state.call_id
    return StreamingResponse(
        file if call_id is None else _named(file, call_id),
        media_type=MEDIA_TYPE,
        headers={
            "cache-control": "no-store",
            "content-disposition": f'attachment; filename="audit-{tenant}-{head.seq}.ndjson"',
        },
    )


async def _named(file: AsyncIterator[bytes], call_id: str) -> AsyncIterator[bytes]:
    """Put a line with the request's id before the file; clients remove it."""
    yield reply_identity.first_line(call_id)
    async for part in file:
        yield part


async def export(context: Context, header: Header, head: Head) -> AsyncIterator[bytes]:
    """Yield the file in parts. After a failure the last line is missing, as in a truncated file."""
    writer = ExportWriter()
    yield writer.header(header)
    at = 0
    while at < head.seq:
        part = await context.store.log.part(header.tenant, at, head.seq, ROWS_AT_ONCE)
        lines = []
        for link in part.links:
            if link.text:
                lines.append(writer.row(link))
            else:
                log.error("row %d of the audit log is damaged; an export names it", link.seq)
                lines.append(writer.damaged(link.seq, link.hash))
            if link.seq in part.tokens:
                lines.append(writer.checkpoint(part.tokens[link.seq]))
        yield b"".join(lines)
        at = part.links[-1].seq
    token = await sign(context, header.tenant, head, issuer=header.issuer, nonce=writer.digest)
    yield writer.checkpoint(token) + writer.end()


def receipt_query(query: bytes) -> ReceiptQuery:
    """Read the parameters. Raises InvalidRequest naming the one that is wrong."""
    given = _LISTED.read(query)
    places = [name for name in ("after", "before", "tree") if given[name] is not None]
    if len(places) > 1:
        raise InvalidRequest(f"{' and '.join(places)}: give one of them", fields=places)
    return ReceiptQuery(**given)


def _may_see(caller: ApiKey, record: Record) -> bool:
    """Return whether the caller may see a record: an agent without an API key sees only its own."""
    if caller.role == "agent" and record.app != caller.app:
        return False
    if not isinstance(caller, AgentPrincipal):
        return True
    began = caller.held.descent.receipt if caller.held else None
    return record.agent == caller.agent or record.id == began


def _entry(row: Row) -> ReceiptEntry:
    return ReceiptEntry(row=json.loads(row.link.text), hash=row.link.hash)


def _damaged(row: Lost) -> DamagedRow:
    log.error("row %d of the audit log is damaged; a listing names it", row.link.seq)
    return DamagedRow(seq=row.link.seq, hash=row.link.hash)


async def _keys(context: Context, tenant: str) -> list[dict[str, Any]]:
    """Return the key log, which leads from any earlier key to the one that signs now.

    The last entry is that key. `context.issuers` may differ from it while a key is replaced.
    """
    entries = await context.key_log.entries(tenant)
    return [{name: entry[name] for name in _KEY_MEMBERS} for entry in entries]


@contextmanager
def _signing() -> Iterator[None]:
    try:
        yield
    except SignerError as failure:
        raise unavailable("the record cannot be signed at the moment; ask again") from failure


ROUTES: Final = (get_receipts, get_receipt, get_checkpoint, get_export)
