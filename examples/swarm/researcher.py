"""The researcher: reads the given files with its own chain, without calling the control plane.

It has no API key. It signs each call itself, and the PDP checks the whole chain: that it begins
with an issuer it trusts, that every link is narrower than the one before, that none is revoked,
and that policy allows this very call.
"""

from __future__ import annotations

import json
import sys

import anyio
import httpx

from nomos import AsyncAuthGuard

READ = "/filesystem/file/read"


async def main() -> None:
    """Read the files named on the standard input, and print what they say."""
    async with AsyncAuthGuard.from_env() as guard, httpx.AsyncClient(trust_env=False) as http:
        for path in json.load(sys.stdin):
            headers = await guard.headers(
                command=READ, resource={"provider": "filesystem", "path": path}
            )
            reply = await http.get(f"{guard.pdp_url}{READ}", params={"path": path}, headers=headers)
            reply.raise_for_status()
            print(f"- {reply.json()['content'].strip()}")


anyio.run(main)
