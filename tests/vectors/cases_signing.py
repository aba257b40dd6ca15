"""Signing, byte for byte, and refusals to sign."""

from __future__ import annotations

from vectors.cases import CONSTRAINT, Case, case, delegate, nested, refused, signed
from vectors.forge import (
    DELEGATION,
    INVOCATION,
    ISSUER,
    NOW,
    PLANNER,
    Payload,
    delegation,
    did,
    invocation,
    root,
    sign,
)

UNLOADED = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"


def signing() -> list[Case]:
    plain = delegation(ISSUER, PLANNER)
    full = delegation(
        ISSUER,
        PLANNER,
        sub=ISSUER.did,
        pol=[["==", ".cmd", "/github/issue/list"], ["or", [["==", ".args.n", 1]]]],
        meta={"resource_constraint": CONSTRAINT, "facts": {"purpose": "día €\U0001f600\x7f"}},
        prf=["ab" * 32],
    )
    odd = delegation(ISSUER, PLANNER, meta={"__proto__": {"a": 1}, "10": 1, "9": 2, "\u20ac": 3})
    vacuous = delegation(ISSUER, PLANNER, pol=[["and", [["or", []]]]])
    own = invocation(ISSUER, [root()], args={"resource": {}, "title": "x"})
    rows = [
        case("a plain delegation", delegate(plain), answer=signed(sign(DELEGATION, plain, ISSUER))),
        case("every member", delegate(full), answer=signed(sign(DELEGATION, full, ISSUER))),
        case(
            "odd member names are data, in the order of code units",
            delegate(odd),
            answer=signed(sign(DELEGATION, odd, ISSUER)),
        ),
        case(
            "an invocation",
            {"op": "invoke", "key": ISSUER.did, "payload": own},
            answer=signed(sign(INVOCATION, own, ISSUER)),
        ),
        case(
            "a vacuous policy that was asked for",
            delegate(vacuous, allow_vacuous=True),
            answer=signed(sign(DELEGATION, vacuous, ISSUER)),
        ),
        case("a vacuous policy", delegate(vacuous), refused=refused("vacuous_policy")),
        case(
            "statements that are checked and not signed",
            {"op": "check_policy", "pol": full["pol"]},
            answer={"pol": full["pol"]},
        ),
        *(
            case(
                f"{name} that are checked", {"op": "check_policy", "pol": pol}, refused=refused(no)
            )
            for name, pol, no in (
                ("vacuous statements", vacuous["pol"], "vacuous_policy"),
                ("other statements", [["has", ".a", "*"]], "malformed_ucan"),
                ("names", [["==", ".a", {"e\u0301": 1}]], "malformed_ucan"),
            )
        ),
        case(
            "another's name",
            delegate(delegation(PLANNER, ISSUER)),
            refused=refused("issuer_mismatch"),
        ),
        case(
            "a key that was not loaded",
            delegate(delegation(ISSUER, PLANNER, iss=UNLOADED, sub=...), key=UNLOADED),
            refused=refused("unknown_key"),
        ),
        case(
            "an invocation in another's name",
            {"op": "invoke", "key": PLANNER.did, "payload": own},
            refused=refused("issuer_mismatch"),
        ),
    ]
    wrong_payloads: dict[str, tuple[Payload, str]] = {
        "exp not after nbf": ({"exp": NOW, "nbf": NOW}, "malformed_ucan"),
        "an operator that is not known": ({"pol": [["has", ".a", "*"]]}, "malformed_ucan"),
        "a proof that is no cid": ({"prf": ["bafy"]}, "malformed_ucan"),
        "a constraint that is no object": (
            {"meta": {"resource_constraint": None}},
            "malformed_ucan",
        ),
        "a constraint with a path upwards": (
            {"meta": {"resource_constraint": {"path": "a/../b"}}},
            "malformed_ucan",
        ),
        "a member name that is not NFC": ({"meta": {"e\u0301": 1}}, "malformed_ucan"),
        "nested too deep": ({"meta": nested(32)}, "malformed_ucan"),
        "an audience that is no key": ({"aud": did(b"\1" + bytes(31))}, "invalid_key"),
        "an unknown member": ({"sud": ISSUER.did}, "invalid_request"),
        "a null": ({"sub": None}, "invalid_request"),
        "a fraction of a second": ({"exp": NOW + 0.5}, "invalid_request"),
        "an upper-case command": ({"cmd": "/GitHub"}, "invalid_request"),
    }
    for name, (changes, code) in wrong_payloads.items():
        payload = delegation(ISSUER, PLANNER, **changes)
        rows.append(case(f"payload: {name}", delegate(payload), refused=refused(code)))
    wrong_uses: dict[str, Payload] = {
        "no resource": {"args": {}},
        "a resource that is no object": {"args": {"resource": []}},
        "longer than an hour": {"iat": NOW, "exp": NOW + 3661},
        "exp not after iat": {"iat": NOW, "exp": NOW},
        "a nonce of eleven characters": {"nonce": "n" * 11},
    }
    for name, changes in wrong_uses.items():
        payload = invocation(ISSUER, [root()], **changes)
        request = {"op": "invoke", "key": ISSUER.did, "payload": payload}
        rows.append(case(f"use: {name}", request, refused=refused("malformed_ucan")))
    return rows
