"""Requested capabilities and depths of chains that verify."""

from __future__ import annotations

from vectors.cases import CONSTRAINT, RESOURCE, Case, case, verify, verify_use
from vectors.forge import (
    HERE,
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    Payload,
    child,
    cid,
    root,
    use,
)

LIST = "/github/issue/list"


def requested(cmd: str = LIST, resource: Payload = RESOURCE) -> Payload:
    return {"cmd": cmd, "resource": resource}


def wants() -> list[Case]:
    first = root(meta={"resource_constraint": CONSTRAINT})
    second = child(first, cmd=LIST, pol=[["==", ".args.state", "closed"]])
    chain: Payload = {
        "agent": RESEARCHER.did,
        "root": ISSUER.did,
        "cmd": LIST,
        "depth": 2,
        "cids": [cid(first), cid(second)],
        "lineage": [],
        "expires_at": NOW + 300,
        "constraint": CONSTRAINT,
        "meta": {"resource_constraint": CONSTRAINT},
    }
    asked = {"resource": {"provider": "github", "owner": "Acme"}, "state": "open"}
    token = use([first, second], args=asked)
    plain = root(pol=[["==", ".cmd", "/github/issue/read"]])
    whole = {
        "agent": PLANNER.did,
        "root": ISSUER.did,
        "cmd": "/github/issue",
        "depth": 1,
        "cids": [cid(plain)],
        "lineage": [],
        "expires_at": NOW + 300,
        "meta": HERE,
    }

    def ok(name: str, request: Payload, answer: Payload) -> Case:
        return case(name, request, answer=answer)

    return [
        ok(
            "requested: within the chain",
            verify(chain=[first, second], requested=requested()),
            chain,
        ),
        ok(
            "requested: for an expected holder",
            verify(chain=[first, second], requested=requested(), audience=RESEARCHER.did),
            chain,
        ),
        ok(
            "requested: beneath the command, on all that the constraint covers",
            verify(chain=[first, second], requested=requested(f"{LIST}/all", CONSTRAINT)),
            chain,
        ),
        ok(
            "requested: anything where there is no constraint, whatever pol says",
            verify(chain=[plain], requested=requested("/github/issue", {})),
            whole,
        ),
        ok(
            "requested: an invocation says who asks; what it is about is for others to compare",
            verify_use(token, requested=requested()),
            chain
            | {
                "expires_at": NOW + 60,
                "resource": asked["resource"],
                "args": {"state": "open"},
                "nonce": "invocation-1",
                "cid": cid(token),
            },
        ),
    ]


def depths() -> list[Case]:
    """How deep a chain is: its links and what its root took the place of."""

    def deep(name: str, depth: int, tokens: list[str], lineage: list[str], **more: object) -> Case:
        meta = more.pop("meta", None)
        answer = {
            "agent": PLANNER.did if len(tokens) == 1 else RESEARCHER.did,
            "root": ISSUER.did,
            "cmd": "/github/issue",
            "depth": depth,
            "cids": [cid(token) for token in tokens],
            "lineage": lineage,
            "expires_at": NOW + 300,
        } | ({"meta": meta} if meta else {})
        return case(f"depth: {name}", verify(chain=tokens, **more), answer=answer)

    many = [f"{number:064x}" for number in range(64)]
    lineage_meta = {"lineage": {"depth": 1, "root": PLANNER.did}}
    heir = root(meta=lineage_meta, prf=many[:3])
    label = {"lineage": {"swarmId": "s"}}
    first = {"lineage": {"depth": 0, "root": PLANNER.did}}
    return [
        deep("the root says", 2, [heir], many[:3], meta=lineage_meta),
        deep(
            "and a link after it", 3, [heir, child(heir)], many[:3], meta=lineage_meta, max_depth=3
        ),
        deep("a root that was never handed on", 1, [root(meta=first)], [], meta=first),
        deep(
            "without a word of it, one for each cid",
            3,
            [root(meta=label, prf=many[:2])],
            many[:2],
            meta=label,
        ),
        deep(
            "as many cids as allowed",
            2,
            [root(meta=lineage_meta, prf=many)],
            many,
            meta=lineage_meta,
        ),
    ]
