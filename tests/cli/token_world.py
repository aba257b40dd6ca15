"""Tokens that are valid now, for commands that read the clock."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from typing import Any, Final

from prepared import NOMOS
from typer.testing import CliRunner, Result
from vectors import forge
from vectors.forge import ISSUER, PLANNER, RESEARCHER, SERVICE

from nomos.cli.app import app

NOW: Final = int(time.time())
RESOURCE: Final = {"provider": "github", "owner": "acme", "repo": "app"}
HELD: Final = {"resource_constraint": {"provider": "github", "owner": "acme"}}

run = CliRunner()


def root(**changes: Any) -> str:
    meta = {
        **forge.HERE,
        **HELD,
        "receipt_id": "evt_01jb",
        "facts": {"purpose": "list the open issues"},
    }
    usual = {"nbf": NOW - 60, "exp": NOW + 3500, "meta": meta}
    return forge.root(**{**usual, "pol": [["==", ".args.state", "open"]], **changes})


def child(parent: str, **changes: Any) -> str:
    usual = {"nbf": NOW - 60, "exp": NOW + 3450, "cmd": "/github/issue/list"}
    return forge.child(parent, **{**usual, **changes})


def use(prf: list[str], **changes: Any) -> str:
    args = {"resource": RESOURCE, "state": "open"}
    return forge.use(prf, **{"iat": NOW - 60, "exp": NOW + 3400, "args": args, **changes})


ROOT: Final = root()
CHILD: Final = child(ROOT)
TOKEN: Final = use([ROOT, CHILD])
CHAIN: Final = json.dumps([ROOT, CHILD])
TERMS: Final = ("--issuer", ISSUER.did, "--audience", SERVICE.did)
CALL: Final = (
    *("--command", "/github/issue/list", "--resource", json.dumps(RESOURCE)),
    *("--args", '{"state": "open"}'),
)
HOLDER: Final = ("--issuer", ISSUER.did, "--audience", RESEARCHER.did)
PEOPLE: Final = (ISSUER, PLANNER, RESEARCHER, SERVICE)


def process(
    *args: object, stdin: str | bytes = b"", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run `nomos token` as a real process, with a pipe on either side."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [NOMOS, "token", *map(str, args)],
        input=data,
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, **environ},
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def nomos(*args: object, stdin: str | bytes = TOKEN, **environ: str) -> Result:
    """Run `nomos token` in this process, which is faster."""
    return run.invoke(app, ["token", *map(str, args)], input=stdin, env=environ)


def json_output(*args: object, stdin: str | bytes = TOKEN) -> dict[str, Any]:
    """What `--json` says."""
    result = nomos(*args, "--json", stdin=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    (line,) = result.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def terminal(columns: int, *args: str, **environ: str) -> str:
    """Run on a terminal of that width, and return all that it was sent."""
    program = str(NOMOS)
    pid, descriptor = pty.fork()
    if pid == 0:  # pragma: no cover - another process
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
        os.execve(program, [program, *args], {**clean, "TERM": "xterm-256color", **environ})
    sent = b""
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:
            break
        if not piece:
            break
        sent += piece
    os.close(descriptor)
    os.waitpid(pid, 0)
    return sent.decode()


def seen(text: str) -> Sequence[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "").splitlines()
