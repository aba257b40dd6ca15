"""Servers over real sockets, in processes of their own."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import store_access

from nomos._io.signer import AsyncSigner
from nomos.errors import ConfigurationError
from nomos.server.run import bind, serve
from nomos.server.storage.store import Store

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane

pytestmark = pytest.mark.anyio

SERVER = """
import asyncio, json, signal, sys
from pathlib import Path
from nomos._io.signer import AsyncSigner, shared
from nomos.policy.bundle import Source
from nomos.server.app import System
from nomos.server.run import bind, serve
from nomos.server.settings import Settings

async def main(data):
    permit = Source("permit.cedar", "permit(principal, action, resource);")
    system = await System.open(Settings(data=data, policies=(permit,)), AsyncSigner(shared()))
    key = await system.create_app("tests")
    sockets = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    ports = [listener.getsockname()[1] for listener in sockets]
    print(json.dumps({"control": ports[0], "pdp": ports[1], "key": key.reveal()}), flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await serve(system, *sockets, stop=stop)
    await system.close()
    print("closed", flush=True)

asyncio.run(main(Path(sys.argv[1])))
"""
LIST = {
    "command": "/github/issue/list",
    "resource": {"provider": "github", "owner": "acme", "repo": "app"},
}


@contextmanager
def running(data: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(data)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def client(ports: dict[str, Any]) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{ports['control']}",
        headers={"authorization": f"Bearer {ports['key']}"},
        trust_env=False,
    )


async def test_a_receipt_survives_a_kill_right_after_the_reply(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "data") as (process, ports), client(ports) as control:
        answers = [control.post("/v1/authorize", json=LIST).json() for _ in range(5)]
        process.send_signal(signal.SIGKILL)
        process.wait()
    store = Store(tmp_path / "data")
    kept = {receipt.id for receipt in await store_access.receipts(store, "default")}
    await store.close()
    assert kept == {answer["receiptId"] for answer in answers}


def test_every_reply_under_load_survives_a_kill(tmp_path: Path) -> None:
    """Killed in the midst of group commits: what was answered is kept, whatever else is."""
    answered: list[str] = []

    def ask(ports: dict[str, Any]) -> None:
        with client(ports) as control:
            try:
                while True:
                    answered.append(control.post("/v1/authorize", json=LIST).json()["receiptId"])
            except httpx.HTTPError:
                return

    with running(tmp_path / "data") as (process, ports):
        threads = [threading.Thread(target=ask, args=(ports,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        while len(answered) < 60:
            threads[0].join(0.01)
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()

    async def kept() -> set[str]:
        store = Store(tmp_path / "data")
        receipts = await store_access.receipts(store, "default", 10_000)
        await store.close()
        return {receipt.id for receipt in receipts}

    assert set(answered) <= asyncio.run(kept())


def test_a_server_closes_after_sigterm(tmp_path: Path) -> None:
    with running(tmp_path / "data") as (process, ports), client(ports) as control:
        assert control.get("/healthz").json() == {"status": "ok"}
        with httpx.Client(trust_env=False) as pdp:
            reply = pdp.get(f"http://127.0.0.1:{ports['pdp']}/github/issue/list")
            assert reply.status_code == 401
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "closed\n")
    # The last connection folded the journal into the database.
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert names == {".gitignore", "keys", "nomos.anchor", "nomos.db", "nomos.lock", "workspace"}


def test_a_system_in_use_by_another_process_is_refused_with_its_pid(tmp_path: Path) -> None:
    with running(tmp_path / "data") as (process, _):
        second = subprocess.run(
            [sys.executable, "-c", SERVER, str(tmp_path / "data")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 1
        assert f"is in use by process {process.pid}" in second.stderr


def test_a_port_in_use_is_named() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} .* is in use") as raised:
            bind("127.0.0.1", port)
    assert raised.value.setting == "port"


@pytest.mark.parametrize(
    ("host", "port"), [("203.0.113.1", 0), ("127.0.0.1", 70_000), ("no.such.host.invalid", 0)]
)
def test_an_unusable_address_is_reported(host: str, port: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"cannot listen on {host}:{port}"):
        bind(host, port)


async def test_serving_in_the_callers_loop_stops_at_its_event(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    async with open_plane(tmp_path / "data", signer) as plane:
        control, pdp = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
        url = f"http://127.0.0.1:{control.getsockname()[1]}"
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(plane.system, control, pdp, stop=stop))
        async with httpx.AsyncClient(trust_env=False) as http:
            reply = await http.get(f"{url}/healthz", headers={"x-request-id": "a"})
        assert (reply.status_code, reply.headers["x-request-id"]) == (200, "a")
        assert "server" not in reply.headers
        assert {each: signal.getsignal(each) for each in handlers} == handlers
        stop.set()
        await serving
        assert control.fileno() == pdp.fileno() == -1
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])))


async def test_cancelled_serving_releases_its_ports(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    async with open_plane(tmp_path / "data", signer) as plane:
        control, pdp = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
        url = f"http://127.0.0.1:{control.getsockname()[1]}"
        serving = asyncio.create_task(serve(plane.system, control, pdp))
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{url}/healthz")).status_code == 200
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert control.fileno() == pdp.fileno() == -1
