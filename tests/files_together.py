"""Which test files share a worker, and which run first."""

from __future__ import annotations

from typing import Final

from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

LOADING: Final = (
    "tests/test_durability.py",
    "tests/tree/test_tree.py",
    "tests/machines/test_machines.py",
    "tests/server/control/test_control_approvals_races.py",
    "tests/swarm/test_child_processes.py",
    "tests/swarm/test_child_leftovers.py",
)
"""Each of these starts many processes at once, and is measured against clocks while they run."""

FIRST: Final = (
    *LOADING,
    "tests/test_journeys.py",
    "tests/test_cli.py",
    "tests/test_readme.py",
    "tests/test_guard_approvals.py",
    "tests/test_build.py",
    "tests/cli/test_cli_approvals.py",
    "tests/server/control/test_control_live.py",
    "tests/verify/test_verify_stored.py",
    "tests/verify/test_verify_follow.py",
    "tests/verify/test_verify_follow_kinds.py",
)


class FilesTogether(LoadFileScheduling):  # type: ignore[misc]
    """Keep the tests of a file together, and all of `LOADING` as if they were one file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return LOADING[0] if file in LOADING else file
