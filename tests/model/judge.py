"""Whether the binary's answer to a line is right, according to the model.

The line is read by the standard library and the schema, tokens by the model. `verify` must be
answered as the model answers it. A yes to another operation must say what was asked, and what it
signs or reads must be a token by the model's rules. Other refusals are not judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, get_args

from model.canonical import canon
from model.pol import is_statement
from model.rules import RefusedError, Token, is_by, parse, public_key, unpacked, verify
from pydantic import BaseModel, TypeAdapter
from vectors.forge import Party

from nomos import _protocol
from nomos.models import VerificationCode

Json = dict[str, Any]

REQUEST: Final[TypeAdapter[BaseModel]] = TypeAdapter(_protocol.AnyRequest)
CODES: Final = frozenset(get_args(VerificationCode))
OTHER_REFUSALS: Final = ("invalid_request", "protocol", "too_large")

STATEMENTS: Final[dict[str, type[BaseModel]]] = {
    "checkpoint": _protocol.Checkpoint,
    "receipt": _protocol.Receipt,
}
DEEP: Final = 10_000
"""Levels of nesting in a line; only tokens have a limit of their own."""

AS_A_PDP: Final = {
    "leeway": 0,
    "max_depth": 8,
    "revoked": [],
    "revocations_max_age": 5,
    "allow_missing_prf": False,
    "pdp": True,
}


class WrongAnswer(AssertionError):
    """An answer that differs from the model's, or that its request does not support."""


def need(holds: object, what: str) -> None:
    if not holds:
        raise WrongAnswer(what)


def opinion(request: Json) -> Json:
    """Return what the model answers to `verify`, in the form of `result_of`."""
    try:
        return {"ok": True, **verify(request)}
    except RefusedError as refused:
        code, hop = refused.args
        return {"ok": False, "code": code} | ({} if hop is None else {"hop": hop})


def result_of(answer: Json) -> Json:
    """What an answer decides, without its id and its message."""
    if answer["ok"]:
        return {name: it for name, it in answer.items() if name != "id"}
    return {name: answer[name] for name in ("ok", "code", "hop") if name in answer}


def judge(line: bytes, answer: Json) -> None:
    """Raise `WrongAnswer` if this answer to this line is wrong."""
    request = requested(line)
    if request is None:
        need(not answer["ok"], "a yes to a line that is no request")
    elif request["op"] == "verify" and not answerable(request):
        need(answer.get("code") in OTHER_REFUSALS, "a verdict where no question was asked")
    elif request["op"] == "verify" and (answer["ok"] or answer["code"] in CODES):
        mine = opinion(request)
        need(mine == result_of(answer), f"the model answers {mine}")
    elif answer["ok"] and request["op"] in CHECKS:
        try:
            CHECKS[request["op"]](request, answer)
        except RefusedError as refused:
            raise WrongAnswer(f"the model refuses it: {refused.args}") from refused


def answerable(request: Json) -> bool:
    """Whether a request to verify asks one question, and says all that an invocation needs."""
    if ("invocation" in request) == ("chain" in request) or {"call", "requested"} <= set(request):
        return False
    needs = {"trusted_issuers", "audience"} if "invocation" in request else set()
    return needs <= set(request) and ("invocation" in request or "call" not in request)


def requested(line: bytes) -> Json | None:
    """Return the request on a line; None if both sides do not read one and the same there."""
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_members, parse_constant=_never)
        # Written again, a whole number is one however it was written: `1.0` is `1`.
        text = canon(value, DEEP)
        REQUEST.validate_json(text, strict=True)
        request: Json = json.loads(text)
    except (ValueError, OverflowError, RecursionError):
        return None
    return request


def _members(pairs: list[tuple[str, Any]]) -> Json:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member comes twice")
    return members


def _never(name: str) -> Any:
    raise ValueError(name)


def token_of(kind: str, text: str) -> Token:
    """Read a token of any kind; it must be well formed and signed by its issuer."""
    token = statement(kind, text) if kind in STATEMENTS else parse(kind, text)
    if token is None:
        raise WrongAnswer(f"this is no {kind}: {text}")
    need(is_by(token.it["iss"], token.signed, token.signature), f"a {kind} of another key")
    return token


