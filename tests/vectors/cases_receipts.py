"""Receipts of verification: what is signed, what is refused, and the fields of a verified one."""

from __future__ import annotations

from typing import Final

from vectors.cases import Case, case, refused, signed, verify_receipt
from vectors.cases_signing import UNLOADED
from vectors.forge import (
    ISSUER,
    NOW,
    RECEIPT,
    SERVICE,
    UNRELATED,
    Payload,
    cid,
    receipt,
    receipt_payload,
    root,
    sign,
    use,
)

LAST_SECOND: Final = 253402300799
NAMES_NOTHING: Final[Payload] = {
    "outcome": "malformed_ucan",
    **dict.fromkeys(("resource_hash", "agent", "root", "chain", "invocation"), ...),
}
"""The changes that make a receipt of an allow one of a refusal that names as little as it may."""


def sign_receipt(payload: Payload, **changes: object) -> Payload:
    return {"op": "sign_receipt", "key": SERVICE.did, "payload": payload, **changes}


def receipts() -> list[Case]:
    return [*_signing(), *_refused(), *_verification()]


GOOD: Final[dict[str, Payload]] = {
    "an allow": {},
    "an allow with arguments": {"args_hash": "ef" * 32},
    "an allow of the longest chain": {"chain": [f"{n:064x}" for n in range(32)]},
    "by a key that is not the service's": {"service": ISSUER.did},
    "a refusal that names nothing": NAMES_NOTHING,
    "a refusal with its hop": {"outcome": "expired", "hop": 2},
    "a refusal at the root": {"outcome": "untrusted_issuer", "hop": 0},
    "a refusal at the deepest hop": {"outcome": "chain_too_deep", "hop": 32, "chain": ...},
    "a refusal of a later day": {"outcome": "a_reason_of_a_later_version"},
    "the longest reason": {"outcome": "a" * 64},
    "the first second": {"iat": 0},
    "the last second": {"iat": LAST_SECOND},
}


def _signing() -> list[Case]:
    rows = []
    for name, changes in GOOD.items():
        payload = receipt_payload(**changes)
        answer = signed(sign(RECEIPT, payload, SERVICE))
        rows.append(case(f"signed: {name}", sign_receipt(payload), answer=answer))
    return rows


def _refused() -> list[Case]:
    wrong: dict[str, Payload] = {
        "no service": {"service": ...},
        "a service that is no did:key": {"service": "did:web:example.com"},
        "no command": {"cmd": ...},
        "a command without a slash": {"cmd": "github"},
        "the resource itself": {"resource_hash": {"provider": "github"}},
        "a hash in upper case": {"resource_hash": "AB" * 32},
        "a hash with a newline": {"resource_hash": "0" * 64 + "\n"},
        "a short hash": {"args_hash": "0" * 63},
        "a hash that is null": {"args_hash": None},
        "no outcome": {"outcome": ...},
        "an empty outcome": {"outcome": ""},
        "an outcome in upper case": {"outcome": "ALLOW"},
        "an outcome with a space": {"outcome": "allow "},
        "an outcome that is a flag": {"outcome": True},
        "an outcome without end": {"outcome": "a" * 65},
        "a negative hop": {"outcome": "expired", "hop": -1},
        "a hop beyond any chain": {"outcome": "expired", "hop": 33},
        "an agent that is no did:key": {"agent": "planner"},
        "an empty chain": {"chain": []},
        "a chain without end": {"chain": ["0" * 64] * 33},
        "a chain of tokens": {"chain": [root()]},
        "an invocation that is a token": {"invocation": use([root()])},
        "no time": {"iat": ...},
        "a time that is a fraction": {"iat": 0.5},
        "a time after the year 9999": {"iat": LAST_SECOND + 1},
        "an unknown member": {"exp": NOW},
        "an issuer that is no did:key": {"iss": "did:web:example.com"},
    }
    rows = [
        case(
            f"not signed: {name}",
            sign_receipt(receipt_payload(**changes)),
            refused=refused("invalid_request"),
        )
        for name, changes in wrong.items()
    ]
    others: list[tuple[str, Payload, str]] = [
        ("another's name", sign_receipt(receipt_payload(iss=ISSUER.did)), "issuer_mismatch"),
        (
            "a key that was not loaded",
            sign_receipt(receipt_payload(iss=UNLOADED), key=UNLOADED),
            "unknown_key",
        ),
    ]
    others += [
        (f"an allow {name}", sign_receipt(receipt_payload(**changes)), "malformed_ucan")
        for name, changes in CONTRADICTIONS.items()
    ]
    rows += [
        case(f"not signed: {name}", request, refused=refused(code))
        for name, request, code in others
    ]
    return rows


CONTRADICTIONS: Final[dict[str, Payload]] = {
    "on nothing": {"resource_hash": ...},
    "by nobody": {"agent": ...},
    "rooted in nobody": {"root": ...},
    "without its chain": {"chain": ...},
    "without its invocation": {"invocation": ...},
    "with a token at fault": {"hop": 0},
}


def _verification() -> list[Case]:
    def ok(name: str, issuers: list[str] | None = None, **changes: object) -> Case:
        token = receipt(**changes)
        answer = {"receipt": receipt_payload(**changes), "cid": cid(token)}
        return case(f"verified: {name}", verify_receipt(token, issuers), answer=answer)

    rows = [ok(name, **changes) for name, changes in GOOD.items()]
    return [*rows, ok("one of several issuers", [UNRELATED.did, SERVICE.did])]
