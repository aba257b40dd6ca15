"""Queries that are declared once, and what counts in this process."""

from __future__ import annotations

from typing import Any

import pytest

from nomos.errors import InvalidRequest
from nomos.server.http.limits import ConcurrencyGate, SlidingWindowCounter
from nomos.server.http.query import Choice, Number, Query, Word

QUERY = Query(
    Number("limit", least=1, most=50, default=10, description="How many."),
    Number("before"),
    Word("nonce", "[a-z]{1,4}", "up to four small letters"),
    Choice("state", ("open", "all"), default="open"),
)
DEFAULTS: dict[str, Any] = {"limit": 10, "before": None, "nonce": None, "state": "open"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", {}),
        (b"limit=50&state=all", {"limit": 50, "state": "all"}),
        (b"before=9007199254740991&nonce=ab", {"before": 2**53 - 1, "nonce": "ab"}),
    ],
)
def test_a_query_is_read_with_its_defaults(text: bytes, found: dict[str, Any]) -> None:
    assert QUERY.read(text) == DEFAULTS | found


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        (b"limit=0", "limit", "limit: must be a whole number from 1 to 50"),
        (b"limit=51", "limit", "from 1 to 50"),
        (b"limit=", "limit", "from 1 to 50"),
        (b"limit=010", "limit", "from 1 to 50"),
        (b"before=9007199254740992", "before", "a whole number"),
        (b"before=-1", "before", "a whole number"),
        (b"nonce=A", "nonce", "up to four small letters"),
        (b"nonce=a%0A", "nonce", "up to four small letters"),
        (b"state=closed", "state", "one of open, all"),
        (b"limit=1&limit=1", "limit", "more than once"),
        (b"other=1", "other", "not a parameter"),
    ],
)
def test_a_wrong_parameter_is_named(text: bytes, name: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as raised:
        QUERY.read(text)
    assert raised.value.fields == (name,)


def test_a_query_that_cannot_be_read_names_no_parameter() -> None:
    with pytest.raises(InvalidRequest, match="the query must be name=value pairs") as raised:
        QUERY.read(b"limit=%ff")
    assert raised.value.fields == ()


def test_documented_parameters_are_the_ones_that_are_read() -> None:
    documented = {each["name"]: each for each in QUERY.documented()}
    assert documented.keys() == DEFAULTS.keys()
    assert documented["limit"] == {
        "name": "limit",
        "in": "query",
        "required": False,
        "description": "How many.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 50, "default": 10},
    }
    assert documented["nonce"]["schema"] == {"type": "string", "pattern": "^[a-z]{1,4}$"}


def test_a_gate_bounds_the_total_and_the_number_per_key() -> None:
    gate = ConcurrencyGate(of_one=1)
    with gate.admit("a", 2) as first, gate.admit("a", 2) as again, gate.admit("b", 2) as second:
        assert (first, again, second, gate.held) == (True, False, True, 2)
        with gate.admit("c", 2) as third, gate.admit("c", 3) as reserved:
            assert (third, reserved) == (False, True)
    assert gate.held == 0


def test_a_gate_is_left_by_a_failure_too() -> None:
    gate = ConcurrencyGate(of_one=1)
    with pytest.raises(OSError, match="no"), gate.admit("a", 1):
        raise OSError("no")
    assert gate.held == 0


def test_the_count_of_a_key_is_bounded() -> None:
    counter = SlidingWindowCounter(most_counted=2)
    assert [counter.count("a", now) for now in (0, 0, 1, 2)] == [0, 1, 2, 2]
    assert counter.wait("a", 2, 2) == 59
    assert counter.wait("a", 61, 2) == 0
    assert counter.count("a", 61.5) == 1


def test_reading_a_count_does_not_store_the_key() -> None:
    counter = SlidingWindowCounter(most_keys=1)
    counter.count("a", 0)
    assert counter.wait("b", 0, 1) == 0
    assert not counter.admits("a", 0, 1)
    assert len(counter) == 1


def test_counts_from_before_a_restart_are_included() -> None:
    counter = SlidingWindowCounter([("a", 20, 2), ("a", 10, 5)], most_counted=None)
    assert counter.count("a", 65) == 7
    assert counter.count("a", 71) == 3
