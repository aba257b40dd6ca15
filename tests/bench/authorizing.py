"""`authorize` beside a bare HTTP POST to the same server, which runs in a process of its own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
import httpx
from figures import in_turn, table

from nomos import AsyncAuthGuard, AuthGuard

NOMOS = Path(sys.executable).with_name("nomos")
QUESTION: dict[str, Any] = {
    "command": "/github/issue/list",
    "resource": {"provider": "github", "owner": "acme", "repo": "app"},
}


def main() -> None:
    with tempfile.TemporaryDirectory() as data:
        server = subprocess.Popen(
            [NOMOS, "dev", "--data", data, "--control-port", "0", "--pdp-port", "0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            measure(variables(server))
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=20)


def variables(server: subprocess.Popen[str]) -> dict[str, str]:
    assert server.stdout is not None
    found: dict[str, str] = {}
    for line in server.stdout:
        if match := re.search(r"export (\w+)=(\S+)", line):
            found[match[1]] = match[2]
        if "files served" in line:
            break
    return found


def measure(environ: dict[str, str]) -> None:
    url = environ["NOMOS_CONTROL_URL"]
    headers = {"authorization": f"Bearer {environ['NOMOS_API_KEY']}"}
    wrong = json.dumps(QUESTION | {"ttlSeconds": 0}).encode()
    right = json.dumps(QUESTION).encode()
    with AuthGuard.from_env(environ) as guard, httpx.Client(trust_env=False) as client:

        def bare() -> None:
            """The same parsing and authentication; the answer is that ttlSeconds is wrong."""
            client.post(f"{url}/v1/authorize", content=wrong, headers=headers).read()

        def decided() -> None:
            """A decision, signed and stored by the server, without the SDK."""
            client.post(f"{url}/v1/authorize", content=right, headers=headers).read()

        def authorize() -> None:
            assert guard.authorize(**QUESTION)

        taken = in_turn(500, bare, decided, authorize)
    names = ["bare httpx POST (refused)", "httpx POST, decided and signed there", "guard.authorize"]
    table("one at a time", names, taken)
    print(f"\nfifty tasks at a time: {anyio.run(many, environ) * 1e6:.0f} µs an authorize")


async def many(environ: dict[str, str], count: int = 1000) -> float:
    async with AsyncAuthGuard.from_env(environ) as guard:
        await guard.authorize(**QUESTION)
        began = time.perf_counter()

        async def work() -> None:
            for _ in range(count // 50):
                await guard.authorize(**QUESTION)

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(work)
        return (time.perf_counter() - began) / count


if __name__ == "__main__":
    main()
