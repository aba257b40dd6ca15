"""A second implementation of `Verify`: the rules for tokens, in the order of their checks."""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import re
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from model.canonical import MAX_INT, canon, read
from model.pol import holds, is_statement

Json = dict[str, Any]

KINDS: Final = {
    "delegation": ("JWT", "iss aud cmd pol nonce nbf exp", "sub meta prf"),
    "invocation": ("ucan-inv+jwt", "iss aud sub cmd args nonce iat exp prf", ""),
}
HEADER: Final = '{{"alg":"EdDSA","typ":"{}","ucv":"1.0.0-cb"}}'
MAX_TOKEN, MAX_LINEAGE, MAX_USE, LAST_SECOND = 64 * 1024, 64, 3660, 253402300799
COMMAND: Final = re.compile(r"(?=.{1,256}\Z)/[a-z0-9_-]+(/[a-z0-9_-]+)*")
DID: Final = re.compile(r"did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}")
NONCE: Final = re.compile(r"(?s:.{1,256})")
CID: Final = re.compile(r"[0-9a-f]{64}")
BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

P, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, -1, P) % P
Y8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SMALL: Final = {0, 1, P - 1, Y8, P - Y8}  # the y of the points of orders 4, 1, 2 and 8


class RefusedError(Exception):
    """No: `args` are the code and the index of the hop, or None where there is none."""


class Token(NamedTuple):
    it: Json
    meta: Json
    cid: str
    signed: bytes
    signature: bytes


def check(fine: object, code: str, hop: int | None) -> None:
    if not fine:
        raise RefusedError(code, hop)


def verify(request: Json) -> Json:
    use, links = opened(request)
    hops = [*links, use] if use else links
    root, leaf, end = links[0].it, links[-1].it, len(links) - 1
    lineage = root.get("prf", [])
    depth = len(links) + links[0].meta.get("lineage", {}).get("depth", len(lineage))
    check(len(lineage) <= MAX_LINEAGE and depth <= request["max_depth"], "chain_too_deep", 0)
    for hop, token in enumerate(hops):
        check(public_key(token.it["iss"]), "malformed_ucan", hop)
        check(public_key(token.it["aud"]), "malformed_ucan", hop)
    for hop, token in enumerate(hops):
        check(is_signature(token.signature), "bad_signature", hop)
    for hop, token in enumerate(hops):
        check(is_by(token.it["iss"], token.signed, token.signature), "bad_signature", hop)
    for hop, token in enumerate(hops):
        start = token.it.get("nbf", token.it.get("iat"))
        check(start <= request["now"] + request["leeway"], "not_yet_valid", hop)
        check(request["now"] - request["leeway"] < token.it["exp"], "expired", hop)
    limits = linked(links, allow_missing_prf=request["allow_missing_prf"])
    check(root["iss"] in request.get("trusted_issuers", [root["iss"]]), "untrusted_issuer", 0)
    for hop, token in enumerate(hops):
        names = {token.cid, token.it["iss"], *([] if hop else granted(links[0]))}
        check(names.isdisjoint(request["revoked"]), "revoked", hop)
    for hop, token in enumerate(hops):
        check(token.it["aud"] not in request["revoked"], "revoked", hop)
    age, most = request.get("revocations_age", 0), request["revocations_max_age"]
    check(age <= most, "revocations_stale", None)
    if use:
        used(use, links, limits, request)
    else:
        check(request.get("audience", leaf["aud"]) == leaf["aud"], "audience_mismatch", end)
    if wanted := request.get("requested"):
        check("approval" not in links[-1].meta, "chain_invalid", end)
        check(is_under(wanted["cmd"], leaf["cmd"]), "chain_attenuation_violation", end)
        check(covers(limits, wanted["resource"]), "resource_out_of_scope", end)
    answer = {"agent": leaf["aud"], "root": root["iss"], "cmd": hops[-1].it["cmd"], "depth": depth}
    answer |= {"cids": [token.cid for token in links], "lineage": lineage}
    answer |= {"expires_at": min(token.it["exp"] for token in hops)}
    answer |= {"constraint": limits} if limits is not None else {}
    answer |= {"meta": root["meta"]} if "meta" in root else {}
    if use:
        resource, args = call_of(use)
        answer |= {"resource": resource, "args": args, "nonce": use.it["nonce"], "cid": use.cid}
    return answer


