"""Errors about plain http name only remedies that exist."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from nomos import AsyncAuthGuard, AsyncVerifier, AuthGuard, errors
from nomos._io.control_plane_sync import ControlPlaneSync
from nomos._io.http import Endpoint
from nomos._io.urls import INSECURE_HOSTS
from nomos.cli.app import app
from nomos.server.environment import upstreams, webhook
from nomos.server.providers.catalog import load_catalog

URL, HOST = "http://far.invalid:1", "far.invalid"
DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
HERE = "http://127.0.0.1:1"
ARGUMENT = re.compile(r"allow_insecure=\['([a-z.]+)'\]")
VARIABLE = re.compile(rf"{INSECURE_HOSTS}=([a-z.]+)")
OPTION = re.compile(r"--insecure-host ([a-z.]+)")

Place = Callable[..., Any]

LIBRARY: dict[str, Place] = {
    "guard": lambda **more: AuthGuard(control_plane_url=URL, **more),
    "async guard": lambda **more: AsyncAuthGuard(control_plane_url=URL, **more),
    "pdp_url": lambda **more: AuthGuard(control_plane_url=HERE, pdp_url=URL, **more),
    "verifier": lambda **more: AsyncVerifier.from_control_plane(
        URL, audience=DID, trust_anchor=DID, startup_timeout=0.1, **more
    ),
    "follower": lambda **more: ControlPlaneSync(URL, api_key=None, trust_anchor=DID, **more),
    "endpoint": lambda **more: Endpoint(URL, api_key=None, timeout=1, **more),
}

SECRET = {"NOMOS_WEBHOOK_SECRET": "s" * 40}
VARIABLES: dict[str, tuple[dict[str, str], Callable[[], Any]]] = {
    "from_env": ({"NOMOS_CONTROL_URL": URL}, AuthGuard.from_env),
    "from_env, pdp": ({"NOMOS_CONTROL_URL": HERE, "NOMOS_PDP_URL": URL}, AuthGuard.from_env),
    "async from_env": ({"NOMOS_CONTROL_URL": URL}, AsyncAuthGuard.from_env),
    "webhook": (SECRET | {"NOMOS_WEBHOOK_URL": URL}, lambda: webhook(os.environ)),
    "upstream": (
        {"NOMOS_GITHUB_URL": URL},
        lambda: upstreams(load_catalog(None), os.environ),
    ),
}


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (INSECURE_HOSTS, "NOMOS_CONTROL_URL", "NOMOS_WEBHOOK_URL"):
        monkeypatch.delenv(name, raising=False)


def refused(place: Place) -> errors.ConfigurationError:
    with pytest.raises(errors.ConfigurationError, match=f"is plain http to {HOST}") as raised:
        place()
    return raised.value


@pytest.mark.parametrize("place", LIBRARY.values(), ids=LIBRARY)
def test_an_argument_is_named_where_there_is_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = str(refused(place))
    assert ARGUMENT.findall(said) == VARIABLE.findall(said) == [HOST]
    assert "--" not in said
    place(allow_insecure=ARGUMENT.findall(said))
    monkeypatch.setenv(INSECURE_HOSTS, *VARIABLE.findall(said))
    place()


@pytest.mark.parametrize(("environ", "place"), VARIABLES.values(), ids=VARIABLES)
def test_a_url_from_a_variable_is_permitted_by_a_variable(
    environ: dict[str, str], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    wrong = refused(place)
    assert environ[wrong.setting] == URL
    assert VARIABLE.findall(str(wrong)) == [HOST]
    assert "allow_insecure=" not in str(wrong)
    assert "--" not in str(wrong)
    monkeypatch.setenv(INSECURE_HOSTS, *VARIABLE.findall(str(wrong)))
    place()


def parts(folder: Path, did: str) -> dict[str, list[str]]:
    key = folder / "key"
    key.touch(0o600)
    key.write_text("nomos_app_secret\n")
    policies = folder / "p.cedar"
    policies.write_text("permit(principal, action, resource);")
    held = ["--policies", str(policies), "--data", str(folder / "data")]
    pdp = ["pdp", "--issuer", did, "--key-file", str(key), "--port", "0", *held]
    ports = ["--control-port", "0", "--pdp-port", "0"]
    return {
        "dev": ["dev", *ports, *held],
        "pdp": [*pdp, "--control-url", URL],
        "pdp upstream": [*pdp, "--control-url", HERE],
        "apps": ["apps", "list", "--key-file", str(key)],
        "apps option": ["apps", "list", "--key-file", str(key), "--control-url", URL],
    }


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("dev", "NOMOS_WEBHOOK_URL"),
        ("dev", "NOMOS_GITHUB_URL"),
        ("pdp", None),
        ("pdp upstream", "NOMOS_GITHUB_URL"),
        ("apps", "NOMOS_CONTROL_URL"),
        ("apps option", None),
    ],
)
def test_a_command_names_only_options_that_it_has(
    name: str, variable: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOMOS_WEBHOOK_SECRET", "s" * 40)
    if variable == "NOMOS_WEBHOOK_URL" or variable is None:
        monkeypatch.delenv("NOMOS_GITHUB_URL", raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, URL)
    if variable != "NOMOS_WEBHOOK_URL":
        monkeypatch.delenv("NOMOS_WEBHOOK_SECRET")
    words = parts(tmp_path, DID)[name]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    said = " ".join(done.stderr.split())
    assert f"is plain http to {HOST}" in said
    assert VARIABLE.findall(said) == [HOST]
    assert "allow_insecure=" not in said
    command = typer.main.get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    known = {option for each in command.params for option in each.opts}
    assert set(re.findall(r"--[a-z-]+", said)) <= known
    assert bool(OPTION.findall(said)) is (variable is None)
