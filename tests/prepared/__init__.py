"""Runs the command `nomos` in a forked process whose imports are already loaded.

`NOMOS` takes the place of the installed command in a test that starts it often. It runs
`client.py`, which asks a process that has imported the libraries (`server.py`) to fork, with the
arguments, the environment, the folder and the standard streams that the client has. What runs is
the command with all that it reads and prints, in a process that signals reach. `INSTALLED` is for
tests of starting, of being killed, and of other encodings.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from prepared.client import settings

INSTALLED: Final = Path(sys.executable).with_name("nomos")

_HERE: Final = Path(__file__).parent
_lock: Final = threading.Lock()


class _Prepared(os.PathLike[str]):
    """The path of a client; the first one that is needed starts the server."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __fspath__(self) -> str:
        with _lock:
            return str(_clients() / self._name)

    def __str__(self) -> str:
        return self.__fspath__()


NOMOS: Final = _Prepared("nomos")
PYTHON: Final = _Prepared("python")
"""Takes `-c` and a program; whatever else the interpreter takes, the interpreter does."""


@functools.cache
def _clients() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="nomos-"))
    address = folder / "socket"
    server = subprocess.Popen(
        [sys.executable, _HERE / "server.py", address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Ctrl-C is for pytest, which ends the server by closing its input.
        start_new_session=True,
    )
    assert server.stdin is not None and server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    server.stdout.close()
    atexit.register(_stop, server, folder)
    text = (_HERE / "client.py").read_text()
    for installed in (str(INSTALLED), sys.executable):
        client = folder / ("nomos" if installed == str(INSTALLED) else "python")
        call = f"main({str(address)!r}, {installed!r}, {settings(dict(os.environ))!r})"
        client.write_text(f"#!{sys.executable} -IS\n{text}\n\n{call}\n")
        client.chmod(0o700)
    return folder


def _stop(server: subprocess.Popen[bytes], folder: Path) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait(20)
    shutil.rmtree(folder, ignore_errors=True)
