"""The compiled binary compared with published vectors, PyJWT and `cryptography`."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from ucan_loop import Loop

NOW = 1_700_000_000
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
ASKED = {
    "op": "verify",
    "now": NOW,
    "leeway": 0,
    "max_depth": 8,
    "revoked": [],
    "revocations_max_age": 5,
    "allow_missing_prf": False,
}
SEEDS = [f"{number:064x}" for number in (1, 2, 3)]


def public_key(did: str) -> Ed25519PublicKey:
    """Decode an Ed25519 did:key."""
    number = 0
    for digit in did.removeprefix("did:key:z"):
        number = number * 58 + ALPHABET.index(digit)
    data = number.to_bytes(34)
    assert data[:2] == b"\xed\x01"
    return Ed25519PublicKey.from_public_bytes(data[2:])


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def payload_text(token: str) -> str:
    payload = token.split(".")[1]
    return base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()


def delegation(iss: str, aud: str, **more: object) -> dict[str, Any]:
    times = {"nbf": NOW - 60, "exp": NOW + 300}
    return {"iss": iss, "aud": aud, "cmd": "/a/b", "pol": [], "nonce": "n", **times, **more}


def did(public: bytes) -> str:
    number, text = int.from_bytes(b"\xed\x01" + public), ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return f"did:key:z{text}"


def use(agent: str, service: str, issuer: str, prf: list[str]) -> dict[str, Any]:
    names = {"iss": agent, "aud": service, "sub": issuer, "cmd": "/a/b", "prf": prf}
    args = {"resource": {"provider": "a"}}
    return {**names, "args": args, "nonce": "invocation-1", "iat": NOW, "exp": NOW + 60}


def sign_with_pyjwt(payload: dict[str, Any], key: Ed25519PrivateKey, kind: str) -> str:
    header = {"typ": kind, "ucv": "1.0.0-cb"}
    in_order = dict(sorted(payload.items()))
    return jwt.encode(in_order, key, algorithm="EdDSA", headers=header, sort_headers=True)


def test_tokens_verify_with_pyjwt(loop: Loop) -> None:
    issuer, agent, service = (loop.ask({"op": "load_key", "seed": s})["key"] for s in SEEDS)
    root = loop.ask(
        {
            "op": "delegate",
            "key": issuer,
            "payload": delegation(issuer, agent, meta={"facts": {"purpose": "d\u00eda \u20ac"}}),
            "allow_vacuous": False,
        }
    )["jwt"]
    invocation = use(agent, service, issuer, [root])
    used = loop.ask({"op": "invoke", "key": agent, "payload": invocation})["jwt"]

    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    for token, iss, aud, kind in (
        (root, issuer, agent, "JWT"),
        (used, agent, service, "ucan-inv+jwt"),
    ):
        claims = jwt.decode(
            token, public_key(iss), algorithms=["EdDSA"], audience=aud, issuer=iss, options=options
        )
        assert claims["nonce"] == ("n" if token == root else "invocation-1")
        assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": kind, "ucv": "1.0.0-cb"}
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(
                token, public_key(service), algorithms=["EdDSA"], audience=aud, options=options
            )


def test_tokens_signed_by_pyjwt_are_accepted(loop: Loop) -> None:
    """It writes the members of a header and a payload in the order in which they are given."""
    keys = [Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)) for seed in SEEDS]
    issuer, agent, service = (did(key.public_key().public_bytes_raw()) for key in keys)
    meta = {"audience": service, "closed": True, "n": 1}
    root = sign_with_pyjwt(delegation(issuer, agent, meta=meta), keys[0], "JWT")
    used = sign_with_pyjwt(use(agent, service, issuer, [root]), keys[1], "ucan-inv+jwt")
    asked = {**ASKED, "trusted_issuers": [issuer], "audience": service, "invocation": used}

    answer = loop.ask(asked)
    assert answer["ok"]
    assert (answer["root"], answer["agent"], answer["meta"]) == (issuer, agent, meta)

    stolen = sign_with_pyjwt(use(agent, service, issuer, [root]), keys[2], "ucan-inv+jwt")
    answer = loop.ask({**asked, "invocation": stolen})
    assert (answer["code"], answer["hop"]) == ("bad_signature", 1)
    unsorted = jwt.encode(delegation(issuer, agent), keys[0], algorithm="EdDSA")
    answer = loop.ask({**ASKED, "trusted_issuers": [issuer], "chain": [unsorted]})
    assert answer["code"] == "malformed_ucan"


def test_signatures_verify_with_cryptography(loop: Loop) -> None:
    issuer, agent = (loop.ask({"op": "load_key", "seed": seed})["key"] for seed in SEEDS[:2])
    payload = delegation(issuer, agent)
    signed = {"op": "delegate", "key": issuer, "payload": payload, "allow_vacuous": False}
    token = loop.ask(signed)["jwt"]

    text, _, tail = token.rpartition(".")
    signature = base64.urlsafe_b64decode(tail + "==")
    public_key(issuer).verify(signature, text.encode())
    with pytest.raises(InvalidSignature):
        public_key(agent).verify(signature, text.encode())
    # RFC 8032 leaves a signer no choice: the same key and text give the same signature.
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEEDS[0]))
    assert key.sign(text.encode()) == signature


def test_keys_made_by_cryptography_have_the_dids_that_we_give_them(loop: Loop) -> None:
    for _ in range(20):
        key = Ed25519PrivateKey.generate()
        seed = key.private_bytes_raw().hex()
        given = loop.ask({"op": "load_key", "seed": seed})["key"]
        assert given == did(key.public_key().public_bytes_raw())
        assert public_key(given).public_bytes_raw() == key.public_key().public_bytes_raw()


def test_checkpoints_verify_with_pyjwt(loop: Loop) -> None:
    issuer, other = (loop.ask({"op": "load_key", "seed": seed})["key"] for seed in SEEDS[:2])
    payload = {
        "iss": issuer,
        "log": "audit",
        "tenant": "d\u00eda",
        "seq": 7,
        "head": "ab" * 32,
        "iat": NOW,
        "nonce": "ask-1",
    }
    token = loop.ask({"op": "sign_checkpoint", "key": issuer, "payload": payload})["jwt"]

    assert jwt.decode(token, public_key(issuer), algorithms=["EdDSA"], issuer=issuer) == payload
    header = {"alg": "EdDSA", "typ": "nomos-checkpoint+jwt"}
    assert jwt.get_unverified_header(token) == header
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, public_key(other), algorithms=["EdDSA"])


def test_the_hosted_delegation_comes_out_byte_for_byte(binary: Path, vectors: Path) -> None:
    known = read(vectors / "delegation-jwt.json")
    document = json.dumps({"payload": known["root"]["payload"], "seed": known["seeds"]["cp"]})
    run = subprocess.run([binary, "mint"], input=document.encode(), capture_output=True, check=True)
    assert json.loads(run.stdout) == {"jwt": known["root"]["jwt"], "cid": known["root"]["cid"]}
    assert payload_text(known["root"]["jwt"]) == known["root"]["canonicalPayload"]


def test_seeds_have_the_dids_that_were_published(loop: Loop, vectors: Path) -> None:
    known = read(vectors / "delegation-jwt.json")
    dids = {seed: known["dids"][name] for name, seed in known["seeds"].items()}
    keys = read(vectors / "did-key" / "ed25519-x25519.json")
    assert len(keys) == 5
    dids |= {key["seed"]: did for did, key in keys.items()}
    for seed, did in dids.items():
        assert loop.ask({"op": "load_key", "seed": seed})["key"] == did


def test_rfc_8032_keys_give_the_signatures_of_the_rfc(loop: Loop, vectors: Path) -> None:
    known = read(vectors / "rfc8032" / "rfc8032-ed25519.json")
    assert len(known) == 4
    for vector in known:
        did = loop.ask({"op": "load_key", "seed": vector["priv"]})["key"]
        assert public_key(did).public_bytes_raw().hex() == vector["pub"]
        public_key(did).verify(bytes.fromhex(vector["sig"]), bytes.fromhex(vector["msg"]))


# U+FB33 is excluded from composition, so a member named so is not in normalisation form C.
NOT_NFC = {"weird.json"}


def test_any_json_is_signed_in_its_canonical_form(loop: Loop, vectors: Path) -> None:
    key = loop.ask({"op": "load_key", "seed": SEEDS[0]})["key"]
    inputs = sorted((vectors / "jcs" / "input").iterdir())
    assert len(inputs) == 6
    for path in inputs:
        request = json.dumps(
            {
                "id": 1,
                "protocol": 1,
                "op": "delegate",
                "key": key,
                "payload": delegation(key, key, meta={"v": "here"}),
                "allow_vacuous": False,
            }
        )
        text = path.read_text().replace("\n", " ")
        answer = loop.ask(request.replace('"here"', text))
        if path.name in NOT_NFC:
            assert answer["code"] == "malformed_ucan"
        else:
            form = (vectors / "jcs" / "output" / path.name).read_text()
            assert f'"meta":{{"v":{form}}}' in payload_text(answer["jwt"])
