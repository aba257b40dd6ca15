"""A real tree of processes: one root, its children and grandchildren, some of them killed.

The root is this process. Every other one has a chain and a key that its parent handed to it, and
no API key. Each does what it may, tries five things that it may not, and goes on reading.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from long_runs import times

from nomos import AuthGuard, Child

POLICY = """
@id("files") permit (principal, action in Action::"/filesystem", resource);

@id("careful") @step_up("editor") @reason("careful files are read with somebody looking")
forbid (principal, action, resource is Filesystem)
when { resource.path like "*/careful" } unless { context.cosigned };
"""
CHILDREN: Final = times(10, short=6)
GRANDCHILDREN: Final = times(10, short=4)
LAST: Final = str(CHILDREN - 1)
"""A child that is killed, which ends its children."""

ORPHANS: Final = frozenset(f"{LAST}.{number}" for number in range(GRANDCHILDREN))
EQUAL: Final = (f"{child}.{child}" for child in range(2, min(CHILDREN - 1, GRANDCHILDREN)))
KILLED: Final = (LAST, *EQUAL, "3.0", "4.0")
REVOKED: Final = "1"
GOING_ON: Final = "2"
MEMBER: Final = Path(__file__).with_name("member.py")

PROVEN: Final = frozenset(
    {"chain_attenuation_violation", "resource_out_of_scope", "approval_mismatch", "revoked"}
)
"""Codes of refusals that always say who was refused: the chain as far as its root was in order."""


@dataclass(frozen=True)
class Grown:
    """The tree: where its processes log, and the root's own view of its children."""

    guard: AuthGuard
    folder: Path
    scratch: Path
    children: tuple[Child, ...]
    processes: tuple[subprocess.Popen[bytes], ...]

    def lines(self, name: str) -> list[dict[str, Any]]:
        file = self.folder / f"{name}.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def everyone(self) -> dict[str, list[dict[str, Any]]]:
        return {file.stem: self.lines(file.stem) for file in self.folder.glob("*.jsonl")}

    def said(self, what: str) -> dict[str, list[dict[str, Any]]]:
        """Of each process that did such a thing, what it logged of it."""
        found = {
            name: [line for line in lines if line["what"] == what]
            for name, lines in self.everyone().items()
        }
        return {name: lines for name, lines in found.items() if lines}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grown]:
    """The whole life of a tree, up to the end of its last process."""
    folder, scratch = (tmp_path_factory.mktemp(name) for name in ("journals", "scratch"))
    with AuthGuard.embedded(policies=POLICY) as guard:
        _fill(guard)
        grant = guard.authorize(
            command="/filesystem",
            resource={"provider": "filesystem", "path": "t"},
            ttl_seconds=1800,
        ).require()
        children = guard.fork_children(
            [
                {"capabilities": [{"with": f"filesystem:///t/{name}", "can": "file:read"}]}
                for name in range(CHILDREN)
            ],
            parent_chain=grant.chain,
        )
        envelope = _approved(guard)
        processes = tuple(
            _start(children, name, folder, scratch, envelope) for name in range(CHILDREN)
        )
        grown = Grown(guard, folder, scratch, children, processes)
        try:
            _live(grown)
            yield grown
        finally:
            for process, child in zip(processes, children, strict=True):
                if process.stdin is not None:
                    process.stdin.close()
                process.kill()
                process.wait()
                child.close()


def _fill(guard: AuthGuard) -> None:
    assert guard.workspace is not None
    for child in range(CHILDREN):
        for name in (f"t/{child}", *(f"t/{child}/{n}" for n in range(GRANDCHILDREN))):
            (guard.workspace / name).mkdir(parents=True, exist_ok=True)
            (guard.workspace / name / "own").write_text(name)


