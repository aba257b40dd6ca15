"""Real child processes: their variables, keys and chains, and how they are started."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from swarm.family import (
    API_KEY,
    READ,
    READS,
    RECEIPT,
    Agent,
    environment,
    key_file,
    new_party,
    program,
    run,
)

from nomos import Child, ConfigurationError, fork_child

PARENTS = {
    "NOMOS_API_KEY": API_KEY,
    "NOMOS_OPERATOR_KEY": API_KEY,
    "NOMOS_OPERATOR_KEY_FILE": "/parents/operator.key",
    "NOMOS_AGENT_KEY_FILE": "/parents/agent.key",
    "NOMOS_GITHUB_TOKEN": "ghp_secret",
    "NOMOS_GITHUB_TOKEN_FILE": "/parents/token",
    "NOMOS_WEBHOOK_SECRET": "hush",
    "NOMOS_WEBHOOK_URL": "https://user:hush@example.com",
    "NOMOS_DB_PASSWORD": "hush",
    "CB_API_KEY": "cb_hush",
    "MY_KEY": f"Bearer {API_KEY}",
    "MY_URL": f"https://x/?key={API_KEY.replace('_', '%5F')}",
    "NOMOS_PARENT_UCAN_CHAIN": '["parents.own.chain"]',
    "NOMOS_PARENT_UCAN_CHAIN_FILE": "/parents/chain",
    "NOMOS_PARENT_RECEIPT_ID": "evt_parents",
    "NOMOS_SWARM_ID": "parents",
    "NOMOS_AGENT_KEY_FD": "99",
    "NOMOS_AGENT_KEY_HANDOVER_FILE": "/parents/handover",
    "NOMOS_MAX_CHAIN_DEPTH": "3",
}
"""What authenticates a parent, and what its own parent gave it."""

HARMLESS = {
    "NOMOS_CONTROL_URL": "http://127.0.0.1:1",
    "NOMOS_PDP_URL": "http://127.0.0.1:2",
    "MONKEY": "business",
    "EMPTY": "",
}


def forked(planner: Agent, **changes: Any) -> Child:
    values: dict[str, Any] = {"parent_chain": planner.chain, "capabilities": [READ]}
    return fork_child(**values | changes)


def names_in(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


def open_files() -> set[str]:
    return {one.name for one in Path("/proc/self/fd").iterdir()}


LARGE = [READ | {"pol": [["==", ".args.text", "x" * 1500]]}] * 64
"""Capabilities whose chains take more than 200 KiB."""


def test_env_adds_the_childs_variables_and_removes_the_parents(planner: Agent) -> None:
    child = forked(planner, audience_did=new_party().did)
    added = {
        "NOMOS_PARENT_UCAN_CHAIN": json.dumps(list(child.chain), separators=(",", ":")),
        "NOMOS_PARENT_RECEIPT_ID": RECEIPT,
        "NOMOS_SWARM_ID": RECEIPT,
        "NOMOS_MAX_CHAIN_DEPTH": "8",
    }
    assert child.env() == added
    assert child.env(base={}) == added
    base = PARENTS | HARMLESS
    assert child.env(base=base) == HARMLESS | added
    assert base == PARENTS | HARMLESS


def test_a_guard_may_add_where_its_servers_are(planner: Agent) -> None:
    child = forked(planner, audience_did=new_party().did)
    own = Child._of(child._forked, {"NOMOS_PDP_URL": "http://127.0.0.1:7"})
    assert own.env()["NOMOS_PDP_URL"] == "http://127.0.0.1:7"
    assert own.env(base=HARMLESS)["NOMOS_PDP_URL"] == "http://127.0.0.1:7"


def test_env_keeps_a_childs_key_file_and_removes_its_parents(
    planner: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    party = new_party()
    own = {"NOMOS_AGENT_KEY_FILE": key_file(tmp_path, party)}
    monkeypatch.setenv("NOMOS_AGENT_KEY_FILE", "/parents/agent.key")
    child = forked(planner, audience_did=party.did)
    for base in (os.environ, own):
        assert "NOMOS_AGENT_KEY_FILE" not in child.env(base=base)
    with child.popen(program(READS), env=environment() | own, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["chains"] == [list(child.chain)]
    says = ["sh", "-c", 'echo "$NOMOS_AGENT_KEY_FILE"']
    for started, base in [(child, dict(os.environ)), (forked(planner), environment() | own)]:
        with started.popen(says, env=base, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.read() == b"\n"


WAITS = """
    import sys, time
    print("here", flush=True)
    sys.stdin.read()
