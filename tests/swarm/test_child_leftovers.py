"""Files that remain when parent or child is killed, and their removal."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from swarm.family import READ, READS, Agent, environment, program, run

from nomos import Child, fork_child
from nomos._io import child_files
from nomos._io.child_files import ChildDirectory, remove_stale

LARGE = [READ | {"pol": [["==", ".args.text", "x" * 1500]]}] * 64

TESTS = {"PYTHONPATH": os.pathsep.join(sys.path)}

PARENT = """
    import json, os, subprocess, sys, time
    from swarm.family import READ, agent
    from nomos import fork_child
    planner = agent()
    large = [READ | {"pol": [["==", ".args.text", "x" * 1500]]}] * 64
    child = fork_child(parent_chain=planner.chain, capabilities=large)
    sleep = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(100)"]
"""

POPEN = f"""{PARENT}
    process = child.popen(sleep, stdout=subprocess.PIPE)
    process.stdout.readline()
    print(json.dumps([process.pid, None]), flush=True)
    time.sleep(100)
"""

ENV = f"""{PARENT}
    env = child.env(base=os.environ)
    process = subprocess.Popen(sleep, env=env, stdout=subprocess.PIPE)
    process.stdout.readline()
    print(json.dumps([process.pid, env["NOMOS_AGENT_KEY_HANDOVER_FILE"]]), flush=True)
    time.sleep(100)
"""


def forked(planner: Agent) -> Child:
    return fork_child(parent_chain=planner.chain, capabilities=LARGE)


@contextmanager
def started(source: str, temporary: Path) -> Iterator[tuple[int, int, Any]]:
    """Yield the pids of a parent and its child, and the parent's output; kill both at the end."""
    env = environment(temporary) | TESTS
    child = 0
    with subprocess.Popen(program(source), env=env, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        try:
            child, report = json.loads(parent.stdout.readline())
            yield parent.pid, child, report
        finally:
            kill(parent.pid, child)


def kill(*pids: int) -> None:
    for pid in filter(None, pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def aged(folder: Path) -> None:
    old = time.time() - child_files.OLD - 1
    os.utime(folder, (old, old))


@pytest.mark.parametrize("who", ["child", "parent", "both"])
def test_popen_leaves_no_file_if_parent_or_child_is_killed(temporary: Path, who: str) -> None:
    with started(POPEN, temporary) as (parent, child, _):
        assert list(temporary.iterdir()) == []
        kill(*{"child": [child], "parent": [parent], "both": [parent, child]}[who])
        time.sleep(0.05)
        assert list(temporary.iterdir()) == []


def test_files_of_killed_processes_are_removed_by_the_next_fork(temporary: Path) -> None:
    with started(ENV, temporary) as (_, _, file):
        (place,) = temporary.iterdir()
        aged(place)
        remove_stale(temporary, time.time())
        assert Path(file).exists(), "its maker lives"
    assert Path(file).exists()
    os.utime(place)
    remove_stale(temporary, time.time())
    assert Path(file).exists(), "its child may still start"
    aged(place)
    other = ChildDirectory()
    assert not place.exists()
    other.remove()
    assert list(temporary.iterdir()) == []


def test_a_child_that_reads_after_its_parent_was_killed_leaves_nothing(temporary: Path) -> None:
    source = f"""{PARENT}
    print(json.dumps([0, child.env()]), flush=True)
    time.sleep(100)
"""
    with started(source, temporary) as (_, _, env):
        pass
    done = run(READS, environment(temporary) | env)
    assert len(json.loads(done.stdout)["chains"]) == 64, done.stderr
    assert list(temporary.iterdir()) == []


def test_a_parent_that_ends_leaves_nothing(temporary: Path) -> None:
    for end in ("", "    sys.exit(3)", "    raise KeyboardInterrupt"):
        source = (
            f"{PARENT}\n    child.env()\n    print(len(os.listdir(os.environ['TMPDIR'])))\n{end}"
        )
        done = run(source, environment(temporary) | TESTS)
        assert done.stdout == "1\n", done.stderr
        assert list(temporary.iterdir()) == []


def test_a_child_that_nothing_refers_to_leaves_nothing(planner: Agent, temporary: Path) -> None:
    child = forked(planner)
    child.env()
    assert list(temporary.iterdir()) != []
    del child
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_a_forked_process_leaves_its_parents_files_alone(planner: Agent, temporary: Path) -> None:
    child = forked(planner)
    key = Path(child.env()["NOMOS_AGENT_KEY_HANDOVER_FILE"])
    pid = os.fork()
    if pid == 0:
        child.close()
        own = ChildDirectory()
        apart = own.path.parent != key.parent.parent
        own.remove()
        os._exit(0 if apart and key.exists() else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert key.exists()
    child.close()
    assert list(temporary.iterdir()) == []


def test_only_what_a_parent_makes_is_ever_removed(temporary: Path) -> None:
    folders = {}
    for name, mode in [("nomos-child-open", 0o755), ("nomos-child-other", 0o700), ("mine", 0o700)]:
        folders[name] = temporary / name
        folders[name].mkdir(mode=mode)
        (folders[name] / "thesis.txt").write_text("do not lose")
        aged(folders[name])
    (temporary / "nomos-child-file").write_text("do not lose")
    (temporary / "nomos-child-link").symlink_to(folders["mine"])
    remove_stale(temporary, time.time())
    assert len(list(temporary.rglob("thesis.txt"))) == 3
    assert (temporary / "nomos-child-file").exists()
    assert (temporary / "nomos-child-link").exists()


def test_a_thousand_children_with_files_need_one_descriptor(
    planner: Agent, temporary: Path
) -> None:
    def opened() -> list[str]:
        return [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]

    before = len(opened())
    folders = [ChildDirectory() for _ in range(1000)]
    assert sum(each.startswith(f"{temporary}{os.sep}") for each in opened()) == 1
    # Other threads of this process may open a few meanwhile, and no thousand.
    assert len(opened()) < before + 20
    assert len(list(temporary.iterdir())) == 1
    for folder in folders:
        folder.remove()
    assert list(temporary.iterdir()) == []


def test_a_folder_removed_by_the_last_child_is_made_again(temporary: Path) -> None:
    first = ChildDirectory()
    first.path.rmdir()
    first.path.parent.rmdir()
    assert not first.there()
    second = ChildDirectory()
    assert second.there()
    first.remove()
    assert second.there()
    second.remove()
    assert list(temporary.iterdir()) == []
