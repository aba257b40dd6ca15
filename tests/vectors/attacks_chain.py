"""Attacks on what a chain gives: broken links, wider claims, strangers, other uses and calls."""

from __future__ import annotations

from collections.abc import Iterator

from vectors.attacks_keys import IDENTITY
from vectors.cases import CONSTRAINT, RESOURCE, Row, verify, verify_use
from vectors.forge import (
    DELEGATION,
    INVOCATION,
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    STRANGER,
    Payload,
    child,
    cid,
    delegation,
    did,
    flip,
    invocation,
    root,
    sign,
    use,
    with_signature,
)


def links() -> Iterator[Row]:
    first = root(meta={"resource_constraint": {**CONSTRAINT, "path": "src/app"}})
    second = child(first)

    def broken(name: str, chain: list[str], hop: int = 1, **more: object) -> Row:
        return f"link: {name}", verify(chain=chain, **more), "chain_invalid", hop

    def wider(name: str, **changes: object) -> Row:
        return (
            f"wider: {name}",
            verify(chain=[first, child(first, **changes)]),
            "chain_attenuation_violation",
            1,
        )

    third = sign(DELEGATION, delegation(RESEARCHER, STRANGER, prf=[cid(second)]), RESEARCHER)
    yield broken("the middle is missing", [first, third])
    yield broken("out of order", [second, first])
    yield broken("the root twice", [first, first])
    yield broken(
        "by someone else",
        [first, sign(DELEGATION, delegation(STRANGER, RESEARCHER, prf=[cid(first)]), STRANGER)],
    )
    yield broken("the proof names another root", [root(nonce="n-2"), child(root())])
    yield broken("no proof", [first, child(first, prf=...)])
    yield broken("an empty proof", [first, child(first, prf=[])], accept_unlinked=True)
    yield broken("two proofs", [first, child(first, prf=[cid(first), "0" * 64])])
    yield broken(
        "a foreign proof, though none is needed",
        [first, child(first, prf=["0" * 64])],
        accept_unlinked=True,
    )
    yield broken("another subject", [first, child(first, sub=STRANGER.did)])
    yield broken("a root about another", [root(sub=PLANNER.did)], 0)
    approved = root(meta={"approval": {"id": "env_1", "fingerprint": "0"}})
    yield broken("below an approval", [approved, child(approved)])
    own = child(first, meta={"approval": None})
    yield broken(
        "below an approval that a link made up",
        [
            first,
            own,
            sign(DELEGATION, delegation(RESEARCHER, STRANGER, prf=[cid(own)]), RESEARCHER),
        ],
        2,
    )

    yield wider("the command above", cmd="/github")
    yield wider("a command beside", cmd="/github/repo")
    yield wider("a command that only begins alike", cmd="/github/issues")
    yield wider("a later end", exp=NOW + 301)
    yield wider("an earlier beginning", nbf=NOW - 61)
    inside = {**CONSTRAINT, "path": "src/app"}
    for name, constraint in {
        "no fields": {},
        "without the path": CONSTRAINT,
        "without the owner": {"provider": "github", "path": "src/app"},
        "another owner": {**inside, "owner": "evil"},
        "another provider": {**inside, "provider": "filesystem"},
        "the path above": {**inside, "path": "src"},
        "the whole tree": {**inside, "path": ""},
        "a path beside": {**inside, "path": "src/lib"},
        "a path that only begins alike": {**inside, "path": "src/apple"},
    }.items():
        yield wider(f"a constraint with {name}", meta={"resource_constraint": constraint})
    narrow = child(first, meta={"resource_constraint": {**inside, "path": "src/app/a"}})
    widened = delegation(
        RESEARCHER, STRANGER, prf=[cid(narrow)], meta={"resource_constraint": inside}
    )
    yield (
        "wider: back to what the root allowed",
        verify(chain=[first, narrow, sign(DELEGATION, widened, RESEARCHER)]),
        "chain_attenuation_violation",
        2,
    )
    inherits = child(first)
    widened = delegation(
        RESEARCHER, STRANGER, prf=[cid(inherits)], meta={"resource_constraint": CONSTRAINT}
    )
    yield (
        "wider: after a link that inherited",
        verify(chain=[first, inherits, sign(DELEGATION, widened, RESEARCHER)]),
        "chain_attenuation_violation",
        2,
    )


def trust() -> Iterator[Row]:
    first = root(prf=["0" * 64])
    second = child(first)
    token = use([first, second])
    chain = [first, second]
    yield (
        "trust: another root",
        verify(chain=chain, trusted_issuers=[STRANGER.did]),
        "untrusted_issuer",
        0,
    )
    yield "trust: nobody", verify(chain=chain, trusted_issuers=[]), "untrusted_issuer", 0
    self_made = sign(DELEGATION, delegation(PLANNER, PLANNER), PLANNER)
    yield "trust: an agent as its own root", verify(chain=[self_made]), "untrusted_issuer", 0
    for name, identifier, hop in (
        ("the root's issuer", ISSUER.did, 0),
        ("the root", cid(first), 0),
        ("an ancestor of the root", "0" * 64, 0),
        ("the second link", cid(second), 1),
        ("the second link's issuer", PLANNER.did, 1),
        ("the invocation", cid(token), 2),
        ("the agent", RESEARCHER.did, 2),
    ):
        yield f"revoked: {name}", verify_use(token, revoked=[identifier]), "revoked", hop
    yield (
        "revoked: in an old view",
        verify(chain=chain, revoked=[cid(first)], revocations_age=99),
        "revoked",
        0,
    )
    yield (
        "revocations: an old view",
        verify(chain=chain, revocations_age=6),
        "revocations_stale",
        None,
    )
    yield (
        "revocations: none may be old",
        verify(chain=chain, revocations_age=1, revocations_max_age=0),
        "revocations_stale",
        None,
    )
    yield "holder: another", verify(chain=chain, audience=PLANNER.did), "audience_mismatch", 1


