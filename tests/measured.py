"""Which tests coverage follows: those that cover what decides. Following takes half as long again.

Only `.ci/run` measures coverage. The other tests run the same code, at the speed of users.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

FOLLOWED: Final = (
    "tests/audit/",
    "tests/constraints/",
    "tests/core/",
    "tests/kept/test_kept_feed.py",
    "tests/policy/",
    "tests/verify/",
    "tests/test_guard",
    "tests/test_sealed.py",
    "tests/test_tracebacks.py",
    "tests/test_webhooks.py",
)
"""What the paths of these tests begin with."""


class FollowSome:
    """A plugin that pauses the coverage of `pytest-cov` for all other tests and their fixtures."""

    def __init__(self, controller: Any) -> None:
        self._controller = controller
        self._following = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Pause or resume, where the tests of one kind end and those of the other begin."""
        wanted = item.nodeid.startswith(FOLLOWED)
        if wanted != self._following:
            self._following = wanted
            (self._controller.resume if wanted else self._controller.pause)()
