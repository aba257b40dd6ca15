"""
What an answer that says yes has to be true to: read from the line itself, by other code.

It shares nothing with the binary but the schema. JSON is read by the standard library, tokens are
taken apart and written again here, signatures are checked by `cryptography`. It is no second
verifier: it knows when a yes is wrong, and leaves it to the vectors to say when a no is.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, TypeAdapter
from vectors import forge

from nomos import _protocol

Json = Any
Object = dict[str, Any]

REQUEST: Final[TypeAdapter[BaseModel]] = TypeAdapter(_protocol.AnyRequest)

CLAIMS: Final[dict[str, type[BaseModel]]] = {
    "JWT": _protocol.Delegation,
    "ucan-inv+jwt": _protocol.Invocation,
    "nomos-checkpoint+jwt": _protocol.Checkpoint,
    "nomos-receipt+jwt": _protocol.Receipt,
}

RECEIPT: Final = {"alg": "EdDSA", "typ": "nomos-receipt+jwt"}


class Untrue(AssertionError):
    """An answer says something that its request does not bear out."""


def read(line: bytes) -> Object | None:
    """Return the request on a line; None if there is none that both sides read alike."""
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_members, parse_constant=_never)
        # Written again, a whole number is one however it was written: `1.0` is `1`.
        REQUEST.validate_json(canonical(value), strict=True)
        request: Object = json.loads(canonical(value))
    except (ValueError, RecursionError):
        return None
    return request


def _members(pairs: list[tuple[str, Json]]) -> Object:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member comes twice")
    return members


def _never(name: str) -> Json:
    raise ValueError(name)


def check(line: bytes, answer: Object) -> None:
    """Raise `Untrue` where a yes to this line is wrong."""
    request = read(line)
    need(request is not None, "a yes to a line that is no request")
    assert request is not None
    try:
        CHECKS.get(request["op"], _anything)(request, answer)
    except (ValueError, LookupError, RecursionError) as error:
        raise Untrue("the answer, or a token in the line, has not the shape of one") from error


def need(holds: object, what: str) -> None:
    if not holds:
        raise Untrue(what)


def _anything(request: Object, answer: Object) -> None:
    """Nothing to compare."""


# Tokens


class Token:
    """A token's text taken apart, and known to be the only text of what it says."""

    def __init__(self, text: str, header: Object) -> None:
        segments = text.split(".")
        need(len(segments) == 3, "a token has three segments")
        need(segments[0] == forge.b64(forge.canonical(header)), "a token's header is fixed")
        self.claims: Object = json.loads(forge.unb64(segments[1]))
        need(forge.b64(canonical(self.claims)) == segments[1], "a token is canonical")
        try:
            CLAIMS[header["typ"]].model_validate_json(canonical(self.claims), strict=True)
        except ValueError as error:
            raise Untrue("a token is of its schema") from error
        need(forge.b64(forge.unb64(segments[2])) == segments[2], "a signature has one text")
        need(None not in self.claims.values(), "what is left out is not null")
        self.cid = hashlib.sha256(text.encode()).hexdigest()
        self.signed = text.rpartition(".")[0].encode()
        self.signature = forge.unb64(segments[2])

    def is_signed(self) -> bool:
        try:
            _key(self.claims["iss"]).verify(self.signature, self.signed)
        except InvalidSignature:
            return False
        return True

    @property
    def constraint(self) -> Object | None:
        found: Object | None = self.claims.get("meta", {}).get("resource_constraint")
        return found


def _key(did: str) -> Ed25519PublicKey:
    number = 0
    for digit in did.removeprefix("did:key:z"):
        number = number * 58 + forge.ALPHABET.index(digit)
    data = number.to_bytes(34)
    need(forge.did(data[2:], data[:2]) == did and data[:2] == b"\xed\x01", "a DID has one text")
    return Ed25519PublicKey.from_public_bytes(data[2:])


def canonical(value: Json) -> bytes:
    """RFC 8785, with floats and with names outside the BMP."""
    return _text(value).encode()


def _text(value: Json) -> str:
    match value:
        case bool() | None | str():
            return json.dumps(value, ensure_ascii=False)
        case int() | float():
            return _number(value)
        case list():
            return f"[{','.join(map(_text, value))}]"
        case _:
            names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
            return f"{{{','.join(f'{_text(name)}:{_text(value[name])}' for name in names)}}}"


def _number(value: float) -> str:
    """As ECMAScript writes it (Number::toString), which RFC 8785 takes over."""
    if value == 0 or isinstance(value, int):
        return str(int(value))
    if not math.isfinite(value):
        raise ValueError("no number of JSON")
    mantissa, _, exponent = f"{value!r}e0".partition("e")
    whole, _, part = mantissa.lstrip("-").partition(".")
    digits = (whole + part).lstrip("0")
    point = len(whole) + int(exponent.split("e")[0]) - (len(whole + part) - len(digits))
    digits = digits.rstrip("0")
    sign = "-" if value < 0 else ""
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    more = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{more}e{point - 1:+d}"


