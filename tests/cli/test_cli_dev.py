"""`nomos dev`: the files that it keeps, and webhooks after a kill."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prepared import INSTALLED, NOMOS
from receiver import receiving

from nomos import AuthGuard, webhooks

SECRET = "whsec-" * 8
POLICIES = """
@id("files") permit(principal, action in Action::"/filesystem", resource is Filesystem);
@id("writes") @step_up("lead")
forbid(principal, action == Action::"/filesystem/file/write", resource is Filesystem)
unless { context.cosigned };
"""


@contextmanager
def dev(
    folder: Path, command: str | os.PathLike[str] = NOMOS, **environ: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running `nomos dev` with its data in `folder`, and what it has printed."""
    (folder / "p.cedar").write_text(POLICIES)
    ports = ("--control-port", "0", "--pdp-port", "0")
    running = subprocess.Popen(
        [command, "dev", "--data", str(folder / "data"), "--policies", folder / "p.cedar", *ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", **environ},
    )
    assert running.stdout is not None
    try:
        said = ""
        for line in running.stdout:
            said += line
            if "approvals " in line:
                break
        yield running, said
    finally:
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=60)


def setting(said: str, name: str) -> str:
    found = re.search(rf"{name}[= ]+(\S+)", said)
    assert found is not None, said
    return found[1]


def operator(folder: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NOMOS, *args],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env={**os.environ, **environ},
    )


def test_the_operators_key_is_private_and_kept_across_restarts(tmp_path: Path) -> None:
    file = tmp_path / "data" / "operator-api-key"
    with dev(tmp_path) as (_, said):
        key = file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert setting(said, "operator key") == str(file)
        assert key.strip() not in said
        assert re.search(r"approvals +http://\S+/approvals/login\?token=nomos_login_\w+", said)
        url = setting(said, "NOMOS_CONTROL_URL")
        listed = operator(tmp_path, "apps", "list", "--control-url", url, "--key-file", str(file))
        assert "\toperator\toperator\t*\t" in listed.stdout, listed.stderr
    with dev(tmp_path):
        assert file.read_text() == key
    file.chmod(0o640)
    with dev(tmp_path) as (running, said):
        assert running.wait(timeout=60) == 1
    assert f"chmod 600 {file}" in said
    assert key.strip() not in said


def test_policies_inside_the_workspace_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.cedar").write_text(POLICIES)
    ports = ("--control-port", "0", "--pdp-port", "0")
    for where in (("--workspace", "."), ("--data", "data")):
        done = operator(tmp_path, "dev", *where, "--policies", ".", *ports)
        assert done.returncode == 1
        assert "agents could" in done.stderr.replace("\n", " ")


def test_the_key_of_nomos_dev_is_found_beside_it_and_sent_to_no_other_machine(
    tmp_path: Path,
) -> None:
    with dev(tmp_path) as (_, said):
        (tmp_path / ".nomos").symlink_to(tmp_path / "data")
        url = setting(said, "NOMOS_CONTROL_URL")
        assert operator(tmp_path, "apps", "list", NOMOS_CONTROL_URL=url).returncode == 0
        away = operator(tmp_path, "apps", "list", NOMOS_CONTROL_URL="https://nomos.example.com")
    assert away.returncode == 1
    assert "no operator API key was found" in away.stderr


def test_a_rotated_key_is_not_used_and_its_replacement_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "data" / "operator-api-key"
    with dev(tmp_path) as (_, said):
        ident = file.read_text().removeprefix("nomos_").rsplit("_", 1)[0]
        where = ("--control-url", setting(said, "NOMOS_CONTROL_URL"), "--key-file", str(file))
        rotated = operator(tmp_path, "apps", "rotate", ident, *where)
        assert rotated.returncode == 0, rotated.stderr
    with dev(tmp_path) as (running, said):
        assert running.wait(timeout=60) == 1
    assert "Write the current key into it" in said.replace("\n", " ")
    file.write_text(rotated.stdout)
    with dev(tmp_path) as (_, said):
        assert "Nomos is running" in said


def test_the_next_server_sends_the_webhooks_of_a_killed_one(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: nothing can be delivered yet
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        webhook = {
            "NOMOS_WEBHOOK_URL": f"http://127.0.0.1:{port}/hooks",
            "NOMOS_WEBHOOK_SECRET": SECRET,
        }
        with dev(tmp_path, INSTALLED, **webhook) as (running, said):
            with AuthGuard(
                control_plane_url=setting(said, "NOMOS_CONTROL_URL"),
                api_key=setting(said, "NOMOS_API_KEY"),
            ) as guard:
                grant = guard.authorize(
                    command="/filesystem/file/write",
                    resource={"provider": "filesystem", "path": "a.txt"},
                    args={"content": "zwölf ✓"},
                )
            running.kill()
            assert running.wait(timeout=60) == -signal.SIGKILL
            assert SECRET not in said
    # The killed server may have claimed the message for half a minute.
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "nomos.db")) as database, database:
        assert database.execute("UPDATE outbox SET next_at = 0").rowcount == 1
    with receiving(port) as receiver, dev(tmp_path, **webhook):
        (got, *_) = receiver.wait(1, 60)
    event = webhooks.verify(got.headers, got.body, SECRET)
    assert event.event == "approval.requested"
    assert event.approval["id"] == grant.approval_envelope_id
    assert event.approval["args"] == {"content": "zwölf ✓"}
    assert event.approval["state"] == "pending"


def test_a_webhook_over_plain_http_is_refused_at_start(tmp_path: Path) -> None:
    with dev(
        tmp_path, NOMOS_WEBHOOK_URL="http://hooks.example.com", NOMOS_WEBHOOK_SECRET=SECRET
    ) as (running, said):
        assert running.wait(timeout=60) == 1
    assert "NOMOS_WEBHOOK_URL is plain http to hooks.example.com" in said
    assert SECRET not in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (1, "the data folder .* cannot be used: .*File too large"),
        (65_536, "the disk cannot be read or written: check it and its free space"),
        (400_000, "the disk cannot be read or written: check it and its free space"),
    ],
)
def test_a_full_disk_at_start_is_reported(tmp_path: Path, size: int, said: str) -> None:
    """A limit on the size of files fails each write as a full disk does, at a known place."""
    done = subprocess.run(
        [INSTALLED, "dev", "--data", tmp_path / "data", "--control-port", "0", "--pdp-port", "0"],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        env={**os.environ, "COLUMNS": "200"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    assert done.returncode == 1
    assert re.search(said, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
