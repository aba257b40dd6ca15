"""A typical agent: a sync and an async guard, a child, and calls at the PDP."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.request

from nomos import AsyncAuthGuard, AuthGuard

COMMAND = "/filesystem/file/read"
NOTE = {"provider": "filesystem", "path": "note"}

CHILD = f"""
import urllib.request
from nomos import AuthGuard
NOTE = {{"provider": "filesystem", "path": "note"}}
with AuthGuard.from_env() as guard:
    headers = guard.headers(command={COMMAND!r}, resource=NOTE)
    url = guard.pdp_url + "{COMMAND}?path=note"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
    with opener.open(urllib.request.Request(url, headers=headers)) as reply:
        assert reply.status == 200
    assert guard.authorize(command={COMMAND!r}, resource=NOTE).decision == "allow"
"""


async def asynchronously() -> None:
    async with AsyncAuthGuard.from_env() as guard:
        assert (await guard.authorize(command=COMMAND, resource=NOTE)).decision == "allow"


def main() -> None:
    with AuthGuard.from_env() as guard:
        grant = guard.authorize(command=COMMAND, resource=NOTE).require()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"{guard.pdp_url}{COMMAND}?path=note"
        with opener.open(urllib.request.Request(url, headers=grant.headers())) as reply:
            assert b"caf" in reply.read()
        wanted = [{"with": "filesystem:///note", "can": "file:read"}]
        with guard.fork_child(parent_chain=grant.chain, capabilities=wanted) as child:
            process = child.popen([sys.executable, "-c", CHILD], stderr=subprocess.PIPE)
            trouble = process.communicate(timeout=60)[1]
            assert process.returncode == 0, trouble
    asyncio.run(asynchronously())


if __name__ == "__main__":
    main()
