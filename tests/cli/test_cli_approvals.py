"""`nomos approvals` and `nomos apps`, as real processes, in a terminal and in a pipe."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prepared import NOMOS
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from nomos import AuthGuard
from nomos.cli import visible_text
from nomos.cli.approvals import view as approval_view

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LONG = "x" * 300
NASTY = f"first\n\n\u202egnp.exe\u202c and zero\u200bwidth\x1b[2J\r\n{LONG}\n"
POLICIES = """
@id("files") permit(principal, action in Action::"/filesystem", resource is Filesystem);
@id("writes") @step_up("lead") @reason("a lead looks before files are written")
forbid(principal, action == Action::"/filesystem/file/write", resource is Filesystem)
unless { context.cosigned };
"""


@dataclass
class Desk:
    """A running system, and the environment in which its operator types."""

    guard: AuthGuard
    environ: dict[str, str]

    def ask(self, path: str, content: str | None = "hello", **more: Any) -> str:
        grant = self.guard.authorize(
            command="/filesystem/file/write",
            resource={"provider": "filesystem", "path": path},
            args=None if content is None else {"content": content},
            **more,
        )
        assert grant.approval_envelope_id is not None
        return grant.approval_envelope_id

    def state(self, ident: str) -> str:
        return self.guard.approvals.get(ident).state

    def run(self, *args: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [NOMOS, *args],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=self.environ,
            input=stdin or "",
        )

    def views(self, *args: str) -> list[dict[str, Any]]:
        done = self.run("approvals", "list", "--json", *args)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with AuthGuard.embedded(policies=POLICIES) as guard:
        file = tmp_path_factory.mktemp("operator") / "key"
        file.touch(0o600)
        file.write_text(guard.approvals.operator_key.reveal() + "\n")
        plain = {name: value for name, value in os.environ.items() if "NOMOS_" not in name}
        yield Desk(
            guard,
            {
                **plain,
                "NOMOS_CONTROL_URL": str(guard.control_plane_url),
                "NOMOS_OPERATOR_KEY_FILE": str(file),
                "TERM": "xterm-256color",
            },
        )


class Terminal:
    """A command in a terminal of 80 by 60, and what it has shown."""

    def __init__(self, desk: Desk, *args: str) -> None:
        program = str(NOMOS)
        pid, self.fd = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 80, 0, 0))
            os.execve(program, [program, *args], desk.environ)
        self.pid = pid
        self.raw = ""

    @property
    def text(self) -> str:
        return ANSI.sub("", self.raw).replace("\r\n", "\n")

    def read(self) -> bool:
        """Read what is there, waiting a little; False at the end."""
        if select.select([self.fd], [], [], 0.2)[0]:
            try:
                piece = os.read(self.fd, 65536)
            except OSError:  # EIO: the other side has closed
                return False
            self.raw += piece.decode(errors="replace")
            return bool(piece)
        return True

    def until(self, text: str, seconds: float = 60) -> str:
        end = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < end and self.read(), self.text
        return self.text

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self, again: str = "", seconds: float = 60) -> int:
        """Wait for its end. If it takes long, `again` is typed once more.

        A signal that comes just before a process begins to read is only looked at when there is
        something to be read.
        """
        begun = time.monotonic()
        while self.read():
            assert time.monotonic() < begun + seconds, self.text
            if again and time.monotonic() > begun + 3:
                self.type(again)
                again = ""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextmanager
def terminal(desk: Desk, *args: str) -> Iterator[Terminal]:
    shown = Terminal(desk, *args)
    try:
        yield shown
    finally:
        try:
            os.kill(shown.pid, signal.SIGKILL)
            os.waitpid(shown.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(shown.fd)


def test_in_a_pipe_a_question_is_one_line_of_stable_columns(desk: Desk) -> None:
    ident = desk.ask("pipe.txt", NASTY)
    done = desk.run("approvals", "list")
    (line,) = [line for line in done.stdout.split("\n") if line.startswith(ident)]
    columns = line.split("\t")
    assert columns[:2] == [ident, "pending"]
    assert columns[3:6] == ["embedded", "/filesystem/file/write", "lead"]
    assert json.loads(columns[6]) == {"provider": "filesystem", "path": "pipe.txt"}
    assert json.loads(columns[7]) == {"content": NASTY}
    assert datetime.fromisoformat(columns[2]) > datetime.now(UTC)
    assert "\x1b" not in done.stdout
    assert all(letter.isprintable() or letter in "\t\n" for letter in done.stdout)


def test_json_is_the_approval_as_the_api_shows_it(desk: Desk) -> None:
    ident = desk.ask("json.txt")
    (view,) = [view for view in desk.views() if view["id"] == ident]
    one = json.loads(desk.run("approvals", "show", ident, "--json").stdout)
    assert view["args"] == {"content": "hello"}
    assert one.pop("serverTime")
    assert one == view


def test_show_prints_everything_and_marks_invisible_characters(desk: Desk) -> None:
    ident = desk.ask("show.txt", NASTY, purpose="for the test", context={"ticket": "OPS-1"})
    with terminal(desk, "approvals", "show", ident) as shown:
        assert shown.end() == 0
    for part in ("lead", "a lead looks before", "for the test", "ticket: OPS-1", "left", ident):
        assert part in shown.text
    assert "U+202Egnp.exeU+202C and zeroU+200Bwidth" in shown.text
    assert "U+001B[2JU+000D" in shown.text
    assert shown.text.count("x") >= 300
    assert "\u202e" not in shown.raw
    assert "\x1b[2J" not in shown.raw
    assert max(map(cell_len, shown.text.split("\n"))) <= 80
    assert "\x1b[32m" in shown.raw  # green: there is time


def test_the_queue_in_a_terminal_has_each_question_and_its_args(desk: Desk) -> None:
    ident, open_ = desk.ask("queue.txt", "one\ntwo"), desk.ask("any.txt", None)
    with terminal(desk, "approvals", "list") as shown:
        assert shown.end() == 0
    for part in (ident, open_, "│ one", "│ two", "path: queue.txt", "ANY: the agent may choose"):
        assert part in shown.text


def test_approve_shows_the_request_and_asks_for_confirmation(desk: Desk) -> None:
    ident = desk.ask("approve.txt")
    with terminal(desk, "approvals", "approve", ident, "--reason", "fine") as shown:
        asked = shown.until("Approve exactly this? [y/N]")
        assert "path: approve.txt" in asked
        assert "content: hello" in asked
        assert "your reason  fine" in asked
        assert desk.state(ident) == "pending"
        shown.type("y\r")
        assert shown.end() == 0
    assert "approved  /filesystem/file/write" in shown.text
    assert desk.state(ident) == "approved"
    (vote,) = json.loads(desk.run("approvals", "show", ident, "--json").stdout)["votes"]
    assert (vote["approve"], vote["reason"], vote["name"]) == (True, "fine", "embedded operator")


@pytest.mark.parametrize("answer", ["n\r", "\r", "\x03"])
def test_any_answer_but_yes_decides_nothing(desk: Desk, answer: str) -> None:
    ident = desk.ask(f"no-{ord(answer[0])}.txt")
    with terminal(desk, "approvals", "approve", ident) as shown:
        shown.until("Approve exactly this?")
        shown.type(answer)
        assert shown.end(answer if answer == "\x03" else "") != 0
    assert "Traceback" not in shown.text
    assert desk.state(ident) == "pending"


def test_without_a_terminal_approving_needs_yes(desk: Desk) -> None:
    ident = desk.ask("script.txt")
    refused = desk.run("approvals", "approve", ident, stdin="y\n")
    assert refused.returncode == 1
    assert f"nomos approvals show {ident}" in refused.stderr
    assert "--yes" in refused.stderr
    assert desk.state(ident) == "pending"
    done = desk.run("approvals", "approve", ident, "--yes", "--json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "approved")


def test_a_denial_has_a_reason_and_later_votes_name_the_operator(desk: Desk) -> None:
    ident = desk.ask("deny.txt")
    assert desk.run("approvals", "deny", ident, "--reason", "not now").returncode == 0
    assert desk.state(ident) == "denied"
    late = desk.run("approvals", "approve", ident, "--yes")
    assert late.returncode == 1
    assert "denied by embedded operator" in late.stderr
    (view,) = [view for view in desk.views("--state", "denied") if view["id"] == ident]
    assert view["votes"][0]["reason"] == "not now"
    assert ident not in [view["id"] for view in desk.views()]


def test_a_missing_approval_is_reported_in_one_sentence(desk: Desk) -> None:
    for act in (("show",), ("approve", "--yes"), ("deny",)):
        done = desk.run("approvals", act[0], f"env_{'0' * 26}", *act[1:])
        assert done.returncode == 1
        assert "there is no approval" in done.stderr
        assert "control_plane_url" not in done.stderr


def test_watch_in_a_terminal_shows_new_requests_until_ctrl_c(desk: Desk) -> None:
    for view in desk.views():
        desk.guard.approvals.decide(view["id"], approve=False)
    with terminal(desk, "approvals", "watch") as shown:
        shown.until("0 pending")
        ident = desk.ask("watched.txt", "new!")
        shown.until(ident)
        shown.until("content: new!")
        tall = desk.ask("tall.txt", "line\n" * 100)
        shown.until(f"{tall}  14 min left")
        assert "│ line" not in shown.text
        shown.type("\x03")
        assert shown.end() == 0
    assert "Traceback" not in shown.text
    assert "\x1b[?1049l" in shown.raw  # the screen is as it was


def test_watch_in_a_pipe_prints_each_change_once(desk: Desk) -> None:
    watching = subprocess.Popen(
        [NOMOS, "approvals", "watch", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=desk.environ,
    )
    assert watching.stdout is not None
    ident = desk.ask("change.txt")
    found = []
    for line in watching.stdout:
        view = json.loads(line)
        if view["id"] == ident:
            found.append(view["state"])
            if view["state"] == "approved":
                break
            desk.guard.approvals.decide(ident, approve=True)
    time.sleep(2.5)
    watching.send_signal(signal.SIGINT)
    rest, errors = watching.communicate(timeout=60)
    assert (watching.returncode, errors) == (0, "")
    assert found == ["pending", "approved"]
    assert ident not in rest


def test_open_prints_a_new_link_each_time(desk: Desk) -> None:
    one, two = (desk.run("approvals", "open").stdout.strip() for _ in range(2))
    assert re.fullmatch(rf"{desk.guard.control_plane_url}/approvals/login\?token=\w{{60,}}", one)
    assert one != two


def test_an_agents_key_and_a_missing_key_have_different_errors(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text(str(desk.guard.api_key))
    agent = desk.run("approvals", "list", "--key-file", str(file))
    assert agent.returncode == 1
    assert "with the role operator; yours has the role agent" in agent.stderr
    assert str(file) in agent.stderr
    assert str(desk.guard.api_key) not in agent.stderr
    file.chmod(0o640)
    assert f"chmod 600 {file}" in desk.run("apps", "list", "--key-file", str(file)).stderr
    desk.environ = {**desk.environ, "NOMOS_OPERATOR_KEY": "x"}
    assert "both set" in desk.run("approvals", "list").stderr
    del desk.environ["NOMOS_OPERATOR_KEY"]


def test_an_unreachable_server_is_named(desk: Desk) -> None:
    done = desk.run("approvals", "list", "--control-url", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "http://127.0.0.1:1 cannot be reached" in done.stderr
    assert "--control-url is right" in done.stderr


def test_an_app_is_made_rotated_and_disabled(desk: Desk) -> None:
    made = desk.run("apps", "create", "release bot")
    key = made.stdout.strip()
    assert re.fullmatch(r"nomos_app_\w{26}_\w{52}", key)
    assert "cannot be shown again" in made.stderr
    assert key not in made.stderr
    ident = key.removeprefix("nomos_").rsplit("_", 1)[0]
    (line,) = [row for row in desk.run("apps", "list").stdout.split("\n") if row.startswith(ident)]
    assert line.split("\t")[1:4] == ["agent", "release bot", ""]
    rotated = json.loads(desk.run("apps", "rotate", ident, "--json").stdout)
    assert rotated["apiKey"] != key
    disabled = desk.run("apps", "disable", ident)
    assert f"nomos revoke {ident}" in disabled.stdout
    assert "disabledAt" in desk.run("apps", "list", "--json").stdout


def view(**changes: Any) -> dict[str, Any]:
    return {
        "id": "env_1",
        "state": "pending",
        "app": {"id": "app_1", "name": "bot"},
        "command": "/a/b",
        "resource": {"provider": "a"},
        "argsBound": True,
        "roles": ["lead", "security"],
        "approvedRoles": ["lead"],
        "expiresAt": "2027-01-15T08:00:00.000Z",
        **changes,
    }


@pytest.mark.parametrize(
    ("seconds", "text", "style"),
    [
        (899, "14 min left", "green"),
        (301, "5 min left", "green"),
        (300, "5 min left", "yellow"),
        (60, "60 s left", "yellow"),
        (59, "59 s left", "bold red"),
        (-30, "expired 30 s ago", "dim"),
    ],
)
def test_the_style_of_the_remaining_time_shows_its_urgency(
    seconds: int, text: str, style: str
) -> None:
    now = datetime(2027, 1, 15, 8, tzinfo=UTC) - timedelta(seconds=seconds)
    left = approval_view.time_left(view(), now)
    assert (left.plain, str(left.style)) == (text, style)


def test_deceptive_text_is_quoted_or_marked() -> None:
    shown = {
        text: next(iter(approval_view.value(text))).plain for text in ("5", "true", " a", "", "a")
    }
    assert shown == {"5": "“5”", "true": "“true”", " a": "“ a”", "": "“”", "a": "a"}
    assert visible_text.shown("a\u00a0b\u2028c").plain == "aU+00A0bU+2028c"


def test_folded_lines_keep_all_text_and_fit_the_width() -> None:
    text = Text("漢字" * 40 + "abc" * 30)
    pieces = approval_view.folded(text, 30)
    assert all(cell_len(piece.plain) <= 30 for piece in pieces)
    assert all(piece.plain.startswith("┆ ") for piece in pieces[1:])
    assert "".join(piece.plain.removeprefix("┆ ") for piece in pieces) == text.plain


def test_a_name_cannot_add_a_column_to_a_line() -> None:
    odd = view(app={"id": "app_1", "name": "a\tb\nc"}, args={"x": "\t\n"})
    assert len("\t".join(approval_view.columns(odd)).split("\t")) == 10
    assert "\n" not in "\t".join(approval_view.columns(odd))


def test_the_service_is_shown_beside_every_command() -> None:
    asked = view(audience="did:key:zService\t", args={})
    now = datetime(2027, 1, 15, 7, 50, tzinfo=UTC)
    assert "service did:key:zServiceU+0009" in drawn(approval_view.queue([asked], now, 80))
    assert "service" not in drawn(approval_view.queue([view(args={})], now, 80))
    assert approval_view.columns(asked)[8] == "did:key:zServiceU+0009"
    assert approval_view.columns(view(args={}))[8] == ""


def test_constraints_are_shown_beside_the_args() -> None:
    held = ['state is "open"', "n is at most 5"]
    asked = view(argsBound=False, constraints=held)
    now = datetime(2027, 1, 15, 7, 50, tzinfo=UTC)
    output = drawn(approval_view.queue([asked], now, 80))
    assert "within the constraints" in output
    assert all(text in output for text in ("only if", *held))
    assert "only if" not in drawn(approval_view.queue([view(args={})], now, 80))
    full = asked | {"agent": "a", "ttlSeconds": 60, "policies": ["p"], "votes": []}
    full |= {"receiptId": "evt", "approvalUrl": "http://x"}
    assert re.search(
        r'only if\s+state is "open"\s+n is at most 5', drawn(approval_view.card(full, now, 80))
    )
    assert json.loads(approval_view.columns(asked)[9]) == held
    odd = view(constraints=['host is "p\u0430y"'], args={})
    assert 'In ASCII host is "p\\u0430y"' in drawn(approval_view.queue([odd], now, 80))
    assert approval_view.columns(view(args={}))[9] == "[]"


def drawn(what: Any) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(what)
    return console.export_text()


def test_confusable_letters_are_spelled_out() -> None:
    def lines(name: str, value: Any) -> list[str]:
        return [text.plain for text in approval_view.members({name: value})]

    assert lines("path", "notes/plan.md") == ["path: notes/plan.md"]
    assert lines("path", "n\u043etes/pl\u0430n.md") == [
        "path: n\u043etes/pl\u0430n.md",
        r'In ASCII "n\u043etes/pl\u0430n.md"',
    ]
    assert lines("a", "\u0430\x7f")[1] == r'In ASCII "\u0430\u007f"'
    assert lines("a", ["\u0430"])[1] == r'In ASCII ["\u0430"]'
    assert lines("p\u0430th", "x")[1] == r'In ASCII {"p\u0430th": "x"}'
    assert lines("text", f"\u0430{LONG}")[-1] == "1 character outside ASCII"
    assert lines("t\u0435xt", "\u0430\n\u0430")[-2:] == [
        r'Name in ASCII "t\u0435xt"',
        "2 characters outside ASCII",
    ]
    assert lines("t\u0435xt", "a\nb")[-1] == r'Name in ASCII "t\u0435xt"'


def test_a_hash_in_place_of_a_text_has_a_warning() -> None:
    sent = {"sha256": "0" * 64}
    now = datetime(2027, 1, 15, 7, 50, tzinfo=UTC)
    asked = view(args={"content": sent}, bound={"content": sent})
    assert "sent only the hash of this text" in drawn(approval_view.queue([asked], now, 120))
    for other in ({"content": {"sha256": "1" * 64}}, {}):
        honest = view(args={"content": sent}, bound=other)
        assert "only the hash" not in drawn(approval_view.queue([honest], now, 120))
