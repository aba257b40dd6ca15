"""Advice for arguments that belong to another builder."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nomos import constraints
from nomos.constraints import each, eq, some, url
from nomos.errors import ConfigurationError

ALONE = "link must have the host alone, such as"


@pytest.mark.parametrize(
    "host",
    [
        "https://api.example.com",
        "api.example.com/v1",
        "api.example.com:8443",
        "api.example.com:",
        "192.0.2.1:80",
    ],
)
def test_a_url_as_host_is_refused_with_advice(host: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        url("link", host=host)
    assert str(wrong.value).startswith(ALONE)
    assert "scheme, port and path_prefix are arguments of their own" in str(wrong.value)
    assert wrong.value.setting == "link"


@pytest.mark.parametrize("host", ["::", "1:2:3", "[::1]:80", "2001:DB8::1", "user@a.example.com"])
def test_a_malformed_host_is_refused_without_that_advice(host: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        url("link", host=host)
    assert ALONE not in str(wrong.value)


@pytest.mark.parametrize("build", [each, some])
def test_a_text_in_place_of_element_constraints_is_refused_with_like_as_advice(
    build: Callable[..., object],
) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        build("to", "*@x")
    assert str(wrong.value) == (
        'to must be given constraints on its elements, such as like(".", "*@x")'
    )
    with pytest.raises(ConfigurationError) as long:
        build("to", "x" * 5000)
    assert len(str(long.value)) < 120


def test_every_public_function_is_in_all() -> None:
    made = {
        name
        for name, value in vars(constraints).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == constraints.__name__
    }
    assert made - {"listed"} == set(constraints.__all__) - {"MAX_STATEMENTS"}
    assert eq is constraints.eq
