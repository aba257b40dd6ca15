"""Imports what `nomos` needs, then runs commands in forks until the input ends."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import marshal
import os
import random
import selectors
import signal
import socket
import sys
import threading
import traceback
import types
from pathlib import Path
from typing import Any, Final

IMPORTED: Final = ("nomos.server.app", "nomos.server.run", "nomos.embedded", "uvicorn", "typer")
"""Nothing of `nomos.cli`, which looks at the terminal and the environment while it is imported."""


def main(address: str) -> None:
    sys.path[0] = str(Path(__file__).parent.parent)
    importlib.import_module("quick_commits").use(setattr)
    sys.path.pop(0)
    for name in IMPORTED:
        importlib.import_module(name)
    importlib.import_module("rich.table")
    importlib.import_module("rich.live")
    importlib.import_module("nomos.server.providers.catalog").load_catalog()  # kept for all forks
    assert threading.active_count() == 1, "threads do not survive a fork"
    gc.collect()
    gc.freeze()
    Server(address).run()


class Server:
    def __init__(self, address: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(100)
        self._woken, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        self._clients: dict[int, socket.socket] = {}
        self._watched = selectors.DefaultSelector()
        for each in (self._listener, self._woken, sys.stdin):
            self._watched.register(each, selectors.EVENT_READ)

    def run(self) -> None:
        signal.set_wakeup_fd(self._wakes.fileno())
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        print("ready", flush=True)
        while True:
            for key, _ in self._watched.select():
                if key.fileobj is sys.stdin:
                    self._kill_all()
                    return
                if key.fileobj is self._listener:
                    self._start(self._listener.accept()[0])
                elif key.fileobj is self._woken:
                    self._woken.recv(100)
                    self._reap()
                elif key.data in self._clients:
                    # The client is gone, and so its command has to go.
                    self._watched.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)

    def _start(self, client: socket.socket) -> None:
        """Run what a client asks for. A client may be killed at any moment: that ends no other."""
        streams: list[int] = []
        try:
            header, streams, _, _ = socket.recv_fds(client, 8, 3)
            content = _read(client, int.from_bytes(header, "big"))
        except (OSError, EOFError):
            for each in (*streams, client.detach()):
                os.close(each)
            return
        pid = os.fork()
        if pid == 0:
            self._forget()
            client.close()
            _run(streams, content)
        for each in streams:
            os.close(each)
        self._clients[pid] = client
        self._watched.register(client, selectors.EVENT_READ, pid)
        _send(client, pid)

    def _reap(self) -> None:
        while self._clients:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            client = self._clients.pop(pid)
            if client.fileno() in self._watched.get_map():
                self._watched.unregister(client)
                _send(client, status)
            client.close()

    def _forget(self) -> None:
        """Keep nothing of the server in a fork of it."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._watched.close()
        for each in (self._listener, self._woken, self._wakes, *self._clients.values()):
            each.close()

    def _kill_all(self) -> None:
        for pid in self._clients:
            os.kill(pid, signal.SIGKILL)


def _read(client: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size or not size:
        received = client.recv(size - len(content))
        if not received:
            raise EOFError
        content += received
    return content


def _send(client: socket.socket, number: int) -> None:
    """Send a number to a client; one that is gone is noticed by its closed connection."""
    with contextlib.suppress(OSError):
        client.sendall(number.to_bytes(8, "big"))


def _run(streams: list[int], content: bytes) -> None:
    """Be the program that the client was started as, and end as the interpreter does."""
    python, arguments, folder, environ, mask = marshal.loads(content)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.umask(mask)
    os.environ.clear()
    os.environ.update(environ)
    random.seed()
    sys.stdin = _text(0, "r", "strict")
    sys.stdout = _text(1, "w", "strict")
    sys.stderr = _text(2, "w", "backslashreplace")
    status = 1
    try:
        if python:
            _execute(*arguments)
        else:
            _command(*arguments)
        status = 0
    except SystemExit as ended:
        status = _status(ended.code)
    except BaseException:  # noqa: BLE001 - shown as the interpreter shows it
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _command(*arguments: str) -> None:
    sys.argv = ["nomos", *arguments]
    from nomos.cli import main

    main()


def _execute(option: str, source: str, *arguments: str) -> None:
    sys.argv = [option, *arguments]
    sys.path.insert(0, "")
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    exec(compile(source, "<string>", "exec"), module.__dict__)


def _text(number: int, mode: str, errors: str) -> Any:
    raw = open(number, mode + "b", closefd=False)  # noqa: SIM115 - a number, for good
    lines = number == 2 or raw.isatty()
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    through = mode == "w" and "PYTHONUNBUFFERED" in os.environ
    return io.TextIOWrapper(raw, encoding, errors, line_buffering=lines, write_through=through)


def _status(code: object) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    main(sys.argv[1])
