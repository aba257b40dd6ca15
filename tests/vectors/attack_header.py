"""Attacks on the header: another algorithm, an embedded key, another type of token."""

# ruff: noqa: ARG005 - the functions of a table have one shape

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any, Final

from vectors.attack_base import Attack
from vectors.attack_places import CHAIN, RICH_USE, USE, everywhere, taken_in_turns
from vectors.forge import (
    CHECKPOINT,
    DELEGATION,
    INVOCATION,
    RECEIPT,
    UNRELATED,
    Payload,
    b64,
    canonical,
    changed,
    checkpoint,
    cid,
    unb64,
)
from vectors.making import Forge, Making

ABOUT: Final = (
    "Headers (RFC 8725): none, HMAC with a public key, kid, jwk, jku, x5u, crit, other kinds."
)


def attacks() -> Iterator[Attack]:
    yield from everywhere(OF_MEMBERS, "malformed_ucan", at=taken_in_turns)
    yield from everywhere({**OF_TEXTS, **FORGED}, "malformed_ucan")
    yield from everywhere(KINDS, "malformed_ucan")
    yield from _kinds()


def header(**changes: Any) -> Forge:
    return lambda making: making.headed(canonical(changed(making.header, changes)))


def headed(template: str) -> Forge:
    """Write the header in this way; `TYP` and `UCV` stand for what is right."""

    def forge(making: Making) -> str:
        typ, ucv = making.header["typ"], making.header["ucv"]
        return making.headed(template.replace("TYP", typ).replace("UCV", ucv).encode())

    return forge


def unsigned(alg: str) -> Forge:
    """A token with an algorithm of no key, and no signature."""

    def forge(making: Making) -> str:
        head = b64(canonical({**making.header, "alg": alg}))
        return f"{head}.{b64(canonical(making.payload))}."

    return forge


def hmac_with(name: str) -> Forge:
    """The public key, which everybody knows, taken for a shared secret."""

    def forge(making: Making) -> str:
        key = {"bytes": making.party.public, "did": making.party.did.encode(), "empty": b""}[name]
        head = b64(canonical({**making.header, "alg": "HS256"}))
        signed = f"{head}.{b64(canonical(making.payload))}"
        return f"{signed}.{b64(hmac.digest(key, signed.encode(), hashlib.sha256))}"

    return forge


