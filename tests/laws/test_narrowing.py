"""A short run of `narrowing.py`."""

from __future__ import annotations

from typing import Final

from long_runs import times
from narrowing import TALLY, law

FAMILIES: Final = times(60, short=20)


def test_no_agent_can_do_more_than_its_parent() -> None:
    law(FAMILIES, start=4)
    assert TALLY.families >= FAMILIES
    # Families in which nothing was given, or nothing could be done, would prove nothing.
    assert TALLY.links > FAMILIES
    assert TALLY.allowed > 3 * FAMILIES
    assert TALLY.refused > FAMILIES // 6
    assert {"chain_attenuation_violation"} <= set(TALLY.codes)