# Signing


def _signs(header: Object) -> Callable[[Object, Object], None]:
    """Exactly what was asked is signed, by the key that was named."""

    def check(request: Object, answer: Object) -> None:
        token = Token(answer["jwt"], header)
        need(canonical(token.claims) == canonical(request["payload"]), "what was asked is signed")
        need(token.claims["iss"] == request["key"], "a key signs for itself")
        need(token.is_signed(), "a signature is the key's")
        need(answer["cid"] == token.cid, "a cid is that of the text")

    return check


def _loads(request: Object, answer: Object) -> None:
    need(forge.Party(int(request["seed"], 16)).did == answer["key"], "a DID is that of the seed")


def _forks(request: Object, answer: Object) -> None:
    """Each link is the holder's, for that child, beneath the chain that it is cut from."""
    used = {link["chain"] for child in request["children"] for link in child["links"]}
    heads = {index: _chain(request["chains"][index]) for index in used}
    need(all(head.claims["aud"] == request["key"] for head in heads.values()), "the holder forks")
    children = zip(request["children"], answer["children"], strict=True)
    for child, given in children:
        need(child.get("aud", given["aud"]) == given["aud"], "the child is the one that was named")
        for asked, link in zip(child["links"], given["links"], strict=True):
            head = heads[asked["chain"]].claims
            token = Token(link["jwt"], forge.DELEGATION)
            claims = token.claims
            need(token.is_signed() and claims["iss"] == request["key"], "the holder signs")
            need(claims["aud"] == given["aud"], "the child is given it")
            need(_within(claims["cmd"], head["cmd"]), "cmd is beneath the chain's")
            need(request["now"] < claims["exp"] <= head["exp"], "exp is within the chain's")
            need(claims["nbf"] >= head["nbf"], "nbf is within the chain's")
            need(claims["prf"] == [heads[asked["chain"]].cid], "prf is the link before")
            need("approval" not in head.get("meta", {}), "an approval is not handed on")


# Verifying


def _states(header: Object) -> Callable[[Object, Object], None]:
    """A statement of one of the issuers, told as it was signed."""

    def check(request: Object, answer: Object) -> None:
        token = Token(request["token"], header)
        need(token.is_signed(), "a statement is signed")
        need(token.claims["iss"] in request["issuers"], "its issuer is one that was named")
        need(answer["cid"] == token.cid, "a cid is that of the text")
        told = answer.get("checkpoint", answer.get("receipt"))
        need(canonical(told) == canonical(token.claims), "it is told as it was signed")

    return check


def _inspects(request: Object, answer: Object) -> None:
    header = forge.DELEGATION if answer["kind"] == "delegation" else forge.INVOCATION
    token = Token(request["token"], header)
    need(answer["cid"] == token.cid and answer["cid"] in answer["cids"], "its cid is told")
    need(canonical(answer["payload"]) == canonical(token.claims), "its payload is told")


def _chain(texts: list[str]) -> Token:
    """Each link is signed, follows the one before, and is not wider. Return the last."""
    links = [Token(text, forge.DELEGATION) for text in texts]
    held = links[0].constraint
    for link in links:
        need(link.is_signed(), "every link is signed")
        need(link.claims.get("sub", links[0].claims["iss"]) == links[0].claims["iss"], "sub")
    for parent, link in pairwise(links):
        before, claims = parent.claims, link.claims
        need(claims["iss"] == before["aud"], "a link is by the audience of the one before")
        need(claims.get("prf", [parent.cid]) == [parent.cid], "prf is the link before")
        need(_within(claims["cmd"], before["cmd"]), "cmd is not wider")
        need(claims["exp"] <= before["exp"] and claims["nbf"] >= before["nbf"], "times")
        need("approval" not in before.get("meta", {}), "an approval is not handed on")
        need(before.get("meta", {}).get("forkable", True) is True, "it may be handed on")
        need(_covers(held, link.constraint), "the constraint is not wider")
        held = link.constraint or held
    return links[-1]


