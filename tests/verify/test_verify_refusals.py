"""Every refusal of a token by both kinds of verifier: code, hop, field, fix."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as member
from datetime import UTC, datetime
from typing import Any, Final, get_args

import pytest
from vectors.forge import (
    DELEGATION,
    HERE,
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    SERVICE,
    UNRELATED,
    child,
    cid,
    delegation,
    flip,
    root,
    sign,
    use,
    with_signature,
)
from verifiers import (
    APPROVAL,
    LINKS,
    READ,
    RESOURCE,
    SYNC,
    TO_WRITE,
    TOKEN,
    WRITE,
    VerifierKind,
    approved,
    family,
    replay,
)

from nomos.errors import Denied
from nomos.models import VerificationCode
from nomos.verify import RevocationStatus

ROOT, CHILD = LINKS
DEEP = json.loads("[" * 44 + "]" * 44)


def nested(levels: int, name: str | None = None) -> Any:
    """A value in that many lists, or mappings."""
    value: Any = 1
    for _ in range(levels):
        value = [value] if name is None else {name: value}
    return value


class Old:
    """A view that is ten seconds old."""

    def __init__(self, *ids: str, age: float = 10) -> None:
        self.ids, self.age = frozenset(ids), age

    def lookup(self, ids: Any) -> RevocationStatus:
        return RevocationStatus(self.ids & frozenset(ids), self.age, "the feed was cut off")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    name: str
    code: str
    token: Any
    hop: int | None = None
    field: str | None = None
    call: Mapping[str, Any] = member(default_factory=lambda: READ)
    settings: Mapping[str, Any] = member(default_factory=dict)


def on(**changes: Any) -> Mapping[str, Any]:
    return {**READ, **changes}


NARROW = root(meta={**HERE, "resource_constraint": {"provider": "github", "owner": "acme"}})
STRICT = root(pol=[["==", ".args.state", "open"]])
FAR_LINEAGE = root(prf=["ab" * 32, "cd" * 32], meta={"lineage": {"depth": 3}})
APPS = root(
    meta={
        "app_id": "app_1",
        "lineage": {"apps": ["app_0"], "invokedBy": [UNRELATED.did], "root": "evt_0"},
    }
)
BY_APP = use([APPS, child(APPS)])

CASES: Final = [
    Case("nothing", "malformed_ucan", None),
    Case("no text", "malformed_ucan", b"a.b.c"),
    Case("empty", "malformed_ucan", ""),
    Case("not ASCII", "malformed_ucan", "é.b.c"),
    Case("half a character", "malformed_ucan", "\ud800.b.c"),
    Case("no token", "malformed_ucan", "a.b.c"),
    Case("too long", "malformed_ucan", "a" * 70_000),
    Case("deep", "malformed_ucan", use([*LINKS], args={"resource": RESOURCE, "x": DEEP})),
    Case("a delegation", "malformed_ucan", CHILD, field="typ"),
    Case("padded", "malformed_ucan", TOKEN + "="),
    Case("a chain of something else", "malformed_ucan", use([ROOT, "x.y.z"]), hop=1),
    Case("a chain of numbers", "malformed_ucan", use([ROOT, 1])),  # type: ignore[list-item]
    Case(
        "too many names",
        "malformed_ucan",
        use([root(meta={"lineage": {"invokedBy": [f"{n}" for n in range(1100)]}}), CHILD]),
    ),
    Case("no signature of its issuer", "bad_signature", with_signature(TOKEN, flip), hop=2),
    Case(
        "nor in the chain",
        "bad_signature",
        use([with_signature(ROOT, flip), child(with_signature(ROOT, flip))]),
        hop=0,
    ),
    Case("expired", "expired", use([*LINKS], exp=NOW), hop=2, field="exp"),
    Case("an expired link", "expired", use([root(exp=NOW - 1), child(ROOT)]), hop=0, field="exp"),
    Case("not yet", "not_yet_valid", use([*LINKS], iat=NOW + 5), hop=2, field="iat"),
    Case("a link not yet", "not_yet_valid", use([root(nbf=NOW + 9), CHILD]), hop=0, field="nbf"),
    Case("somebody else's", "chain_invalid", use([ROOT]), hop=1, field="iss"),
    Case("unlinked", "chain_invalid", use([root(nonce="x"), CHILD]), hop=1, field="prf"),
    Case("without prf", "chain_invalid", use([ROOT, child(ROOT, prf=...)]), hop=1, field="prf"),
    Case(
        "another subject", "chain_invalid", use([*LINKS], sub=UNRELATED.did), hop=2, field="sub"
    ),
    Case("no chain", "chain_invalid", use([])),
    Case(
        "handed on from an approval",
        "chain_invalid",
        use([root(meta={"approval": {}}), child(root(meta={"approval": {}}))]),
        hop=1,
        field="meta.approval",
    ),
    Case("deep chain", "chain_too_deep", use(family(9)), hop=8),
    Case("deeper than told", "chain_too_deep", TOKEN, hop=1, settings={"max_depth": 1}),
    Case("deep before the root", "chain_too_deep", use([FAR_LINEAGE, child(FAR_LINEAGE)]), 0,
         settings={"max_depth": 4}),
    Case(
        "wider", "chain_attenuation_violation", use([ROOT, child(ROOT, cmd="/github")]), 1, "cmd"
    ),
    Case(
        "longer", "chain_attenuation_violation", use([ROOT, child(ROOT, exp=NOW + 999)]), 1, "exp"
    ),
    Case(
        "earlier", "chain_attenuation_violation", use([ROOT, child(ROOT, nbf=NOW - 99)]), 1, "nbf"
    ),
    Case(
        "of more",
        "chain_attenuation_violation",
        use([NARROW, child(NARROW, meta={"resource_constraint": {"provider": "github"}})]),
        1,
        "meta.resource_constraint",
    ),
    Case("a wider call", "chain_attenuation_violation", use([*LINKS], cmd="/github"), 2, "cmd"),
    Case(
        "another issuer", "untrusted_issuer", TOKEN, 0, "iss",
        settings={"trusted_issuers": [UNRELATED.did]},
    ),
    Case("revoked link", "revoked", TOKEN, 1, "cid", settings={"revocations": [cid(CHILD)]}),
    Case("revoked call", "revoked", TOKEN, 2, "cid", settings={"revocations": {cid(TOKEN)}}),
    Case("revoked agent", "revoked", TOKEN, 1, "iss", settings={"revocations": [PLANNER.did]}),
    Case("revoked issuer", "revoked", TOKEN, 0, "iss", settings={"revocations": [ISSUER.did]}),
    Case(
        "revoked ancestor", "revoked", use([FAR_LINEAGE, child(FAR_LINEAGE)]), 0, "prf",
        settings={"revocations": ["cd" * 32]},
    ),
    Case("revoked taker", "revoked", TOKEN, 2, "aud", settings={"revocations": [SERVICE.did]}),
    *(
        Case(f"revoked {name}", "revoked", BY_APP, 0, field, settings={"revocations": [ident]})
        for name, ident, field in (
            ("app", "app_1", "meta.app_id"),
            ("older app", "app_0", "meta.lineage.apps"),
            ("inviter", UNRELATED.did, "meta.lineage.invokedBy"),
            ("first question", "evt_0", "meta.lineage.root"),
        )
    ),
    Case(
        "revoked approval", "revoked", use([approved()]), 0, "meta.approval.id",
        settings={"revocations": [APPROVAL["id"]]},
    ),
    Case(
        "revoked in an old view", "revoked", TOKEN, 1, "cid",
        settings={"revocations": Old(cid(CHILD)), "on_stale_revocations": "allow"},
    ),
    Case(
        "an old view", "revocations_stale", TOKEN, None, "revocations_age",
        settings={"revocations": Old()},
    ),
    Case(
        "a little too old", "revocations_stale", TOKEN, None, "revocations_age",
        settings={"revocations": Old(age=5.2)},
    ),
    Case(
        "another service",
        "audience_mismatch",
        use([*LINKS], aud=UNRELATED.did),
        hop=2,
        field="aud",
    ),
    Case(
        "beyond the constraint",
        "resource_out_of_scope",
        use([NARROW, child(NARROW)], args={"resource": {**RESOURCE, "owner": "evil"}}),
        hop=2,
        field="args.resource",
        call=on(resource={**RESOURCE, "owner": "evil"}),
    ),
    Case(
        "against a statement",
        "resource_out_of_scope",
        use([STRICT, child(STRICT)], args={"resource": RESOURCE, "state": "all"}),
        hop=0,
        field="pol[0]",
        call=on(args={"state": "all"}),
    ),
    Case("another command", "resource_mismatch", TOKEN, 2, "cmd", on(command="/github/issue/read")),
    Case(
        "another resource",
        "resource_mismatch",
        TOKEN,
        2,
        "args.resource",
        on(resource={**RESOURCE, "repo": "other"}),
    ),
    Case(
        "another argument",
        "resource_mismatch",
        use([*LINKS], args={"resource": RESOURCE, "state": "open"}),
        2,
        "args.state",
        on(args={"state": "all"}),
    ),
    Case(
        "an argument left out",
        "resource_mismatch",
        use([*LINKS], args={"resource": RESOURCE, "state": "open"}),
        2,
        "args.state",
    ),
    Case(
        "a statement about the call",
        "resource_mismatch",
        use(
            [root(pol=[["!=", ".args.state", "all"]]),
             child(root(pol=[["!=", ".args.state", "all"]]))]
        ),
        0,
        "pol[0]",
        on(args={"state": "all"}),
    ),
    Case("an unlawful resource", "resource_mismatch", TOKEN, field="resource.owner",
         call=on(resource={**RESOURCE, "owner": "a/b"})),
    Case("an unknown field", "resource_mismatch", TOKEN, field="resource.x",
         call=on(resource={**RESOURCE, "x": 1})),
    *(
        Case(f"a resource that is too deep: {levels} levels", "resource_mismatch", TOKEN,
             field="args", call=on(resource={"provider": provider, "x": nested(levels)}))
        for levels in (31, 300, 5_000)
        for provider in ("notes", nested(levels))
    ),
    *(
        Case(f"arguments that nobody can sign: {name}", "resource_mismatch", TOKEN, field="args",
             call=on(args=args))
        for name, args in {
            "NaN": {"n": float("nan")},
            "infinity": {"n": float("inf")},
            "a large number": {"n": 2**60},
            "half a character": {"n": "\ud800"},
            "bytes": {"n": b""},
            "a name that is a number": {1: 2},
            "too much": {"n": "x" * 600_000},
            "another resource": {"resource": {}},
            "too deep": {"n": DEEP},
            "far too deep": {"n": nested(300)},
            "too deep for a parser": {"n": nested(5_000)},
            "too deep, out of mappings": {"n": nested(300, "x")},
        }.items()
    ),
    Case(
        "a bad token for a call that nobody can sign",
        "expired",
        use([*LINKS], exp=NOW),
        2,
        "exp",
        on(args={"n": 2**60}),
    ),
    Case(
        "an approval of another form",
        "approval_not_found",
        use([approved(meta={"approval": {"id": "env_1"}})]),
        0,
        "meta.approval",
    ),
    Case(
        "an approval that is no object",
        "approval_not_found",
        use([approved(meta={"approval": True})]),
        0,
        "meta.approval",
    ),
    *(
        Case(f"an approval whose {name} is wrong", "approval_not_found",
             use([approved(meta={"approval": {
                 "id": "env_" + "0" * 26, "fingerprint": "ab" * 32, "roles": ["lead"], name: wrong
             }})]), 0, "meta.approval")
        for name, wrong in (("id", 1), ("id", "env_x"), ("fingerprint", "x"), ("fingerprint", 1),
                            ("roles", "lead"), ("roles", [1]))
    ),
    Case(
        "an approval for another service",
        "audience_mismatch",
        use([approved(meta={"audience": UNRELATED.did})]),
        0,
        "meta.audience",
    ),
    Case(
        "an approval of any command",
        "approval_mismatch",
        use([approved(pol=[["==", ".resource", RESOURCE]])]),
        0,
        "pol",
    ),
    Case(
        "an approval of any resource",
        "approval_mismatch",
        use([approved(pol=[["==", ".cmd", "/github/issue/list"], [">=", ".args.n", 0]])],
            args={"resource": RESOURCE, "n": 1}),
        0,
        "pol",
        on(args={"n": 1}),
    ),
    Case("an approval without a store", "unavailable", use([approved()]), field="replay"),
    Case("a write without a store", "unavailable", TO_WRITE, field="replay", call=WRITE),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_token_is_refused(verifier_kind: VerifierKind, case: Case) -> None:
    denied = verifier_kind.denied(case.token, case.call, **case.settings)
    assert (denied.code, denied.hop, denied.field) == (case.code, case.hop, case.field), denied
    assert denied.fix
    assert str(denied).endswith(denied.fix)
    assert (f"hop {case.hop}" in str(denied)) == (case.hop is not None)
    assert denied.grant is None
    copy = pickle.loads(pickle.dumps(denied))
    assert (str(copy), vars(copy)) == (str(denied), vars(denied))


def test_a_call_may_be_as_deep_as_a_token(verifier_kind: VerifierKind) -> None:
    deep = {"n": nested(30)}
    token = use([*LINKS], args={"resource": RESOURCE, **deep})
    assert verifier_kind.verify(token, on(args=deep)).args == deep
    denied = verifier_kind.denied(token, on(args={"n": nested(31)}))
    assert denied.code == "resource_mismatch"
    assert "nested deeper than 32 levels" in str(denied)


def test_every_code_of_the_binary_is_in_the_table() -> None:
    assert set(get_args(VerificationCode)) < {case.code for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_explain_gives_the_same_code_and_never_raises_or_shows_the_token(case: Case) -> None:
    text = SYNC.explain(case.token, case.call, **case.settings)
    if case.code != "unavailable":
        denied = SYNC.denied(case.token, case.call, **case.settings)
        assert f"REFUSED: {case.code}" in text
        assert str(denied.fix)[:100] in text
    if isinstance(case.token, str) and case.token.count(".") == 2:
        assert not [part for part in case.token.split(".") if len(part) > 8 and part in text]


def test_refusals_have_the_wanted_and_the_found_value(verifier_kind: VerifierKind) -> None:
    denied = verifier_kind.denied(TOKEN, on(command="/github/issue/read"))
    assert (denied.wanted, denied.found) == ('"/github/issue/read"', '"/github/issue/list"')
    denied = verifier_kind.denied(TOKEN, revocations=Old())
    assert "the feed was cut off" in str(denied)


def test_a_verified_token_has_all_its_proven_fields(verifier_kind: VerifierKind) -> None:
    receipt, lineage = "evt_" + "0" * 26, ["ab" * 32]
    meta = {**HERE, "receipt_id": receipt, "lineage": {"swarmId": "crew", "depth": 1}}
    first = root(meta=meta, prf=lineage)
    second = child(first)
    token = use([first, second], args={"resource": RESOURCE, "state": "open"})
    verified = verifier_kind.verify(token, on(args={"state": "open", "page": 2}))
    assert verified.agent == RESEARCHER.did
    assert verified.root == ISSUER.did
    assert verified.chain == (cid(first), cid(second))
    assert verified.depth == 3
    assert verified.lineage == tuple(lineage)
    assert (verified.command, verified.resource) == ("/github/issue/list", RESOURCE)
    assert verified.args == {"state": "open"}
    assert verified.expires_at == datetime.fromtimestamp(NOW + 60, UTC)
    assert (verified.receipt_id, verified.swarm) == (receipt, "crew")
    assert (verified.cid, verified.nonce) == (cid(token), "invocation-1")
    assert not [part for part in token.split(".") if part in repr(verified)]


def test_claims_that_the_issuer_left_out_are_none(verifier_kind: VerifierKind) -> None:
    verified = verifier_kind.verify(TOKEN)
    assert (verified.receipt_id, verified.swarm, verified.lineage) == (None, None, ())


def test_a_resource_is_read_in_its_provider_s_form(verifier_kind: VerifierKind) -> None:
    shouted = {"provider": "github", "owner": "ACME", "repo": "App"}
    assert verifier_kind.verify(TOKEN, on(resource=shouted)).resource == RESOURCE
    own = {"provider": "notes", "name": "A/../b"}
    mine = root(cmd="/notes", meta={**HERE, "reads": ["/notes/get"]})
    token = use([mine, child(mine, cmd="/notes")], cmd="/notes/get", args={"resource": own})
    assert verifier_kind.verify(token, {"command": "/notes/get", "resource": own}).resource == own


def test_leeway_depth_and_unlinked_chains_are_allowed_on_request(
    verifier_kind: VerifierKind,
) -> None:
    assert verifier_kind.verify(use([*LINKS], exp=NOW), leeway=1)
    assert verifier_kind.verify(use(family(9)), max_depth=9)
    assert verifier_kind.verify(use([ROOT, child(ROOT, prf=...)]), allow_missing_prf=True)


def test_a_stale_view_is_accepted_on_request_and_a_missing_one_is_not(
    verifier_kind: VerifierKind,
) -> None:
    allow: dict[str, Any] = {"on_stale_revocations": "allow"}
    assert verifier_kind.verify(TOKEN, revocations=Old(age=9_999), **allow)
    assert verifier_kind.verify(TOKEN, revocations=Old(age=60), revocations_max_age=60)
    never = verifier_kind.denied(TOKEN, revocations=Old(age=2**31), **allow)
    assert never.code == "revocations_stale"


def test_a_token_is_accepted_by_its_own_service_only(verifier_kind: VerifierKind) -> None:
    first = root(meta={**HERE, "audience": UNRELATED.did})
    there = use([first, child(first)], aud=UNRELATED.did)
    assert verifier_kind.denied(there).code == "audience_mismatch"
    assert verifier_kind.verify(there, audience=UNRELATED.did)


def test_a_chain_is_accepted_by_its_own_service_only(verifier_kind: VerifierKind) -> None:
    """Whatever its holder signs, and through however many delegations."""
    there = use([*LINKS], aud=UNRELATED.did)
    denied = verifier_kind.denied(there, audience=UNRELATED.did)
    assert (denied.code, denied.hop, denied.field) == ("audience_mismatch", 0, "meta.audience")
    assert "`audience=`" in (denied.fix or "")


def test_a_service_accepts_closed_grants_only(verifier_kind: VerifierKind) -> None:
    """Also one that has the DID of a PDP: it decides nothing by policy."""
    first = root(meta={"audience": SERVICE.did})
    denied = verifier_kind.denied(use([first, child(first, meta={"closed": True})]))
    assert (denied.code, denied.hop, denied.field) == ("audience_mismatch", 0, "meta.closed")
    assert "other than a PDP" in (denied.fix or "")
    denied = verifier_kind.denied(use([first, child(first)]), allow_missing_prf=True)
    assert denied.field == "meta.closed"


def test_a_grant_that_is_not_forkable_is_valid_for_its_holder_only(
    verifier_kind: VerifierKind,
) -> None:
    fixed = root(meta={**HERE, "forkable": False})
    denied = verifier_kind.denied(use([fixed, child(fixed)]))
    assert (denied.code, denied.hop, denied.field) == ("chain_invalid", 1, "meta.forkable")
    assert "ask the control plane" in (denied.fix or "")
    own = delegation(ISSUER, RESEARCHER, meta={**HERE, "forkable": False})
    assert verifier_kind.verify(use([sign(DELEGATION, own, ISSUER)]))


def test_a_chain_without_prf_is_accepted_on_request(verifier_kind: VerifierKind) -> None:
    first = root(meta=...)
    token = use([first, child(first, prf=...)])
    assert verifier_kind.denied(token, allow_missing_prf=False).code == "chain_invalid"
    # Nothing in it says that its command only looks.
    assert verifier_kind.verify(token, allow_missing_prf=True, replay=replay())
    assert verifier_kind.denied(token, allow_missing_prf=True).code == "unavailable"
    old = delegation(ISSUER, RESEARCHER, meta={"approval": APPROVAL})
    denied = verifier_kind.denied(use([sign(DELEGATION, old, ISSUER)]), allow_missing_prf=True)
    assert (denied.code, denied.field) == ("approval_mismatch", "meta.audience")


def test_a_nonce_is_claimed_after_all_checks(verifier_kind: VerifierKind) -> None:
    store = replay()
    for call in (READ, {**WRITE, "args": {"n": 2**60}}):
        assert verifier_kind.denied(TO_WRITE, call, replay=store).code == "resource_mismatch"
    assert len(store) == 0
    assert verifier_kind.verify(TO_WRITE, WRITE, replay=store)
    with pytest.raises(Denied) as again:
        verifier_kind.verify(TO_WRITE, WRITE, replay=store)
    assert (again.value.code, again.value.field) == ("replayed", "nonce")
