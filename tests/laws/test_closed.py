"""A part of the worlds that `closed.py` plays by hand."""

from __future__ import annotations

from closed import law


def test_no_service_accepts_what_policy_would_have_refused() -> None:
    seen = law(150, start=7).seen
    # Worlds in which nothing was granted, refused or called would prove nothing.
    assert seen["allow"] > 100
    assert seen["deny open"] > 20
    assert seen["requires_step_up"] > 10
    assert seen["call"] > 1000
    assert seen["heir"] > 300
