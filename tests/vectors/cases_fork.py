"""Forks: the delegations that are signed, byte for byte, and those that are refused."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain as joined
from typing import Any, Final

from vectors.cases import CONSTRAINT, RESOURCE, Case, Row, case, refused, signed
from vectors.forge import (
    DELEGATION,
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    UNRELATED,
    Payload,
    child,
    cid,
    delegation,
    did,
    flip,
    root,
    sign,
    with_signature,
)
from vectors.points import IDENTITY

LIST = "/github/issue/list"
UNLOADED = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"


def link(**changes: object) -> Payload:
    return {"chain": 0, "cmd": LIST, "pol": [], "nonce": "f-1", **changes}


def fork(chains: list[list[str]], *links: Payload, **changes: object) -> Payload:
    """The planner forks one child, the researcher."""
    request: Payload = {
        "op": "fork",
        "key": PLANNER.did,
        "chains": chains,
        "children": [{"aud": RESEARCHER.did, "links": list(links)}],
        "now": NOW,
        "max_depth": 8,
        "allow_missing_prf": False,
        "allow_vacuous": False,
    }
    return request | changes


def link_claims(parent: str, **changes: object) -> Payload:
    """The new link as the planner's own program would write it."""
    claims = {"cmd": LIST, "nonce": "f-1", "sub": ISSUER.did, **changes}
    return signed(child(parent, **claims))


def one(*links: Payload) -> Payload:
    return {"children": [{"aud": RESEARCHER.did, "links": list(links)}], "more": False}


def forking() -> list[Case]:
    wrong = joined(_wider(), _wrong(), _chains(), _requests())
    return [
        *_right(),
        *(case(name, request, refused=refused(code, hop)) for name, request, code, hop in wrong),
        *_final(),
    ]


def _right() -> Iterator[Case]:
    first = root(meta={"resource_constraint": CONSTRAINT, "receipt_id": "evt_1"})
    other = root(cmd="/filesystem", nonce="n-2", nbf=NOW - 5, exp=NOW + 100)
    pol = [["==", ".args.state", "open"]]
    yield case("a narrower command", fork([[first]], link()), answer=one(link_claims(first)))
    yield case(
        "all that there is, and nothing of the root's meta",
        fork([[first]], link(cmd="/github/issue")),
        answer=one(link_claims(first, cmd="/github/issue")),
    )
    yield case(
        "a narrower everything",
        fork([[first]], link(constraint=RESOURCE, pol=pol, exp=NOW + 30)),
        answer=one(
            link_claims(first, meta={"resource_constraint": RESOURCE}, pol=pol, exp=NOW + 30),
        ),
    )
    yield case(
        "an equal constraint and an equal end",
        fork([[first]], link(constraint=CONSTRAINT, exp=NOW + 300)),
        answer=one(link_claims(first, meta={"resource_constraint": CONSTRAINT})),
    )
    yield case(
        "several chains, in the order asked",
        fork([[first], [other]], link(chain=1, cmd="/filesystem/read"), link()),
        answer=one(
            link_claims(other, cmd="/filesystem/read", nbf=NOW - 5, exp=NOW + 100),
            link_claims(first),
        ),
    )
    again = [{"aud": each.did, "links": [link()]} for each in (UNRELATED, RESEARCHER)]
    by_two = [sign(DELEGATION, _to(first, each), PLANNER) for each in (UNRELATED, RESEARCHER)]
    yield case(
        "several children",
        fork([[first]], children=again),
        answer={
            "children": [
                {"aud": each.did, "links": [signed(token)]}
                for each, token in zip((UNRELATED, RESEARCHER), by_two, strict=True)
            ],
            "more": False,
        },
    )
    lent = sign(DELEGATION, delegation(PLANNER, RESEARCHER, prf=[cid(first)]), PLANNER)
    own = delegation(RESEARCHER, UNRELATED, cmd=LIST, nonce="f-1", sub=ISSUER.did, prf=[cid(lent)])
    yield case(
        "a grandchild",
        fork(
            [[first, lent]],
            key=RESEARCHER.did,
            children=[{"aud": UNRELATED.did, "links": [link()]}],
        ),
        answer={
            "children": [
                {"aud": UNRELATED.did, "links": [signed(sign(DELEGATION, own, RESEARCHER))]}
            ],
            "more": False,
        },
    )
    commands = root(pol=[["or", [["==", ".cmd", LIST], ["==", ".cmd", "/github/issue/read"]]]])
    yield case(
        "one of the commands that pol names",
        fork([[commands]], link()),
        answer=one(link_claims(commands)),
    )
    vacuous = [["or", []]]
    yield case(
        "a vacuous policy that was asked for",
        fork([[first]], link(pol=vacuous), allow_vacuous=True),
        answer=one(link_claims(first, pol=vacuous)),
    )
    closed, open_ = (root(pol=[["==", ".args.state", each]]) for each in ("closed", "open"))
    yield case(
        "the first chain whose statements are not exceeded",
        fork([[closed], [other], [open_]], link(alternatives=[1, 2], pol=pol)),
        answer=one({**link_claims(open_, pol=pol), "chain": 2}),
    )
    heir = root(prf=["0" * 64] * 8, meta={"lineage": {"depth": 6}})
    yield case("as deep as allowed", fork([[heir]], link()), answer=one(link_claims(heir)))


