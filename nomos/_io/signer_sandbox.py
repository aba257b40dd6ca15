"""Where the signing binary runs: an environment and a folder without anything of the caller's."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nomos._io.pipes import Descriptor, WriteEnd
from nomos.errors import BinaryNotFound, SignerDied, SignerError

ALLOWED_ENVIRONMENT: Final = ("LANG", "LC_ALL")
"""All that the binary inherits. The Bun runtime inside it obeys variables such as BUN_OPTIONS
and BUN_BE_BUN, which would run other people's code beside our keys."""


_UNUSABLE: Final = {
    errno.ENOENT: "there is no such file, or the loader that it needs is missing",
    errno.EACCES: "permission denied: it is not executable, or its file system is mounted noexec",
    errno.EPERM: "not permitted: its file system may be mounted noexec",
    errno.ENOEXEC: "it was built for another platform, or is damaged: reinstall nomos here",
}
"""What is wrong with the file, by what the system says when it is run."""

_SCARCE: Final = {
    errno.EMFILE: "this process has too many open files: close some, or raise `ulimit -n`",
    errno.ENFILE: "this machine has too many open files",
    errno.EAGAIN: "no more processes can be started: see `ulimit -u` and the container's limits",
    errno.ENOMEM: "there is not enough memory",
}
"""What this process or machine lacks."""


class SignerSandbox:
    """An empty folder of its own, so that no bunfig.toml, .env or package.json is in reach.

    It goes as soon as the binary has started and no longer looks around. Where no folder can be
    made, the root folder serves: only the machine's administrator can put files there.
    """

    def __init__(self) -> None:
        self._made: Path | None = None
        with contextlib.suppress(OSError):
            self._made = Path(tempfile.mkdtemp(prefix="nomos-ucan-"))

    @property
    def directory(self) -> Path:
        return self._made or Path("/")

    def start(
        self, path: Path, environ: Mapping[str, str]
    ) -> tuple[subprocess.Popen[bytes], WriteEnd, Descriptor]:
        """Start the binary; return it with the end to write to and the end to read from.

        Raises `BinaryNotFound` for a file that cannot be run, `SignerError` when this process or
        machine lacks what it takes. Leaves nothing behind then.
        """
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as theirs:
            undo.callback(self.remove)
            try:
                ours, stdin = socket.socketpair()
                to = WriteEnd(ours)
                undo.callback(to.close)
                theirs.callback(stdin.close)
                reading, stdout = os.pipe()
                answers = Descriptor(reading)
                undo.callback(answers.close)
                theirs.callback(os.close, stdout)
                os.set_blocking(reading, False)
                child = subprocess.Popen(
                    [path, "serve"],
                    stdin=stdin.fileno(),
                    stdout=stdout,
                    stderr=subprocess.DEVNULL,
                    cwd=self.directory,
                    env={name: environ[name] for name in ALLOWED_ENVIRONMENT if name in environ},
                )
            except OSError as error:
                raise not_started(path, error) from error
            _forbid_core_files(child.pid)
            undo.pop_all()
        return child, to, answers

    def remove(self) -> None:
        if self._made is not None:
            with contextlib.suppress(OSError):
                self._made.rmdir()


def _forbid_core_files(pid: int) -> None:
    """Let no core file of the binary hold keys; it has none of them yet.

    The limit is the binary's alone, so a program that imports this keeps its own. Where it cannot
    be set from outside, as on macOS, the binary inherits the program's.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def not_started(path: Path, error: OSError) -> SignerError:
    """Say why the binary could not be started, and what to do."""
    code = error.errno or 0
    if code in _SCARCE:
        return SignerError(f"the signing binary {path} could not be started: {_SCARCE[code]}")
    why = _UNUSABLE.get(code, error.strerror or type(error).__name__)
    return BinaryNotFound(f"the signing binary {path} could not be started: {why}")


def ended_early(path: Path, status: int | None) -> SignerDied:
    """Say how the binary ended before it answered for the first time."""
    return SignerDied(f"the signing binary {path} ended while it was starting{_ending(status)}")


def _ending(status: int | None) -> str:
    if status is None:
        return ""
    if status >= 0:
        return f" (exit status {status}): the file may be damaged; reinstall nomos"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    why = {
        "SIGILL": "this processor lacks instructions that it uses",
        "SIGKILL": "it was killed, as the system does when memory runs out",
        "SIGTRAP": "it may not get the memory that it reserves: see `ulimit -v`",
        "SIGABRT": "it may not get the memory that it reserves: see `ulimit -v`",
        "SIGSEGV": "the file may be damaged, or memory is limited (`ulimit -v`)",
        "SIGBUS": "the file may be damaged; reinstall nomos",
    }.get(name)
    return f" ({name}: {why})" if why else f" ({name})"
