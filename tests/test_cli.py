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
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prepared import INSTALLED, NOMOS
from typer.testing import CliRunner

from nomos import AuthGuard
from nomos._core.revocation_status import RevocationStatus
from nomos._io.signer import Signer
from nomos._protocol import Refused, Verify
from nomos.cli.app import app
from nomos.cli.demo import steps_swarm
from nomos.server.pdp.revocations import StoreView

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


STEPS = {
    "allow": "allow",
    "pdp_read": "allow",
    "deny": "deny",
    "pdp_refuses_tampered": "deny",
    "step_up": "requires_step_up",
    "approved": "allow",
    "approval_single_use": "deny",
    "fork": None,
    "child_read": "allow",
    "child_widen_refused": "deny",
    "child_offline_read": "allow",
    "revoked": "deny",
    "audit_verified": None,
    "audit_tamper_found": None,
}
"""The demo's steps, and the decision each of them shows."""


def steps_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_demo_shows_every_step_and_evidence_for_each(tmp_path: Path) -> None:
    kept, scratch = tmp_path / "kept", tmp_path / "scratch"
    scratch.mkdir()
    done = nomos("demo", "--json", "--keep", kept, TMPDIR=str(scratch))
    assert done.returncode == 0, done.stdout + done.stderr
    steps = {step["step"]: step for step in steps_of(done)}
    assert {name: step["decision"] for name, step in steps.items()} == STEPS
    assert list(steps) == list(STEPS)
    assert all(step["ok"] is True for step in steps.values())
    assert steps["deny"]["receipt_id"] not in ("", steps["allow"]["receipt_id"])
    assert steps["pdp_read"]["sha256"] == steps["pdp_read"]["sha256_on_disk"]
    tampered = steps["pdp_refuses_tampered"]
    assert (tampered["http_status"], tampered["refusal"]) == (401, "bad_signature")
    assert list(scratch.iterdir()) == []
    rows = {
        line["row"]["id"]: line["row"]
        for line in map(json.loads, (kept / "audit.ndjson").read_text().splitlines())
        if line["type"] == "row"
    }
    receipts = {name: step["receipt_id"] for name, step in steps.items() if "receipt_id" in step}
    assert {name: rows[receipt]["decision"] for name, receipt in receipts.items()} == {
        name: STEPS[name] for name in receipts
    }
    assert rows[receipts["approved"]]["parent"] == receipts["step_up"]
    forked = steps["fork"]
    assert forked["child_pid"] != forked["parent_pid"]
    assert (forked["api_key_in_child"], forked["links"]) == (False, 2)
    assert forked["parent_receipt"] in rows
    pids = {step["child_pid"] for step in steps.values() if "child_pid" in step}
    assert pids == {forked["child_pid"]}
    assert not Path(f"/proc/{forked['child_pid']}").exists()
    assert set(steps["child_widen_refused"]["refused"].values()) == {
        "chain_attenuation_violation",
        "resource_out_of_scope",
        "chain_invalid",
    }
    child_rows = [row for row in rows.values() if row.get("agent") == forked["child"]]
    assert {row["root"] for row in child_rows} == {forked["parent"]}
    refused = [row.get("reason") for row in child_rows if row.get("decision") == "deny"]
    assert sorted(set(refused)) == [
        "chain_attenuation_violation",
        "chain_invalid",
        "resource_out_of_scope",
        "revoked",
    ]
    assert steps["revoked"]["seconds"] < 5
    assert steps["revoked"]["refusal"] == "revoked"
    (taken,) = [row for row in rows.values() if row["kind"] == "revocation"]
    assert taken["cid"] == steps["revoked"]["revoked"]


def test_files_kept_by_the_demo_can_be_verified(tmp_path: Path) -> None:
    done = nomos("demo", "--json", "--keep", tmp_path)
    verified, tampered = steps_of(done)[-2:]
    again = nomos("audit", "verify", tmp_path / "audit.ndjson", "--issuer", verified["issuer"])
    assert again.returncode == 0, again.stderr
    spoiled = tmp_path / "audit-tampered.ndjson"
    found = nomos("audit", "verify", spoiled, "--issuer", verified["issuer"])
    assert found.returncode == 1
    assert f"row {tampered['changed_row']}" in found.stdout + found.stderr


def test_the_demo_fails_at_revoked_when_nothing_is_revoked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def blind(view: StoreView, ids: Collection[str]) -> RevocationStatus:
        return RevocationStatus(frozenset(), 0)

    monkeypatch.setattr(StoreView, "lookup", blind)
    monkeypatch.setattr(steps_swarm, "REVOKED_WITHIN", 0.5)
    with pytest.raises(SystemExit) as left:
        app(["demo", "--json"])
    assert left.value.code == 1
    *before, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert all(step["ok"] for step in before)
    assert (last["step"], last["ok"], last["http_status"]) == ("revoked", False, 200)


