"""The command line, as real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nomos import AuthGuard

NOMOS = Path(sys.executable).with_name("nomos")
PERMIT_ALL = "permit (principal, action, resource);\n"


def nomos(*args: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NOMOS, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "100", **environ},
    )


def test_the_demo_shows_four_steps_and_evidence_for_each(tmp_path: Path) -> None:
    done = nomos("demo", "--json", TMPDIR=str(tmp_path))
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [step["step"] for step in steps] == ["allow", "pdp_read", "deny", "pdp_refuses_tampered"]
    assert all(step["ok"] is True for step in steps)
    assert [step["decision"] for step in steps] == ["allow", "allow", "deny", "deny"]
    allow, read, deny, tampered = steps
    assert allow["receipt_id"].startswith("evt_")
    assert deny["receipt_id"] not in ("", allow["receipt_id"])
    assert read["http_status"] == 200
    assert read["sha256"] == read["sha256_on_disk"]
    assert (tampered["http_status"], tampered["refusal"]) == (401, "bad_signature")
    assert list(tmp_path.iterdir()) == []


def test_the_demo_is_for_people_too() -> None:
    done = nomos("demo")
    assert done.returncode == 0, done.stderr
    assert "asked to read notes/plan.md: allowed" in done.stdout
    assert "by policy secrets-stay-closed" in done.stdout
    assert "Every step came out as it must." in done.stdout


def test_the_demo_fails_at_deny_when_policies_permit_everything(tmp_path: Path) -> None:
    (tmp_path / "all.cedar").write_text(PERMIT_ALL)
    done = nomos("demo", "--json", "--policies", tmp_path)
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [(step["step"], step["ok"]) for step in steps] == [
        ("allow", True),
        ("pdp_read", True),
        ("deny", False),
    ]


def test_the_demo_fails_at_allow_when_policies_permit_nothing(tmp_path: Path) -> None:
    (tmp_path / "none.cedar").write_text("// nothing\n")
    done = nomos("demo", "--json", "--policies", tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["step"] == "allow"


def test_doctor_finds_this_installation_sound() -> None:
    done = nomos("doctor", "--json")
    findings = {finding["check"]: finding for finding in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0, done.stdout
    assert all(finding["ok"] for finding in findings.values())
    assert "a spoiled one refused" in findings["sign and verify"]["found"]
    assert "sha256" in findings["binary's record"]["found"]


def test_doctor_says_what_is_wrong_with_a_binary(tmp_path: Path) -> None:
    missing = nomos("doctor", NOMOS_UCAN_BIN=str(tmp_path / "gone"))
    assert missing.returncode == 1
    assert "there is no such file" in missing.stdout
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\nexit 0\n")
    other.chmod(0o755)
    wrong = nomos("doctor", NOMOS_UCAN_BIN=str(other))
    assert wrong.returncode == 1
    assert "ended while it was starting" in wrong.stdout


def test_doctor_notices_a_binary_that_was_changed(tmp_path: Path, binary: Path) -> None:
    copy = tmp_path / "nomos-ucan"
    copy.write_bytes(binary.read_bytes())
    copy.chmod(0o755)
    copy.with_name("nomos-ucan.json").write_text(
        json.dumps({"sha256": "0" * 64, "bun": "1", "platform": "x", "version": "0"})
    )
    done = nomos("doctor", NOMOS_UCAN_BIN=str(copy))
    assert done.returncode == 1
    assert "it was changed since" in done.stdout


def test_policy_validate_lists_what_a_bundle_holds(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text(f'@id("everything")\n{PERMIT_ALL}')
    done = nomos("policy", "validate", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "everything" in done.stdout
    assert re.search(r"valid +1 policy, bundle [0-9a-f]{64}", done.stdout)


def test_policy_validate_names_file_line_and_policy(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text("// fine\npermit(principal, action, resource);\n")
    (tmp_path / "b.cedar").write_text(
        '\n\n@id("typo")\npermit(principal, action, resource) when { resource.colour == "red" };\n'
    )
    done = nomos("policy", "validate", tmp_path)
    assert done.returncode == 1
    assert "b.cedar:3: typo" in done.stderr
    (tmp_path / "b.cedar").write_text("permit(principal, action")
    done = nomos("policy", "validate", tmp_path)
    assert done.returncode == 1
    assert "b.cedar:1" in done.stderr


def test_an_empty_folder_is_no_policy_folder(tmp_path: Path) -> None:
    done = nomos("policy", "validate", tmp_path)
    assert done.returncode == 1
    assert "holds no *.cedar file" in done.stderr


@contextmanager
def dev(data: Path, *args: object) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run `nomos dev` on free ports; yield it with the variables it printed."""
    process = subprocess.Popen(
        [NOMOS, "dev", "--data", data, "--control-port", "0", "--pdp-port", "0", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "100", "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    variables: dict[str, str] = {}
    for line in process.stdout:
        if match := re.search(r"export (\w+)=(\S+)", line):
            variables[match[1]] = match[2]
        if "files served" in line:
            break
    try:
        yield process, variables
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def test_dev_serves_until_it_is_interrupted_and_keeps_its_key(tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        with dev(tmp_path / "data") as (process, variables):
            with AuthGuard.from_env(variables) as guard:
                grant = guard.authorize(
                    command="/github/issue/list",
                    resource={"provider": "github", "owner": "acme", "repo": "app"},
                )
                assert grant
            keys.append(variables["NOMOS_API_KEY"])
        assert process.returncode == 0
    assert keys[0] == keys[1]
    mode = stat.S_IMODE((tmp_path / "data" / "agent-api-key").stat().st_mode)
    assert mode == 0o600


def test_dev_takes_policies_of_its_user(tmp_path: Path) -> None:
    (tmp_path / "all.cedar").write_text(PERMIT_ALL)
    with (
        dev(tmp_path / "data", "--policies", tmp_path) as (_, variables),
        AuthGuard.from_env(variables) as guard,
    ):
        assert guard.authorize(
            command="/github/repo/delete",
            resource={"provider": "github", "owner": "acme", "repo": "app"},
        )


def test_two_servers_on_one_folder_and_a_port_in_use_are_told_apart(tmp_path: Path) -> None:
    with dev(tmp_path / "data") as (process, _):
        second = nomos("dev", "--data", tmp_path / "data", "--control-port", 0, "--pdp-port", 0)
        assert second.returncode == 1
        assert f"in use by process {process.pid}" in second.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        third = nomos("dev", "--data", tmp_path / "other", "--control-port", port)
        assert third.returncode == 1
        assert f"port {port} on 127.0.0.1 is in use" in third.stderr
        assert "--control-port" in third.stderr


def test_an_unwritable_data_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = nomos("dev", "--data", tmp_path / "file", "--control-port", 0, "--pdp-port", 0)
    assert done.returncode == 1
    assert f"data folder {tmp_path / 'file'}" in done.stderr


@pytest.mark.parametrize(
    "args", [("--help",), ("dev", "--help"), ("demo", "--help"), ("policy", "--help")]
)
def test_help_is_there_for_every_command(args: tuple[str, ...]) -> None:
    done = nomos(*args)
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_the_version_is_the_packages() -> None:
    from importlib import metadata

    assert nomos("--version").stdout.strip() == f"nomos {metadata.version('nomos')}"


def test_without_its_extra_the_command_line_says_how_to_get_it() -> None:
    program = "import sys; sys.modules['typer'] = None; from nomos.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'nomos[cli,server]'" in done.stderr
    assert "Traceback" not in done.stderr
