"""Which requests are repeated, and after which pause."""

from __future__ import annotations

import pytest

from nomos._core import approvals, derived_key, retry
from nomos._core.effects import HttpReply, OutOfTime, Pause, Send
from nomos.errors import Unreachable

SEND = Send("POST", "/v1/authorize", {})
AT = 1_792_567_680.0
"""2026-10-21 07:28:00 UTC."""


def reply(status: int = 503, **headers: str) -> HttpReply:
    return HttpReply(status, {k.replace("_", "-"): v for k, v in headers.items()}, b"", AT)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Wed, 21 Oct 2026 07:28:09 GMT", 9.0),
        ("Wednesday, 21-Oct-26 07:28:09 GMT", 9.0),
        ("Wed Oct 21 07:28:09 2026", 9.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("9" * 10, None),
        ("²", None),
        ("Wed, 99 Oct 2026 07:28:09 GMT", None),
        ("Wed, 21 Oct 2026 07:28:09 GMT" + " " * 100 + "x", None),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(text: str, seconds: float | None) -> None:
    assert retry.retry_after(reply(retry_after=text)) == seconds


def test_a_date_is_compared_with_the_clock_of_the_server() -> None:
    later = "Wed, 21 Oct 2026 09:00:10 GMT"
    given = reply(date="Wed, 21 Oct 2026 09:00:00 GMT", retry_after=later)
    assert retry.retry_after(given) == 10.0
    assert retry.retry_after(reply(date="nonsense", retry_after=later)) == 5530.0


def test_without_time_for_a_retry_the_reply_is_returned() -> None:
    flow, busy = retry.send(SEND, (0.1, 0.4)), reply(retry_after="20")
    assert next(flow) == SEND
    assert flow.send(busy) == Pause(20.0)
    with pytest.raises(StopIteration) as stop:
        flow.throw(OutOfTime())
    assert stop.value.value is busy


def test_without_time_for_a_retry_the_failure_is_raised() -> None:
    flow, down = retry.send(SEND, (0.1, 0.4)), Unreachable("down")
    next(flow)
    assert flow.throw(down) == Pause(0.1)
    assert flow.send(None) == SEND
    again = Unreachable("still down")
    assert flow.throw(again) == Pause(0.4)
    with pytest.raises(Unreachable) as raised:
        flow.throw(OutOfTime())
    assert raised.value is again


def test_the_longest_duration_of_a_wait_is_known() -> None:
    assert approvals.longest(5, 10) == 5 + approvals.LAST_LOOK_SECONDS
    assert approvals.longest(0, 10) == 10


def test_a_secret_is_derived_for_one_operator_and_one_app() -> None:
    key = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"
    assert derived_key.is_random(key)
    assert not derived_key.is_random("a" * 43)
    found = {
        derived_key.derived_secret(key, operator="app_1", app="app_2"),
        derived_key.derived_secret(key, operator="app_2", app="app_1"),
        derived_key.derived_secret(key[::-1], operator="app_1", app="app_2"),
    }
    assert len(found) == 3
    assert {len(each) for each in found} == {52}


def test_a_failure_is_raised_if_no_time_is_left() -> None:
    flow, down = retry.send(SEND, (0.1,)), Unreachable("down")
    next(flow)
    assert flow.throw(down) == Pause(0.1)
    with pytest.raises(Unreachable) as raised:
        flow.throw(OutOfTime())
    assert raised.value is down


def test_a_reply_with_a_too_long_retry_after_is_returned_at_once() -> None:
    flow, busy = retry.send(SEND, (0.1,)), reply(429, retry_after="9999")
    next(flow)
    with pytest.raises(StopIteration) as stop:
        flow.send(busy)
    assert stop.value.value is busy
