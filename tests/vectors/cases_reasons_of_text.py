"""Refusals of a token for its text, claims or signer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vectors.attack_checkpoint import HONEST as CHECKPOINT
from vectors.attack_json import DEEP, SPELLINGS, TWICE, member, spelled
from vectors.attack_receipt import HONEST as RECEIPT
from vectors.attack_text import AROUND, ENCODINGS, SEGMENTS, WITHIN
from vectors.cases import Case, delegate, verify, verify_checkpoint, verify_receipt, verify_use
from vectors.cases_reasons import SMALL, reason
from vectors.forge import (
    DELEGATION,
    HERE,
    INVOCATION,
    ISSUER,
    NOW,
    PLANNER,
    Payload,
    delegation,
    invocation,
    root,
)
from vectors.making import Forge, Making, saying

MALFORMED: Final = "malformed_ucan"
LINK: Final = Making(DELEGATION, delegation(ISSUER, PLANNER, meta=HERE), ISSUER)
USE: Final = Making(INVOCATION, invocation(PLANNER, [root()]), PLANNER)


def reasons_of_text() -> Iterator[Case]:
    for name, (forge, message) in TEXTS.items():
        yield reason(f"text: {name}", verify(chain=[forge(LINK)]), MALFORMED, 0, message)
    yield from _claims()
    yield from _statements()


NOT_CANONICAL: Final = "the payload is not in canonical form"
NOT_64: Final = "the signature is not 64 bytes of base64url"
NOT_THREE: Final = "the token does not have three segments"
ANOTHER: Final = "the header is not that of a delegation"
TEXTS: Final[dict[str, tuple[Forge, str]]] = {
    "two segments": (SEGMENTS["two segments"], NOT_THREE),
    "four segments": (SEGMENTS["four segments"], NOT_THREE),
    "the payload before the header": (SEGMENTS["payload before header"], ANOTHER),
    "padding in the payload": (WITHIN["padding after the payload"], NOT_CANONICAL),
    "a short signature": (ENCODINGS["a signature of 63 bytes"], NOT_64),
    "a padded signature": (AROUND["padding after the signature"], NOT_64),
    "a space": (SPELLINGS["a space after a colon"], NOT_CANONICAL),
    "members in another order": (SPELLINGS["members in another order"], NOT_CANONICAL),
    "bytes that are no text": (spelled(lambda p: p.replace(b"cmd", b"\xff")), NOT_CANONICAL),
    "a list": (SPELLINGS["the payload in a list"], "the payload is not an object"),
    "no JSON": (SPELLINGS["an open payload"], "in the payload: not JSON text (RFC 8259)"),
    "a member twice": (
        TWICE["cmd twice, the honest one first"],
        "in the payload: an object names a member twice",
    ),
    "a name that is not NFC": (
        member('"e\u0301":1'.encode()),
        "a member name in the payload is not in Unicode normalisation form C",
    ),
    "33 levels": (DEEP["33 levels"], "in the payload: nested deeper than 32 levels"),
    "longer than any token": (
        lambda _: "a" * (64 * 1024 + 1),
        "the token is longer than 65536 bytes",
    ),
}


def _claims() -> Iterator[Case]:
    """Claims that mean nothing, in a token and where one is to be signed."""
    for name, changes, message in OF_LINKS:
        token = saying(**changes)(LINK)
        yield reason(f"a link: {name}", verify(chain=[token]), MALFORMED, 0, message)
        payload = LINK.saying(**changes).payload
        yield reason(f"not signed: {name}", delegate(payload), MALFORMED, None, message)
    for name, changes, message in OF_USES:
        token = saying(**changes)(USE)
        yield reason(f"a use: {name}", verify_use(token), MALFORMED, None, message)
        asked = {"op": "invoke", "key": PLANNER.did, "payload": USE.saying(**changes).payload}
        yield reason(f"not signed: a use, {name}", asked, MALFORMED, None, message)
    missing = "iss is missing"
    yield reason("a link: no issuer", verify(chain=[root(iss=...)]), MALFORMED, 0, missing)
    no_issuer = saying(iss=...)(USE)
    yield reason("a use: no issuer", verify_use(no_issuer), MALFORMED, None, missing)


PRF: Final = "prf is not a list of cids"
DEPTH: Final = "meta.lineage.depth is not a whole number"
CONSTRAINT: Final = "meta.resource_constraint is not an object, or its path is not normalised"
UNKNOWN: Final = (
    'pol[0]: the operator "has" is not one of ==, !=, <, <=, >, >=, like, and, or, not, all, any'
)
OF_LINKS: Final[tuple[tuple[str, Payload, str], ...]] = (
    ("exp at nbf", {"nbf": NOW, "exp": NOW}, "exp is not later than nbf"),
    ("a cid in upper case", {"prf": ["A" * 64]}, PRF),
    ("a cid of one letter", {"prf": ["x"]}, PRF),
    ("a letter before a cid", {"prf": ["x" + "a" * 64]}, PRF),
    ("a letter after a cid", {"prf": ["a" * 64 + "x"]}, PRF),
    ("a newline after a cid", {"prf": ["a" * 64 + "\n"]}, PRF),
    ("a constraint that is text", {"meta": {"resource_constraint": "github"}}, CONSTRAINT),
    ("a constraint that is a list", {"meta": {"resource_constraint": []}}, CONSTRAINT),
    ("a lineage that is a list", {"meta": {"lineage": []}}, DEPTH),
    ("a depth below nothing", {"meta": {"lineage": {"depth": -1}}}, DEPTH),
    ("a depth between two", {"meta": {"lineage": {"depth": 0.5}}}, DEPTH),
    ("a depth that is text", {"meta": {"lineage": {"depth": "1"}}}, DEPTH),
    ("a depth that is null", {"meta": {"lineage": {"depth": None}}}, DEPTH),
    (
        "a policy that is not understood",
        {"pol": [["has", ".a", "b"]]},
        UNKNOWN,
    ),
)

RESOURCE: Final = "args.resource is not an object"
NONCE: Final = "nonce has fewer than 8 characters"
OF_USES: Final[tuple[tuple[str, Payload, str], ...]] = (
    ("exp at iat", {"iat": NOW, "exp": NOW}, "exp is not later than iat"),
    (
        "longer than an hour",
        {"iat": NOW, "exp": NOW + 3661},
        "exp is more than 3660 seconds after iat",
    ),
    ("no resource", {"args": {}}, RESOURCE),
    ("a resource that is text", {"args": {"resource": "github"}}, RESOURCE),
    ("a resource that is null", {"args": {"resource": None}}, RESOURCE),
    ("a short nonce", {"nonce": "1234567"}, NONCE),
    ("a nonce of few characters in more units", {"nonce": "\U0001f600" * 7}, NONCE),
)


def _statements() -> Iterator[Case]:
    """Checkpoints and receipts, whose parts are checked in the order of a delegation's."""
    asking: tuple[tuple[str, Making, Any], ...] = (
        ("checkpoint", CHECKPOINT, verify_checkpoint),
        ("receipt", RECEIPT, verify_receipt),
    )
    for kind, honest, ask in asking:
        issuer, forged = honest.party.did, _by_another(honest)
        for name, token, issuers, code, message in (
            ("no token", "x", [issuer], MALFORMED, NOT_THREE),
            ("no key", saying(iss=SMALL)(honest), [SMALL], MALFORMED, KEYLESS),
            ("another's", forged, [issuer], "bad_signature", NOT_SIGNED),
            (
                "another's, and none is trusted",
                forged,
                [],
                "bad_signature",
                NOT_SIGNED,
            ),
            (
                "none is trusted",
                honest.token,
                [],
                "untrusted_issuer",
                f"the {kind}'s issuer is not one that is trusted for it",
            ),
        ):
            yield reason(f"a {kind}: {name}", ask(token, issuers), code, None, message)
    for field in ("resource_hash", "agent", "root", "chain", "invocation"):
        asked = verify_receipt(saying(**{field: ...})(RECEIPT))
        message = f"an allow names its {field}"
        yield reason(f"a receipt: no {field}", asked, MALFORMED, None, message, field=field)
    at_fault = verify_receipt(saying(hop=0)(RECEIPT))
    message = "an allow has no token at fault"
    yield reason("a receipt: a hop", at_fault, MALFORMED, None, message, field="hop")


KEYLESS: Final = "iss names no usable Ed25519 key"
NOT_SIGNED: Final = "the signature is not the issuer's"


def _by_another(making: Making) -> str:
    return Making(making.header, making.payload, PLANNER).token
