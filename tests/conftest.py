"""A clean environment for every test, and fixtures that many tests share."""

from __future__ import annotations

import functools
import gc
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nomos._io.binary_location import find_binary

if TYPE_CHECKING:
    from verifiers import VerifierKind

# The asserts of every module here are rewritten, and hundreds of tests start an interpreter:
# without kept bytecode, each run and each process would compile everything again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


# Nothing that is imported or collected becomes garbage, and every full collection would visit it.
gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Collect garbage of the tests only, from here on; let coverage follow some of them."""
    coverage = session.config.pluginmanager.getplugin("_cov")
    if coverage is not None and coverage.cov_controller is not None:
        from measured import FollowSome

        session.config.pluginmanager.register(FollowSome(coverage.cov_controller))
    # It looks for who refers to what it is given, and would not find the frozen ones.
    importlib.import_module("hypothesis")
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute files, and those that load the whole machine to one worker."""
    if config.getoption("dist") != "loadfile":
        return None
    from files_together import FilesTogether

    return FilesTogether(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let workers begin with what takes longest, so that none is left alone with it."""
    if hasattr(config, "workerinput"):
        from files_together import FIRST

        places = {file: place for place, file in enumerate(FIRST)}
        items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@pytest.fixture(autouse=True, scope="session")
def _quick_systems() -> Iterator[None]:
    """Hundreds of tests open a system of their own."""
    # By name: tests that need no server do not wait for its import.
    store = sys.modules.get("nomos.server.storage.store")
    with pytest.MonkeyPatch.context() as patch:
        if store is not None:
            import quick_commits
            import quick_policies
            import quick_statements
            from quick_migrations import upgrade

            patch.setattr(store, "upgrade", upgrade)
            quick_policies.use(patch.setattr)
            quick_commits.use(patch.setattr)
            quick_statements.use(patch.setattr)
        runner = sys.modules.get("typer.testing")
        if runner is not None:
            # The commands do not change, and to build them takes longer than most commands do.
            patch.setattr(runner, "_get_command", functools.cache(runner._get_command))
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the person who runs it."""
    for name in list(os.environ):
        if name.startswith("NOMOS_") and name not in ("NOMOS_VECTORS", "NOMOS_UCAN_BIN"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _whole_log() -> None:
    """What one test logs again and again is not left out of the next one's log."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.startswith("nomos") and isinstance(logger, logging.Logger):
            for each in logger.filters:
                # By name: most tests have no need of the server, which is slow to import.
                if type(each).__name__ == "LogLimit":
                    each.forget()  # type: ignore[union-attr]


@pytest.fixture(scope="session")
def binary() -> Path:
    """The compiled `nomos-ucan` of this installation."""
    return find_binary()


@pytest.fixture(params=["sync", "asyncio", "trio"])
def verifier_kind(request: pytest.FixtureRequest) -> VerifierKind:
    """A verifier of each kind, the async one under each loop: for the tests in `verify`."""
    from verifiers import VerifierKind

    return VerifierKind(str(request.param))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Async tests run under both loops."""
    return str(request.param)