def _to(parent: str, aud: Any) -> Payload:
    claims = {"cmd": LIST, "nonce": "f-1", "sub": ISSUER.did, "prf": [cid(parent)]}
    return delegation(PLANNER, aud, **claims)


def _wider() -> Iterator[Row]:
    inside = {**CONSTRAINT, "path": "src/app"}
    first = root(meta={"resource_constraint": inside})

    def wider(name: str, *, chain: str = first, **changes: object) -> Row:
        return (
            f"wider: {name}",
            fork([[chain]], link(**changes)),
            "chain_attenuation_violation",
            None,
        )

    yield wider("the command above", cmd="/github")
    yield wider("a command beside", cmd="/github/repo")
    yield wider("a command that only begins alike", cmd="/github/issues")
    yield wider("a later end", exp=NOW + 301)
    for name, constraint in {
        "no fields": {},
        "without the path": CONSTRAINT,
        "another owner": {**inside, "owner": "evil"},
        "an owner in another case": {**inside, "owner": "Acme"},
        "the path above": {**inside, "path": "src"},
        "the whole tree": {**inside, "path": ""},
        "a path that only begins alike": {**inside, "path": "src/apple"},
    }.items():
        yield wider(f"a constraint with {name}", constraint=constraint)
    pol = [["==", ".cmd", LIST]]
    yield wider("a command that pol leaves out", chain=root(pol=pol), cmd="/github/issue/read")
    yield wider("beneath the command of pol", chain=root(pol=pol), cmd=f"{LIST}/all")
    both = root(pol=[*pol, ["and", [["==", '.["cmd"]', "/github/issue/read"]]]])
    yield wider("a policy that leaves nothing", chain=both)
    few = root(pol=[["and", [["<=", ".args.n", 10], ["==", ".args.state", "open"]]]])
    yield wider("a number that the chain does not permit", chain=few, pol=[["<=", ".args.n", 11]])
    yield wider("a text that the chain does not permit", chain=few, pol=[["like", ".args.n", "*"]])
    narrow = child(first, aud=PLANNER.did, meta={"resource_constraint": {**inside, "repo": "app"}})
    yield (
        "wider: back to what the root allowed",
        fork([[first, narrow]], link(constraint=inside)),
        "chain_attenuation_violation",
        None,
    )


