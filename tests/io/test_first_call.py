"""Loading and starting for a first call happen outside of the event loop."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest
from hostile import Reply, control_plane

from nomos import AsyncAuthGuard
from nomos._io import transports
from nomos._io.process import Process

DENY = {"decision": "deny", "reason": "policy_denied", "receiptId": "evt_1"}
READ: dict[str, Any] = {
    "command": "/github/issue/list",
    "resource": {"provider": "github", "owner": "acme", "repo": "app"},
}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_clients_and_binaries_are_made_in_threads_and_once_a_loop(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, list[threading.Thread]] = {"client": [], "binary": []}
    client, process = transports.task_client, Process

    def noted_client(*args: Any) -> Any:
        made["client"].append(threading.current_thread())
        return client(*args)

    def noted_process(*args: Any, **kwargs: Any) -> Any:
        made["binary"].append(threading.current_thread())
        return process(*args, **kwargs)

    monkeypatch.setattr(transports, "task_client", noted_client)
    monkeypatch.setattr("nomos._io.signer.Process", noted_process)
    monkeypatch.setattr("nomos._io.signer._shared", {})

    async def main(url: str) -> None:
        guard = AsyncAuthGuard(control_plane_url=url)
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(lambda: guard.authorize(**READ))
        await guard.close()

    with control_plane(Reply(body=DENY)) as plane:
        anyio.run(main, plane.url, backend=backend)
    here = threading.current_thread()
    assert len(made["client"]) == len(made["binary"]) == 1
    assert here not in made["client"] + made["binary"]