def with_own_key(making: Making) -> str:
    """A signature by another key, with that key in the header."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(UNRELATED.public)}
    head = {**making.header, "jwk": jwk}
    return Making(head, making.payload, UNRELATED).token


MEMBERS: Final[dict[str, Payload]] = {
    "alg none": {"alg": "none"},
    "alg None": {"alg": "None"},
    "alg HS256": {"alg": "HS256"},
    "alg HS512": {"alg": "HS512"},
    "alg ES256": {"alg": "ES256"},
    "alg ES256K": {"alg": "ES256K"},
    "alg RS256": {"alg": "RS256"},
    "alg PS256": {"alg": "PS256"},
    "alg in lower case": {"alg": "eddsa"},
    "alg in upper case": {"alg": "EDDSA"},
    "alg with a space": {"alg": "EdDSA "},
    "alg Ed25519": {"alg": "Ed25519"},
    "alg Ed25519ph": {"alg": "Ed25519ph"},
    "alg Ed448": {"alg": "Ed448"},
    "alg null": {"alg": None},
    "alg a list": {"alg": ["EdDSA"]},
    "alg a number": {"alg": -8},
    "no alg": {"alg": ...},
    "alg in another case of its name": {"alg": ..., "Alg": "EdDSA"},
    "kid": {"kid": "0"},
    "kid that is a path": {"kid": "../../dev/null"},
    "kid that is SQL": {"kid": "' OR 1=1 --"},
    "jku": {"jku": "https://example.com/keys"},
    "x5u": {"x5u": "https://example.com/cert"},
    "x5c": {"x5c": ["MIIB"]},
    "x5t": {"x5t": "AAAA"},
    "crit of nothing": {"crit": []},
    "crit": {"crit": ["exp"], "exp": 1},
    "crit of b64": {"crit": ["b64"], "b64": False},
    "b64 true": {"b64": True},
    "b64 false": {"b64": False},
    "zip": {"zip": "DEF"},
    "cty": {"cty": "JWT"},
    "enc": {"enc": "A256GCM"},
    "a nonce": {"nonce": "0"},
    "an issuer": {"iss": UNRELATED.did},
    "a member without a name": {"": 0},
    "__proto__": {"__proto__": {"alg": "none"}},
    "no typ": {"typ": ...},
    "typ null": {"typ": None},
    "typ in lower case": {"typ": "jwt"},
    "typ of an access token": {"typ": "at+jwt"},
    "typ with its media type": {"typ": "application/jwt"},
    "typ of a checkpoint": {"typ": CHECKPOINT["typ"]},
    "typ of a receipt": {"typ": RECEIPT["typ"]},
    "no ucv": {"ucv": ...},
    "ucv 1.0.0": {"ucv": "1.0.0"},
    "ucv 0.10.0": {"ucv": "0.10.0"},
    "ucv in upper case": {"ucv": "1.0.0-CB"},
    "ucv a number": {"ucv": 1},
    "ucv null": {"ucv": None},
}

SPELLED: Final = {
    "alg twice, the honest one first": '{"alg":"EdDSA","alg":"none","typ":"TYP","ucv":"UCV"}',
    "alg twice, the honest one last": '{"alg":"none","alg":"EdDSA","typ":"TYP","ucv":"UCV"}',
    "alg twice, escaped once": '{"alg":"EdDSA","\\u0061lg":"none","typ":"TYP","ucv":"UCV"}',
    "an escaped letter": '{"alg":"\\u0045dDSA","typ":"TYP","ucv":"UCV"}',
    "members in another order": '{"typ":"TYP","alg":"EdDSA","ucv":"UCV"}',
    "spaces": '{"alg": "EdDSA", "typ": "TYP", "ucv": "UCV"}',
    "a newline after": '{"alg":"EdDSA","typ":"TYP","ucv":"UCV"}\n',
    "a byte order mark": '\ufeff{"alg":"EdDSA","typ":"TYP","ucv":"UCV"}',
    "a trailing comma": '{"alg":"EdDSA","typ":"TYP","ucv":"UCV",}',
    "a list": '[{"alg":"EdDSA","typ":"TYP","ucv":"UCV"}]',
    "an empty object": "{}",
    "null": "null",
    "no JSON": "EdDSA",
}

FORGED: Final[dict[str, Forge]] = {
    "header: alg none, and no signature": unsigned("none"),
    "header: alg nOnE, and no signature": unsigned("nOnE"),
    "header: the right one, and no signature": unsigned("EdDSA"),
    "header: HMAC with the public key": hmac_with("bytes"),
    "header: HMAC with the DID": hmac_with("did"),
    "header: HMAC with nothing": hmac_with("empty"),
    "header: a stranger's key and signature": with_own_key,
}


OF_MEMBERS: Final = {f"header: {name}": header(**changes) for name, changes in MEMBERS.items()}
OF_TEXTS: Final = {f"header: {name}": headed(text) for name, text in SPELLED.items()}

SWAP: Final = {DELEGATION["typ"]: INVOCATION, INVOCATION["typ"]: DELEGATION}
KINDS: Final[dict[str, Forge]] = {
    "kind: headed as the other kind": lambda m: m.headed(canonical(SWAP[m.header["typ"]])),
    "kind: headed as a checkpoint": lambda m: m.headed(canonical(CHECKPOINT)),
    "kind: headed as a receipt": lambda m: m.headed(canonical(RECEIPT)),
    "kind: a checkpoint in its place": lambda m: checkpoint(),
    "kind: a checkpoint, headed as this kind": lambda m: (
        Making(m.header, json.loads(unb64(checkpoint().split(".")[1])), m.party).token
    ),
}
"""No kind of token passes for another, however payload and header are put together."""

FORGERIES: Final = {**OF_MEMBERS, **OF_TEXTS, **FORGED, **KINDS}


def _kinds() -> Iterator[Attack]:
    """No kind of token passes for another, at any place of a chain."""
    for length in CHAIN:
        chain, use = CHAIN[length], USE[length]
        links = chain.tokens()
        invocation = use.request()["invocation"]
        disguised = use.request({length: lambda m: Making(DELEGATION, m.payload, m.party).token})[
            "invocation"
        ]
        yield use.attack(
            "kind: a delegation used as an invocation",
            "the leaf",
            "malformed_ucan",
            None,
            {**use.request(), "invocation": links[-1]},
        )
        yield chain.attack(
            "kind: an invocation used as the last link",
            "the leaf",
            "malformed_ucan",
            length - 1,
            {**chain.request(), "chain": [*links[:-1], invocation]},
        )
        yield chain.attack(
            "kind: an invocation's payload as the last link",
            "the leaf",
            "malformed_ucan",
            length - 1,
            {**chain.request(), "chain": [*links[:-1], disguised]},
        )
        yield use.attack(
            "kind: an invocation whose chain is itself an invocation's",
            "the root",
            "malformed_ucan",
            0,
            use.about([RICH_USE[1].request()["invocation"], *links[1:]]),
        )
        cids = [cid(link) for link in links]
        yield use.attack(
            "kind: cids in place of the links", "the links", "malformed_ucan", 0, use.about(cids)
        )