def _approved(guard: AuthGuard) -> str:
    """An approval that a person gave to the root."""
    asked = guard.authorize(
        command="/filesystem/file/read",
        resource={"provider": "filesystem", "path": "t/careful"},
    )
    assert asked.approval_envelope_id is not None
    assert guard.approvals.decide(asked.approval_envelope_id, approve=True)
    return asked.approval_envelope_id


def _start(
    children: tuple[Child, ...], name: int, folder: Path, scratch: Path, envelope: str
) -> subprocess.Popen[bytes]:
    child = children[name]
    sibling = folder / f"sibling-of-{name}.json"
    sibling.write_text(json.dumps(list(children[(name + 1) % CHILDREN].chain)))
    guard_kind = ("sync", "asyncio", "trio")[name % 3]
    args = [str(name), guard_kind, str(GRANDCHILDREN), str(folder), str(sibling), envelope]
    base = {**os.environ, "TMPDIR": str(scratch), "NOMOS_API_KEY": "nomos_app_not_for_children"}
    process: subprocess.Popen[bytes] = child.popen(
        [sys.executable, str(MEMBER), *args], env=base, stdin=subprocess.PIPE
    )
    return process


def _live(tree: Grown) -> None:
    """Kill some, wait for the others to be done, revoke a branch, and let the rest end."""
    for name in KILLED:
        _until(lambda name=name: tree.lines(name)[1:] != [], 240)  # type: ignore[misc]
        os.kill(tree.lines(name)[0]["pid"], signal.SIGKILL)
    wanted = _names() - set(KILLED) - ORPHANS
    _until(lambda: wanted <= set(tree.said("done")), 300)
    (tree.folder / "go.new").write_text(f"{REVOKED} {GOING_ON}")
    (tree.folder / "go.new").rename(tree.folder / "go")
    both = {name for name in wanted if name.partition(".")[0] in (REVOKED, GOING_ON)}
    _until(lambda: both <= {name for name, lines in tree.said("read").items() if lines[3:]}, 120)
    branch = tree.children[int(REVOKED)]
    tree.guard.revoke(branch, reason="the branch is to stop")
    (tree.folder / "revoked-at").write_text(str(time.time()))
    stopped = {REVOKED, *(f"{REVOKED}.{number}" for number in range(GRANDCHILDREN))}
    _until(lambda: stopped <= _refused(tree, "revoked"), 60)
    time.sleep(2)  # the sibling goes on meanwhile
    for process in tree.processes:
        assert process.stdin is not None
        process.stdin.close()
    for number, process in enumerate(tree.processes):
        status = process.wait(120)
        assert status == (-signal.SIGKILL if str(number) in KILLED else 0), number
    _until(lambda: not _alive(tree), 60)


def _names() -> set[str]:
    return {str(child) for child in range(CHILDREN)} | {
        f"{child}.{number}" for child in range(CHILDREN) for number in range(GRANDCHILDREN)
    }


def _refused(tree: Grown, code: str) -> set[str]:
    reads = tree.said("read").items()
    return {name for name, lines in reads if any(line["code"] == code for line in lines)}


