"""The demo's steps with a child: another process, with a part of its parent's authority."""

from __future__ import annotations

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

REPLY_TIMEOUT: Final = 30.0
REVOKED_WITHIN: Final = 5.0  # seconds from a revocation within which the PDP must refuse
POLL_SECONDS: Final = 0.02


class DemoChild:
    """The child process, and the pipes to it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def send(self, what: str, path: str) -> dict[str, Any]:
        """Send the child one command, and return its reply."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, "path": path}) + "\n")
        self.process.stdin.flush()
        return self.receive()

    def receive(self) -> dict[str, Any]:
        """Return the child's next line. Raises `NomosError` if none arrives in time."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], REPLY_TIMEOUT)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise NomosError(f"the child process {self.process.pid} did not reply")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def close(self) -> None:
        """Close the child's input, and kill it if it does not end within 5 seconds."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def fork(demo: DemoHarness) -> DemoStep:
    """The agent may read a folder, and delegates one file of it to a child process."""
    path, _ = NOTE
    folder = str(Path(path).parent)
    grant = demo.ask_to_read(folder)
    demo.child = demo.guard.fork_child(
        parent_chain=grant.require().chain,
        capabilities=[{"with": f"filesystem:///{path}", "can": "file:read"}],
    )
    process = demo.child.popen(
        [sys.executable, "-m", "nomos.cli.demo.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    demo.running_child = DemoChild(process)
    reply = demo.running_child.receive()
    return DemoStep(
        ok=reply["agent"] == demo.child.agent
        and reply["agent"] != grant.agent
        and reply["pid"] == process.pid
        and reply["pid"] != os.getpid()
        and not reply["api_key"],
        summary=f"process {os.getpid()} may read {folder}; process {reply['pid']} got {path}",
        evidence={
            "parent_pid": os.getpid(),
            "parent": grant.agent,
            "child_pid": reply["pid"],
            "child": reply["agent"],
            "links": reply["links"],
            "given": f"{READ} on {path}",
            "parent_receipt": reply["parent_receipt"],
            "api_key_in_child": reply["api_key"],
        },
    )


def child_read(demo: DemoHarness) -> DemoStep:
    """The child asks with only its chain, and reads."""
    path, _ = NOTE
    reply = _child(demo).send("read", path)
    return DemoStep(
        ok=reply["decision"] == "allow"
        and reply.get("http_status") == 200
        and reply.get("sha256") == demo.hash_on_disk(path),
        summary=f"the child asked with its chain and no API key, and read {path}",
        decision=reply["decision"],
        evidence={"child_pid": _child(demo).process.pid, **reply},
    )


def child_widen_refused(demo: DemoHarness) -> DemoStep:
    """Each attempt of the child to exceed its authority is refused, for its own reason."""
    path, _ = NOTE
    reply = _child(demo).send("widen", path)
    expected = {
        "another command": "chain_attenuation_violation",
        "another file": "resource_out_of_scope",
        "a child with more": "chain_attenuation_violation",
        "the chain without its own link": "chain_invalid",
    }
    return DemoStep(
        ok=reply["refused"] == expected,
        summary=f"the child tried {len(expected)} ways to exceed its authority; each was refused",
        decision="deny" if reply["refused"] == expected else "allow",
        evidence={"child_pid": _child(demo).process.pid, **reply},
    )


def child_offline_read(demo: DemoHarness) -> DemoStep:
    """The child signs an invocation without the control plane, and the PDP verifies it."""
    path, _ = NOTE
    reply = _child(demo).send("offline", path)
    return DemoStep(
        ok=reply.get("http_status") == 200 and reply.get("sha256") == demo.hash_on_disk(path),
        summary=f"the child signed without asking the control plane, and read {path}",
        decision="allow" if reply.get("http_status") == 200 else "deny",
        evidence={"child_pid": _child(demo).process.pid, **reply},
    )


def revoked(demo: DemoHarness) -> DemoStep:
    """The parent revokes its delegation, and the child's next call is refused."""
    path, _ = NOTE
    child = _child(demo)
    before = child.send("offline", path)
    assert demo.child is not None, "an earlier step forked"
    revocation = demo.guard.revoke(demo.child, reason=f"shown in the {PURPOSE}")
    began = time.monotonic()
    reply = child.send("offline", path)
    while reply.get("http_status") == 200 and time.monotonic() - began < REVOKED_WITHIN:
        time.sleep(POLL_SECONDS)
        reply = child.send("offline", path)
    seconds = time.monotonic() - began
    return DemoStep(
        ok=before.get("http_status") == 200
        and reply.get("refusal") == "revoked"
        and seconds < REVOKED_WITHIN,
        summary=f"the delegation was revoked, and the child was refused after {seconds:.3f} s",
        decision="deny" if reply.get("http_status") != 200 else "allow",
        evidence={"child_pid": child.process.pid, "revoked": revocation.id}
        | {"http_status_before": before.get("http_status"), "seconds": round(seconds, 3)}
        | reply,
    )


SWARM: Final[tuple[Play, ...]] = (
    fork,
    child_read,
    child_widen_refused,
    child_offline_read,
    revoked,
)


def _child(demo: DemoHarness) -> DemoChild:
    assert demo.running_child is not None, "an earlier step started the child"
    return demo.running_child
