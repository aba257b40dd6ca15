"""`nomos`, the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; without its extra, say how to get it."""
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
    """Keep keys out of core files, of this process and of those that it starts."""
    try:
        import resource
    except ModuleNotFoundError:  # not on Windows, which writes none unless told to
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