def uses() -> Iterator[Row]:
    first = root(meta={"resource_constraint": {**CONSTRAINT, "path": "src"}})
    second = child(first, cmd="/github/issue/list", exp=NOW + 50)
    inside = {**RESOURCE, "path": "src/a.py"}

    def wrong(name: str, code: str, resource: object = inside, **changes: object) -> Row:
        more = {"exp": NOW + 50, "args": {"resource": resource}, **changes}
        return f"use: {name}", verify_use(use([first, second], **more)), code, 2

    yield wrong("about another root", "chain_invalid", sub=STRANGER.did)
    yield wrong("for another service", "audience_mismatch", aud=STRANGER.did)
    yield wrong("for the issuer", "audience_mismatch", aud=ISSUER.did)
    yield wrong("another command", "chain_attenuation_violation", cmd="/github/issue/create")
    yield wrong("the command above", "chain_attenuation_violation", cmd="/github/issue")
    yield wrong("longer than its chain", "chain_attenuation_violation", exp=NOW + 51)
    stranger = sign(INVOCATION, invocation(STRANGER, [first, second], exp=NOW + 50), STRANGER)
    yield "use: by another agent", verify_use(stranger), "chain_invalid", 2
    by_planner = sign(INVOCATION, invocation(PLANNER, [first, second], exp=NOW + 50), PLANNER)
    yield "use: by an agent earlier in the chain", verify_use(by_planner), "chain_invalid", 2
    for name, resource in {
        "another owner": {**inside, "owner": "evil"},
        "no owner": {"provider": "github", "path": "src/a.py"},
        "an owner in another case": {**inside, "owner": "Acme"},
        "another provider": {**inside, "provider": "gitlab"},
        "no path": RESOURCE,
        "a path outside": {**inside, "path": "secrets"},
        "a path that only begins alike": {**inside, "path": "srcs/a.py"},
        "a path with a way up": {**inside, "path": "src/../secrets"},
        "a path that is a list": {**inside, "path": ["src"]},
        "nothing": {},
        "a prototype": {"__proto__": inside},
    }.items():
        yield wrong(f"a resource with {name}", "resource_out_of_scope", resource)


def calls() -> Iterator[Row]:
    first = root(pol=[["or", [["==", ".args.page?", None], ["==", ".args.page", 1]]]])
    second = child(first)
    args = {"resource": RESOURCE, "state": "open", "labels": ["a", "b"]}
    token = use([first, second], args=args)
    call: Payload = {
        "cmd": "/github/issue/list",
        "resource": RESOURCE,
        "args": {"state": "open", "labels": ["a", "b"]},
    }

    def differs(name: str, hop: int = 2, **changes: object) -> Row:
        return (
            f"call: {name}",
            verify_use(token, call={**call, **changes}),
            "resource_mismatch",
            hop,
        )

    yield differs("another command", cmd="/github/issue/read")
    yield differs("another repo", resource={**RESOURCE, "repo": "other"})
    yield differs("a resource with more", resource={**RESOURCE, "issue_number": 1})
    yield differs("a resource with less", resource=CONSTRAINT)
    yield differs("an argument changed", args={"state": "closed", "labels": ["a", "b"]})
    yield differs("an argument missing", args={"state": "open"})
    yield differs("a list in another order", args={"state": "open", "labels": ["b", "a"]})
    yield differs("an unsigned argument against a policy", 0, args={**call["args"], "page": 2})


def precedence() -> Iterator[Row]:
    """Where two things are wrong, the earlier step answers, whatever the hop."""
    expired = root(exp=NOW)
    yield (
        "first: text before signatures",
        verify(chain=[with_signature(root(), flip), "x"]),
        "malformed_ucan",
        1,
    )
    yield (
        "first: keys before signatures",
        verify(chain=[with_signature(root(), flip), child(root(), aud=did(IDENTITY))]),
        "malformed_ucan",
        1,
    )
    yield (
        "first: signatures before times",
        verify(chain=[expired, with_signature(child(expired), flip)]),
        "bad_signature",
        1,
    )
    yield "first: times before links", verify(chain=[expired, child(root())]), "expired", 0
    yield (
        "first: links before trust",
        verify(chain=[root(), child(root(nonce="n-2"))], trusted_issuers=[]),
        "chain_invalid",
        1,
    )
    yield (
        "first: trust before revocation",
        verify(chain=[root()], trusted_issuers=[], revoked=[ISSUER.did]),
        "untrusted_issuer",
        0,
    )
    yield (
        "first: revocation before use",
        verify_use(use([root(), child(root())], aud=STRANGER.did), revocations_age=9),
        "revocations_stale",
        None,
    )
    yield (
        "first: signed use before call",
        verify_use(
            use([root(), child(root())], aud=STRANGER.did),
            call={"cmd": "/a", "resource": {}, "args": {}},
        ),
        "audience_mismatch",
        2,
    )
