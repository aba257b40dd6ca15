"""Receipts of verification: what is signed and what is not, what verifies, and every forgery."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from vectors.attack_text import spare
from vectors.cases import Case, case, refused, signed, verify, verify_checkpoint, verify_use
from vectors.cases_signing import UNLOADED
from vectors.forge import (
    CHECKPOINT,
    DELEGATION,
    INVOCATION,
    ISSUER,
    NOW,
    RESEARCHER,
    SERVICE,
    UNRELATED,
    Payload,
    b64,
    canonical,
    changed,
    checkpoint,
    child,
    cid,
    did,
    flip,
    malleable,
    respelled,
    root,
    sign,
    sign_raw,
    unb64,
    use,
    with_signature,
)
from vectors.points import IDENTITY, P, off_curve, unreduced

RECEIPT: Final = {"alg": "EdDSA", "typ": "nomos-receipt+jwt"}
LAST_SECOND: Final = 253402300799
NAMES_NOTHING: Final[Payload] = {
    "outcome": "malformed_ucan",
    **dict.fromkeys(("resource_hash", "agent", "root", "chain", "invocation"), ...),
}
"""The changes that make a receipt of an allow one of a refusal that names as little as it may."""


def receipt_payload(**changes: object) -> Payload:
    """What a service says of an invocation that it allowed; `...` leaves a member out."""
    first = root()
    chain = [first, child(first)]
    payload: Payload = {
        "iss": SERVICE.did,
        "service": SERVICE.did,
        "cmd": "/github/issue/list",
        "resource_hash": "cd" * 32,
        "outcome": "allow",
        "agent": RESEARCHER.did,
        "root": ISSUER.did,
        "chain": [cid(token) for token in chain],
        "invocation": cid(use(chain)),
        "iat": NOW,
    }
    return changed(payload, changes)


def receipt(**changes: object) -> str:
    return sign(RECEIPT, receipt_payload(**changes), SERVICE)


PLAIN: Final = receipt()


def sign_receipt(payload: Payload, **changes: object) -> Payload:
    return {"op": "sign_receipt", "key": SERVICE.did, "payload": payload, **changes}


def verify_receipt(token: str, issuers: list[str] | None = None) -> Payload:
    """Ask about a receipt that the service should have signed."""
    trusted = [SERVICE.did] if issuers is None else issuers
    return {"op": "verify_receipt", "token": token, "issuers": trusted}


def receipts() -> list[Case]:
    return [
        *_signing(),
        *_refused(),
        *_verification(),
        *_texts(),
        *_headers(),
        *_members(),
        *_keys(),
        *_signatures(),
        *_trust(),
        *_kinds(),
    ]


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
        for name, changes in _CONTRADICTIONS.items()
    ]
    rows += [
        case(f"not signed: {name}", request, refused=refused(code))
        for name, request, code in others
    ]
    return rows


_CONTRADICTIONS: Final[dict[str, Payload]] = {
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


def _row(name: str, token: str, code: str = "malformed_ucan", **request: Any) -> Case:
    return case(f"refused: {name}", verify_receipt(token, **request), refused=refused(code))


def _texts() -> list[Case]:
    header, payload, signature = PLAIN.split(".")
    rows = [
        _row("empty", ""),
        _row("two segments", f"{header}.{payload}"),
        _row("four segments", f"{PLAIN}.{signature}"),
        _row("an empty signature", f"{header}.{payload}."),
        _row("a newline after", f"{PLAIN}\n"),
        _row("a space before", f" {PLAIN}"),
        _row("padding after the payload", f"{header}.{payload}=.{signature}"),
        _row("padding after the signature", f"{PLAIN}=="),
        _row("spare bits in the last sextet", PLAIN[:-1] + spare(PLAIN[-1])),
        _row("a signature of 63 bytes", with_signature(PLAIN, lambda s: s[:-1])),
        _row("the payload is a list", sign_raw(canonical(RECEIPT), b"[]", SERVICE)),
        _row("longer than any token", "a" * (64 * 1024 + 1)),
    ]
    spellings: dict[str, Callable[[bytes], bytes]] = {
        "a space in the payload": lambda p: p.replace(b":", b": ", 1),
        "members out of order": lambda p: json.dumps(
            dict(reversed(json.loads(p).items()))
        ).encode(),
        "an escaped letter": lambda p: p.replace(b'"allow"', b'"\\u0061llow"'),
        "a fraction of zero": lambda p: p.replace(b'"iat":1700000000', b'"iat":1700000000.0'),
        "an exponent": lambda p: p.replace(b'"iat":1700000000', b'"iat":17e8'),
        "an outcome twice, the honest one first": lambda p: p[:-1] + b',"outcome":"expired"}',
        "an outcome twice, the honest one last": lambda p: b'{"outcome":"expired",' + p[1:],
        "a lone surrogate": lambda p: p.replace(b'"allow"', b'"\\ud800"'),
    }
    rows += [_row(name, respelled(PLAIN, spell, SERVICE)) for name, spell in spellings.items()]
    return rows


def _headers() -> list[Case]:
    payload = receipt_payload()

    def header(name: str, changes: Payload) -> Case:
        return _row(f"header, {name}", sign({**RECEIPT, **changes}, payload, SERVICE))

    unsigned = f"{b64(canonical({**RECEIPT, 'alg': 'none'}))}.{b64(canonical(payload))}."
    return [
        _row("header, no algorithm, no signature", unsigned),
        header("alg none", {"alg": "none"}),
        header("alg ES256", {"alg": "ES256"}),
        header("ucv of the other kinds", {"ucv": "1.0.0-cb"}),
        header("typ in upper case", {"typ": "NOMOS-RECEIPT+JWT"}),
        header("typ with its media type", {"typ": "application/nomos-receipt+jwt"}),
        header("typ of a checkpoint", {"typ": "nomos-checkpoint+jwt"}),
        header("kid", {"kid": SERVICE.did}),
        header("jwk", {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": b64(UNRELATED.public)}}),
        header("crit", {"crit": ["iat"]}),
        _row(
            "header, spaces",
            sign_raw(json.dumps(RECEIPT).encode(), canonical(payload), SERVICE),
        ),
    ]


def _members() -> list[Case]:
    rows = [
        _row(f"no {member}", receipt(**{member: ...}))
        for member in ("iss", "service", "cmd", "outcome", "iat")
    ]
    wrong: dict[str, Payload] = {
        "an unknown member": {"exp": NOW},
        "a member named __proto__": {"__proto__": {"outcome": "allow"}},
        "the arguments themselves": {"args_hash": {"state": "open"}},
        "an outcome that is a list": {"outcome": ["allow"]},
        "an outcome with a newline": {"outcome": "allow\n"},
        "a hop that is text": {"outcome": "expired", "hop": "0"},
        "a chain of one text": {"chain": "0" * 64},
        "a chain with a token": {"chain": [cid("x"), root()]},
        "an agent that is null": {"agent": None},
        "a time that is a fraction": {"iat": NOW + 0.5},
    }
    rows += [_row(name, receipt(**changes)) for name, changes in wrong.items()]
    rows += [
        _row(f"an allow {name}", receipt(**changes)) for name, changes in _CONTRADICTIONS.items()
    ]
    return rows


def _keys() -> list[Case]:
    wrong = {
        "did:web": "did:web:example.com",
        "X25519": did(SERVICE.public, b"\xec\x01"),
        "a leading zero digit": SERVICE.did.replace("z6Mk", "z16Mk"),
        "the identity": did(IDENTITY),
        "a point of order two": did((P - 1).to_bytes(32, "little")),
        "a point of order four": did(bytes(32)),
        "a point whose y is not canonical": did(unreduced()),
        "no point": did(off_curve()),
    }
    rows = [_row(f"issuer, {name}", receipt(iss=public)) for name, public in wrong.items()]
    anything = with_signature(receipt(iss=did(IDENTITY)), lambda _: IDENTITY + bytes(32))
    fits = "issuer, the identity, with the signature that fits any message"
    return [*rows, _row(fits, anything, issuers=[did(IDENTITY)])]


def _signatures() -> list[Case]:
    changes: dict[str, Callable[[bytes], bytes]] = {
        "a flipped bit": flip,
        "all zero": lambda _: bytes(64),
        "S is not canonical": malleable,
        "R is the identity": lambda s: IDENTITY + s[32:],
        "R is not canonical": lambda s: unreduced() + s[32:],
        "of another receipt": lambda _: unb64(receipt(iat=NOW + 1).split(".")[2]),
    }
    rows = [
        _row(f"signature, {name}", with_signature(PLAIN, change), "bad_signature")
        for name, change in changes.items()
    ]
    by_stranger = sign(RECEIPT, receipt_payload(), UNRELATED)
    rows.append(_row("signature, by a stranger", by_stranger, "bad_signature"))
    edits: dict[str, Any] = {
        "iss": UNRELATED.did,
        "service": UNRELATED.did,
        "cmd": "/github/issue/create",
        "resource_hash": "ab" * 32,
        "args_hash": "ab" * 32,
        "outcome": "expired",
        "agent": UNRELATED.did,
        "root": UNRELATED.did,
        "chain": ["ab" * 32],
        "invocation": "ab" * 32,
        "iat": NOW + 1,
    }
    header, payload, signature = receipt(args_hash="ef" * 32).split(".")
    for member, value in edits.items():
        edited = {**json.loads(unb64(payload)), member: value}
        token = f"{header}.{b64(canonical(edited))}.{signature}"
        rows.append(_row(f"signature, another {member}", token, "bad_signature"))
    denied = receipt(outcome="expired", hop=1)
    header, payload, signature = denied.split(".")
    acquitted = {**json.loads(unb64(payload)), "outcome": "allow"}
    del acquitted["hop"]
    token = f"{header}.{b64(canonical(acquitted))}.{signature}"
    rows.append(_row("signature, a refusal turned into an allow", token, "bad_signature"))
    return rows


def _trust() -> list[Case]:
    strangers = sign(RECEIPT, receipt_payload(iss=UNRELATED.did), UNRELATED)
    forged = with_signature(strangers, flip)
    return [
        _row("by someone who is not trusted", strangers, "untrusted_issuer"),
        _row("nobody is trusted", PLAIN, "untrusted_issuer", issuers=[]),
        _row(
            "by the service that it is about, who is not trusted",
            PLAIN,
            "untrusted_issuer",
            issuers=[ISSUER.did],
        ),
        _row(
            "a forged one by nobody who is trusted is first of all forged", forged, "bad_signature"
        ),
    ]


def _kinds() -> list[Case]:
    """No kind of token passes for another, however its payload and header are put together."""
    first = root()
    payload = receipt_payload()
    as_link, as_use = sign(DELEGATION, payload, SERVICE), sign(INVOCATION, payload, SERVICE)
    as_checkpoint = sign(CHECKPOINT, payload, SERVICE)
    disguised = sign(RECEIPT, json.loads(unb64(first.split(".")[1])), ISSUER)
    trusted = [SERVICE.did, ISSUER.did]
    rows = [
        _row("a delegation in its place", first, issuers=trusted),
        _row("an invocation in its place", use([first]), issuers=trusted),
        _row("a checkpoint in its place", checkpoint(), issuers=trusted),
        _row("its payload, headed as a delegation", as_link),
        _row("its payload, headed as an invocation", as_use),
        _row("its payload, headed as a checkpoint", as_checkpoint),
        _row("a delegation headed as a receipt", disguised, issuers=trusted),
    ]
    elsewhere: list[tuple[str, Payload, int | None]] = [
        ("a receipt used as a root", verify(chain=[PLAIN]), 0),
        ("a delegation headed as a receipt, used as a root", verify(chain=[disguised]), 0),
        ("a receipt as a second link", verify(chain=[first, PLAIN]), 1),
        ("a receipt used as an invocation", verify_use(PLAIN), None),
        ("an invocation that carries a receipt as its chain", verify_use(use([PLAIN])), 0),
        ("a receipt used as a checkpoint", verify_checkpoint(PLAIN, trusted), None),
        (
            "a receipt headed as a checkpoint",
            verify_checkpoint(as_checkpoint, trusted),
            None,
        ),
        ("inspect reads no receipt", {"op": "inspect", "token": PLAIN}, None),
    ]
    rows += [
        case(f"kind: {name}", request, refused=refused("malformed_ucan", hop))
        for name, request, hop in elsewhere
    ]
    return rows
