"""`--insecure-host` for every command that talks to a control plane."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nomos._io.urls import INSECURE_HOSTS
from nomos.cli.app import app

URL = "http://control.invalid:8788"
HOST = ["--insecure-host", "other.invalid", "--insecure-host", "control.invalid"]


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv(INSECURE_HOSTS, raising=False)
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text("nomos_app_secret\n")
    return ["--control-url", URL, "--key-file", str(file)]


@pytest.mark.parametrize(
    "words",
    [
        ["services", "list"],
        ["apps", "list"],
        ["apps", "rotate", "app_1"],
        ["approvals", "list"],
        ["approvals", "approve", "env_1", "--yes"],
        ["revoke", "env_1"],
        ["keys", "list"],
        ["policy", "versions"],
        ["audit", "tail"],
    ],
    ids=" ".join,
)
def test_plain_http_is_used_for_named_hosts_only(words: list[str], options: list[str]) -> None:
    refused = CliRunner().invoke(app, [*words, *options])
    assert refused.exit_code == 1
    assert "is plain http to control.invalid" in refused.stderr
    assert "--insecure-host control.invalid" in refused.stderr
    allowed = CliRunner().invoke(app, [*words, *options, *HOST])
    assert allowed.exit_code == 1
    assert "cannot be reached" in allowed.stderr or "did not answer" in allowed.stderr
    again = CliRunner().invoke(app, [*words, *options])
    assert "is plain http to control.invalid" in again.stderr


def test_the_variable_names_insecure_hosts(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(INSECURE_HOSTS, "control.invalid")
    done = CliRunner().invoke(app, ["services", "list", *options])
    assert "plain http" not in done.stderr
