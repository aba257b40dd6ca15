"""The startup timeout of a verifier, and the error after it."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from vectors.forge import SERVICE

from nomos import AsyncVerifier, ConfigurationError, ControlPlaneError, Unreachable, Verifier

pytestmark = pytest.mark.anyio

UNUSED_URL = "http://127.0.0.1:9"


@pytest.fixture
def silent() -> Iterator[str]:
    """Something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def check_timeout_message(wrong: BaseException, wait: str) -> None:
    assert isinstance(wrong, ControlPlaneError)
    assert str(wrong).endswith(
        f"There was no valid reply within {wait} s; startup_timeout= sets a longer limit"
    ), wrong
    assert str(wrong).lower().count("check that") == 1, "what to do is said once"


@pytest.mark.parametrize("wait", [0.1, 1])
def test_a_verifier_waits_for_its_startup_timeout(silent: str, wait: float) -> None:
    for url in (silent, UNUSED_URL):
        began = time.monotonic()
        with pytest.raises(Unreachable) as wrong:
            Verifier.from_control_plane(url, audience=SERVICE.did, startup_timeout=wait)
        assert wait <= time.monotonic() - began < wait + 1.5
        check_timeout_message(wrong.value, f"{wait:g}")
        assert url in str(wrong.value)


async def test_the_async_verifier_waits_for_its_startup_timeout(silent: str) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable) as wrong:
        async with AsyncVerifier.from_control_plane(
            silent, audience=SERVICE.did, startup_timeout=0.2
        ):
            pytest.fail("nobody answered")
    assert 0.2 <= time.monotonic() - began < 1.7
    check_timeout_message(wrong.value, "0.2")


@pytest.mark.parametrize("wait", [0, 0.09, 60.1, -1, math.nan, math.inf, True, "3", None, 10**400])
def test_a_wait_is_a_number_of_seconds(wait: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"from 0\.1 to 60") as wrong:
        Verifier.from_control_plane(UNUSED_URL, audience=SERVICE.did, startup_timeout=wait)
    assert wrong.value.setting == "startup_timeout"
