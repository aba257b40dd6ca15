"""The offset to the control plane's clock: learned, stated and passed to children."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nomos._core import clock, parent_env
from nomos._core.effects import HttpReply, Send
from nomos.errors import ConfigurationError, Unreachable


def learnt(answer: HttpReply | Exception) -> Any:
    flow = clock.learn()
    effect = next(flow)
    assert isinstance(effect, Send)
    assert effect.public
    step = flow.throw if isinstance(answer, Exception) else flow.send
    with pytest.raises(StopIteration) as stop:
        step(answer)  # type: ignore[arg-type]
    return stop.value.value


def test_the_offset_is_the_servers_lead() -> None:
    body = json.dumps({"serverTime": "2026-09-21T14:13:20.000Z"}).encode()
    at = 1_790_000_000.0
    assert learnt(HttpReply(200, {}, body, at - 75)) == 75.0
    assert learnt(HttpReply(200, {}, body, at + 75)) == -75.0


def test_without_a_reply_the_offset_is_unknown() -> None:
    assert learnt(Unreachable("down")) is None
    assert learnt(HttpReply(200, {}, b"{}", 0.0)) is None
    assert learnt(HttpReply(404, {}, b"{}", 0.0)) is None


def test_the_clock_difference_is_stated() -> None:
    assert "75 s behind the control plane" in clock.difference(75.2)
    assert "75 s ahead of the control plane" in clock.difference(-75.2)
    assert "agree" in clock.difference(1.0)
    assert "could not be read" in clock.difference(None)


def test_the_offset_is_passed_on_as_whole_seconds_within_a_day() -> None:
    for offset in (0, 75, -75, 86_400):
        assert parent_env.clock_offset(parent_env.clock_variable(offset)) == offset
    assert parent_env.clock_variable(74.6) == {"NOMOS_CLOCK_OFFSET": "75"}
    assert parent_env.clock_variable(None) == {}
    assert parent_env.clock_variable(86_401) == {}
    assert parent_env.clock_offset({}) is None
    for value in ("x", "86401", "-86401", "1.5", "999999"):
        with pytest.raises(ConfigurationError, match="NOMOS_CLOCK_OFFSET"):
            parent_env.clock_offset({"NOMOS_CLOCK_OFFSET": value})


@pytest.mark.parametrize(
    ("server", "end"),
    [
        (None, " by this clock"),
        (1_800_000_301.0, " by this clock, which agrees with the control plane's"),
        (1_800_000_000.0, " by this clock, which is 300 s ahead of the control plane's"),
        (1_800_000_600.4, " by this clock, which is 300 s behind the control plane's"),
    ],
)
def test_a_token_out_of_its_time_is_reported_with_both_times(
    server: float | None, end: str
) -> None:
    now = 1_800_000_300
    expired = clock.out_of_time("expired", "1800000060", now, server)
    assert expired == (
        "the token has expired: it ended at 2027-01-15T08:01:00Z, and it is 2027-01-15T08:05:00Z"
        + end
    )
    early = clock.out_of_time("not_yet_valid", "1800000360", now, server)
    assert early is not None
    assert early.startswith("the token is not valid yet: it begins at 2027-01-15T08:06:00Z, and")
    assert early.endswith(end)


def test_an_invalid_time_gives_no_such_message() -> None:
    assert clock.out_of_time("revoked", "1", 1, None) is None
    for moment in (None, '"1"', "-1", "1" * 12, "²"):
        assert clock.out_of_time("expired", moment, 1, None) is None
