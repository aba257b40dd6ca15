"""The demo's steps with a child: a process of its own, with a part of its parent's authority."""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from nomos.cli.demo.harness import NOTE, PURPOSE, READ, DemoHarness, DemoStep, Play
from nomos.errors import NomosError

ANSWERS_WITHIN: Final = 30.0
HOLDS_WITHIN: Final = 5.0
"""Seconds from a revocation to the PDP's refusal."""

LOOKS_EVERY: Final = 0.02


class DemoChild:
    """The child's process, and the two ends of the talk with it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def order(self, what: str, path: str) -> dict[str, Any]:
        """Have the child do something, and return how it went."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, "path": path}) + "\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Return the next line that the child says; raises if it says nothing in time."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], ANSWERS_WITHIN)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise NomosError(f"the child process {self.process.pid} said nothing")
        told: dict[str, Any] = json.loads(line)
        return told

    def close(self) -> None:
        """Let the child end by itself, and insist if it does not."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def fork(stage: DemoHarness) -> DemoStep:
    """The agent may read a folder, and gives a child process one file of it."""
    path, _ = NOTE
    folder = str(Path(path).parent)
    grant = stage.ask_to_read(folder)
    stage.child = stage.guard.fork_child(
        parent_chain=grant.require().chain,
        capabilities=[{"with": f"filesystem:///{path}", "can": "file:read"}],
    )
    process = stage.child.popen(
        [sys.executable, "-m", "nomos.cli.demo.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stage.family = DemoChild(process)
    told = stage.family.hear()
    return DemoStep(
        "fork",
        ok=told["agent"] == stage.child.agent
        and told["agent"] != grant.agent
        and told["pid"] == process.pid
        and told["pid"] != os.getpid()
        and not told["api_key"],
        told=f"process {os.getpid()} may read {folder}, and gave process {told['pid']} {path}",
        evidence={
            "parent_pid": os.getpid(),
            "parent": grant.agent,
            "child_pid": told["pid"],
            "child": told["agent"],
            "links": told["links"],
            "given": f"{READ} on {path}",
            "parent_receipt": told["parent_receipt"],
            "api_key_in_child": told["api_key"],
        },
    )


def child_read(stage: DemoHarness) -> DemoStep:
    """The child asks with its chain alone, and reads."""
    path, _ = NOTE
    told = _family(stage).order("read", path)
    return DemoStep(
        "child_read",
        ok=told["decision"] == "allow"
        and told.get("http_status") == 200
        and told.get("sha256") == _on_disk(stage, path),
        told=f"the child asked with its chain and no API key, and read {path}",
        decision=told["decision"],
        evidence={"child_pid": _family(stage).process.pid, **told},
    )


def child_widen_refused(stage: DemoHarness) -> DemoStep:
    """Whatever more the child tries is refused, each for its own reason."""
    path, _ = NOTE
    told = _family(stage).order("widen", path)
    expected = {
        "another command": "chain_attenuation_violation",
        "another file": "resource_out_of_scope",
        "a child with more": "chain_attenuation_violation",
        "the chain without its own link": "chain_invalid",
    }
    return DemoStep(
        "child_widen_refused",
        ok=told["refused"] == expected,
        told=f"the child tried to do more in {len(expected)} ways; each was refused",
        decision="deny" if told["refused"] == expected else "allow",
        evidence={"child_pid": _family(stage).process.pid, **told},
    )


def child_offline_read(stage: DemoHarness) -> DemoStep:
    """The child signs on its chain, asks no control plane, and the PDP checks everything."""
    path, _ = NOTE
    told = _family(stage).order("offline", path)
    return DemoStep(
        "child_offline_read",
        ok=told.get("http_status") == 200 and told.get("sha256") == _on_disk(stage, path),
        told=f"the child signed for itself, asking nobody, and read {path}",
        decision="allow" if told.get("http_status") == 200 else "deny",
        evidence={"child_pid": _family(stage).process.pid, **told},
    )


def revoked(stage: DemoHarness) -> DemoStep:
    """The parent takes back what it gave, and the child's next call is refused."""
    path, _ = NOTE
    family = _family(stage)
    before = family.order("offline", path)
    assert stage.child is not None, "the step before forked"
    revocation = stage.guard.revoke(stage.child, reason=f"shown in the {PURPOSE}")
    began = time.monotonic()
    told = family.order("offline", path)
    while told.get("http_status") == 200 and time.monotonic() - began < HOLDS_WITHIN:
        time.sleep(LOOKS_EVERY)
        told = family.order("offline", path)
    seconds = time.monotonic() - began
    return DemoStep(
        "revoked",
        ok=before.get("http_status") == 200
        and told.get("refusal") == "revoked"
        and seconds < HOLDS_WITHIN,
        told=f"the parent took it back, and the child was refused after {seconds:.3f} s",
        decision="deny" if told.get("http_status") != 200 else "allow",
        evidence={"child_pid": family.process.pid, "revoked": revocation.id}
        | {"http_status_before": before.get("http_status"), "seconds": round(seconds, 3)}
        | told,
    )


FAMILY: Final[tuple[tuple[str, Play], ...]] = (
    ("fork", fork),
    ("child_read", child_read),
    ("child_widen_refused", child_widen_refused),
    ("child_offline_read", child_offline_read),
    ("revoked", revoked),
)


def _family(stage: DemoHarness) -> DemoChild:
    assert stage.family is not None, "the step before started the child"
    return stage.family


def _on_disk(stage: DemoHarness, path: str) -> str:
    return hashlib.sha256((stage.workspace / path).read_bytes()).hexdigest()