def _alive(tree: Grown) -> list[int]:
    pids = [lines[0]["pid"] for lines in tree.said("start").values()]
    return [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the tree did not come so far in time"
        time.sleep(0.05)


def test_every_process_ran(tree: Grown) -> None:
    starts = {name: lines[0] for name, lines in tree.said("start").items()}
    assert _names() - ORPHANS <= set(starts) <= _names()
    assert len({start["pid"] for start in starts.values()}) == len(starts)
    assert len({start["agent"] for start in starts.values()}) == len(starts)
    assert {start["guard_kind"] for start in starts.values()} == {"sync", "asyncio", "trio"}


def test_each_process_made_its_permitted_calls(tree: Grown) -> None:
    for name, lines in tree.said("read").items():
        codes = [line["code"] for line in lines]
        branch = name.partition(".")[0] == REVOKED
        assert set(codes[:-1]) <= {None}, name
        assert codes[-1] == ("revoked" if branch else None), name
        if name not in KILLED:
            assert len(codes) >= 2, name


def test_each_excess_attempt_was_refused_with_its_own_code(tree: Grown) -> None:
    tried = [line for lines in tree.said("attempt").values() for line in lines]
    # Five of each process that nothing ended.
    assert len(tried) >= 5 * len(_names() - set(KILLED) - ORPHANS)
    assert [line for line in tried if line["code"] != line["expected"]] == []
    assert len(Counter(line["kind"] for line in tried)) == 12


def test_a_revoked_branch_stops_within_five_seconds_and_its_sibling_goes_on(tree: Grown) -> None:
    revoked_at = float((tree.folder / "revoked-at").read_text())
    reads = tree.said("read")
    for name, lines in reads.items():
        if name.partition(".")[0] == REVOKED and name not in KILLED:
            (stopped,) = [line["at"] for line in lines if line["code"] == "revoked"]
            late = [line for line in lines if line["code"] is None and line["at"] > revoked_at + 5]
            assert late == [] and stopped < revoked_at + 30, name
    sibling = [line["at"] for line in reads[GOING_ON] if line["code"] is None]
    assert max(sibling) > revoked_at


def test_the_swarm_tree_agrees_with_what_the_processes_logged(tree: Grown) -> None:
    key = tree.folder / "operator-key"
    key.touch(mode=0o600)
    key.write_text(tree.guard.approvals.operator_key.reveal())
    where = ["--control-url", tree.guard.control_plane_url, "--key-file", str(key)]
    shown = subprocess.run(
        [sys.executable, "-m", "nomos", "swarm", "tree", "--json", *where, tree.guard.did()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    (swarm,) = map(json.loads, shown.stdout.splitlines())
    assert swarm["root"] == tree.guard.did()
    assert swarm["complete"] is True
    members = {member["agent"]: member for member in swarm["members"]}
    for name, lines in tree.everyone().items():
        if not lines:
            continue
        member = members[lines[0]["agent"]]
        _agrees(name, lines, member)
    parents = {member["agent"]: member.get("forkedBy") for member in members.values()}
    agents = {name: lines[0]["agent"] for name, lines in tree.said("start").items()}
    for name, agent in agents.items():
        above = name.rpartition(".")[0]
        assert parents[agent] == (agents[above] if above else tree.guard.did()), name


def _agrees(name: str, lines: list[dict[str, Any]], member: dict[str, Any]) -> None:
    """Compare counts; a process that was killed may have done one thing more than it logged."""
    reads = [line for line in lines if line["what"] == "read" and line["code"] is None]
    refused = Counter(
        line["code"]
        for line in lines
        if line["what"] in ("read", "attempt") and line["code"] in PROVEN
    )
    recorded: Counter[str] = Counter()
    for each in member["refused"]:
        if each["reason"] in PROVEN:
            recorded[each["reason"]] += each["times"]
    spare = 1 if name in KILLED or name in ORPHANS else 0
    assert len(reads) <= member["calls"]["allowed"] <= len(reads) + spare, name
    assert refused <= recorded and recorded.total() <= refused.total() + spare, name


def test_the_audit_verifies(tree: Grown) -> None:
    issuer = tree.guard.authorize(
        command="/filesystem/file/read", resource={"provider": "filesystem", "path": "t/x"}
    ).issuer
    export = tree.folder / "audit.ndjson"
    key = tree.folder / "operator-key"
    nomos = [sys.executable, "-m", "nomos", "audit"]
    where = ["--control-url", tree.guard.control_plane_url, "--key-file", str(key)]
    for args in (
        [*nomos, "export", *where, "--out", str(export)],
        [*nomos, "verify", str(export), "--issuer", str(issuer)],
    ):
        done = subprocess.run(args, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr


def test_no_file_is_left(tree: Grown) -> None:
    left = sorted(str(path.relative_to(tree.scratch)) for path in tree.scratch.rglob("*"))
    assert left == []