def _wrong() -> Iterator[Row]:
    first = root()

    def wrong(name: str, code: str, *, chain: str = first, **changes: object) -> Row:
        return f"link: {name}", fork([[chain]], link(**changes)), code, None

    approved = root(meta={"approval": {"id": "env_1", "fingerprint": "0"}})
    yield wrong("an approval", "chain_invalid", chain=approved)
    fixed = root(meta={"forkable": False})
    yield wrong("a chain that is not forkable", "chain_invalid", chain=fixed)
    yield wrong("an end that has come", "expired", exp=NOW)
    yield wrong("a path with a way up", "malformed_ucan", constraint={"path": "src/.."})
    yield wrong("a policy that is not understood", "malformed_ucan", pol=[["has", ".a", "*"]])
    yield wrong("a vacuous policy", "vacuous_policy", pol=[["and", [["or", []]]]])
    yield wrong("a token that is too long", "too_large", constraint={"x": "x" * 50_000})
    heir = root(meta={"lineage": {"depth": 7}})
    yield wrong("deeper than allowed", "chain_too_deep", chain=heir)
    yield (
        "link: deeper than the holder allows",
        fork([[first]], link(), max_depth=1),
        "chain_too_deep",
        None,
    )


FINAL: Final = (
    "children[0].links[0]: the chain has meta.forkable: false, because policy distinguishes "
    "agents: it cannot be delegated, and each agent has to ask the control plane for a grant of "
    "its own"
)


def _final() -> Iterator[Case]:
    """A chain whose last link is not forkable, whatever the links before it are."""
    fixed = {"forkable": False}
    first = root()
    last = child(first, aud=PLANNER.did, meta=fixed)
    for name, chain in (("a root", [root(meta=fixed)]), ("a link below a root", [first, last])):
        yield case(
            f"not forkable: {name}",
            fork([chain], link()),
            refused=refused("chain_invalid"),
            says={"message": FINAL, "field": "meta.forkable"},
        )


def _chains() -> Iterator[Row]:
    first = root()
    loose = sign(DELEGATION, delegation(PLANNER, PLANNER), PLANNER)

    def chain(name: str, code: str, chain: list[str], hop: int | None = 0) -> Row:
        return f"chain: {name}", fork([[first], chain], link(), link(chain=1)), code, hop

    yield chain("expired", "expired", [root(exp=NOW)])
    yield chain("too early", "not_yet_valid", [root(nbf=NOW + 1)])
    yield chain("another's", "audience_mismatch", [root(aud=UNRELATED.did)])
    yield chain("handed on already", "audience_mismatch", [first, child(first)], 1)
    yield chain("without proof", "chain_invalid", [first, loose], 1)
    yield chain("not signed by its issuer", "bad_signature", [with_signature(first, flip)])
    yield chain("no token", "malformed_ucan", ["x"])
    yield chain("of nothing", "chain_invalid", [], None)
    yield chain("too deep", "chain_too_deep", [first] * 9, 8)


def _requests() -> Iterator[Row]:
    first = root()

    def request(name: str, code: str, *links: Payload, **changes: object) -> Row:
        return f"request: {name}", fork([[first]], *links, **changes), code, None

    yield request("a chain that is not there", "invalid_request", link(chain=1))
    yield request("a child of nobody", "invalid_key", children=[_child(did(IDENTITY))])
    yield request("no children", "invalid_request", children=[])
    yield request("no links", "invalid_request")
    yield "request: no chains", fork([], link()), "invalid_request", None
    yield request("links for too many", "too_large", children=[_child(RESEARCHER.did, 126)] * 8)
    yield request("too much for one", "too_large", children=[_child(RESEARCHER.did, 257)])
    yield request("a seed instead of a key", "invalid_request", link(), seed="0" * 64)
    yield (
        "request: a key that is not loaded",
        fork([[root(aud=UNLOADED)]], link(), key=UNLOADED),
        "unknown_key",
        None,
    )


def _child(aud: str, links: int = 1) -> Payload:
    return {"aud": aud, "links": [link()] * links}
