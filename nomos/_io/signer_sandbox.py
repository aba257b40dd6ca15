"""Start of the signing binary with a minimal environment in an empty working directory."""

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
from nomos.errors import BinaryNotFound, SignerCrashed, SignerError

ALLOWED_ENVIRONMENT: Final = ("LANG", "LC_ALL")
"""The variables that the binary inherits. Its Bun runtime obeys others, such as BUN_OPTIONS and
BUN_BE_BUN, which could run other code in the process that holds the keys."""


_UNUSABLE: Final = {
    errno.ENOENT: "the file, or the loader that it needs, does not exist",
    errno.EACCES: "permission denied: it is not executable, or its file system is mounted noexec",
    errno.EPERM: "not permitted: its file system may be mounted noexec",
    errno.ENOEXEC: "it was built for another platform, or is damaged: reinstall nomos here",
}
"""What is wrong with the file, by the error of starting it."""

_SCARCE: Final = {
    errno.EMFILE: "this process has too many open files: close some, or raise `ulimit -n`",
    errno.ENFILE: "this machine has too many open files",
    errno.EAGAIN: "no more processes can be started: see `ulimit -u` and the container's limits",
    errno.ENOMEM: "there is not enough memory",
}
"""Which resource is exhausted, by the error of starting the binary."""


class SignerSandbox:
    """An empty working directory, so that the runtime finds no bunfig.toml, .env or package.json.

    It is removed once the binary has started. If no folder can be created, the root folder is used:
    only the machine's administrator can put files there.
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

        Raises `BinaryNotFound` for a file that cannot be executed, `SignerError` if a resource is
        exhausted. All files and descriptors are released then.
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
    """Disable core files of the binary before it gets keys.

    The limit applies to the binary only; the program that imports this keeps its own. Where it
    cannot be set from outside, as on macOS, the binary inherits the program's limit.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def not_started(path: Path, error: OSError) -> SignerError:
    """Return the error for a binary that could not be started, with what to do."""
    code = error.errno or 0
    if code in _SCARCE:
        return SignerError(f"the signing binary {path} could not be started: {_SCARCE[code]}")
    why = _UNUSABLE.get(code, error.strerror or type(error).__name__)
    return BinaryNotFound(f"the signing binary {path} could not be started: {why}")


def ended_early(path: Path, status: int | None) -> SignerCrashed:
    """Return the error for a binary that ended before its first answer."""
    return SignerCrashed(f"the signing binary {path} ended while it was starting{_ending(status)}")


def _ending(status: int | None) -> str:
    if status is None:
        return ""
    if status >= 0:
        return f" (exit status {status}): the file may be damaged; reinstall nomos"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    why = {
        "SIGILL": "this processor lacks instructions that it uses",
        "SIGKILL": "it was killed, as the system does when memory runs out",
        "SIGTRAP": "it could not reserve memory: see `ulimit -v`",
        "SIGABRT": "it could not reserve memory: see `ulimit -v`",
        "SIGSEGV": "the file may be damaged, or memory is limited (`ulimit -v`)",
        "SIGBUS": "the file may be damaged; reinstall nomos",
    }.get(name)
    return f" ({name}: {why})" if why else f" ({name})"
