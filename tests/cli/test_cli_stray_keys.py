"""API keys with other text around them: the text is reported, and never the key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nomos import AsyncVerifier, AuthGuard
from nomos._settings import checked_api_key
from nomos.cli.app import app
from nomos.cli.operator_key import find_key, from_file
from nomos.cli.token.options import _key
from nomos.errors import ConfigurationError
from nomos.server.environment import upstreams
from nomos.server.providers.catalog import load_catalog

KEY = "nomos_app_secretsecret"
HERE = "http://127.0.0.1:1"
DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"

PLACES: dict[str, tuple[Callable[[str], Any], str]] = {
    "api_key=": (lambda key: AuthGuard(control_plane_url=HERE, api_key=key), "api_key"),
    "verifier": (
        lambda key: AsyncVerifier.from_control_plane(
            HERE, audience=DID, trust_anchor=DID, api_key=key, startup_timeout=0.1
        ),
        "api_key",
    ),
    "NOMOS_API_KEY": (
        lambda key: AuthGuard.from_env({"NOMOS_CONTROL_URL": HERE, "NOMOS_API_KEY": key}),
        "NOMOS_API_KEY",
    ),
    "NOMOS_API_KEY of the command line": (
        lambda key: _key(HERE, None, {"NOMOS_API_KEY": key}),
        "NOMOS_API_KEY",
    ),
    "NOMOS_OPERATOR_KEY": (
        lambda key: find_key(HERE, None, {"NOMOS_OPERATOR_KEY": key}),
        "NOMOS_OPERATOR_KEY",
    ),
}


@pytest.mark.parametrize(("place", "setting"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{KEY}\n", "There is a line break before or after it"),
        (f"{KEY}\r\n", "There is a line break before or after it"),
        (f"\n{KEY}", "There is a line break before or after it"),
        (f"{KEY}\n# mine\n", "There is more than one line"),
        (f"Bearer {KEY}", "leave off `Bearer `"),
    ],
)
def test_text_around_an_api_key_is_reported(
    text: str, why: str, place: Callable[[str], Any], setting: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(why)) as wrong:
        place(text)
    assert wrong.value.setting == setting
    assert "secretsecret" not in str(wrong.value)


def test_text_around_a_providers_token_is_reported() -> None:
    for text in (f"{KEY}\n", f"\r\n{KEY}"):
        with pytest.raises(ConfigurationError, match="Remove the line break before") as wrong:
            upstreams(load_catalog(None), {"NOMOS_GITHUB_TOKEN": text})
        assert "secretsecret" not in str(wrong.value)


def test_the_line_break_at_the_end_of_a_key_file_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.touch(0o600)
    for text in (KEY, f"{KEY}\n", f"{KEY}\r\n", f"\n {KEY}\n\n"):
        file.write_text(text)
        assert from_file(file, "--key-file").secret.reveal() == KEY
    file.write_text(f"{KEY}\n# mine\n")
    with pytest.raises(ConfigurationError, match="There is more than one line"):
        from_file(file, "--key-file")
    assert checked_api_key(f" {KEY} ") is not None


def test_a_pdp_reports_text_around_the_key_in_its_file(tmp_path: Path) -> None:
    file, policies = tmp_path / "key", tmp_path / "p.cedar"
    file.touch(0o600)
    file.write_text(f"{KEY}\n# mine\n")
    policies.write_text("permit(principal, action, resource);")
    given = ["--key-file", file, "--policies", policies, "--data", tmp_path / "data"]
    words = ["pdp", "--control-url", HERE, "--issuer", DID, "--port", "0", *map(str, given)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert "There is more than one line" in done.stderr
