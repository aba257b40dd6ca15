"""Replies of a control plane that allows, made by hand."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from nomos._core.answer_check import question_id

ISSUER = "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"
SERVICE = "did:key:z6MkvqoYXQfDDJRv8L4wKzxYeuKyVZBfi9Qo6Ro8MiLH3kDQ"


def jwt(payload: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


def iso(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat()


def payload(
    agent: str,
    command: str,
    resource: Mapping[str, Any],
    *,
    key: str,
    now: int,
    ttl: int = 300,
    args: Mapping[str, Any] | None = None,
    commands: Sequence[str] = (),
    pol: Sequence[Any] = (),
    meta: Mapping[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """The delegation that answers a question, as an issuer signs it."""
    named: list[Any] = ["or", [["==", ".cmd", each] for each in commands]]
    bound = [] if args is None else [["==", ".args", dict(args)]]
    return {
        "iss": ISSUER,
        "sub": ISSUER,
        "aud": agent,
        "cmd": command,
        "pol": [named if commands else ["==", ".cmd", command], *bound, *pol],
        "nbf": now - 60,
        "exp": now + ttl,
        "meta": {
            "resource_constraint": dict(resource),
            "receipt_id": "evt_1",
            "audience": SERVICE,
            "facts": {"bundle": "0" * 64},
            "question": question_id(key),
            **(meta or {}),
        },
        **changes,
    }


def allow(link: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """The answer around a delegation."""
    body = {
        "decision": "allow",
        "receiptId": "evt_1",
        "expiresAt": iso(link["exp"]),
        "audience": link["meta"]["audience"],
        "chain": [jwt(link)],
        "resource": link["meta"]["resource_constraint"],
    } | changes
    return {name: value for name, value in body.items() if value is not None}
