"""A control plane, a standalone PDP, and a connection between them that can be cut."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
from prepared import NOMOS

POLICY: Final = """
@id("all") permit(principal, action, resource);

@id("careful") @step_up("lead") @reason("a lead looks at careful files first")
forbid(principal, action in Action::"/filesystem", resource is Filesystem)
when { resource.path like "careful*" } unless { context.cosigned };
"""
READ: Final = "/filesystem/file/read"
NOTE: Final = {"provider": "filesystem", "path": "note"}

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")


class Wire:
    """A TCP proxy. Cut, it lets nothing through and keeps connections open, as a dead line does."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._whole = threading.Event()
        self._whole.set()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        """Let through again; connections of before are gone, as after a long silence."""
        for each in list(self._open):
            _shut(each)
        self._whole.set()

    def close(self) -> None:
        self._listener.close()
        self.mend()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        self._open.add(near)
        self._whole.wait()
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            _shut(near)
            return
        self._open.add(far)
        try:
            self._carry(near, far)
        except (OSError, ValueError):
            pass
        finally:
            for each in (near, far):
                self._open.discard(each)
                _shut(each)

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        while True:
            ready, _, _ = select.select(list(other), [], [], 0.2)
            for each in ready:
                content = each.recv(65536)
                self._whole.wait()
                if not content:
                    return
                other[each].sendall(content)


def _shut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


class Process:
    """A `nomos` command, and what it has printed until it was ready."""

    def __init__(self, *arguments: str, until: str) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("NOMOS_")}
        self._process = subprocess.Popen(
            [NOMOS, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ | {"COLUMNS": "400"},
            text=True,
        )
        assert self._process.stdout is not None
        lines = []
        for line in self._process.stdout:
            lines.append(_ANSI.sub("", line))
            if until in line:
                break
        self.said = "".join(lines)
        assert until in self.said, self.said
        self._rest: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._rest.extend(self._process.stdout)

    def stop(self) -> str:
        """End it as Ctrl-C does, and return everything else that it printed."""
        self._process.send_signal(signal.SIGINT)
        status = self._process.wait(20)
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        assert status == 0, "".join(self._rest)
        return "".join(self._rest)


class Plane:
    """`nomos dev` in a process of its own, and clients for its agent and its operator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "policy.cedar").write_text(POLICY)
        self.process = Process(
            *("dev", "--data", str(folder / "data"), "--policies", str(folder / "policy.cedar")),
            *("--control-port", "0", "--pdp-port", "0"),
            until="files served",
        )
        exports = dict(re.findall(r"export (\w+)=(\S+)", self.process.said))
        self.url, self.pdp_url = exports["NOMOS_CONTROL_URL"], exports["NOMOS_PDP_URL"]
        self.agent = client(self.url, exports["NOMOS_API_KEY"])
        self.operator_key_file = folder / "data" / "operator-api-key"
        self.operator = client(self.url, self.operator_key_file.read_text().strip())
        (folder / "data" / "workspace" / "note").write_text("hello")

    @property
    def issuer(self) -> str:
        return str(self.agent.get("/.well-known/nomos").json()["issuers"][-1]["did"])

    def grant(self, audience: str | None = None, **more: Any) -> dict[str, Any]:
        """What the app's agent is allowed: to read the note, at `audience`."""
        asked = {"command": READ, "resource": NOTE, **more}
        if audience is not None:
            asked["audience"] = audience
        reply = self.agent.post("/v1/authorize", json=asked)
        assert reply.json()["decision"] == "allow", reply.text
        found: dict[str, Any] = reply.json()
        return found

    def approved(self, audience: str | None = None, **more: Any) -> dict[str, Any]:
        """What a person has approved; it carries the envelope's id as `approvalEnvelopeId`."""
        asked = {"command": READ, **more} | ({} if audience is None else {"audience": audience})
        first = self.agent.post("/v1/authorize", json=asked).json()
        assert first["decision"] == "requires_step_up", first
        envelope = first["approvalEnvelopeId"]
        path = f"/v1/approvals/{envelope}"
        answer = {"approve": True, "version": self.operator.get(path).json()["version"]}
        decided = self.operator.post(f"{path}/decide", json=answer)
        assert decided.status_code == 200, decided.text
        grant = self.grant(**asked, cosignerEnvelopeId=envelope)
        return grant | {"approvalEnvelopeId": envelope}

    def revoke(self, ident: str) -> dict[str, Any]:
        reply = self.operator.post("/v1/revocations", json={"id": ident})
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def close(self) -> None:
        self.agent.close()
        self.operator.close()
        self.process.stop()


class Pdp:
    """`nomos pdp` in a process of its own, registered with a control plane."""

    def __init__(self, plane: Plane, control_url: str, name: str = "alone") -> None:
        folder = plane.folder / name
        folder.mkdir()
        workspace = folder / "workspace"
        workspace.mkdir()
        (workspace / "note").write_text("hello from alone")
        self.process = Process(
            *("pdp", "--control-url", control_url, "--issuer", plane.issuer),
            *("--key-file", str(plane.operator_key_file)),
            *("--policies", str(plane.folder / "policy.cedar"), "--data", str(folder / "data")),
            *("--workspace", str(workspace), "--port", "0"),
            until="nomos services add",
        )
        said = dict(re.findall(r"^  (\w+) +(\S+)$", self.process.said, re.MULTILINE))
        self.url, self.did = said["url"], said["did"]
        self.http = client(self.url)
        body = {"name": name, "did": self.did, "url": self.url, "decides": True}
        assert plane.operator.post("/v1/services", json=body).status_code == 200

    def read(self, token: str) -> httpx.Response:
        return read(self.http, token)

    def close(self) -> str:
        self.http.close()
        return self.process.stop()


def read(http: httpx.Client, token: str, path: str = "note") -> httpx.Response:
    """Read the note, or another file, with a token."""
    headers = {"authorization": f"Bearer {token}"}
    return http.get(READ, params={"path": path}, headers=headers)


def client(url: str, key: str | None = None) -> httpx.Client:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30)


def until(condition: Any, seconds: float) -> float:
    """Wait until `condition()` holds and return how long that took; fail after `seconds`."""
    began = time.perf_counter()
    while not condition():
        assert time.perf_counter() - began < seconds, "it did not happen in time"
        time.sleep(0.005)
    return time.perf_counter() - began


@contextmanager
def together(folder: Path) -> Iterator[tuple[Plane, Pdp, Wire]]:
    """All three, with the PDP at the other end of the wire."""
    plane = Plane(folder)
    wire = Wire(int(plane.url.rpartition(":")[2]))
    try:
        pdp = Pdp(plane, f"http://127.0.0.1:{wire.port}")
        try:
            yield plane, pdp, wire
        finally:
            wire.mend()
            pdp.close()
    finally:
        wire.close()
        plane.close()
