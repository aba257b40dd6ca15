"""The command line refuses replies about other objects, and unsafe URLs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from audit.families import Log
from typer.testing import CliRunner
from wires import Peer, Wire, serving

from nomos.cli.app import app

OWN = "app_" + "0" * 26
DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
OTHER = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
NOW = "2026-01-01T00:00:00.000Z"
APP = {"id": "app_1", "name": "a bot", "role": "agent", "covers": [], "createdAt": NOW}
SERVICE = {"name": "files", "did": DID, "url": "https://files.example", "decides": False}
MEMBER = {"agent": OTHER, "depth": 0, "given": []}
FAMILY = {"root": OTHER, "complete": True, "members": [MEMBER]}
QUESTION = {
    "id": "env_1",
    "state": "denied",
    "command": "/filesystem/file/read",
    "version": "1",
    "roles": ["lead"],
    "approvedRoles": [],
    "approvalUrl": "https://nomos.example/a/env_1",
}
ADD = ("services", "add", "files", DID, SERVICE["url"])
CREATE = ("apps", "create", "a bot")

Answer = dict[str, Any]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text(f"nomos_{OWN}_secret\n")
    return file


@contextmanager
def answering(answer: Answer) -> Iterator[Wire]:
    """A control plane that answers every request with this, by its right `callId`."""

    def serve(peer: Peer) -> None:
        while request := peer.request():
            peer.reply(request, answer)

    with serving(serve) as wire:
        yield wire


def run(answer: Answer, key_file: Path, *words: str) -> tuple[int, str, str]:
    with answering(answer) as wire:
        options = ["--control-url", wire.url, "--key-file", str(key_file)]
        done = CliRunner().invoke(app, [*words, *options])
    assert not isinstance(done.exception, KeyError | TypeError | AttributeError)
    return done.exit_code, done.stdout, " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "answer", "look"),
    [
        (("approvals", "show", "env_2"), QUESTION, ""),
        (("approvals", "show", "env_2", "--json"), QUESTION, ""),
        (("approvals", "approve", "env_2", "--yes"), QUESTION, ""),
        (
            ("approvals", "approve", "env_2", "--yes", "--version", "1"),
            QUESTION,
            "nomos approvals show env_2",
        ),
        (
            ("approvals", "deny", "env_2", "--version", "1"),
            QUESTION,
            "nomos approvals show env_2",
        ),
        (CREATE, APP | {"name": "another", "apiKey": "nomos_app_1_x"}, "nomos apps list"),
        (CREATE, APP | {"role": "operator", "apiKey": "nomos_app_1_x"}, "nomos apps list"),
        (
            (*CREATE, "--role", "operator", "--covers", "lead"),
            APP | {"role": "operator", "covers": ["*"], "apiKey": "nomos_app_1_x"},
            "nomos apps list",
        ),
        (("apps", "rotate", "app_2"), APP | {"apiKey": "nomos_app_1_x"}, "nomos audit tail"),
        (("apps", "disable", "app_2"), APP, "nomos apps list"),
        (("apps", "disable", "app_2", "--json"), APP, "nomos apps list"),
        (("apps", "confirm", "app_2"), APP, "nomos apps list"),
        (ADD, SERVICE | {"name": "else"}, "nomos services list"),
        (ADD, SERVICE | {"did": OTHER}, "nomos services list"),
        (ADD, SERVICE | {"url": "https://else.example"}, "nomos services list"),
        (ADD, SERVICE | {"decides": True}, "nomos services list"),
        (("services", "remove", "else"), SERVICE, "nomos services list"),
        (("revoke", "app_2"), {"id": "app_1", "kind": "app"}, "nomos audit tail"),
        (("policy", "activate", "2"), {"version": 1, "hash": "0"}, "nomos policy versions"),
        (("audit", "receipt", "evt_2"), {"row": {"id": "evt_1"}}, ""),
        (("audit", "receipt", "evt_2"), {"row": []}, ""),
        (
            ("audit", "tree", "evt_2"),
            {"receipts": [{"row": {"id": "evt_1"}}], "more": False},
            "",
        ),
        (("audit", "tree", "evt_2"), {"receipts": [{"row": {"id": "evt_1"}}], "more": True}, ""),
        (("swarm", "tree", DID), FAMILY, ""),
        (("swarm", "tree"), FAMILY | {"root": OTHER, "swarms": [{"root": DID}]}, ""),
        (("approvals", "show", "env_2"), {}, ""),
        (("apps", "disable", "app_2"), {"id": None}, "nomos apps list"),
    ],
)
def test_a_reply_about_another_object_is_not_shown(
    words: tuple[str, ...], answer: Answer, look: str, key_file: Path
) -> None:
    code, out, said = run(answer, key_file, *words)
    assert (code, out) == (1, "")
    assert "the control plane was asked for" in said
    assert ("shows whether it took effect" in said) is bool(look)
    assert look in said


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JavaScript://nomos.example/%0aalert(1)",
        "data:text/html,hello",
        "file:///etc/passwd",
        "https://nomos.example@evil.example/",
        "https://nomos.example/\x1b]0;owned\x07",
        "https://nomos.example/\u202egnp",
        "https://nomos.example/a\nhttps://evil.example",
        "//evil.example",
        None,
        7,
    ],
)
@pytest.mark.parametrize(
    ("words", "around"),
    [
        (("approvals", "show", "env_1"), lambda url: QUESTION | {"approvalUrl": url}),
        (("approvals", "show", "env_1", "--json"), lambda url: QUESTION | {"approvalUrl": url}),
        (
            ("approvals", "approve", "env_1", "--yes"),
            lambda url: QUESTION | {"approvalUrl": url},
        ),
        (
            ("approvals", "list"),
            lambda url: {"approvals": [QUESTION, QUESTION | {"approvalUrl": url}]},
        ),
        (("approvals", "watch"), lambda url: {"approvals": [QUESTION | {"approvalUrl": url}]}),
        (("approvals", "open"), lambda url: {"url": url, "expiresAt": NOW}),
        (("services", "list"), lambda url: {"services": [SERVICE | {"url": url}]}),
    ],
)
def test_an_unsafe_url_is_not_shown(
    words: tuple[str, ...], around: Any, url: object, key_file: Path
) -> None:
    code, out, said = run(around(url), key_file, *words)
    assert (code, out) == (1, "")
    assert "unsafe URL" in said
    assert "evil" not in said
    assert "\x1b" not in said


def test_a_reply_about_the_requested_object_is_shown(key_file: Path) -> None:
    mine = {"url": "javascript:of-the-agent", "provider": "http"}
    view = QUESTION | {"resource": mine}
    code, out, _ = run(view, key_file, "approvals", "deny", "env_1", "--version", "1", "--json")
    assert (code, json.loads(out)["resource"]) == (0, mine)
    service = SERVICE | {"url": "", "createdAt": "a\x1b[2Jb"}
    code, out, _ = run({"services": [service]}, key_file, "services", "list")
    assert (code, out) == (0, f"files\t{DID}\t\taU+001B[2Jb\n")
    code, out, _ = run({"version": 2, "hash": "0"}, key_file, "policy", "activate", "2", "--json")
    assert (code, json.loads(out)["version"]) == (0, 2)


def test_a_truncated_swarm_without_the_agent_has_a_note(key_file: Path) -> None:
    log = Log()
    log.link(log.root, DID, log.grant(), command="/github/issue")
    answer = log.families().swarm(log.root, complete=False).as_json()
    code, shown, note = run(answer, key_file, "swarm", "tree", OTHER)
    assert (code, note) == (0, f"{OTHER} is not among the agents shown")
    assert shown.startswith(log.root)
    assert "only the latest were read" in shown
    code, _, note = run(answer, key_file, "swarm", "tree", DID)
    assert (code, note) == (0, "")
