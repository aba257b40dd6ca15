"""Checkpoints: what is signed, what is refused, and the fields of a verified one."""

from __future__ import annotations

from vectors.cases import Case, case, refused, sign_checkpoint, signed, verify_checkpoint
from vectors.cases_signing import UNLOADED
from vectors.forge import (
    CHECKPOINT,
    ISSUER,
    PLANNER,
    UNRELATED,
    Payload,
    checkpoint,
    checkpoint_payload,
    cid,
    sign,
)

LAST_SECOND = 253402300799
HIGHEST = 2**53 - 1


def checkpoints() -> list[Case]:
    return [*_signing(), *_refused(), *_verification()]


def _signing() -> list[Case]:
    good: dict[str, Payload] = {
        "a plain one": {},
        "of the revocations": {"log": "revocations"},
        "of the keys": {"log": "keys"},
        "with a reader's nonce": {"nonce": "ask-1"},
        "of an empty log": {"seq": 0, "head": "0" * 64, "iat": 0},
        "with the highest numbers": {"seq": HIGHEST, "iat": LAST_SECOND},
        "with the longest names": {"tenant": "\U0001f600" * 64, "nonce": "n" * 64},
    }
    rows = []
    for name, changes in good.items():
        payload = checkpoint_payload(ISSUER, **changes)
        answer = signed(sign(CHECKPOINT, payload, ISSUER))
        rows.append(case(f"signed: {name}", sign_checkpoint(payload), answer=answer))
    return rows


def _refused() -> list[Case]:
    wrong: dict[str, Payload] = {
        "another log": {"log": "policies"},
        "no log": {"log": ...},
        "a log that is a list": {"log": ["audit"]},
        "no tenant": {"tenant": ...},
        "an empty tenant": {"tenant": ""},
        "a tenant without end": {"tenant": "t" * 65},
        "a negative number": {"seq": -1},
        "a number beyond 2^53-1": {"seq": 2.0**53},
        "a fraction": {"seq": 0.5},
        "a number as text": {"seq": "1"},
        "a short head": {"head": "0" * 63},
        "a head in upper case": {"head": "A" * 64},
        "a head with a newline": {"head": "0" * 64 + "\n"},
        "no time": {"iat": ...},
        "a time after the year 9999": {"iat": LAST_SECOND + 1},
        "a nonce that is null": {"nonce": None},
        "an empty nonce": {"nonce": ""},
        "a nonce without end": {"nonce": "n" * 65},
        "an unknown member": {"exp": 1},
        "an issuer that is no did:key": {"iss": "did:web:example.com"},
    }
    rows = [
        case(
            f"not signed: {name}",
            sign_checkpoint(checkpoint_payload(ISSUER, **changes)),
            refused=refused("invalid_request"),
        )
        for name, changes in wrong.items()
    ]
    theirs = checkpoint_payload(PLANNER)
    nobodys = checkpoint_payload(ISSUER, iss=UNLOADED)
    rows += [
        case(
            "not signed: another's name",
            sign_checkpoint(theirs),
            refused=refused("issuer_mismatch"),
        ),
        case(
            "not signed: a key that was not loaded",
            sign_checkpoint(nobodys, key=UNLOADED),
            refused=refused("unknown_key"),
        ),
    ]
    return rows


def _verification() -> list[Case]:
    def ok(name: str, issuers: list[str] | None = None, **changes: object) -> Case:
        token = checkpoint(**changes)
        answer = {"checkpoint": checkpoint_payload(ISSUER, **changes), "cid": cid(token)}
        return case(f"verified: {name}", verify_checkpoint(token, issuers), answer=answer)

    return [
        ok("a plain one"),
        ok("one of several issuers", [UNRELATED.did, ISSUER.did]),
        ok("a nonce", nonce="ask-1"),
        ok("of an empty log", seq=0, head="0" * 64, iat=0, log="keys"),
        ok("the highest numbers", seq=HIGHEST, iat=LAST_SECOND, log="revocations"),
        ok("the longest names", tenant="\U0001f600" * 64, nonce="n" * 64),
    ]
