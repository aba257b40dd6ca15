"""Waiting for an approval over real sockets, from a server with scripted decisions."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import anyio
import pytest
from guard_kinds import GUARD_KINDS, GuardKind

from nomos import AsyncAuthGuard, AuthGuard, errors

ENV = "env_01jb"
STAMP = "2026-09-21T14:13:20.000Z"
DENY = {"decision": "deny", "reason": "policy_denied", "receiptId": "evt_1"}


def view(ident: str, state: str) -> dict[str, Any]:
    return {
        "id": ident,
        "state": state,
        "agent": "did:key:z6Mk",
        "command": "/github/pr/create",
        "resource": {"provider": "github", "owner": "acme", "repo": "app"},
        "argsBound": False,
        "createdAt": STAMP,
        "expiresAt": STAMP,
        "approvalUrl": f"http://127.0.0.1/approvals/{ident}",
    }


@dataclass
class Plane:
    """A control plane that holds every question open until `decide`, or until it is closed.

    `refusals` are answered first, whatever is asked. `waiting` counts the open connections
    that are being held.
    """

    url: str = ""
    decided: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    looks: list[str] = field(default_factory=list)
    waiting: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, change: int) -> None:
        with self.lock:
            self.waiting += change

    def until_waiting(self, count: int) -> None:
        end = time.monotonic() + 10
        while self.waiting != count:
            assert time.monotonic() < end, f"{self.waiting} are waiting, not {count}"
            time.sleep(0.01)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    plane: ClassVar[Plane]

    def do_GET(self) -> None:
        self.plane.looks.append(self.path)
        if self.plane.refusals:
            status, headers = self.plane.refusals.pop(0)
            self.answer(status, {"error": "busy"}, headers)
            return
        path, _, query = self.path.partition("?")
        if self.hold(float(query.removeprefix("wait=") or 0)):
            state = "approved" if self.plane.decided.is_set() else "pending"
            self.answer(200, view(path.rpartition("/")[2], state))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(200, DENY)

    def hold(self, seconds: float) -> bool:
        """Wait until decided; False if the other side hung up meanwhile, or this one stops."""
        plane, end = self.plane, time.monotonic() + seconds
        plane.count(+1)
        self.connection.setblocking(False)
        try:
            while time.monotonic() < end and not plane.decided.wait(0.02):
                if plane.stopped.is_set() or self.hung_up():
                    self.close_connection = True
                    return False
        finally:
            plane.count(-1)
        self.connection.setblocking(True)
        return True

    def hung_up(self) -> bool:
        try:
            return not self.connection.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def answer(
        self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        content = json.dumps(body | {"callId": self.headers["nomos-call-id"]}).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def serving() -> Iterator[Plane]:
    plane = Plane()
    server = Server(("127.0.0.1", 0), type("Handler", (Handler,), {"plane": plane}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    plane.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield plane
    finally:
        plane.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def plane() -> Iterator[Plane]:
    with serving() as plane:
        yield plane


def decide_soon(plane: Plane, seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, plane.decided.set)
    timer.start()
    return timer


each_guard_kind = pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)


@each_guard_kind
def test_a_decision_is_returned_at_once_with_a_short_guard_timeout(
    guard_kind: GuardKind, plane: Plane
) -> None:
    guard = guard_kind.guard(control_plane_url=plane.url, timeout=0.3)
    timer = decide_soon(plane, 1.0)
    began = time.monotonic()
    approval = guard_kind.call(guard.wait_for_approval, envelope_id=ENV, timeout=30)
    assert approval.state == "approved"
    assert 0.9 < time.monotonic() - began < 5
    assert plane.looks == [f"/v1/approvals/{ENV}?wait=25"]
    timer.join()
    guard_kind.call(guard.close)


@each_guard_kind
def test_waiting_without_a_decision_times_out(guard_kind: GuardKind, plane: Plane) -> None:
    guard = guard_kind.guard(control_plane_url=plane.url)
    for timeout, looks in ((0, 1), (1.2, 3)):
        plane.looks.clear()
        began = time.monotonic()
        with pytest.raises(
            TimeoutError, match=f"{ENV} was not decided within {timeout} s.*/approvals/{ENV}"
        ):
            guard_kind.call(guard.wait_for_approval, envelope_id=ENV, timeout=timeout)
        assert timeout <= time.monotonic() - began < timeout + 3
        assert 1 <= len(plane.looks) <= looks
    guard_kind.call(guard.close)


@each_guard_kind
def test_a_busy_server_is_polled_again(guard_kind: GuardKind, plane: Plane) -> None:
    plane.refusals = [(503, {}), (429, {"retry-after": "1"}), (502, {})]
    plane.decided.set()
    guard = guard_kind.guard(control_plane_url=plane.url)
    began = time.monotonic()
    assert guard_kind.call(guard.wait_for_approval, envelope_id=ENV, timeout=30)
    assert time.monotonic() - began > 1.4
    assert len(plane.looks) == 4
    guard_kind.call(guard.close)


@each_guard_kind
def test_an_unreachable_server_is_polled_until_the_timeout(
    guard_kind: GuardKind,
) -> None:
    with serving() as plane:
        guard = guard_kind.guard(control_plane_url=plane.url)
        with pytest.raises(TimeoutError):
            guard_kind.call(guard.wait_for_approval, envelope_id=ENV, timeout=0)
    began = time.monotonic()
    with pytest.raises(errors.Unreachable, match=plane.url):
        guard_kind.call(guard.wait_for_approval, envelope_id=ENV, timeout=2.5)
    assert 2.5 <= time.monotonic() - began < 7
    guard_kind.call(guard.close)


@each_guard_kind
def test_waiting_needs_no_signing_binary(
    guard_kind: GuardKind, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOMOS_UCAN_BIN", "/nowhere/nomos-ucan")
    plane.decided.set()
    guard = guard_kind.guard(control_plane_url=plane.url)
    assert guard_kind.call(guard.wait_for_approval, envelope_id=ENV)
    guard_kind.call(guard.close)


@each_guard_kind
def test_a_guard_that_is_not_embedded_cannot_decide(guard_kind: GuardKind, plane: Plane) -> None:
    guard = guard_kind.guard(control_plane_url=plane.url)
    for call, arguments in (
        (guard.approvals.decide, {"envelope_id": ENV, "approve": True}),
        (guard.approvals.get, {"envelope_id": ENV}),
        (guard.approvals.list, {}),
    ):
        with pytest.raises(errors.ConfigurationError, match="an agent may not decide") as raised:
            guard_kind.call(call, **arguments)
        assert raised.value.setting == "approvals"
        assert f"{plane.url}/v1/approvals" in str(raised.value)
    with pytest.raises(errors.ConfigurationError, match="an agent may not decide"):
        _ = guard.approvals.operator_key
    assert plane.looks == []
    guard_kind.call(guard.close)


def test_closing_a_guard_ends_the_waiting_of_other_threads(plane: Plane) -> None:
    guard = AuthGuard(control_plane_url=plane.url)
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            guard.wait_for_approval(ENV, timeout=60)
        except BaseException as error:  # noqa: BLE001 - looked at below
            ended.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    plane.until_waiting(3)
    guard.close()
    plane.stopped.set()
    for thread in threads:
        thread.join(10)
    assert [type(error) for error in ended] == [errors.ConfigurationError] * 3
    assert "closed" in str(ended[0])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_closing_an_async_guard_ends_the_waiting_of_other_tasks(plane: Plane, backend: str) -> None:
    ended: list[str] = []

    async def use() -> None:
        guard = AsyncAuthGuard(control_plane_url=plane.url)

        async def wait() -> None:
            with pytest.raises(errors.ConfigurationError, match="closed"):
                await guard.wait_for_approval(ENV, timeout=60)
            ended.append("closed")

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(wait)
                await anyio.to_thread.run_sync(plane.until_waiting, 3)
                await guard.close()

    anyio.run(use, backend=backend)
    assert ended == ["closed"] * 3
    plane.until_waiting(0)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_wait_leaves_no_request_open(plane: Plane, backend: str) -> None:
    async def use() -> None:
        async with AsyncAuthGuard(control_plane_url=plane.url) as guard:
            with anyio.move_on_after(0.5) as scope:
                await guard.wait_for_approval(ENV)
            assert scope.cancelled_caught
            await anyio.to_thread.run_sync(plane.until_waiting, 0)
            plane.decided.set()
            assert await guard.wait_for_approval(ENV), "the guard goes on as before"

    anyio.run(use, backend=backend)
    assert len(plane.looks) == 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_pause_between_polls_can_be_cancelled(plane: Plane, backend: str) -> None:
    plane.refusals = [(429, {"retry-after": "20"})]

    async def use() -> None:
        async with AsyncAuthGuard(control_plane_url=plane.url) as guard:
            with anyio.move_on_after(0.5) as scope:
                await guard.wait_for_approval(ENV)
            assert scope.cancelled_caught

    began = time.monotonic()
    anyio.run(use, backend=backend)
    assert time.monotonic() - began < 5


def test_many_waiting_threads_do_not_delay_other_requests(plane: Plane) -> None:
    found: list[str] = []
    with AuthGuard(control_plane_url=plane.url, timeout=3) as guard:

        def wait(number: int) -> None:
            found.append(guard.wait_for_approval(f"env_{number}").id)

        threads = [threading.Thread(target=wait, args=(number,)) for number in range(110)]
        for thread in threads:
            thread.start()
        plane.until_waiting(len(threads))
        grant = guard.authorize(command="/github/issue/list", resource={"provider": "github"})
        assert grant.reason == "policy_denied"
        plane.decided.set()
        for thread in threads:
            thread.join()
    assert len(set(found)) == len(threads)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_many_waiting_tasks_do_not_delay_other_requests(plane: Plane, backend: str) -> None:
    """More wait than a guard has ordinary requests under way at once."""
    waiting = 30
    found: list[str] = []

    async def use() -> None:
        async with AsyncAuthGuard(control_plane_url=plane.url) as guard:

            async def wait(number: int) -> None:
                found.append((await guard.wait_for_approval(f"env_{number}")).id)

            async with anyio.create_task_group() as tasks:
                for number in range(waiting):
                    tasks.start_soon(wait, number)
                await anyio.to_thread.run_sync(plane.until_waiting, waiting)
                with anyio.fail_after(5):
                    grant = await guard.authorize(
                        command="/github/issue/list", resource={"provider": "github"}
                    )
                assert grant.reason == "policy_denied"
                plane.decided.set()

    anyio.run(use, backend=backend)
    assert sorted(found) == sorted(f"env_{number}" for number in range(waiting))
