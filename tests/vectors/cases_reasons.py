"""Refusals of a chain: message, field, wanted and found value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from vectors.cases import Case, case, refused, verify
from vectors.forge import (
    DELEGATION,
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    SERVICE,
    Party,
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

SMALL: Final = did(IDENTITY)
"""A did:key of the right form, whose point is of small order."""

ROOT: Final = root()
NEXT: Final = child(ROOT)
HELD: Final = {"resource_constraint": {"owner": "acme"}}
LIMITED: Final = root(meta=HELD)


def reason(
    name: str, request: Payload, code: str, hop: int | None, message: str, /, **says: Any
) -> Case:
    """A refused request and all that its refusal says."""
    return case(name, request, refused=refused(code, hop), says={"message": message, **says})


def text(value: object) -> str:
    """The JSON of a value, as a refusal shows it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def reasons() -> Iterator[Case]:
    yield from _questions()
    yield from _chains()
    yield from _links()
    yield from _wider()
    yield from _trust()
    yield from _revoked()


def _questions() -> Iterator[Case]:
    """What cannot be answered."""
    call = {"cmd": "/a", "resource": {}, "args": {}}
    requested = {"cmd": "/a", "resource": {}}
    both = {"invocation": "x", "audience": SERVICE.did, "call": call, "requested": requested}
    untrusted = {"invocation": "x", "audience": SERVICE.did, "trusted_issuers": ...}
    for name, asked, message in (
        ("neither chain nor invocation", {}, "give either invocation or chain"),
        ("both", {"invocation": "x", "chain": ["x"]}, "give either invocation or chain"),
        ("a call and a capability", both, "give either call or requested"),
        ("a call of a bare chain", {"chain": ["x"], "call": call}, "call needs an invocation"),
        ("no trust", untrusted, "an invocation is verified against trusted_issuers"),
        ("no service", {"invocation": "x"}, "an invocation is verified for an audience"),
    ):
        yield reason(f"a question: {name}", verify(**asked), "invalid_request", None, message)


def _chains() -> Iterator[Case]:
    unusable = "iss or aud names no usable Ed25519 key"
    early, late = "the token is not valid yet by the verifier's clock", "the token has expired"
    yield reason("no links", verify(chain=[]), "chain_invalid", None, "the chain is empty")
    for member in ("iss", "aud"):
        request = verify(chain=[root(**{member: SMALL})])
        yield reason(f"{member} is no key", request, "malformed_ucan", 0, unusable, field=member)
    yield reason(
        "too early, by more than the leeway",
        verify(chain=[ROOT], now=NOW - 71, leeway=10),
        "not_yet_valid",
        0,
        early,
        field="nbf",
        wanted=f"at most {NOW - 61}",
        found=f"{NOW - 60}",
    )
    yield reason(
        "too late, by the whole leeway",
        verify(chain=[ROOT], now=NOW + 310, leeway=10),
        "expired",
        0,
        late,
        field="exp",
        wanted=f"later than {NOW + 300}",
        found=f"{NOW + 300}",
    )
    yield reason(
        "another holder than expected",
        verify(chain=[ROOT], audience=RESEARCHER.did),
        "audience_mismatch",
        0,
        "the chain ends in another key",
        **_differs("aud", RESEARCHER, PLANNER),
    )
    yield reason(
        "more links than allowed",
        verify(chain=[ROOT, NEXT], max_depth=1),
        "chain_too_deep",
        1,
        "the chain with its lineage has more than 1 delegations",
    )
    yield reason(
        "a lineage deeper than allowed",
        verify(chain=[root(meta={"lineage": {"depth": 8}})]),
        "chain_too_deep",
        0,
        "the chain with its lineage has more than 8 delegations",
    )
    formless = with_signature(NEXT, lambda signature: signature[:32] + b"\xff" * 32)
    yield reason(
        "the form of a later signature before an earlier signature",
        verify(chain=[with_signature(ROOT, flip), formless]),
        "bad_signature",
        1,
        "the signature is not the issuer's",
    )
    yield reason(
        "a lineage longer than any",
        verify(chain=[root(prf=["0" * 64] * 65)]),
        "chain_too_deep",
        0,
        "the root names more than 64 delegations in prf",
    )


def _differs(field: str, wanted: Party, found: Party) -> Payload:
    return {"field": field, "wanted": text(wanted.did), "found": text(found.did)}


