"""Verification of one receipt: a row of the audit log, and the issuer's checkpoint over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nomos._protocol import Refused
from nomos.audit import record
from nomos.audit.chain import VERSION, Head, Log, sealed
from nomos.audit.check import MAX_CHECKPOINT, Check, misplaced
from nomos.audit.keys import BrokenKeys, UnknownIssuer, trusted
from nomos.audit.record import Record
from nomos.errors import InvalidReceipt

AUDIT: Final[Log] = "audit"


def check_receipt(reply: Mapping[str, Any], issuer: str, check: Check) -> Record:
    """Return the record in a reply of `GET /v1/receipts/{id}`, verified by the issuer's signature.

    `issuer` is a DID that the reader trusts, which may be an older key of the same issuer: the
    reply contains the keys after it. Raises `InvalidReceipt`.
    """
    row, link_hash, token = _read(reply)
    if row.get("v") != VERSION:
        raise InvalidReceipt(
            f"the receipt is of another version, and this nomos reads {VERSION}: a newer nomos "
            "may read it",
            code="unknown_version",
        )
    head = _head(row, link_hash)
    tenant = row["tenant"]
    try:
        keys = trusted(reply.get("keys", []), tenant, issuer, check)
    except UnknownIssuer as unknown:
        raise InvalidReceipt(str(unknown), code="unknown_issuer") from None
    except BrokenKeys as broken:
        raise InvalidReceipt(str(broken), code="key_log") from None
    said = check(token, keys.trusted)
    if isinstance(said, Refused):
        raise InvalidReceipt(f"the checkpoint does not verify: {said.message}", code=said.code)
    wrong = misplaced(said, AUDIT, tenant, head)
    if wrong is not None:
        raise InvalidReceipt(f"the checkpoint is not over this row: {_WRONG[wrong]}", code=wrong)
    return record.read(row)


def _read(reply: Mapping[str, Any]) -> tuple[Mapping[str, Any], str, str]:
    row, link_hash, token = (reply.get(name) for name in ("row", "hash", "checkpoint"))
    if not isinstance(row, dict) or not isinstance(link_hash, str) or not isinstance(token, str):
        raise _malformed("it must have a row, its hash and a checkpoint")
    if len(token) > MAX_CHECKPOINT:
        raise _malformed(f"its checkpoint is longer than {MAX_CHECKPOINT} characters")
    return row, link_hash, token


def _head(row: Mapping[str, Any], link_hash: str) -> Head:
    seq, tenant = row.get("seq"), row.get("tenant")
    if type(seq) is not int or seq < 1 or not isinstance(tenant, str):
        raise _malformed("its row has no number or no tenant")
    if not all(isinstance(row.get(name), str) for name in ("id", "kind")):
        raise _malformed("its row has no id or no kind")
    try:
        placed = sealed(row, seq)
    except ValueError as failure:
        raise _malformed(f"its row cannot be hashed: {failure}") from None
    if placed.hash != link_hash:
        raise InvalidReceipt(
            f"the receipt was changed: its row has the hash {placed.hash}, but it states "
            f"{link_hash[:64]}",
            code="changed",
        )
    return placed.head


def _malformed(why: str) -> InvalidReceipt:
    return InvalidReceipt(f"this is not a receipt: {why}", code="malformed")


_WRONG: Final = {
    "other_log": "it is for another log",
    "other_tenant": "it is for another tenant",
    "other_row": "it is over a row of another number",
    "other_hash": "it is over a row with this number and other content",
}