"""


def test_a_started_childs_environment_holds_no_credential_of_its_parent(
    planner: Agent, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = environment(temporary)
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in (before | PARENTS | HARMLESS).items():
        monkeypatch.setenv(name, value)
    child = forked(planner)
    seed = child._seed
    assert seed is not None
    with child.popen(program(WAITS), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        proc = Path(f"/proc/{process.pid}")
        content = (proc / "environ").read_bytes()
        command = (proc / "cmdline").read_bytes()
        process.stdin.close()
    found = dict(each.split("=", 1) for each in content.decode().split("\0") if each)
    assert found.pop("NOMOS_AGENT_KEY_FD").isdigit()
    for secret in (API_KEY, "hush", "ghp_secret", "parents", seed.reveal()):
        assert secret.encode() not in content
        assert secret.encode() not in command
    assert list(temporary.iterdir()) == []
    with child:
        added = child.env()
        del added["NOMOS_AGENT_KEY_HANDOVER_FILE"]
    assert found == before | HARMLESS | added


OPEN = """
    import json, os
    from nomos import read_parent_chain_from_env
    def files():
        found = {}
        for name in os.listdir("/proc/self/fd"):
            try:
                found[name] = os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                pass
        return {name: one for name, one in found.items() if int(name) > 2}
    before = files()
    parent = read_parent_chain_from_env()
    after = {n: one for n, one in files().items() if before.get(n) == one}
    print(json.dumps({
        "before": before, "after": after,
        "chains": [list(chain) for chain in parent.chains],
    }))
