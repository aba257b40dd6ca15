"""Attacks by holders who ask for more than their chain gives, or look less deep than they are."""

from __future__ import annotations

from collections.abc import Iterator

from vectors.cases import CONSTRAINT, RESOURCE, Row, verify, verify_use
from vectors.cases_wanted import LIST, wanted
from vectors.forge import (
    INVOCATION,
    ISSUER,
    NOW,
    PLANNER,
    STRANGER,
    Payload,
    child,
    flip,
    invocation,
    root,
    sign,
    use,
    with_signature,
)


def wants() -> Iterator[Row]:
    inside = {**CONSTRAINT, "path": "src"}
    first = root(meta={"resource_constraint": inside})
    second = child(first, cmd=LIST)
    resource = {**RESOURCE, "path": "src/a.py"}
    right = wanted(LIST, resource)

    def want(name: str, code: str, what: Payload) -> Row:
        return f"wanted: {name}", verify(chain=[first, second], wanted=what), code, 1

    yield want("the command above", "chain_attenuation_violation", wanted("/github/issue"))
    yield want("a command beside", "chain_attenuation_violation", wanted("/github/issue/read"))
    yield want("one that begins alike", "chain_attenuation_violation", wanted(f"{LIST}s"))
    for name, fields in {
        "nothing": {},
        "no path": RESOURCE,
        "another owner": {**resource, "owner": "evil"},
        "no owner": {"provider": "github", "path": "src"},
        "an owner in another case": {**resource, "owner": "Acme"},
        "a path outside": {**resource, "path": "srcs"},
        "a path with a way up": {**resource, "path": "src/../etc"},
    }.items():
        yield want(f"a resource with {name}", "resource_out_of_scope", wanted(LIST, fields))

    def used(name: str, code: str, **changes: object) -> Row:
        token = use([first, second], **{"args": {"resource": resource}, **changes})
        return f"wanted: {name}", verify_use(token, wanted=right), code, 2

    yield used("for another service", "audience_mismatch", aud=STRANGER.did)
    yield used("about another root", "chain_invalid", sub=STRANGER.did)
    yield used("by a command of its own", "chain_attenuation_violation", cmd="/github/issue/read")
    yield used("for longer than the chain", "chain_attenuation_violation", exp=NOW + 301)
    thief = sign(INVOCATION, invocation(STRANGER, [first, second]), STRANGER)
    yield "wanted: by a thief of the chain", verify_use(thief, wanted=right), "chain_invalid", 2
    parent = sign(INVOCATION, invocation(PLANNER, [first, second]), PLANNER)
    yield (
        "wanted: by the parent, in the child's name",
        verify_use(parent, wanted=right),
        "chain_invalid",
        2,
    )
    forged = with_signature(use([first, second]), flip)
    yield "wanted: by nobody", verify_use(forged, wanted=right), "bad_signature", 2
    yield (
        "wanted: by another holder",
        verify(chain=[first, second], audience=PLANNER.did, wanted=right),
        "audience_mismatch",
        1,
    )
    approved = root(meta={"approval": {"id": "env_1", "fingerprint": "0"}})
    yield (
        "wanted: more of an approval",
        verify(chain=[approved], wanted=wanted(LIST, {})),
        "chain_invalid",
        0,
    )
    claimed = child(first, meta={"approval": None})
    yield (
        "wanted: more of an approval that a link made up",
        verify(chain=[first, claimed], wanted=right),
        "chain_invalid",
        1,
    )
    yield (
        "wanted: of a stranger's root",
        verify(chain=[first, second], trusted_issuers=[STRANGER.did], wanted=right),
        "untrusted_issuer",
        0,
    )
    call = {"cmd": LIST, "resource": resource, "args": {}}
    yield (
        "wanted: and a call beside it",
        verify_use(use([first, second]), wanted=right, call=call),
        "invalid_request",
        None,
    )


def depths() -> Iterator[Row]:
    def deep(name: str, code: str, lineage: object, **changes: object) -> Row:
        token = root(meta={"lineage": lineage}, **changes)
        return f"depth: {name}", verify(chain=[token, child(token)]), code, 0

    yield deep("told by the root", "chain_too_deep", {"depth": 7})
    yield deep("beyond any", "chain_too_deep", {"depth": 2**53 - 1})
    many = [f"{number:064x}" for number in range(65)]
    yield deep("more cids than allowed", "chain_too_deep", {"depth": 0}, prf=many)
    yield deep("below nothing", "malformed_ucan", {"depth": -7})
    yield deep("a fraction", "malformed_ucan", {"depth": 0.5})
    yield deep("a text", "malformed_ucan", {"depth": "0"})
    yield deep("nothing", "malformed_ucan", {"depth": None})
    yield deep("a lineage that is a list", "malformed_ucan", [])
    first = root(meta={"lineage": {"depth": 7, "root": ISSUER.did}})
    shallow = child(first, meta={"lineage": {"depth": 0}})
    yield (
        "depth: less, by the word of a link",
        verify(chain=[first, shallow]),
        "chain_too_deep",
        0,
    )