def _verifies(request: Object, answer: Object) -> None:
    now, leeway = request["now"], request["leeway"]
    use = request.get("invocation")
    used = None if use is None else Token(use, forge.INVOCATION)
    texts = request["chain"] if used is None else used.claims["prf"]
    leaf = _chain(texts)
    tokens = [Token(text, forge.DELEGATION) for text in texts] + ([used] if used else [])
    root = tokens[0].claims
    for token in tokens:
        claims = token.claims
        need(max(claims.get("nbf", 0), claims.get("iat", 0)) <= now + leeway, "it has begun")
        need(claims["exp"] > now - leeway, "it has not ended")
        need(not {token.cid, claims["iss"]} & set(request["revoked"]), "it is not revoked")
    need(not set(root.get("prf", [])) & set(request["revoked"]), "no ancestor is revoked")
    need(len(texts) <= answer["depth"] <= request["max_depth"], "it is not too deep")
    need(root["iss"] in request.get("trusted_issuers", [root["iss"]]), "its root is trusted")
    need(request.get("revocations_age", 0) <= request["revocations_max_age"], "the view is young")
    if not request["accept_unlinked"]:
        need(all("prf" in token.claims for token in tokens[1:]), "every link is linked")
    need(answer["agent"] == leaf.claims["aud"] and answer["root"] == root["iss"], "who it is")
    last = (used or leaf).claims
    need(answer["cmd"] == last["cmd"] and answer["expires_at"] == last["exp"], "what it says")
    if used is None:
        need(request.get("audience", leaf.claims["aud"]) == leaf.claims["aud"], "the holder")
    else:
        _uses(used, tokens[:-1], request, answer)


def _at_service(links: list[Token], request: Object) -> None:
    root = links[0].claims.get("meta", {})
    hosted = request["accept_unlinked"] and "audience" not in root
    if not hosted:
        need(root.get("audience") == request["audience"], "the chain is for this service")
        need(request.get("pdp") is True or root.get("closed") is True, "it is closed")
    for link in links[1:]:
        named = link.claims.get("meta", {}).get("audience", request["audience"])
        need(named == request["audience"], "no link is for another service")


def _uses(used: Token, links: list[Token], request: Object, answer: Object) -> None:
    claims, leaf = used.claims, links[-1].claims
    need(used.is_signed() and claims["iss"] == leaf["aud"], "the holder uses it")
    need(claims["sub"] == links[0].claims["iss"], "sub is the root's issuer")
    need(claims["aud"] == request["audience"], "it is for this service")
    need(len(claims["nonce"]) >= 8, "its nonce is long enough")
    if "wanted" not in request:
        _at_service(links, request)
    need(_within(claims["cmd"], leaf["cmd"]) and claims["exp"] <= leaf["exp"], "it is within")
    if wanted := request.get("wanted"):
        # It proves who asks; its own resource is for the caller to compare.
        need("approval" not in links[-1].claims.get("meta", {}), "an approval asks for no more")
        need(_within(wanted["cmd"], leaf["cmd"]), "what is wanted is beneath the chain")
        for link in links:
            need(_covers(link.constraint, wanted["resource"]), "what is wanted is within")
        return
    for link in links:
        need(_covers(link.constraint, claims["args"]["resource"]), "its resource is within")
        _equalities(link.claims["pol"], claims["cmd"], claims["args"])
        if call := request.get("call"):
            _equalities(link.claims["pol"], call["cmd"], call["args"])
    if call := request.get("call"):
        need(call["cmd"] == claims["cmd"], "the call's command")
        need(canonical(call["resource"]) == canonical(claims["args"]["resource"]), "its resource")
        signed = {name: value for name, value in claims["args"].items() if name != "resource"}
        for name, value in signed.items():
            need(name in call["args"], "a signed argument is in the call")
            need(canonical(call["args"][name]) == canonical(value), "and is the same there")
    need(answer["cid"] == used.cid and answer["nonce"] == claims["nonce"], "which one it is")


def _equalities(pol: list[Json], cmd: str, args: Object) -> None:
    """The statements that need no evaluator: equalities with the command or one argument."""
    for statement in pol:
        match statement:
            case ["==", ".cmd", wanted]:
                need(wanted == cmd, "pol names another command")
            case ["==", str(path), wanted] if path.startswith(".args.") and path[6:].isalpha():
                need(path[6:] in args, "pol names an argument")
                need(canonical(args[path[6:]]) == canonical(wanted), "pol names its value")
            case _:
                pass


def _within(command: str, ancestor: str) -> bool:
    return f"{command}/".startswith(f"{ancestor}/")


def _covers(outer: Object | None, inner: Object | None) -> bool:
    if outer is None or inner is None:
        return True
    for name, wanted in outer.items():
        if name == "path" and wanted != "":
            if not f"{inner.get('path')}/".startswith(f"{wanted}/"):
                return False
        elif name != "path" and (name not in inner or canonical(inner[name]) != canonical(wanted)):
            return False
    return True


CHECKS: Final[dict[str, Callable[[Object, Object], None]]] = {
    "load_key": _loads,
    "delegate": _signs(forge.DELEGATION),
    "invoke": _signs(forge.INVOCATION),
    "sign_checkpoint": _signs(forge.CHECKPOINT),
    "fork": _forks,
    "verify": _verifies,
    "inspect": _inspects,
    "verify_checkpoint": _states(forge.CHECKPOINT),
    "sign_receipt": _signs(RECEIPT),
    "verify_receipt": _states(RECEIPT),
}
