"""Sets up conditions in this process, then runs a command: `launch.py NAME,NAME COMMAND…`.

What cannot be said with environment variables alone: descriptors, limits, signals, the folder.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ANYWHERE = 3
"""The first descriptor that has no meaning of its own."""


def _limit(kind: int, most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (most, most))


def _no_folder() -> None:
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    folder.rmdir()


def _full_of_others() -> None:
    """Descriptors that a careless parent left open."""
    for _ in range(40):
        os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)


CONDITIONS: dict[str, Callable[[], object]] = {
    "no standard input": lambda: os.close(0),
    "no standard error": lambda: os.close(2),
    "SIGPIPE ends the process": lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL),
    "SIGCHLD is ignored": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    "files are for everybody": lambda: os.umask(0),
    "files are for their owner": lambda: os.umask(0o077),
    "the folder is gone": _no_folder,
    "few descriptors": _limit(resource.RLIMIT_NOFILE, 96),
    "descriptors of others": _full_of_others,
    "no core files": _limit(resource.RLIMIT_CORE, 0),
}


def main() -> None:
    for name in sys.argv[1].split(","):
        CONDITIONS[name]()
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
