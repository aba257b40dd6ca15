"""A short run of `closed.py`."""

from __future__ import annotations

from typing import Final

from closed import law
from long_runs import times

WORLDS: Final = times(150, short=50)


def test_no_service_accepts_a_call_that_policy_denies() -> None:
    seen = law(WORLDS, start=7).seen
    # Worlds in which nothing was granted, refused or called would prove nothing.
    assert seen["allow"] > WORLDS * 2 // 3
    assert seen["deny open"] > WORLDS // 8
    assert seen["requires_step_up"] > WORLDS // 15
    assert seen["call"] > 6 * WORLDS
    assert seen["heir"] > 2 * WORLDS
