"""A part of the families that `narrowing.py` plays by hand."""

from __future__ import annotations

from narrowing import TALLY, law


def test_nobody_can_do_more_than_who_gave_it() -> None:
    law(60, start=4)
    assert TALLY.families >= 60
    # Families in which nothing was given, or nothing could be done, would prove nothing.
    assert TALLY.links > 60
    assert TALLY.allowed > 200
    assert TALLY.refused > 10
    assert {"chain_attenuation_violation"} <= set(TALLY.codes)
