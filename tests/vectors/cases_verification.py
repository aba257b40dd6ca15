"""Tokens that verify, and the answer for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vectors.cases import CONSTRAINT, RESOURCE, Case, case, nested, verify, verify_use
from vectors.forge import (
    DELEGATION,
    HERE,
    INVOCATION,
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    SERVICE,
    UNRELATED,
    Party,
    Payload,
    child,
    cid,
    delegation,
    invocation,
    root,
    sign,
    use,
)


def verification() -> list[Case]:
    first = root(meta={**HERE, "resource_constraint": CONSTRAINT, "receipt_id": "evt_1"})
    second = child(first, cmd="/github/issue/list", exp=NOW + 200)
    narrow = child(first, meta={"resource_constraint": RESOURCE, "receipt_id": "mine"})
    token = use([first, second], args={"resource": RESOURCE, "state": "open"})
    call = {"cmd": "/github/issue/list", "resource": RESOURCE, "args": {"state": "open", "page": 2}}
    chain = {
        "agent": PLANNER.did,
        "root": ISSUER.did,
        "cmd": "/github/issue",
        "depth": 1,
        "cids": [cid(first)],
        "lineage": [],
        "expires_at": NOW + 300,
        "constraint": CONSTRAINT,
        "meta": {**HERE, "resource_constraint": CONSTRAINT, "receipt_id": "evt_1"},
    }
    longer = chain | {
        "agent": RESEARCHER.did,
        "cmd": "/github/issue/list",
        "depth": 2,
        "cids": [cid(first), cid(second)],
        "expires_at": NOW + 200,
    }
    used = longer | {
        "expires_at": NOW + 60,
        "resource": RESOURCE,
        "args": {"state": "open"},
        "nonce": "invocation-1",
        "cid": cid(token),
    }
    bare = chain | {"cids": [cid(root())], "meta": HERE}
    del bare["constraint"]
    nothing = {name: value for name, value in bare.items() if name != "meta"}
    lineage = ["0" * 64, "1" * 64]
    heir = root(prf=lineage)
    late = {**HERE, "lineage": {"depth": 7}}
    unlinked = sign(DELEGATION, delegation(PLANNER, RESEARCHER), PLANNER)
    odd = root(meta={"__proto__": {"resource_constraint": {}}, "10": 1, "9": 2, "\u00e9": "\u00e9"})
    policy = [
        ["==", ".cmd", "/github/issue/list"],
        ["or", [["==", ".args.state", "open"], ["or", []]]],
    ]
    held = root(pol=policy, sub=ISSUER.did)
    held_use = use([held, child(held)], args={"resource": RESOURCE, "state": "open"})

    def ok(name: str, request: Payload, answer: Payload) -> Case:
        return case(name, request, answer=answer)

    return [
        ok("a root alone", verify(chain=[first]), chain),
        ok("no trust asked for", verify(chain=[first], trusted_issuers=...), chain),
        ok("the expected holder", verify(chain=[first], audience=PLANNER.did), chain),
        ok(
            "one of several trusted",
            verify(chain=[first], trusted_issuers=[UNRELATED.did, ISSUER.did]),
            chain,
        ),
        ok("a chain of two", verify(chain=[first, second]), longer),
        ok(
            "a narrower constraint, and only the root's meta",
            verify(chain=[first, narrow]),
            longer
            | {
                "cmd": "/github/issue",
                "cids": [cid(first), cid(narrow)],
                "expires_at": NOW + 300,
                "constraint": RESOURCE,
            },
        ),
        ok("an invocation", verify_use(token), used),
        ok(
            "an invocation for a call with more, unsigned arguments",
            verify_use(token, call=call),
            used,
        ),
        ok("the first second", verify(chain=[first], now=NOW - 60), chain),
        ok("the last second", verify(chain=[first], now=NOW + 299), chain),
        ok("early, within the leeway", verify(chain=[first], now=NOW - 120, leeway=60), chain),
        ok("late, within the leeway", verify(chain=[first], now=NOW + 359, leeway=60), chain),
        ok("no constraint", verify(chain=[root()]), bare),
        ok(
            "neither constraint nor meta",
            verify(chain=[root(meta=...)]),
            nothing | {"cids": [cid(root(meta=...))]},
        ),
        *_at_a_service(),
        *_at_the_limits(),
        ok(
            "lineage counts",
            verify(chain=[heir], max_depth=3),
            bare | {"cids": [cid(heir)], "depth": 3, "lineage": lineage},
        ),
        ok(
            "what the root says was before it counts",
            verify(chain=[root(meta=late)]),
            bare | {"cids": [cid(root(meta=late))], "depth": 8, "meta": late},
        ),
        ok(
            "a link without prf, where that is accepted",
            verify(chain=[root(), unlinked], allow_missing_prf=True),
            bare | {"agent": RESEARCHER.did, "depth": 2, "cids": [cid(root()), cid(unlinked)]},
        ),
        ok(
            "a young view of revocations that names others",
            verify(chain=[first], revoked=["f" * 64, UNRELATED.did], revocations_age=5),
            chain,
        ),
        ok(
            "odd member names are data",
            verify(chain=[odd]),
            bare
            | {
                "cids": [cid(odd)],
                "meta": {
                    "__proto__": {"resource_constraint": {}},
                    "10": 1,
                    "9": 2,
                    "\u00e9": "\u00e9",
                },
            },
        ),
        ok(
            "as deep as allowed",
            verify(chain=[root(meta=nested(31))]),
            bare
            | {
                "cids": [cid(root(meta=nested(31)))],
                "meta": nested(31),
            },
        ),
        ok(
            "every policy holds",
            verify_use(held_use),
            bare
            | {
                "agent": RESEARCHER.did,
                "cmd": "/github/issue/list",
                "depth": 2,
                "cids": [cid(held), cid(child(held))],
                "expires_at": NOW + 60,
                "resource": RESOURCE,
                "args": {"state": "open"},
                "nonce": "invocation-1",
                "cid": cid(held_use),
            },
        ),
        ok(
            "what a delegation says",
            {"op": "inspect", "token": heir},
            {
                "kind": "delegation",
                "header": DELEGATION,
                "payload": delegation(ISSUER, PLANNER, meta=HERE, prf=lineage),
                "cid": cid(heir),
                "cids": [cid(heir), *lineage],
            },
        ),
        ok(
            "what an invocation says",
            {"op": "inspect", "token": use([heir, child(heir)])},
            {
                "kind": "invocation",
                "header": INVOCATION,
                "payload": invocation(RESEARCHER, [heir, child(heir)]),
                "cid": cid(use([heir, child(heir)])),
                "cids": [*lineage, cid(heir), cid(child(heir)), cid(use([heir, child(heir)]))],
            },
        ),
    ]


def _at_a_service() -> Iterator[Case]:
    """For which service a chain is, and what a PDP may take that others may not."""
    for name, meta, asked in (
        ("an open chain, at a PDP", {"audience": SERVICE.did}, {"pdp": True}),
        ("a closed chain, at a PDP", HERE, {"pdp": True}),
        ("a closed chain, at a service that says that it is none", HERE, {"pdp": False}),
        (
            "a chain of the hosted service, where those are accepted",
            {},
            {"allow_missing_prf": True},
        ),
        ("a chain that may be handed on, as it says", {**HERE, "forkable": True}, {}),
        (
            "a chain for another service, when something is asked for with it",
            {"audience": UNRELATED.did},
            {"requested": {"cmd": "/github/issue/list", "resource": RESOURCE}},
        ),
    ):
        first = root(meta=meta)
        for links in ([first], [first, child(first)]):
            yield _used(f"{name}, {len(links)} long", links, meta, asked)
    fixed = {**HERE, "forkable": False}
    yield _used("a chain that is not forkable, and was not forked", [root(meta=fixed)], fixed, {})
    first = root()
    narrowed = child(first, meta={"audience": SERVICE.did})
    yield _used("a link that names the service once more", [first, narrowed], HERE, {})


def _at_the_limits() -> Iterator[Case]:
    """As much as a token may say, and no more."""
    ends = root(exp=NOW + 3600)
    rows: tuple[tuple[str, list[str], dict[str, Any]], ...] = (
        ("that ends with its chain", [root()], {"exp": NOW + 300}),
        ("that lives an hour and a minute", [ends], {"exp": NOW + 3600}),
        ("with a nonce of eight characters", [root()], {"nonce": "12345678"}),
        ("of a chain of which only the last link has a constraint", [root(), OWN], {}),
    )
    for name, links, changes in rows:
        holder = PLANNER if len(links) == 1 else RESEARCHER
        token = sign(INVOCATION, invocation(holder, links, **changes), holder)
        constraint = {"constraint": CONSTRAINT} if OWN in links else {}
        answer = {**_answer(holder, links, HERE, token), **constraint}
        answer |= {"expires_at": changes.get("exp", NOW + 60)}
        answer |= {"nonce": changes.get("nonce", "invocation-1")}
        yield case(f"an invocation {name}", verify_use(token), answer=answer)


OWN: Final = child(root(), meta={"resource_constraint": CONSTRAINT})


def _used(name: str, links: list[str], meta: Payload, asked: Payload) -> Case:
    """An invocation by the holder of these links, which verifies."""
    holder = PLANNER if len(links) == 1 else RESEARCHER
    token = sign(INVOCATION, invocation(holder, links), holder)
    return case(name, verify_use(token, **asked), answer=_answer(holder, links, meta, token))


def _answer(holder: Party, links: list[str], meta: Payload, token: str) -> Payload:
    return {
        "agent": holder.did,
        "root": ISSUER.did,
        "cmd": "/github/issue/list",
        "depth": len(links),
        "cids": [cid(link) for link in links],
        "lineage": [],
        "expires_at": NOW + 60,
        "meta": meta,
        "resource": RESOURCE,
        "args": {},
        "nonce": "invocation-1",
        "cid": cid(token),
    }
