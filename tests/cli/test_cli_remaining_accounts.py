"""`nomos apps` and `nomos revoke` list the remaining accounts of an operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from wires import Peer, serving

from nomos.cli.app import app

APP = {"id": "app_1", "name": "bad", "role": "operator", "covers": [], "apiKey": "nomos_app_1_x"}
GONE = {"id": "app_1", "kind": "app", "alreadyRevoked": False, "known": True, "seq": 1, "at": "now"}
LEFT = [
    {"id": "app_2", "name": "ada\x1b[2J", "role": "operator"},
    {"id": "app_3", "name": "bot", "role": "agent"},
]


def run(tmp_path: Path, answer: dict[str, Any], *words: str) -> tuple[str, str]:
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text("nomos_app_0_secret\n")

    def serve(peer: Peer) -> None:
        while request := peer.request():
            peer.reply(request, answer)

    with serving(serve) as wire:
        options = ["--control-url", wire.url, "--key-file", str(file)]
        done = CliRunner().invoke(app, [*words, *options])
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("apps", "disable", "app_1"), APP),
        (("apps", "rotate", "app_1"), APP),
        (("revoke", "app_1"), GONE),
    ],
)
def test_remaining_accounts_are_listed_with_commands_to_disable_or_confirm(
    words: tuple[str, ...], answer: dict[str, Any], tmp_path: Path
) -> None:
    reply_body = answer | {"left": 102, "leftApps": LEFT}
    out, said = run(tmp_path, reply_body, *words)
    assert "102 accounts still work that app_1 registered" in said
    assert "A person who used app_1 may still have their keys" in " ".join(said.split())
    assert ("if another person had the old key" in said) is (words[1] == "rotate")
    for part in ("apps disable app_2", "apps confirm app_2", "apps disable app_3", "and 100 more"):
        assert part in said
    assert "apps confirm app_3" not in said
    assert "\x1b" not in said
    assert "app_2" not in out
    out, said = run(tmp_path, reply_body, *words, "--json")
    assert (json.loads(out)["left"], said) == (102, "")
    for nothing in ({"left": 0, "leftApps": []}, {}):
        assert "still work" not in run(tmp_path, answer | nothing, *words)[1]
