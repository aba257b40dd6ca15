"""How a case is written: one line for the loop, and the expected answer."""

from __future__ import annotations

import json
from typing import Any

from vectors.forge import (
    ISSUER,
    NOW,
    SERVICE,
    Payload,
    cid,
)

Case = dict[str, Any]
Row = tuple[str, Payload, str, int | None]
"""A name, a request, the code that refuses it, the hop at fault."""

CONSTRAINT = {"provider": "github", "owner": "acme"}
RESOURCE = {"provider": "github", "owner": "acme", "repo": "app"}


def case(name: str, request: Payload, **expected: object) -> Case:
    return {"name": name, "line": json.dumps({"id": 1, "protocol": 1, **request}), **expected}


def refused(code: str, hop: int | None = None) -> Payload:
    return {"code": code} if hop is None else {"code": code, "hop": hop}


def verify(**changes: object) -> Payload:
    """Ask about a chain or an invocation, as a service would."""
    request: Payload = {
        "op": "verify",
        "now": NOW,
        "leeway": 0,
        "max_depth": 8,
        "trusted_issuers": [ISSUER.did],
        "revoked": [],
        "revocations_max_age": 5,
        "allow_missing_prf": False,
    }
    return {name: value for name, value in {**request, **changes}.items() if value is not ...}


def verify_use(token: str, **changes: object) -> Payload:
    return verify(invocation=token, audience=SERVICE.did, **changes)


def delegate(payload: Payload, **changes: object) -> Payload:
    request = {"op": "delegate", "key": ISSUER.did, "payload": payload, "allow_vacuous": False}
    return {**request, **changes}


def sign_checkpoint(payload: Payload, **changes: object) -> Payload:
    return {"op": "sign_checkpoint", "key": ISSUER.did, "payload": payload, **changes}


def verify_checkpoint(token: str, issuers: list[str] | None = None) -> Payload:
    """Ask about a checkpoint that the issuer should have signed."""
    trusted = [ISSUER.did] if issuers is None else issuers
    return {"op": "verify_checkpoint", "token": token, "issuers": trusted}


def verify_receipt(token: str, issuers: list[str] | None = None) -> Payload:
    """Ask about a receipt that the service should have signed."""
    trusted = [SERVICE.did] if issuers is None else issuers
    return {"op": "verify_receipt", "token": token, "issuers": trusted}


def signed(token: str) -> Payload:
    return {"jwt": token, "cid": cid(token)}


def nested(depth: int) -> Payload:
    """An object of that many levels, itself one of them."""
    value: Payload = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value
