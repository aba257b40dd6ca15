"""Reply bodies of the control plane become values with all of their members."""

from __future__ import annotations

from nomos._core.approval_bodies import ApprovalBody, ExplanationBody, RevocationBody, VoteBody
from nomos._sealed import make
from nomos.approvals import Approval, Vote
from nomos.models import Explanation, OpenField
from nomos.receipts import Revocation


def test_an_explanation_has_the_fields_that_were_left_open() -> None:
    body = ExplanationBody.model_validate(
        {"policies": ["careful"], "open": [{"policy": "careful", "field": "resource.queue"}]}
    )
    left_open = make(OpenField, policy="careful", field="resource.queue")
    assert body.value() == make(Explanation, policies=("careful",), open=(left_open,))


def test_bodies_have_the_members_of_their_values() -> None:
    for body, value in (
        (ApprovalBody, Approval),
        (VoteBody, Vote),
        (RevocationBody, Revocation),
        (ExplanationBody, Explanation),
    ):
        assert set(body.model_fields) == set(value._members)