def granted(root: Token) -> set[str]:
    """The lineage of a root, and to and by whom its issuer says that it was granted."""
    lineage, approval = root.meta.get("lineage", {}), root.meta.get("approval")
    ones = [root.meta.get("app_id"), lineage.get("root"), *root.it.get("prf", [])]
    ones += [approval.get("id")] if isinstance(approval, dict) else []
    for several in (lineage.get("invokedBy"), lineage.get("apps")):
        ones += several if isinstance(several, list) else []
    return {each for each in ones if isinstance(each, str)}


def opened(request: Json) -> tuple[Token | None, list[Token]]:
    use, chain = None, request.get("chain", [])
    if "invocation" in request:
        use = parsed("invocation", request["invocation"], None)
        chain = use.it["prf"]
    check(chain, "chain_invalid", None)
    check(len(chain) <= request["max_depth"], "chain_too_deep", request["max_depth"])
    for hop, text in enumerate(chain):
        check(len(text) <= MAX_TOKEN, "malformed_ucan", hop)
    return use, [parsed("delegation", text, hop) for hop, text in enumerate(chain)]


def parsed(kind: str, text: str, hop: int | None) -> Token:
    if token := parse(kind, text):
        return token
    raise RefusedError("malformed_ucan", hop)


def unpacked(text: str, header: str) -> Token | None:
    """Take a token apart; None if it has another header, or a second text for what it says."""
    try:
        parts = [base64.urlsafe_b64decode(f"{part}==") for part in text.split(".")]
        first, payload, signature = parts
        it, data = read(payload), text.encode()
    except ValueError:
        return None
    spelled = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    fine = (
        (spelled == text and len(data) <= MAX_TOKEN)
        and (first, len(signature)) == (header.encode(), 64)
        and isinstance(it, dict)
    )
    cid, signed = hashlib.sha256(data).hexdigest(), data.rpartition(b".")[0]
    return Token(it, it.get("meta", {}), cid, signed, signature) if fine else None


@functools.lru_cache(65536)
def parse(kind: str, text: str) -> Token | None:
    """Read one token, or return None if its text or its members are wrong."""
    typ, *names = KINDS[kind]
    token = unpacked(text, HEADER.format(typ))
    if token is None:
        return None
    required, optional = (set(some.split()) for some in names)
    fine = (
        required <= set(token.it) <= required | optional
        and has_members(token.it)
        and (is_delegation(token.it) if kind == "delegation" else is_invocation(token.it))
    )
    return token if fine else None


def has_members(it: Json) -> bool:
    start, end = it.get("nbf", it.get("iat")), it["exp"]
    return (
        all(matches(DID, it[name]) for name in ("iss", "aud", "sub") if name in it)
        and matches(COMMAND, it["cmd"])
        and matches(NONCE, it["nonce"])
        and ("args" not in it or len(it["nonce"]) >= 8)
        and (is_whole(start, LAST_SECOND) and is_whole(end, LAST_SECOND) and start < end)
        and isinstance(it.get("prf", []), list)
    )


def is_delegation(it: Json) -> bool:
    match it.get("meta", {}):
        case {"resource_constraint": limits} if not isinstance(limits, dict):
            return False
        case {"resource_constraint": {"path": path}} if not is_path(path):
            return False
        case {"lineage": lineage} if not isinstance(lineage, dict):
            return False
        case {"lineage": {"depth": depth}} if not is_whole(depth, MAX_INT):
            return False
        case meta:
            cids = all(matches(CID, cid) for cid in it.get("prf", []))
            return isinstance(meta, dict) and cids and is_statement(["and", it["pol"]])


def is_invocation(it: Json) -> bool:
    given = isinstance(it["args"], dict) and isinstance(it["args"].get("resource"), dict)
    texts = all(isinstance(text, str) for text in it["prf"])
    return given and texts and it["exp"] <= it["iat"] + MAX_USE


def matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def is_whole(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


@functools.lru_cache(4096)
def public_key(did: str) -> bytes | None:
    """Return the key that a DID names, if it is a point of large order (RFC 8032, 5.1.3)."""
    number = functools.reduce(lambda sum_, digit: sum_ * 58 + BASE58.index(digit), did[9:], 0)
    codec, key = number >> 256, number.to_bytes(36)[4:]
    y = int.from_bytes(key, "little") % 2**255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    fine = y < P and y not in SMALL and pow(square, (P - 1) // 2, P) == 1
    return key if fine and codec == 0xED01 else None


def is_signature(signature: bytes) -> bool:
    """Whether R and S are canonical, and R not of small order."""
    y, s = (int.from_bytes(half, "little") for half in (signature[:32], signature[32:]))
    return y % 2**255 < P and y % 2**255 not in SMALL and s < ORDER


@functools.lru_cache(262144)
def is_by(did: str, signed: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key(did) or b"").verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def linked(links: list[Token], *, allow_missing_prf: bool) -> Json | None:
    """Hold each link to the one before it, and return what remains of the resource."""
    root = links[0].it["iss"]
    check(links[0].it.get("sub", root) == root, "chain_invalid", 0)
    limits: Json | None = links[0].meta.get("resource_constraint")
    for hop, (parent, token) in enumerate(itertools.pairwise(links), 1):
        above, here = parent.it, token.it
        proof = here.get("prf", [parent.cid] if allow_missing_prf else [])
        check((here["iss"], proof) == (above["aud"], [parent.cid]), "chain_invalid", hop)
        check(here.get("sub", root) == root, "chain_invalid", hop)
        fixed = "approval" in parent.meta or parent.meta.get("forkable", True) is not True
        check(not fixed, "chain_invalid", hop)
        brief = above["nbf"] <= here["nbf"] and here["exp"] <= above["exp"]
        narrower = token.meta.get("resource_constraint", limits)
        fits = is_under(here["cmd"], above["cmd"]) and brief
        fits = fits and (narrower is limits or covers(limits, narrower))
        check(fits, "chain_attenuation_violation", hop)
        limits = narrower
    return limits


def is_under(path: Any, above: str) -> bool:
    return f"{path}/".startswith(f"{above}/")


def covers(limits: Json | None, resource: Any) -> bool:
    """Whether a resource, or a narrower constraint, lies within a constraint."""
    rest = dict(limits or {})
    above, path = rest.pop("path", None), resource.get("path")
    equal = (name in resource and canon(rest[name]) == canon(resource[name]) for name in rest)
    within = above is None or (is_path(path) and (above == "" or is_under(path, above)))
    return within and all(equal)


def is_path(path: Any) -> bool:
    """Whether a path is text in normal form, without a way up; the empty one is the whole tree."""
    fine = isinstance(path, str) and "\\" not in path and "\0" not in path
    return fine and (not path or {"", ".", ".."}.isdisjoint(path.split("/")))


def used(use: Token, links: list[Token], limits: Json | None, request: Json) -> None:
    it, leaf, hop = use.it, links[-1].it, len(links)
    check((it["iss"], it["sub"]) == (leaf["aud"], links[0].it["iss"]), "chain_invalid", hop)
    check(it["aud"] == request["audience"], "audience_mismatch", hop)
    if "requested" not in request:
        at_service(links, request)
    check(is_under(it["cmd"], leaf["cmd"]), "chain_attenuation_violation", hop)
    check(all(it["exp"] <= link.it["exp"] for link in links), "chain_attenuation_violation", hop)
    if "requested" in request:
        return
    resource, args = call_of(use)
    check(covers(limits, resource), "resource_out_of_scope", hop)
    all_hold(links, {"cmd": it["cmd"], "resource": resource, "args": args}, "resource_out_of_scope")
    if call := request.get("call"):
        given = {name: value for name, value in call["args"].items() if name in args}
        equal = canon([it["cmd"], resource, args]) == canon([call["cmd"], call["resource"], given])
        check(equal, "resource_mismatch", hop)
        all_hold(links, call, "resource_mismatch")


def at_service(links: list[Token], request: Json) -> None:
    """Hold the chain to the service that its root, and perhaps a later link, names."""
    root = links[0].meta
    hosted = request["allow_missing_prf"] and "audience" not in root
    for hop, link in enumerate(links):
        named = link.meta.get("audience", request["audience"] if hop or hosted else None)
        check(named == request["audience"], "audience_mismatch", hop)
    decides = request.get("pdp") is True or hosted
    check(decides or root.get("closed") is True, "audience_mismatch", 0)


def call_of(use: Token) -> tuple[Json, Json]:
    args = dict(use.it["args"])
    return args.pop("resource"), args


def all_hold(links: list[Token], call: Json, code: str) -> None:
    for hop, link in enumerate(links):
        check(holds(["and", link.it["pol"]], call), code, hop)
