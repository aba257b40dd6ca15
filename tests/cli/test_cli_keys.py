"""`nomos keys`, as real processes against a real server."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest
from prepared import INSTALLED, NOMOS


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of an operator of a server that runs."""
    data = tmp_path_factory.mktemp("keys") / "data"
    command = [str(NOMOS), "dev", "--data", str(data), "--control-port", "0", "--pdp-port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = ""
    for line in server.stdout:
        url = url or "".join(re.findall(r"NOMOS_CONTROL_URL=(\S+)", line))
        if "operator key" in line:
            break
    key_file = str(data / "operator-api-key")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NOMOS_")}
    yield {**clean, "NOMOS_CONTROL_URL": url, "NOMOS_OPERATOR_KEY_FILE": key_file}
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=30)


def keys(environ: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NOMOS, "keys", *args],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def in_a_terminal(environ: dict[str, str], *args: str) -> str:
    """What a person sees who types this into a terminal of 120 columns."""
    ours, theirs = pty.openpty()
    command = [str(INSTALLED), "keys", *args]
    sized = {**environ, "COLUMNS": "120", "TERM": "xterm"}
    process = subprocess.Popen(command, env=sized, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while data := os.read(ours, 65536):
            seen += data
    except OSError:
        pass  # the terminal's other end is closed
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return seen.decode()


def test_list_and_rotate_between_tabs(environ: dict[str, str]) -> None:
    [first] = [line.split("\t") for line in keys(environ, "list").stdout.splitlines()]
    assert first[:2] == ["1", "active"]
    rotated = keys(environ, "rotate")
    assert (rotated.returncode, rotated.stderr) == (0, "")
    old, new = [line.split("\t") for line in rotated.stdout.splitlines()]
    assert old[:3] == ["1", "retiring", first[2]]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", old[4])
    assert (new[:2], new[4]) == (["2", "active"], "")
    assert keys(environ, "list").stdout == rotated.stdout


def test_as_json_each_line_is_an_entry_of_the_key_log(environ: dict[str, str]) -> None:
    done = keys(environ, "rotate", "--revoke-old", "--json")
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["state"] for entry in entries][-2:] == ["revoked", "active"]
    assert [entry["row"]["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    assert all(entry["checkpoint"].count(".") == 2 for entry in entries)


def test_a_terminal_gets_a_table(environ: dict[str, str]) -> None:
    shown = in_a_terminal(environ, "rotate")
    assert "Back it up" in shown
    for word in ("state", "since", "active", "min left", "did:key:z6Mk"):
        assert word in shown
    assert "\x1b[1;32mactive" in shown
    assert "Back it up" not in in_a_terminal(environ, "list")


def test_an_unreachable_server_is_reported(environ: dict[str, str]) -> None:
    done = keys({**environ, "NOMOS_CONTROL_URL": "http://127.0.0.1:1"}, "rotate")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be reached" in done.stderr
