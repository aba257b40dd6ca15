"""`nomos swarm`, from an export and against a server with forked agents."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from audit.families import APP, Log, did
from rich.console import Console
from typer.testing import CliRunner, Result

from nomos import AuthGuard
from nomos.audit.swarm import Swarm
from nomos.cli.app import app
from nomos.cli.swarm import view
from nomos.constraints import under

POLICY: Final = """
@id("files") permit(principal, action in Action::"/filesystem", resource is Filesystem);
@id("children-read") forbid(principal, action == Action::"/filesystem/file/write", resource)
unless { principal.delegationDepth == 0 };
"""
NOTES: Final = {"provider": "filesystem", "path": "notes"}
NOTE: Final = {"provider": "filesystem", "path": "notes/a.md"}

run = CliRunner()


def nomos(*args: object, env: Mapping[str, str] | None = None) -> Result:
    return run.invoke(app, ["swarm", *map(str, args)], env=dict(env or {}))


def good(*args: object, env: Mapping[str, str] | None = None) -> str:
    result = nomos(*args, env=env)
    assert result.exit_code == 0, result.output
    return result.stdout


def said(*args: object, env: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in good(*args, "--json", env=env).splitlines()]


# A server


@dataclass
class Agents:
    """A root agent with a child and a grandchild, each a guard of its own."""

    environ: Mapping[str, str]
    root: str
    child: str
    grandchild: str
    receipt: str


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agents]:
    files = tmp_path_factory.mktemp("files")
    (files / "notes").mkdir()
    (files / "notes" / "a.md").write_text("hello")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOMOS_WORKSPACE", str(files))
        with AuthGuard.embedded(policies=POLICY) as guard:
            script = files / "child.py"
            script.write_text(CHILD)
            yield _acted(guard, script)


def _acted(guard: AuthGuard, script: Path) -> Agents:
    url, key = str(guard.control_plane_url), guard.approvals.operator_key
    assert key is not None
    grant = guard.authorize(command="/filesystem", resource=NOTES)
    reads = [{"with": "filesystem:///notes", "can": "file:*"}]
    child = guard.fork_child(parent_chain=grant.chain, capabilities=reads)
    done = subprocess.run(
        [sys.executable, script],
        env=child.env(base={"PATH": "/usr/bin:/bin"}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    child.close()
    guard.revoke(child)
    return Agents(
        environ={"NOMOS_CONTROL_URL": url, "NOMOS_OPERATOR_KEY": key.reveal()},
        root=guard.did(),
        child=child.agent,
        grandchild=done.stdout.strip(),
        receipt=str(grant.receipt_id),
    )


CHILD: Final = """
import httpx, os, sys
from nomos import AuthGuard

NOTE = {"provider": "filesystem", "path": "notes/a.md"}
READ = {"command": "/filesystem/file/read", "resource": NOTE}

if len(sys.argv) > 1:
    with AuthGuard.from_env() as guard:
        for path in ("notes/a.md", "secrets"):
            headers = guard.headers(**READ)
            url = os.environ["NOMOS_PDP_URL"] + "/filesystem/file/read"
            httpx.get(url, params={"path": path}, headers=headers, trust_env=False)
        print(guard.did())
else:
    with AuthGuard.from_env() as guard:
        assert guard.authorize(**READ)
        write = {"command": "/filesystem/file/write", "resource": NOTE}
        assert not guard.authorize(**write, args={"content": ""})
        only = [{"with": "filesystem:///notes", "can": "file:read"}]
        with guard.fork_child(capabilities=only) as child:
            assert child.popen([sys.executable, __file__, "grandchild"]).wait(60) == 0
