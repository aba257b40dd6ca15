"""Revoked identifiers of a token: the first fault is the one that is reported.

Apps and approvals are no tokens, and count at the same step: after what is wrong with the chain,
before what is wrong with the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as member
from pathlib import Path
from typing import Any, Final

import pytest
from vectors.forge import (
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    SERVICE,
    UNRELATED,
    child,
    cid,
    root,
    use,
)
from verifiers import LINKS, READ, RESOURCE, SYNC, VerifierKind, key_file

from nomos.verify import RevocationStatus, verify_receipt

ELSEWHERE: Final = {**RESOURCE, "owner": "evil"}
ROOT: Final = root(
    meta={"app_id": "app_1", "resource_constraint": {"provider": "github", "owner": "acme"}},
    pol=[["!=", ".args.state", "all"]],
)
CHILD: Final = child(ROOT)
TOKEN: Final = use([ROOT, CHILD])
NO_CALL: Final = {**READ, "args": {"x": "\ud800"}}


class Old:
    """A view that is ten seconds old."""

    def lookup(self, ids: Any) -> RevocationStatus:
        return RevocationStatus(frozenset(("app_1",)), 10)


@dataclass(frozen=True)
class Case:
    """A token of an app that is revoked, with something else that is wrong."""

    name: str
    token: str = TOKEN
    code: str = "revoked"
    hop: int | None = 0
    field: str | None = "meta.app_id"
    call: Mapping[str, Any] = member(default_factory=lambda: READ)
    settings: Mapping[str, Any] = member(default_factory=dict)


CASES: Final = [
    Case("nothing else"),
    Case("somebody else's", use([ROOT])),
    Case("another subject", use([ROOT, CHILD], sub=UNRELATED.did)),
    Case("for another service", use([ROOT, CHILD], aud=PLANNER.did)),
    Case("a wider command", use([ROOT, CHILD], cmd="/github")),
    Case("longer than its chain", use([ROOT, CHILD], exp=NOW + 900)),
    Case("out of scope", use([ROOT, CHILD], args={"resource": ELSEWHERE})),
    Case("a policy", use([ROOT, CHILD], args={"resource": RESOURCE, "state": "all"})),
    Case("another call", call={**READ, "resource": ELSEWHERE}),
    Case("a call that a policy refuses", call={**READ, "args": {"state": "all"}}),
    Case("no call", call=NO_CALL),
    Case("no call, for another service", use([ROOT, CHILD], aud=PLANNER.did), call=NO_CALL),
    Case("an old view", settings={"revocations": Old()}),
    Case("an old view that will do",
         settings={"revocations": Old(), "on_stale_revocations": "allow"}),
    Case("expired", use([ROOT, CHILD], exp=NOW), "expired", 2, "exp"),
    Case("a wider link", use([ROOT, child(ROOT, cmd="/github")]), "chain_attenuation_violation",
         1, "cmd"),
    Case("another link", use([ROOT, LINKS[1]]), "chain_invalid", 1, "prf"),
    Case("another issuer", TOKEN, "untrusted_issuer", 0, "iss",
         settings={"trusted_issuers": [UNRELATED.did]}),
    Case("a revoked link", TOKEN, "revoked", 1, "cid",
         settings={"revocations": [PLANNER.did, cid(CHILD)]}),
    Case("a revoked link, and the app", settings={"revocations": ["app_1", cid(CHILD)]}),
    Case("a revoked issuer", TOKEN, "revoked", 0, "iss",
         settings={"revocations": ["app_1", ISSUER.did]}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_first_fault_is_reported(verifier_kind: VerifierKind, case: Case) -> None:
    settings = {"revocations": ["app_1"], **case.settings}
    denied = verifier_kind.denied(case.token, case.call, **settings)
    assert (denied.code, denied.hop, denied.field) == (case.code, case.hop, case.field), denied
    if case.field == "meta.app_id":
        assert denied.found == '"app_1"'
        assert "app" in str(denied)


def test_a_receipt_has_the_code_and_the_hop(verifier_kind: VerifierKind, tmp_path: Path) -> None:
    token = use([ROOT, CHILD], aud=PLANNER.did)
    denied = verifier_kind.denied(token, revocations=["app_1"], receipt_key=key_file(tmp_path))
    assert denied.receipt_jwt is not None
    record = verify_receipt(denied.receipt_jwt, issuers=[SERVICE.did])
    assert (record.outcome, record.hop, record.agent) == ("revoked", 0, RESEARCHER.did)


def test_explain_shows_a_revocation() -> None:
    text = SYNC.explain(use([ROOT, CHILD], aud=PLANNER.did), revocations=["app_1"])
    assert "REFUSED: revoked at hop 0" in text
    assert "meta.app_id" in text
