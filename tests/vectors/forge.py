"""An independent implementation that makes tokens, valid and invalid ones.

It shares no code with the binary: canonical JSON is the model's, signatures are from
`cryptography`, did:key is a dozen lines. What both agree on is then the format, not one
implementation of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from model.canonical import canon

Payload = dict[str, Any]

DEEP: Final = 10_000
"""More levels of nesting than a token may have, so that one can be made that has too many."""

NOW: Final = 1_700_000_000
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
DELEGATION: Final = {"alg": "EdDSA", "typ": "JWT", "ucv": "1.0.0-cb"}
INVOCATION: Final = {"alg": "EdDSA", "typ": "ucan-inv+jwt", "ucv": "1.0.0-cb"}
CHECKPOINT: Final = {"alg": "EdDSA", "typ": "nomos-checkpoint+jwt"}
RECEIPT: Final = {"alg": "EdDSA", "typ": "nomos-receipt+jwt"}
ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(data: bytes) -> str:
    number = int.from_bytes(data)
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def did(public: bytes, codec: bytes = b"\xed\x01") -> str:
    return f"did:key:z{base58(codec + public)}"


class Party:
    """Someone with a key. The seeds are small numbers; nothing real is ever signed with them."""

    def __init__(self, number: int) -> None:
        self.seed = f"{number:064x}"
        self.private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(self.seed))
        self.public = self.private.public_key().public_bytes_raw()
        self.did = did(self.public)

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data)


ISSUER: Final = Party(1)
PLANNER: Final = Party(2)
RESEARCHER: Final = Party(3)
SERVICE: Final = Party(4)
UNRELATED: Final = Party(5)
PARTIES: Final = (ISSUER, PLANNER, RESEARCHER, SERVICE, UNRELATED)


def canonical(value: object) -> bytes:
    """RFC 8785, however deep; a lone surrogate is written as UTF-8 would."""
    return canon(value, DEEP).encode("utf-8", "surrogatepass")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def cid(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def sign_raw(header: bytes, payload: bytes, party: Party) -> str:
    """Sign any two byte strings as a token, whether or not they are canonical or JSON at all."""
    signed = f"{b64(header)}.{b64(payload)}"
    return f"{signed}.{b64(party.private.sign(signed.encode()))}"


def sign(header: Payload, payload: Payload, party: Party) -> str:
    return sign_raw(canonical(header), canonical(payload), party)


HERE: Final[Payload] = {
    "audience": SERVICE.did,
    "closed": True,
    "reads": ["/github/issue/list"],
}
"""What a root says that is for the service, which decides nothing by policy."""


def delegation(iss: Party, aud: Party, /, **changes: object) -> Payload:
    """A delegation's payload; a change to `...` leaves the member out."""
    payload = {
        "iss": iss.did,
        "aud": aud.did,
        "cmd": "/github/issue",
        "pol": [],
        "nonce": "n-1",
        "nbf": NOW - 60,
        "exp": NOW + 300,
    }
    return changed(payload, changes)


def invocation(iss: Party, prf: list[str], /, **changes: object) -> Payload:
    payload = {
        "iss": iss.did,
        "aud": SERVICE.did,
        "sub": ISSUER.did,
        "cmd": "/github/issue/list",
        "args": {"resource": {"provider": "github", "owner": "acme", "repo": "app"}},
        "nonce": "invocation-1",
        "iat": NOW - 60,
        "exp": NOW + 60,
        "prf": prf,
    }
    return changed(payload, changes)


def checkpoint_payload(iss: Party, /, **changes: object) -> Payload:
    payload = {
        "iss": iss.did,
        "log": "audit",
        "tenant": "default",
        "seq": 7,
        "head": "ab" * 32,
        "iat": NOW,
    }
    return changed(payload, changes)


def changed(payload: Payload, changes: dict[str, Any]) -> Payload:
    return {name: value for name, value in {**payload, **changes}.items() if value is not ...}


def root(**changes: object) -> str:
    """What the issuer gives to the planner, for the service unless other `meta` is given."""
    return sign(DELEGATION, delegation(ISSUER, PLANNER, **{"meta": HERE, **changes}), ISSUER)


def child(parent: str, /, **changes: object) -> str:
    """The delegation of the planner to the researcher."""
    payload = delegation(PLANNER, RESEARCHER, **{"prf": [cid(parent)], **changes})
    return sign(DELEGATION, payload, PLANNER)


def use(prf: list[str], /, **changes: object) -> str:
    return sign(INVOCATION, invocation(RESEARCHER, prf, **changes), RESEARCHER)


def checkpoint(**changes: object) -> str:
    """What the issuer says of a log."""
    return sign(CHECKPOINT, checkpoint_payload(ISSUER, **changes), ISSUER)


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


def respelled(token: str, spell: Callable[[bytes], bytes], party: Party) -> str:
    """The same token with its payload's text rewritten, and signed again."""
    header, payload, _ = token.split(".")
    return sign_raw(unb64(header), spell(unb64(payload)), party)


def with_signature(token: str, change: Callable[[bytes], bytes]) -> str:
    signed, _, signature = token.rpartition(".")
    return f"{signed}.{b64(change(unb64(signature)))}"


def flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def malleable(signature: bytes) -> bytes:
    """Add the group order to S: the same equation holds, with another text."""
    s = int.from_bytes(signature[32:], "little") + ORDER
    return signature[:32] + s.to_bytes(32, "little")
