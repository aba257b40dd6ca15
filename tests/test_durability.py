"""`kill -9` under load: acknowledged answers are stored, and no approval is used twice."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from long_runs import times

NOMOS = Path(sys.executable).with_name("nomos")
KILLS = times(20, short=4)

POLICY = """
@id("files") permit (principal, action in Action::"/filesystem", resource);

@id("ask") @step_up("editor")
forbid (principal, action == Action::"/filesystem/file/write", resource)
unless { context.cosigned };
"""


@dataclass
class Seen:
    """The replies that clients got. Several threads append to the lists."""

    allowed: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    approved: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Dev:
    """A `nomos dev` that is killed and started again on the same folder and ports."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._folder = folder
        (folder / "policy.cedar").write_text(POLICY)
        self._ports = _free_ports(2)
        self.url = f"http://127.0.0.1:{self._ports[0]}"
        self._options = (
            f"--policies={folder / 'policy.cedar'}",
            f"--data={self.data}",
            f"--control-port={self._ports[0]}",
            f"--pdp-port={self._ports[1]}",
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    NOMOS,
                    "dev",
                    "--policies",
                    self._folder / "policy.cedar",
                    "--data",
                    self.data,
                    f"--control-port={self._ports[0]}",
                    f"--pdp-port={self._ports[1]}",
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "COLUMNS": "100"},
            )
        for _ in range(600):
            try:
                if httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.05)
        raise AssertionError((self._folder / "log").read_text())

    def stop(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def key(self, file: str) -> dict[str, str]:
        return {"authorization": f"Bearer {(self.data / file).read_text().strip()}"}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def load(dev: Dev, seen: Seen) -> Iterator[None]:
    """Agents that read, and agents that write after asking; until the block ends."""
    done = threading.Event()
    agent, operator = dev.key("agent-api-key"), dev.key("operator-api-key")
    threads = [threading.Thread(target=_reads, args=(dev, agent, seen, done)) for _ in range(2)]
    threads.append(threading.Thread(target=_writes, args=(dev, agent, operator, seen, done)))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join(30)


def _reads(dev: Dev, agent: dict[str, str], seen: Seen, done: threading.Event) -> None:
    with httpx.Client(base_url=dev.url, headers=agent, trust_env=False, timeout=5) as client:
        while not done.is_set():
            said = _post(client, "/v1/authorize", question("read", "a.txt"), seen)
            if said.get("decision") == "allow":
                seen.allowed.append(said["receiptId"])


def _writes(
    dev: Dev, agent: dict[str, str], operator: dict[str, str], seen: Seen, done: threading.Event
) -> None:
    """Ask, have it approved, and use the approval from two threads at once."""
    with httpx.Client(base_url=dev.url, trust_env=False, timeout=5) as client:
        number = 0
        while not done.is_set():
            number += 1
            body = question("write", f"{random.random()}.txt", content=str(number))
            said = _post(client, "/v1/authorize", body, seen, agent)
            envelope = said.get("approvalEnvelopeId")
            if envelope is None:
                continue
            path = f"/v1/approvals/{envelope}"
            try:
                read = client.get(path, headers=operator).json()
            except httpx.HTTPError:
                continue
            answer = {"approve": True, "version": read["version"]}
            if _post(client, f"{path}/decide", answer, seen, operator).get("state") == "approved":
                seen.approved.append(envelope)
            retries = [
                threading.Thread(
                    target=_use, args=(dev, agent, {**body, "cosignerEnvelopeId": envelope}, seen)
                )
                for _ in range(2)
            ]
            for retry in retries:
                retry.start()
            for retry in retries:
                retry.join(20)


def _use(dev: Dev, agent: dict[str, str], body: dict[str, Any], seen: Seen) -> None:
    with httpx.Client(base_url=dev.url, trust_env=False, timeout=5) as client:
        said = _post(client, "/v1/authorize", body, seen, agent)
        if said.get("decision") == "allow":
            seen.allowed.append(said["receiptId"])
            seen.used.append(body["cosignerEnvelopeId"])


def _post(
    client: httpx.Client,
    path: str,
    body: dict[str, Any],
    seen: Seen,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    try:
        reply = client.post(path, json=body, headers=headers)
    except httpx.TransportError:
        time.sleep(0.01)  # the server is being killed or started
        return {}
    if reply.status_code not in (200, 409, 429, 503):
        seen.wrong.append(f"{path}: {reply.status_code} {reply.text}")
    said = reply.json()
    return said if isinstance(said, dict) and reply.status_code == 200 else {}


def _wait_for_more(seen: Seen) -> None:
    """Wait until the clients got more replies, however slow the machine is."""
    allowed, approved = len(seen.allowed), len(seen.approved)
    end = time.monotonic() + 120
    while len(seen.allowed) <= allowed + 10 or len(seen.approved) <= approved:
        assert time.monotonic() < end, "the server answers nobody"
        time.sleep(0.01)


def question(verb: str, path: str, **args: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "command": f"/filesystem/file/{verb}",
        "resource": {"provider": "filesystem", "path": path},
    }
    return {**body, "args": args} if args else body


def test_a_server_killed_under_load_keeps_everything_that_it_acknowledged(tmp_path: Path) -> None:
    dev, seen = Dev(tmp_path), Seen()
    dev.start()
    try:
        with load(dev, seen):
            for _ in range(KILLS):
                _wait_for_more(seen)
                time.sleep(random.uniform(0, 0.3))
                dev.stop(signal.SIGKILL)
                dev.start()
            _wait_for_more(seen)
        export = tmp_path / "audit.ndjson"
        reply = httpx.get(
            f"{dev.url}/v1/audit/export",
            headers=dev.key("operator-api-key"),
            trust_env=False,
            timeout=60,
        )
        export.write_bytes(reply.raise_for_status().content)
        known = httpx.get(f"{dev.url}/.well-known/nomos", trust_env=False).json()
    finally:
        dev.stop(signal.SIGTERM)
    assert seen.wrong == []
    assert len(seen.allowed) > 10 * KILLS
    assert len(seen.approved) > KILLS
    lines = [json.loads(line) for line in export.read_bytes().splitlines()]
    rows = [line["row"] for line in lines if line["type"] == "row"]
    allowed = {row["id"] for row in rows if row.get("decision") == "allow"}
    assert set(seen.allowed) <= allowed, "an allow that a client saw is not on record"
    used = Counter(
        row["envelope"]
        for row in rows
        if row["kind"] == "decision" and row["decision"] == "allow" and "envelope" in row
    )
    assert max(used.values()) == 1, "an approval counted twice"
    assert max(Counter(seen.used).values()) == 1
    assert set(seen.used) <= set(used)
    done = subprocess.run(
        [NOMOS, "audit", "verify", export, "--issuer", known["issuers"][0]["did"]],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
