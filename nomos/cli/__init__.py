"""`nomos`, the command line."""

from __future__ import annotations

import gc
import sys

COLLECT_AFTER = 50_000
"""New objects after which the garbage collector runs. By default it runs after 700, and then spends
a tenth of the start of `nomos dev` on looking through imported modules, which are no garbage."""


def main() -> None:
    """Run the command line. If a dependency is missing, exit with the command that installs it."""
    gc.set_threshold(COLLECT_AFTER)
    try:
        from nomos.cli.app import app
        from nomos.cli.console import printable
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] == "nomos":
            raise
        sys.exit(f"the command line needs {missing.name}: pip install 'nomos[cli,server]'")
    printable()
    _no_core_dumps()
    app()


def _no_core_dumps() -> None:
    """Disable core dumps for this process and its children: a core file would contain keys."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, which writes no core dumps by default
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