"""


def test_the_tree_shows_forks_calls_and_revocations(agents: Agents) -> None:
    [swarm] = map(Swarm.model_validate, said("tree", env=agents.environ))
    assert [(each.agent, each.forked_by) for each in swarm.members] == [
        (agents.root, None),
        (agents.child, agents.root),
        (agents.grandchild, agents.child),
    ]
    root, child, grandchild = swarm.members
    assert [(each.command, each.resource) for each in root.given] == [("/filesystem", NOTES)]
    assert [each.command for each in child.given] == ["/filesystem/file"]
    assert [each.command for each in grandchild.given] == ["/filesystem/file/read"]
    assert child.given[0].revoked is not None
    assert [(each.reason, each.times) for each in child.refused] == [("policy_denied", 1)]
    assert [(each.kind, each.command) for each in child.allowed] == [
        ("decision", "/filesystem/file/read")
    ]
    assert (grandchild.calls.allowed, grandchild.calls.refused) == (1, 1)
    assert [each.reason for each in grandchild.refused] == ["resource_mismatch"]
    assert swarm.unverified_agents == []


def test_a_swarm_is_found_by_agent_receipt_and_delegation(agents: Agents) -> None:
    whole = good("tree", env=agents.environ)
    cids = [each["given"][0]["cid"] for each in said("tree", env=agents.environ)[0]["members"]]
    for ident in (agents.root, agents.child, agents.grandchild, agents.receipt, *cids):
        assert good("tree", ident, env=agents.environ) == whole
    for wrong, expected in (
        ("no body", "'no body'"),
        ("\x1b[2J", "'\\x1b[2J'"),
        ("a/../b", "nothing at"),
    ):
        missing = nomos("tree", wrong, env=agents.environ)
        assert (missing.exit_code, missing.stdout) == (1, "")
        assert expected in missing.stderr


def test_the_list_has_it_without_its_members(agents: Agents) -> None:
    [summary] = said("list", env=agents.environ)
    assert (summary["root"], summary["agents"], summary["depth"]) == (agents.root, 3, 2)
    assert "members" not in summary
    shown = good("list", env=agents.environ)
    assert agents.root in shown
    assert "3 agents, 2 deep" in shown


def test_an_export_and_the_server_show_the_same_swarm(agents: Agents, tmp_path: Path) -> None:
    file = tmp_path / "audit.ndjson"
    done = run.invoke(app, ["audit", "export", "--out", str(file)], env=dict(agents.environ))
    assert done.exit_code == 0, done.output
    result = nomos("tree", "--file", file)
    assert result.stdout == good("tree", env=agents.environ)
    assert "not verified" in result.stderr and "--issuer did:key:" in result.stderr
    assert said("tree", agents.child, "--file", file) == said("tree", "--file", file)
    [offline], [online] = said("tree", "--file", file), said("tree", env=agents.environ)
    assert offline == online


def test_only_operators_and_auditors_read_swarms(agents: Agents) -> None:
    headers = {"authorization": f"Bearer {agents.environ['NOMOS_OPERATOR_KEY']}"}
    with httpx.Client(base_url=agents.environ["NOMOS_CONTROL_URL"], trust_env=False) as client:
        assert client.get("/v1/swarms").status_code == 401
        for query, field in (
            ("limit=0", "limit"),
            ("limit=51", "limit"),
            ("limit=00500", "limit"),
            ("limit=1&limit=2", "limit"),
            ("limit=x", "limit"),
            ("limit=%D9%A1", "limit"),
            ("tree=x", "tree"),
            ("limit=1&tree=x", "tree"),
        ):
            reply = client.get(f"/v1/swarms?{query}", headers=headers)
            assert (reply.status_code, reply.json()["fields"]) == (400, [field]), query
        [swarm] = client.get("/v1/swarms?limit=1", headers=headers).json()["swarms"]
        reply = client.get(f"/v1/swarms/{agents.child}", headers=headers).json()
        assert {name: reply[name] for name in swarm} == swarm
        assert reply["others"] == []
        missing = client.get("/v1/swarms/evt_1", headers=headers)
        assert (missing.status_code, missing.json()["error_code"]) == (404, "not_found")


# A file


def log_of_many() -> Log:
    log = Log()
    grant = log.grant(detail={"swarm": "nightly"})
    for number in range(10):
        child = did(number)
        link = log.link(log.root, child, grant, command="/github/issue")
        for other in range(10):
            agent = did((number, other))
            log.link(child, agent, link, detail={"pol": [["==", ".args.state", "open"]]})
            log.call(agent)
    bad = did((3, 3))
    log.call(bad, "resource_out_of_scope", resource={**APP, "repo": "web"})
    log.call(bad, "resource_out_of_scope", resource={**APP, "repo": "secret"})
    log.revoke(did(7), "its machine was lost")
    log.call(did("thief"), "chain_invalid")
    return log


def test_the_latest_of_a_file_or_the_one_that_is_named(tmp_path: Path) -> None:
    log, other = Log(), Log("other")
    other.records = log.records
    log.link(log.root, did("a"), detail={"swarm": "nightly"})
    other.link(other.root, did("a"), detail={"swarm": "nightly"})
    file = log.export(tmp_path / "audit.ndjson")

    def roots(*args: object) -> list[str]:
        return [each["root"] for each in said(*args, "--file", file)]

    assert roots("list") == [other.root, log.root]
    assert roots("list", "-n", "1") == [other.root]
    assert roots("tree") == [other.root]
    assert roots("tree", "-n", "2") == [other.root, log.root]
    assert roots("tree", log.root) == [log.root]
    assert roots("tree", "nightly") == [other.root]
    shown = nomos("tree", did("a"), "--file", file)
    assert f"also in the swarms with the roots {log.root}" in shown.stderr
    assert len(good("tree", "-n", "2", "--file", file).split("\n\n")) == 4


def test_a_log_without_delegations_has_no_swarms(tmp_path: Path) -> None:
    file = Log().export(tmp_path / "audit.ndjson")
    for command in ("list", "tree"):
        result = nomos(command, "--file", file)
        assert (result.exit_code, result.stdout) == (0, "")
        assert "delegated anything" in result.stderr
    assert said("tree", "--file", file) == []
    missing = nomos("tree", "nightly", "--file", file)
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "'nightly'" in missing.stderr


def test_a_file_that_is_no_export_is_refused(tmp_path: Path) -> None:
    lines = log_of_many().export(tmp_path / "good").read_bytes().splitlines(keepends=True)
    changed = lines[2].replace(b'"depth"', b'"width"').replace(b"nightly", b"daily")
    cases = {
        "No such file": None,
        "it ends after line 0": b"",
        "line 1: the line is not JSON": b"hello\n",
        "line 2: the row was changed after the export": b"".join([lines[0], lines[2]]),
        "line 3: the row was changed after the export": b"".join(
            [*lines[:2], changed.replace(b"/github/issue", b"/github/repo2"), *lines[3:]]
        ),
        f"it ends after line {len(lines) - 1}": b"".join(lines[:-1]),
    }
    for number, (why, content) in enumerate(cases.items()):
        file = tmp_path / f"{number}"
        if content is not None:
            file.write_bytes(content)
        result = nomos("tree", "--file", file)
        assert result.exit_code == 1, why
        assert why in result.stderr.replace("\n", ""), result.stderr
        assert "--file" in result.stderr


# How it looks


def shown(log: Log, width: int, *, everything: bool = False) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, highlight=False)
    view.tree(log.swarm(), console, everything=everything)
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue()).splitlines()


def test_a_hundred_grandchildren_fit_on_a_page_and_the_bad_one_stands_out() -> None:
    lines = shown(log_of_many(), 80)
    assert len(lines) < 50
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "111 agents, 2 deep · 100 calls · 3 refused · 1 revoked" in text
    assert "8 equal agents" in text
    assert "80 equal agents" in text
    assert "refused  /github/issue/list 2 times on 2 resources resource_out_of_scope" in text
    assert re.search(r"z6Mk\w{4}…\w{4}  revoked 12:\d\d:\d\dZ: its machine was lost", text)
    assert "never seen with a valid chain" in text


def test_everything_is_every_agent_in_full() -> None:
    log = log_of_many()
    text = "\n".join(shown(log, 200, everything=True))
    assert "alike" not in text
    for member in log.swarm().members:
        assert member.agent in text
        assert all(given.cid in text for given in member.given if given.cid)
    assert "owner=acme repo=web" in text
    assert "… " not in text


def test_long_texts_are_folded_beside_their_label_and_never_cut() -> None:
    log = Log()
    path = "/".join(["folder"] * 15)
    log.link(log.root, did("a"), resource={"provider": "filesystem", "path": path})
    lines = shown(log, 60)
    assert max(map(len, lines)) <= 60
    expected = "".join(line.strip("│└├─ ") for line in lines)
    assert path in expected


def test_expiry_on_another_day_has_a_date_and_other_delegators_a_name() -> None:
    log = Log()
    log.link(log.root, did("a"), expires_at=1_900_000_000)
    log.link(log.root, did("b"))
    log.link(did("b"), did("a"), command="/x", resource={})
    text = "\n".join(shown(log, 120))
    assert "until 2030-03-17 17:46:40Z" in text
    assert f"/x on anything until 12:03:20Z from {view.short(did('b'))}" in text


def test_many_commands_are_summed_up() -> None:
    log = Log()
    for number in range(9):
        log.call(log.root, "expired", command=f"/github/x{number}")
    text = "\n".join(shown(log, 100))
    assert text.count("refused  ") == view.LISTED
    assert "and 5 more: --all shows them" in text
    assert "\n".join(shown(log, 100, everything=True)).count("refused  ") == 9
    log.records *= 20
    for number in range(200):
        log.call(log.root, "expired", command=f"/y{number}")
    assert "earlier actions" in "\n".join(shown(log, 100))


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (["==", ".args.state", "open"], '.args.state == "open"'),
        (["like", ".resource.path", "a*"], '.resource.path like "a*"'),
        (["not", ["==", ".cmd", "/x"]], 'not (.cmd is "/x")'),
        (under("path", "src").pol[0], 'path is under "src"'),
        (["==", 1], '["==", 1]'),
        ({"a": 1}, '{"a": 1}'),
    ],
)
def test_policy_statements_are_read_as_conditions(statement: Any, expected: str) -> None:
    assert view.condition(statement) == expected


def test_names_are_long_enough_to_be_distinct() -> None:
    one, two = did("a"), did("a")[:-6] + "x" + did("a")[-5:]
    name = view.names([one, two, "app"])
    assert name(one) != name(two)
    assert name("app") == "app"
    assert view.names([one])(one) == f"{one[8:16]}…{one[-4:]}"
    odd = ["x" * 500 + "a", "x" * 500 + "b"]
    assert len(view.names(odd)(odd[0])) < 200


def test_control_characters_of_a_record_are_not_printed() -> None:
    evil = "a\x1b[2J\u202eb\nc"
    log = Log()
    log.link(
        log.root,
        f"did:key:z6Mk{evil * 9}",
        command=evil,
        resource={"provider": evil},
        detail={"by": evil, "swarm": evil, "pol": [evil, ["==", evil, evil]]},
        cid=evil,
    )
    log.call(log.root, evil, command=evil)
    log.call(evil, evil)
    log.revoke(log.root, evil)
    for everything in (False, True):
        text = "\n".join(shown(log, 100, everything=everything))
        assert not {"\x1b", "\u202e", "\r", "\x07"} & set(text)


def test_incomplete_counts_are_marked() -> None:
    file = io.StringIO()
    swarm = log_of_many().families().swarm(did("root"), complete=False)
    view.tree(swarm, Console(file=file), everything=False)
    assert "at least 100 calls" in file.getvalue()
    assert "only the latest were read" in file.getvalue()
    assert "\x1b" not in file.getvalue()
    assert max(map(len, file.getvalue().splitlines())) > 80