"""


@pytest.mark.parametrize("capabilities", [[READ], LARGE], ids=["small", "large"])
def test_popen_writes_no_file_and_leaves_no_descriptor_open(
    planner: Agent, temporary: Path, capabilities: list[Any]
) -> None:
    child = forked(planner, capabilities=capabilities)
    mine = open_files()
    with child.popen(program(OPEN), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        report = json.loads(process.stdout.read())
    assert report["chains"] == [list(chain) for chain in child.chains]
    assert report["after"] == {}
    pipes = [one for one in report["before"].values() if one.startswith("pipe:")]
    files = [one for one in report["before"].values() if one.endswith("(deleted)")]
    assert (len(pipes), len(files)) == (1, int(len(capabilities) > 1))
    assert len(report["before"]) == len(pipes) + len(files)
    assert open_files() == mine
    assert list(temporary.iterdir()) == []


def test_children_started_by_many_threads_at_once_get_their_own_and_nothing_else(
    planner: Agent,
) -> None:
    children = [forked(planner, capabilities=LARGE[:40]) for _ in range(12)]
    report: dict[str, Any] = {}
    mine = open_files()
    together = threading.Barrier(len(children))

    def start(child: Child) -> None:
        together.wait()
        with child.popen(program(OPEN), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            report[child.agent] = json.loads(process.stdout.read())

    threads = [threading.Thread(target=start, args=(child,)) for child in children]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in children:
        assert report[child.agent]["chains"] == [list(chain) for chain in child.chains]
        assert len(report[child.agent]["before"]) == 1 + int(len(child._text) > 96 * 1024)
    assert open_files() == mine


@pytest.mark.anyio
@pytest.mark.parametrize("capabilities", [[READ], LARGE], ids=["small", "large"])
async def test_open_starts_a_child_from_a_loop(
    planner: Agent, temporary: Path, capabilities: list[Any]
) -> None:
    async with forked(planner, capabilities=capabilities) as child:
        async with await child.open(program(OPEN)) as process:
            assert process.stdout is not None
            text = b"".join([chunk async for chunk in process.stdout])
        report = json.loads(text)
    assert report["chains"] == [list(chain) for chain in child.chains]
    assert report["after"] == {}
    assert names_in(temporary) == []


def test_popen_takes_the_arguments_of_subprocess_popen(planner: Agent, tmp_path: Path) -> None:
    extra = os.open(tmp_path, os.O_RDONLY)
    source = f"""
        import os
        os.fstat({extra})
        print(os.getcwd(), os.environ["MINE"], "NOMOS_API_KEY" in os.environ)
    """
    child = forked(planner)
    env = environment() | {"MINE": "yes", "NOMOS_API_KEY": API_KEY}
    with child.popen(
        program(source), env=env, cwd=tmp_path, pass_fds=[extra], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read() == f"{tmp_path} yes False\n"
    os.close(extra)
    with pytest.raises(FileNotFoundError):
        child.popen(["/nowhere/at/all"])
    empty = child.popen(
        [sys.executable, "-c", "import os; print(sorted(os.environ))"],
        env={},
        stdout=subprocess.PIPE,
    )
    out, _ = empty.communicate()
    assert "PATH" not in out.decode()


def test_env_writes_files_that_the_child_removes(planner: Agent, temporary: Path) -> None:
    child = forked(planner, capabilities=LARGE)
    env = child.env(base=environment(temporary))
    key, chains = (
        Path(env[f"NOMOS_{one}_FILE"]) for one in ("AGENT_KEY_HANDOVER", "PARENT_UCAN_CHAIN")
    )
    assert child._seed is not None
    assert key.read_text() == child._seed.reveal()
    assert chains.stat().st_size > 200 * 1024
    for place, mode in [
        (key, 0o600),
        (chains, 0o600),
        (key.parent, 0o700),
        (key.parent.parent, 0o700),
    ]:
        assert stat.S_IMODE(place.stat().st_mode) == mode
    assert all("/nomos-child-" in str(one) for one in (key, chains))
    done = run(READS, env)
    assert json.loads(done.stdout)["chains"] == [list(chain) for chain in child.chains], done.stderr
    assert list(temporary.iterdir()) == []
    second = run(READS, env)
    assert second.returncode != 0
    assert "ConfigurationError: NOMOS_PARENT_UCAN_CHAIN_FILE=" in second.stderr
    again = child.env(base=environment(temporary))
    assert json.loads(run(READS, again).stdout)["chains"]
    child.close()
    assert list(temporary.iterdir()) == []


def test_env_called_twice_names_the_same_files(planner: Agent, temporary: Path) -> None:
    with forked(planner) as child:
        assert child.env() == child.env()
        assert len(list(temporary.rglob("key"))) == 1


def test_a_closed_child_starts_nothing(planner: Agent, temporary: Path) -> None:
    child = forked(planner)
    child.env()
    child.close()
    child.close()
    assert list(temporary.iterdir()) == []
    assert child._seed is None
    for act in (child.env, lambda: child.popen(["true"])):
        with pytest.raises(ConfigurationError, match="closed"):
            act()
    assert child.chain


def test_closing_a_child_does_not_end_its_process(planner: Agent) -> None:
    with forked(planner) as child:
        process = child.popen(
            program("import time; time.sleep(0.3)" + READS.replace("\n    ", "\n")),
            stdout=subprocess.PIPE,
        )
    out, _ = process.communicate(timeout=30)
    assert json.loads(out)["receipt"] == RECEIPT


def test_a_child_forks_a_grandchild_that_forks_another(planner: Agent) -> None:
    source = """
        import json, os, subprocess, sys
        from nomos import fork_child, read_parent_chain_from_env
        source, left = sys.argv[1], int(sys.argv[2])
        parent = read_parent_chain_from_env(os.environ)
        if left == 0:
            print(len(parent.chain))
            sys.exit()
        child = fork_child(parent_chain=parent.chain, capabilities=[
            {"with": "github://acme/app", "can": "repo:read"}])
        sys.exit(child.popen([sys.executable, "-c", source, source, str(left - 1)]).wait())
    """
    command = program(source)
    child = forked(planner)
    with child.popen([*command, command[-1], "4"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"6\n"


def test_a_forked_process_keeps_the_inherited_key_and_chain(planner: Agent) -> None:
    source = """
        import os, sys
        from nomos import fork_child, read_parent_chain_from_env
        parent = read_parent_chain_from_env()
        child = os.fork()
        again = read_parent_chain_from_env()
        made = fork_child(parent_chain=again, capabilities=[
            {"with": "github://acme/app", "can": "repo:read"}])
        assert len(made.chain) == 3
        if child == 0:
            os._exit(7)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert forked(planner).popen(program(source)).wait(60) == 7


def test_a_child_started_through_a_shell_gets_key_and_chain(planner: Agent) -> None:
    child = forked(planner, capabilities=LARGE)
    command = program(READS)
    with child.popen(["sh", "-c", '"$0" "$@"; true', *command], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert len(json.loads(process.stdout.read())["chains"]) == 64
