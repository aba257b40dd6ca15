"""Has `server.py` run the command, and ends as it ends.

`__init__.py` writes what is run: this text, and a call of `main`. It imports only what is cheap,
because it is started hundreds of times.
"""

import _socket
import array
import marshal
import os
import signal
import sys


def settings(environ: dict[str, str]) -> dict[str, str]:
    """Return what an interpreter looks at, without what the server itself follows."""
    followed = ("PYTHONIOENCODING", "PYTHONUNBUFFERED")
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(("PYTHON", "LC_", "LANG")) and name not in followed
    }


def main(address: str, installed: str, expected: dict[str, str]) -> None:
    """Run `installed` if the environment has other settings than those `expected`."""
    environ = dict(os.environ)
    python = not installed.endswith("nomos")
    if (python and sys.argv[1:2] != ["-c"]) or settings(environ) != expected:
        # The settings are read while an interpreter starts, and so are its options.
        os.execv(installed, [installed, *sys.argv[1:]])
    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    link.connect(address)
    content = marshal.dumps((python, sys.argv[1:], os.getcwd(), environ, os.umask(0o077)))  # noqa: PTH109
    streams = array.array("i", [0, 1, 2])
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)]
    received: list[int] = []
    pid = 0

    def passed_on(number: int, _frame: object) -> None:
        received.append(number)
        if pid:
            os.kill(pid, received.pop())

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(each, passed_on)
    link.sendmsg([len(content).to_bytes(8, "big")], rights)
    link.sendall(content)
    pid = int.from_bytes(link.recv(8), "big")
    while received:
        os.kill(pid, received.pop())
    # The streams end with the command, not with this process.
    null = os.open(os.devnull, os.O_RDWR)
    for stream in streams:
        os.dup2(null, stream)
    code = os.waitstatus_to_exitcode(int.from_bytes(link.recv(8), "big"))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