def _links() -> Iterator[Case]:
    """What is wrong between two links."""
    other, no = "sub is not the issuer of the root", ["0" * 64]
    by_another, two = root(prf=[cid(ROOT)]), [cid(ROOT), "0" * 64]
    unlinked = sign(DELEGATION, delegation(PLANNER, RESEARCHER), PLANNER)
    proof = {"field": "prf", "wanted": text([cid(ROOT)])}
    approved, fixed = root(meta={"approval": {}}), root(meta={"forkable": False})
    unlike = "prf does not name the link before"
    alone = "a delegation that came from an approval cannot be delegated further"
    final = "the delegation before this link does not permit further delegation"
    subject = _differs("sub", ISSUER, PLANNER)
    before = "the issuer is not the audience of the link before"
    for name, chain, message, says in (
        ("a root whose sub is another", [root(sub=PLANNER.did)], other, subject),
        ("a link whose sub is another", [ROOT, child(ROOT, sub=PLANNER.did)], other, subject),
        ("a link by another", [ROOT, by_another], before, _differs("iss", PLANNER, ISSUER)),
        ("another parent", [ROOT, child(ROOT, prf=no)], unlike, {**proof, "found": text(no)}),
        ("no parent", [ROOT, unlinked], unlike, proof),
        ("two parents", [ROOT, child(ROOT, prf=two)], unlike, {**proof, "found": text(two)}),
        ("below an approval", [approved, child(approved)], alone, {"field": "meta.approval"}),
        ("below a last one", [fixed, child(fixed)], final, {"field": "meta.forkable"}),
    ):
        hop = len(chain) - 1
        yield reason(name, verify(chain=chain), "chain_invalid", hop, message, **says)


def _wider() -> Iterator[Case]:
    evil = {"owner": "evil"}
    beyond = "meta.resource_constraint is not within that of the links before"
    for name, first, changes, message, says in (
        (
            *("a command beside that of the parent", ROOT, {"cmd": "/github/issues"}),
            "cmd is not within that of the link before",
            ("cmd", '"/github/issue" or under it', '"/github/issues"'),
        ),
        (
            *("a later end", ROOT, {"exp": NOW + 301}),
            "exp is later than that of the link before",
            ("exp", f"at most {NOW + 300}", f"{NOW + 301}"),
        ),
        (
            *("an earlier beginning", ROOT, {"nbf": NOW - 61}),
            "nbf is earlier than that of the link before",
            ("nbf", f"at least {NOW - 60}", f"{NOW - 61}"),
        ),
        (
            *("another constraint", LIMITED, {"meta": {"resource_constraint": evil}}),
            beyond,
            ("meta.resource_constraint", 'within {"owner":"acme"}', text(evil)),
        ),
    ):
        request = verify(chain=[first, child(first, **changes)])
        parts = dict(zip(("field", "wanted", "found"), says, strict=True))
        yield reason(name, request, "chain_attenuation_violation", 1, message, **parts)


def _trust() -> Iterator[Case]:
    yield reason(
        "a root that is not trusted",
        verify(chain=[ROOT], trusted_issuers=[PLANNER.did]),
        "untrusted_issuer",
        0,
        "the root's issuer is not one that this service trusts",
        field="iss",
        wanted=f"one of {text([PLANNER.did])}",
        found=text(ISSUER.did),
    )
    old = "the view of revocations is 6 seconds old; at most 5 are allowed"
    yield reason(
        "a view that is too old",
        verify(chain=[ROOT], revocations_age=6),
        "revocations_stale",
        None,
        old,
        field="revocations_age",
        wanted="at most 5",
        found="6",
    )
    known = "the token or its issuer is revoked"
    yield reason(
        "a known revocation, in a view that is too old",
        verify(chain=[ROOT], revoked=[cid(ROOT)], revocations_age=6),
        "revoked",
        0,
        known,
        field="cid",
        found=text(cid(ROOT)),
    )


def _revoked() -> Iterator[Case]:
    ancestor = "a" * 64
    named: dict[str, Payload] = {
        "app_id": {"app_id": "app_1"},
        "approval.id": {"approval": {"id": "env_1"}},
        "lineage.root": {"lineage": {"root": "did:1"}},
        "lineage.invokedBy": {"lineage": {"invokedBy": ["did:1", 2, "did:3"]}},
        "lineage.apps": {"lineage": {"apps": ["app_2"]}},
    }
    for field, name, who in (
        ("app_id", "app_1", "the app that the root was granted to"),
        ("approval.id", "env_1", "the approval that the root was granted by"),
        ("lineage.root", "did:1", "the agent that the root comes from"),
        ("lineage.invokedBy", "did:3", "an agent that the root came through"),
        ("lineage.apps", "app_2", "an app that the root came through"),
    ):
        request = verify(chain=[root(meta=named[field])], revoked=[name])
        says = {"field": f"meta.{field}", "found": text(name)}
        yield reason(f"revoked: {field}", request, "revoked", 0, f"{who} is revoked", **says)
    heir = root(prf=["b" * 64, ancestor])
    either = "the token or its issuer is revoked"
    for title, chain, one, hop, message, field in (
        ("the issuer", [ROOT], ISSUER.did, 0, "the root's issuer is revoked", "iss"),
        ("the holder", [ROOT, NEXT], RESEARCHER.did, 1, "the token's audience is revoked", "aud"),
        ("an ancestor", [heir], ancestor, 0, "an ancestor of the root is revoked", "prf"),
        ("a link", [ROOT, NEXT], cid(NEXT), 1, either, "cid"),
        ("an issuer of a link", [ROOT, NEXT], PLANNER.did, 1, either, "iss"),
    ):
        request = verify(chain=chain, revoked=[one])
        says = {"field": field, "found": text(one)}
        yield reason(f"revoked: {title}", request, "revoked", hop, message, **says)