def statement(kind: str, text: str) -> Token | None:
    """Read a checkpoint or a receipt."""
    token = unpacked(text, f'{{"alg":"EdDSA","typ":"nomos-{kind}+jwt"}}')
    if token is None:
        return None
    try:
        STATEMENTS[kind].model_validate_json(canon(token.it), strict=True)
    except ValueError:
        return None
    fine = None not in token.it.values() and public_key(token.it["iss"])
    return token if fine else None


def equal(one: Any, other: Any) -> bool:
    return canon(one) == canon(other)


def _signs(kind: str) -> Callable[[Json, Json], None]:
    """Exactly the payload is signed, by the key that was named."""

    def check(request: Json, answer: Json) -> None:
        token = token_of(kind, answer["jwt"])
        need(equal(token.it, request["payload"]), "another payload was signed")
        need(token.it["iss"] == request["key"], "signed in the name of another key")
        need(answer["cid"] == token.cid, "a cid is that of the text")
        if "verify_at" in request:
            _uses(request, answer["jwt"])

    return check


def _uses(request: Json, invocation: str) -> None:
    """An invocation that was to be verified is one that a PDP accepts."""
    payload = request["payload"]
    depth = {"max_depth": request["max_depth"]} if "max_depth" in request else {}
    at = {"now": request["verify_at"], "audience": payload["aud"]}
    trusted = {"trusted_issuers": [payload["sub"]], "invocation": invocation}
    verify({**AS_A_PDP, **depth, **at, **trusted})


def _loads(request: Json, answer: Json) -> None:
    need(Party(int(request["seed"], 16)).did == answer["key"], "a DID is that of the seed")


def _forks(request: Json, answer: Json) -> None:
    """Each new link is by the key, as it was asked for, and its chain verifies for the child."""
    for child, given in zip(request["children"], answer["children"], strict=True):
        need(child.get("aud", given["aud"]) == given["aud"], "the child is the one named")
        for asked, link in zip(child["links"], given["links"], strict=True):
            token = token_of("delegation", link["jwt"])
            same = {name: asked[name] for name in ("cmd", "pol", "nonce", "exp") if name in asked}
            need(equal(same, {name: token.it[name] for name in same}), "another link was signed")
            need(token.it["iss"] == request["key"], "signed in the name of another key")
            need(link["cid"] == token.cid, "a cid is that of the text")
            limits = token.meta.get("resource_constraint")
            need(equal(limits, asked.get("constraint", limits)), "another constraint was signed")
            used = link.get("chain", asked["chain"])
            need(used in (asked["chain"], *asked.get("alternatives", [])), "a chain not offered")
            chain = [*request["chains"][used], link["jwt"]]
            settings = {name: request[name] for name in ("now", "max_depth", "allow_missing_prf")}
            verify({**AS_A_PDP, **settings, "chain": chain, "audience": given["aud"]})


def _states(kind: str) -> Callable[[Json, Json], None]:
    """A statement of one of the issuers, returned as it was signed."""

    def check(request: Json, answer: Json) -> None:
        token = token_of(kind, request["token"])
        need(token.it["iss"] in request["issuers"], "its issuer is one that was named")
        need(answer["cid"] == token.cid, "a cid is that of the text")
        need(equal(answer[kind], token.it), "it is returned as it was signed")

    return check


def _inspects(request: Json, answer: Json) -> None:
    """The payload is returned as it is written. Signatures are not checked."""
    token = parse(answer["kind"], request["token"])
    if token is None:
        raise WrongAnswer("this is no token")
    need(answer["cid"] == token.cid and answer["cid"] in answer["cids"], "its cid is returned")
    need(equal(answer["payload"], token.it), "its payload is returned")


def _checks_policy(request: Json, answer: Json) -> None:
    """The statements are those that were asked about, and a token may have them."""
    need(is_statement(["and", request["pol"]]), "no token can have these statements")
    need(equal(answer["pol"], request["pol"]), "other statements are returned")


CHECKS: Final[dict[str, Callable[[Json, Json], None]]] = {
    "load_key": _loads,
    "delegate": _signs("delegation"),
    "invoke": _signs("invocation"),
    "sign_checkpoint": _signs("checkpoint"),
    "sign_receipt": _signs("receipt"),
    "fork": _forks,
    "inspect": _inspects,
    "check_policy": _checks_policy,
    "verify_checkpoint": _states("checkpoint"),
    "verify_receipt": _states("receipt"),
}
