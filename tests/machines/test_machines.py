"""Unusual environments: one `nomos dev`, one agent and one child under each condition."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from long_runs import SLOW
from machines.launch import CONDITIONS

HERE: Final = Path(__file__).parent
NOMOS: Final = Path(sys.executable).with_name("nomos")
POLICY: Final = 'permit (principal, action in Action::"/filesystem", resource);'
NOWHERE: Final = "http://127.0.0.1:9"

ENVIRONMENTS: Final[Mapping[str, Mapping[str, str | None]]] = {
    "proxies": {
        **dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), NOWHERE),
        "NO_PROXY": "localhost,fd07:b51a:cc66:f0::/64,10.0.0.0/8",
        "SSL_CERT_FILE": "/nowhere/ca.pem",
        "SSLKEYLOGFILE": "/nowhere/keys",
    },
    "a SOCKS proxy": {"ALL_PROXY": "socks5://127.0.0.1:9", "all_proxy": "socks5h://127.0.0.1:9"},
    "no home": {"HOME": None, "USER": None, "LOGNAME": None, "XDG_CONFIG_HOME": "/nowhere"},
    "a folder for temporary files that is not there": {"TMPDIR": "/nowhere", "HOME": "/nowhere"},
    "ASCII": {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "another locale": {
        "LC_ALL": "tr_TR.UTF-8",
        "PYTHONIOENCODING": "latin-1",
        "TZ": "Asia/Kathmandu",
    },
    "optimized": {"PYTHONOPTIMIZE": "2", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"},
    "warnings are errors": {"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"},
    "no programs": {"PATH": "", "SHELL": None},
    "variables of other runtimes": {
        "BUN_OPTIONS": "--preload=/nowhere.js",
        "BUN_BE_BUN": "1",
        "NODE_OPTIONS": "--require=/nowhere.js",
        "NODE_ENV": "test",
        "LD_LIBRARY_PATH": "/nowhere",
    },
}


def environment(changes: Mapping[str, str | None], **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NOMOS_")}
    merged = {**kept, "COLUMNS": "200", **changes, **more}
    return {name: value for name, value in merged.items() if value is not None}


@contextmanager
def dev(folder: Path, start: Sequence[str | Path], environ: Mapping[str, str]) -> Iterator[str]:
    """A running `nomos dev`, and what it has printed up to the last line of its greeting."""
    (folder / "p.cedar").write_text(POLICY)
    (folder / "served").mkdir()
    (folder / "served" / "note").write_text("a café\n", encoding="utf-8")
    data = ("--data", folder / "data", "--workspace", folder / "served")
    ports = ("--control-port", "0", "--pdp-port", "0")
    with (folder / "log").open("w") as log:
        running = subprocess.Popen(
            [*start, NOMOS, "dev", "--policies", folder / "p.cedar", *data, *ports],
            stdout=subprocess.PIPE,
            stderr=log,
            env=environ,
            cwd=folder,
        )
        assert running.stdout is not None
        printed = ""
        for line in running.stdout:
            printed += line.decode(errors="replace")
            if "approvals " in printed:
                break
        try:
            assert "approvals " in printed, printed + (folder / "log").read_text()
            yield printed
        finally:
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=60)
    assert running.returncode == 0
    assert "Traceback" not in (folder / "log").read_text()


def works(folder: Path, start: Sequence[str | Path], changes: Mapping[str, str | None]) -> None:
    with dev(folder, start, environment(changes)) as printed:
        settings = dict(re.findall(r"export (NOMOS_\w+)=(\S+)", printed))
        assert set(settings) >= {"NOMOS_CONTROL_URL", "NOMOS_PDP_URL", "NOMOS_API_KEY"}
        done = subprocess.run(
            [*start, sys.executable, HERE / "agent.py"],
            env=environment(changes, **settings),
            capture_output=True,
            timeout=120,
            check=False,
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")


ENVIRONMENTS_TOGETHER: Final = (
    ("proxies", "no home", "another locale", "variables of other runtimes"),
    ("a SOCKS proxy", "a folder for temporary files that is not there", "ASCII", "no programs"),
    ("optimized",),
    ("warnings are errors",),
)
"""What does not exclude each other is tried together; the long form tries each one alone."""

CONDITIONS_TOGETHER: Final = (
    ("no standard input", "SIGPIPE ends the process", "files are for everybody", "no core files"),
    ("no standard error", "SIGCHLD is ignored", "files are for their owner", "the folder is gone"),
    ("few descriptors",),
    ("descriptors of others",),
)


def alone(names: Iterable[str]) -> list[tuple[str, ...]]:
    return [(name,) for name in names]


def test_the_short_form_has_every_condition() -> None:
    for together, known in (
        (ENVIRONMENTS_TOGETHER, ENVIRONMENTS),
        (CONDITIONS_TOGETHER, CONDITIONS),
    ):
        assert sorted(itertools.chain(*together)) == sorted(known)


@pytest.mark.parametrize(
    "names", alone(ENVIRONMENTS) if SLOW else ENVIRONMENTS_TOGETHER, ids=", ".join
)
def test_a_guard_works_in_every_environment(names: Sequence[str], tmp_path: Path) -> None:
    changes: dict[str, str | None] = {}
    for name in names:
        changes |= ENVIRONMENTS[name]
    works(tmp_path, (), changes)


@pytest.mark.parametrize("names", alone(CONDITIONS) if SLOW else CONDITIONS_TOGETHER, ids=", ".join)
def test_a_guard_works_in_every_kind_of_process(names: Sequence[str], tmp_path: Path) -> None:
    works(tmp_path, (sys.executable, HERE / "launch.py", ",".join(names)), {})
