"""`Rejection.was_read`: whether the binary read a rejected token as Python did."""

from __future__ import annotations

import pytest

from nomos._core.unverified import UnverifiedChain, UnverifiedLink
from nomos._core.verification import Rejection
from nomos._protocol import Refused

LINKS = UnverifiedChain((UnverifiedLink("bafy", {}),))


@pytest.mark.parametrize(
    ("code", "field", "claims", "expected"),
    [
        ("expired", "exp", LINKS, True),
        ("expired", "exp", UnverifiedChain(), False),
        ("chain_too_deep", None, UnverifiedChain(), True),
        ("malformed_ucan", "iss", LINKS, True),
        ("malformed_ucan", "aud", UnverifiedChain(), True),
        ("malformed_ucan", "exp", LINKS, False),
        ("malformed_ucan", None, LINKS, False),
        ("expired", "exp", None, False),
        ("malformed_ucan", "iss", None, False),
    ],
)
def test_only_well_formed_text_counts_as_read(
    code: str, field: str | None, claims: UnverifiedChain | None, expected: object
) -> None:
    answer = Refused.model_validate({"code": code, "message": "no", "field": field})
    assert Rejection(answer, claims).was_read is expected
