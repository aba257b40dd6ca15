"""Attacks on what a token is: its size, its text, its header, its members, its policy."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

from vectors.cases import CONSTRAINT, Row, nested, verify, verify_use
from vectors.forge import (
    DELEGATION,
    INVOCATION,
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    STRANGER,
    Payload,
    b64,
    canonical,
    child,
    delegation,
    invocation,
    respelled,
    root,
    sign,
    sign_raw,
    use,
    with_signature,
)


def sizes() -> Iterator[Row]:
    chain = [root()]
    for _ in range(8):
        chain.append(chain[-1])
    yield "depth: nine links", verify(chain=chain), "chain_too_deep", 8
    yield (
        "depth: two links where one is allowed",
        verify(chain=chain[:2], max_depth=1),
        "chain_too_deep",
        1,
    )
    yield "depth: nine links in an invocation", verify_use(use(chain)), "chain_too_deep", 8
    heir = root(prf=["0" * 64] * 8)
    yield "depth: lineage counts", verify(chain=[heir]), "chain_too_deep", 0
    yield "depth: before any signature", verify(chain=["x"] * 9), "chain_too_deep", 8
    yield "no chain", verify(chain=[]), "chain_invalid", None
    yield "no chain in an invocation", verify_use(use([])), "chain_invalid", None


def texts() -> Iterator[Row]:
    first = root()
    header, payload, signature = first.split(".")

    def text(name: str, token: str) -> Row:
        return f"text: {name}", verify(chain=[token]), "malformed_ucan", 0

    yield text("empty", "")
    yield text("two segments", f"{header}.{payload}")
    yield text("four segments", f"{first}.{signature}")
    yield text("an empty signature", f"{header}.{payload}.")
    yield text("a space before", f" {first}")
    yield text("a newline after", f"{first}\n")
    yield text("padding after the signature", f"{first}==")
    yield text("padding after the payload", f"{header}.{payload}=.{signature}")
    yield text("spare bits in the signature's last sextet", first[:-1] + next_letter(first[-1]))
    yield text("the other base64 alphabet", f"{header}.{slashed()}.{signature}")
    yield text("a signature of 63 bytes", with_signature(first, lambda s: s[:-1]))
    yield text("a signature of 65 bytes", with_signature(first, lambda s: s + b"\0"))
    yield text("the payload is a list", sign_raw(canonical(DELEGATION), b"[]", ISSUER))
    yield text("the payload is not JSON", sign_raw(canonical(DELEGATION), b"{", ISSUER))
    spellings: dict[str, Callable[[bytes], bytes]] = {
        "a space in the payload": lambda p: p.replace(b":", b": ", 1),
        "a newline after the payload": lambda p: p + b"\n",
        "members out of order": lambda p: json.dumps(
            dict(reversed(json.loads(p).items()))
        ).encode(),
        "an escaped letter": lambda p: p.replace(b"n-1", b"\\u006e-1"),
        "an escaped slash": lambda p: p.replace(b"/github", b"\\/github"),
        "an exponent": lambda p: p.replace(b"1700000300", b"17000003e2"),
        "a fraction of zero": lambda p: p.replace(b"1700000300", b"1700000300.0"),
        "a member twice, the honest one first": lambda p: p[:-1] + b',"cmd":"/github"}',
        "a member twice, the honest one last": lambda p: b'{"cmd":"/github",' + p[1:],
        "a byte order mark": lambda p: b"\xef\xbb\xbf" + p,
        "invalid UTF-8": lambda p: p.replace(b"n-1", b"n-\xff"),
        "a lone surrogate": lambda p: p.replace(b"n-1", b"\\ud800"),
        "an integer beyond 2^53-1": lambda p: p.replace(b"[]", b"[9007199254740992]"),
        "NaN": lambda p: p.replace(b"[]", b"[NaN]"),
        "minus zero": lambda p: p.replace(b"[]", b"[-0]"),
    }
    for name, spell in spellings.items():
        yield text(name, respelled(first, spell, ISSUER))
    yield text("a member name that is not NFC", root(meta={"e\u0301": 1}))
    yield text("nested too deep", root(meta=nested(32)))
    yield text("nested without end", sign_raw(canonical(DELEGATION), b"[" * 9000, ISSUER))
    yield "text: in the second link", verify(chain=[first, "x"]), "malformed_ucan", 1
    yield "text: an invocation that is none", verify_use("x"), "malformed_ucan", None
    yield "text: inspect, too", {"op": "inspect", "token": f"{first} "}, "malformed_ucan", None
    yield "text: inspect what is no token", {"op": "inspect", "token": "x"}, "malformed_ucan", None
    yield (
        "text: inspect an invocation's chain, too",
        {"op": "inspect", "token": use([first, "x"])},
        "malformed_ucan",
        1,
    )
    yield (
        "text: inspect an invocation with nothing in it",
        {"op": "inspect", "token": use([first], args={})},
        "malformed_ucan",
        None,
    )


def headers() -> Iterator[Row]:
    payload = delegation(ISSUER, PLANNER)
    unsigned = f"{b64(canonical({**DELEGATION, 'alg': 'none'}))}.{b64(canonical(payload))}."

    def header(name: str, changes: Payload) -> Row:
        token = sign({**DELEGATION, **changes}, payload, ISSUER)
        return f"header: {name}", verify(chain=[token]), "malformed_ucan", 0

    yield "header: no algorithm, no signature", verify(chain=[unsigned]), "malformed_ucan", 0
    yield (
        "header: HMAC with the public key",
        verify(chain=[hmac_token(payload)]),
        "malformed_ucan",
        0,
    )
    yield header("alg none", {"alg": "none"})
    yield header("alg ES256", {"alg": "ES256"})
    yield header("alg in lower case", {"alg": "eddsa"})
    yield header("another typ", {"typ": "at+jwt"})
    yield header("another ucv", {"ucv": "1.0.0"})
    yield header("kid", {"kid": ISSUER.did})
    yield header("jwk", {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": b64(STRANGER.public)}})
    yield header("jku", {"jku": "https://example.com/keys"})
    yield header("x5u", {"x5u": "https://example.com/cert"})
    yield header("crit", {"crit": ["exp"]})
    yield header("b64", {"b64": False})
    spaced = sign_raw(json.dumps(DELEGATION).encode(), canonical(payload), ISSUER)
    yield "header: spaces", verify(chain=[spaced]), "malformed_ucan", 0
    shuffled = b'{"typ":"JWT","alg":"EdDSA","ucv":"1.0.0-cb"}'
    yield (
        "header: out of order",
        verify(chain=[sign_raw(shuffled, canonical(payload), ISSUER)]),
        "malformed_ucan",
        0,
    )
    first = root()
    disguised = sign(INVOCATION, payload, ISSUER)
    yield (
        "kind: a delegation headed as an invocation",
        verify(chain=[disguised]),
        "malformed_ucan",
        0,
    )
    yield "kind: a delegation used as an invocation", verify_use(first), "malformed_ucan", None
    yield (
        "kind: its payload, headed as an invocation",
        verify_use(disguised),
        "malformed_ucan",
        None,
    )
    yield (
        "kind: an invocation used as a link",
        verify(chain=[first, use([first])]),
        "malformed_ucan",
        1,
    )
    as_link = sign(DELEGATION, invocation(RESEARCHER, [first]), RESEARCHER)
    yield (
        "kind: its payload, headed as a delegation",
        verify(chain=[first, as_link]),
        "malformed_ucan",
        1,
    )


def schemas() -> Iterator[Row]:
    def schema(name: str, **changes: object) -> Row:
        return f"payload: {name}", verify(chain=[root(**changes)]), "malformed_ucan", 0

    for member in ("iss", "aud", "cmd", "pol", "nonce", "nbf", "exp"):
        yield schema(f"no {member}", **{member: ...})
    yield schema("an unknown member", att=[])
    yield schema("a member named __proto__", __proto__={"cmd": "/"})
    yield schema("sub is null", sub=None)
    yield schema("exp is text", exp=str(NOW))
    yield schema("exp is a fraction", exp=NOW + 0.5)
    yield schema("exp never comes", exp=None)
    yield schema("exp after the year 9999", exp=253402300800)
    yield schema("nbf is negative", nbf=-1)
    yield schema("exp equals nbf", nbf=NOW, exp=NOW)
    yield schema("cmd is the root", cmd="/")
    yield schema("cmd ends in a slash", cmd="/github/")
    yield schema("cmd in upper case", cmd="/Github")
    yield schema("cmd has a way up", cmd="/github/../aws")
    yield schema("cmd without end", cmd="/" + "a" * 256)
    yield schema("nonce is empty", nonce="")
    yield schema("pol is an object", pol={})
    yield schema("meta is a list", meta=[])
    yield schema("prf is text", prf="0" * 64)
    yield schema("prf holds no cids", prf=["bafy"])
    yield schema("prf holds numbers", prf=[1])
    yield schema("a constraint that is null", meta={"resource_constraint": None})
    yield schema("a constraint that is a list", meta={"resource_constraint": []})
    for path in ("..", "a/../b", "a//b", "./a", "a/", "/a", "a\\b", "a\0b", 7):
        constraint = {"provider": "filesystem", "path": path}
        yield schema(f"a constraint's path {path!r}", meta={"resource_constraint": constraint})

    def use_schema(name: str, **changes: object) -> Row:
        return f"use: {name}", verify_use(use([root()], **changes)), "malformed_ucan", None

    for member in ("iss", "aud", "sub", "cmd", "args", "nonce", "iat", "exp"):
        yield use_schema(f"no {member}", **{member: ...})
    yield use_schema("no resource", args={"owner": "acme"})
    yield use_schema("a resource that is a list", args={"resource": []})
    yield use_schema("longer than an hour", iat=NOW, exp=NOW + 3661)
    yield use_schema("exp equals iat", iat=NOW, exp=NOW)
    yield use_schema("a proof that is no text", prf=[{}])


def policies() -> Iterator[Row]:
    wrong: dict[str, list[Any]] = {
        "an operator of another version": [["every", ".args.a", ["==", ".", 1]]],
        "like of a number": [["like", ".args.a", 1]],
        "less than a text": [["<", ".args.a", "1"]],
        "not of two": [["not", ["==", ".a", 1], ["==", ".a", 1]]],
        "all of a list of statements": [["all", ".args.a", [["==", ".", 1]]]],
        "an unknown operator": [["in", ".args.a", [1]]],
        "an unknown operator within": [["and", [["or", [["nand", []]]]]]],
        "an operator that every object has": [["constructor", []]],
        "a statement that is an object": [{"==": [".a", 1]}],
        "a statement that is empty": [[]],
        "an operator that is a list": [[["=="], ".a", 1]],
        "an operator that is an object": [[{}, ".a", 1]],
        "== of one": [["==", ".a"]],
        "== of three": [["==", ".a", 1, 2]],
        "and of a statement instead of a list": [["and", ["==", ".a", 1]]],
        "or of two": [["or", [], []]],
        "or of an object": [["or", {}]],
        "a selector that is a number": [["==", 1, 1]],
        "a selector that is empty": [["==", "", 1]],
        "a selector without a dot": [["==", "a", 1]],
        "a selector with two dots": [["==", "..a", 1]],
        "a selector that ends in a dot": [["==", ".a.", 1]],
        "a slice without an end or a start": [["==", ".a[:]", 1]],
        "a slice with a step": [["==", ".a[0:4:2]", 1]],
        "a selector with an open bracket": [["==", ".a[0", 1]],
        "a selector with a bad escape": [["==", '.["\\x"]', 1]],
    }
    for name, pol in wrong.items():
        yield f"pol: {name}", verify(chain=[root(pol=pol)]), "malformed_ucan", 0

    resource = {"provider": "github", "owner": "acme", "repo": "app"}
    false: dict[str, list[Any]] = {
        "another command": [["==", ".cmd", "/github/issue/read"]],
        "another owner": [["==", ".resource.owner", "evil"]],
        "an argument that is absent": [["==", ".args.state", "open"]],
        "null for what is absent": [["==", ".args.state", None]],
        "a length that strings do not have": [["==", ".resource.owner.length", 4]],
        "what every object has": [["==", ".args.constructor", None]],
        "resource among args": [["==", ".args.resource.owner", "acme"]],
        "an or of falsehoods": [["or", [["==", ".cmd", "/a"], ["==", ".cmd", "/b"]]]],
        "one false of two": [["==", ".resource.owner", "acme"], ["==", ".resource.repo", "x"]],
        "a number for text": [["==", ".resource.owner", 1]],
        "a subset of the resource": [["==", ".resource", CONSTRAINT]],
    }
    for name, pol in false.items():
        token = use([root(pol=pol), child(root(pol=pol))], args={"resource": resource})
        yield f"pol: {name}", verify_use(token), "resource_out_of_scope", 0
    first = root()
    strict = child(first, pol=[["==", ".resource.repo", "other"]])
    yield (
        "pol: of the second link",
        verify_use(use([first, strict])),
        "resource_out_of_scope",
        1,
    )


def next_letter(letter: str) -> str:
    """The base64url letter after this one: the same bytes where its low bits are spare."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(letter) ^ 1]


def slashed() -> str:
    """A payload whose base64url has a dash or underscore, in the other alphabet."""
    payload = canonical(delegation(ISSUER, PLANNER, meta={"a": "???>>>"}))
    text = base64.b64encode(payload).rstrip(b"=").decode()
    assert "/" in text or "+" in text
    return text


def hmac_token(payload: Payload) -> str:
    signed = f"{b64(canonical({**DELEGATION, 'alg': 'HS256'}))}.{b64(canonical(payload))}"
    return f"{signed}.{b64(hmac.digest(ISSUER.public, signed.encode(), hashlib.sha256))}"