def test_the_demo_prints_readable_text() -> None:
    done = nomos("demo")
    assert done.returncode == 0, done.stderr
    assert "asked to read notes/plan.md: allowed" in done.stdout
    assert "by policy secrets-stay-closed" in done.stdout
    assert "Every step succeeded." in done.stdout


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


def test_doctor_passes_for_this_installation() -> None:
    done = nomos("doctor", "--json")
    findings = {finding["check"]: finding for finding in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0, done.stdout
    assert all(finding["ok"] for finding in findings.values())
    assert "a tampered one rejected" in findings["sign and verify"]["found"]
    assert "sha256" in findings["binary's record"]["found"]


def test_doctor_reports_a_faulty_binary(tmp_path: Path) -> None:
    missing = nomos("doctor", NOMOS_UCAN_BIN=str(tmp_path / "gone"))
    assert missing.returncode == 1
    assert "the file does not exist" in missing.stdout
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\nexit 0\n")
    other.chmod(0o755)
    wrong = nomos("doctor", NOMOS_UCAN_BIN=str(other))
    assert wrong.returncode == 1
    assert "ended while it was starting" in wrong.stdout


def test_doctor_reports_a_binary_that_rejects_a_valid_token(
    binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Signer.ask
    older = Refused(code="invalid_request", message="trust_all is missing")
    monkeypatch.setenv("NOMOS_UCAN_BIN", str(binary))
    monkeypatch.setattr(
        Signer, "ask", lambda self, asked: older if isinstance(asked, Verify) else ask(self, asked)
    )
    found = CliRunner().invoke(app, ["doctor"])
    assert found.exit_code == 1
    assert "a valid token was rejected (trust_all is missing): the binary may not" in found.stdout
    assert "uv sync --reinstall-package nomos" in found.stdout


def test_doctor_notices_a_binary_that_was_changed(tmp_path: Path, binary: Path) -> None:
    copy = tmp_path / "nomos-ucan"
    copy.write_bytes(binary.read_bytes())
    copy.chmod(0o755)
    copy.with_name("nomos-ucan.json").write_text(
        json.dumps({"sha256": "0" * 64, "bun": "1", "platform": "x", "version": "0"})
    )
    done = nomos("doctor", NOMOS_UCAN_BIN=str(copy))
    assert done.returncode == 1
    assert "the binary was changed" in done.stdout


def test_policy_validate_lists_the_contents_of_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text(f'@id("everything")\n{PERMIT_ALL}')
    done = nomos("policy", "validate", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "everything\tpermit\ta.cedar:1\t"
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
    assert "contains no *.cedar file" in done.stderr


@contextmanager
def dev(data: Path, *args: object) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run `nomos dev` on free ports; yield it with the variables it printed."""
    ports = ("--control-port", "0", "--pdp-port", "0")
    process = subprocess.Popen(
        [INSTALLED, "dev", "--data", data, *ports, *map(str, args)],
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


def test_dev_serves_the_users_policies(tmp_path: Path) -> None:
    (tmp_path / "all.cedar").write_text(PERMIT_ALL)
    with (
        dev(tmp_path / "data", "--policies", tmp_path / "all.cedar") as (_, variables),
        AuthGuard.from_env(variables) as guard,
    ):
        assert guard.authorize(
            command="/github/repo/delete",
            resource={"provider": "github", "owner": "acme", "repo": "app"},
        )


def test_a_folder_in_use_and_a_port_in_use_have_different_errors(tmp_path: Path) -> None:
    with dev(tmp_path / "data") as (process, _):
        second = nomos("dev", "--data", tmp_path / "data", "--control-port", 0, "--pdp-port", 0)
        assert second.returncode == 1
        assert f"in use by process {process.pid}" in second.stderr
        assert second.stderr.endswith("(--data)\n")
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


def test_without_its_extra_the_command_line_names_the_install_command() -> None:
    program = "import sys; sys.modules['typer'] = None; from nomos.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'nomos[cli,server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_lasting_key_is_made_once_and_used(tmp_path: Path) -> None:
    file = tmp_path / "an agent.key"
    made = nomos("keygen", file)
    assert made.returncode == 0, made.stderr
    # Only the DID is on standard output.
    assert re.fullmatch(r"did:key:z6Mk\w{44}\n", made.stdout)
    for use in (
        f"export NOMOS_AGENT_KEY_FILE='{file}'",
        "nomos services add NAME DID URL",
        f"receipt_key='{file}'",
    ):
        assert use in made.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = nomos("keygen", file)
    assert (
        again.returncode,
        "existing files are not replaced" in " ".join(again.stderr.split()),
    ) == (
        1,
        True,
    )
    with AuthGuard.embedded(policies=PERMIT_ALL) as system:
        for _ in range(2):
            with AuthGuard(
                control_plane_url=system.control_plane_url,
                api_key=system.api_key,
                agent_key_file=file,
            ) as agent:
                grant = agent.authorize(
                    command="/filesystem/file/read",
                    resource={"provider": "filesystem", "path": "a"},
                )
                assert str(grant.agent) in made.stdout
    assert file.read_text().strip() not in made.stdout + made.stderr
