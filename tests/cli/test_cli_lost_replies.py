"""A lost reply: the command line repeats the request, or prints how to check the outcome."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner
from wires import Peer, Wire, serving

from nomos._core import derived_key
from nomos.cli.app import app

OWN = "app_" + "0" * 26
APP = {"id": "app_1", "name": "a bot", "role": "agent", "covers": [], "createdAt": "2026-01-01"}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text(f"nomos_{OWN}_secret\n")
    return file


def run(wire: Wire, key_file: Path, *words: str) -> tuple[int, str, str]:
    options = ["--control-url", wire.url, "--key-file", str(key_file)]
    done = CliRunner().invoke(app, [*words, *options])
    return done.exit_code, done.stdout, done.stderr


def header(request: bytes, name: str) -> str:
    lines = request.split(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return next(
        (v for n, _, v in (line.partition(": ") for line in lines) if n.lower() == name), ""
    )


def losing(
    times: int, seen: list[bytes], answer: Callable[[Peer, bytes], None]
) -> Callable[[Peer], None]:
    """Read requests, lose the first replies, and then answer."""

    def serve(peer: Peer) -> None:
        while request := peer.request():
            seen.append(request)
            if len(seen) <= times:
                return
            answer(peer, request)

    return serve


@pytest.mark.parametrize("words", [("apps", "create", "a bot"), ("apps", "rotate", "app_1")])
def test_the_new_key_is_shown_although_the_first_reply_was_lost(
    words: tuple[str, ...], key_file: Path
) -> None:
    seen: list[bytes] = []
    answer = lambda peer, request: peer.reply(request, APP | {"apiKey": "nomos_app_1_new"})  # noqa: E731
    with serving(losing(1, seen, answer)) as wire:
        code, out, _ = run(wire, key_file, *words)
    assert (code, out) == (0, "nomos_app_1_new\n")
    first, second = (header(request, "idempotency-key") for request in seen)
    assert first == second
    assert derived_key.is_random(first)


def test_an_operators_own_new_key_is_shown_although_the_old_one_is_void(key_file: Path) -> None:
    seen: list[bytes] = []

    def answer(peer: Peer, request: bytes) -> None:
        key = header(seen[0], "idempotency-key")
        new = f"nomos_{OWN}_{derived_key.derived_secret(key, operator=OWN, app=OWN)}"
        if header(request, "authorization") == f"Bearer {new}":
            peer.reply(request, {"apps": [APP | {"id": OWN, "role": "operator"}]})
        else:
            peer.sock.sendall(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")

    with serving(losing(1, seen, answer)) as wire:
        code, out, _ = run(wire, key_file, "apps", "rotate", OWN)
    assert code == 0
    key = header(seen[0], "idempotency-key")
    assert out == f"nomos_{OWN}_{derived_key.derived_secret(key, operator=OWN, app=OWN)}\n"


SHOWN = ("--version", "a" * 64)
"""What was read before, so that nothing is read again."""


@pytest.mark.parametrize(
    ("words", "look"),
    [
        (("approvals", "approve", "env_1", "--yes", *SHOWN), "nomos approvals show env_1"),
        (("approvals", "deny", "env_1", *SHOWN), "nomos approvals show env_1"),
        (("keys", "rotate"), "nomos keys list"),
        (("apps", "disable", "app_1"), "nomos apps list"),
        (("revoke", "env_1"), "nomos audit tail"),
    ],
)
def test_an_unknown_outcome_is_reported_with_a_command_to_check(
    words: tuple[str, ...], look: str, key_file: Path
) -> None:
    seen: list[bytes] = []
    with serving(losing(9, seen, lambda *_: None)) as wire:
        code, out, err = run(wire, key_file, *words)
    assert (code, out) == (1, "")
    text = " ".join(err.split())
    assert "it may have taken effect" in text
    assert f"`{look}`" in text
    assert {json.dumps(header(request, "idempotency-key")) for request in seen} != set()
