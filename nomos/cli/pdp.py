"""`nomos pdp`: run a PDP without a control plane on the same machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from nomos._io.signer import AsyncSigner, shared
from nomos._io.urls import checked_url
from nomos.cli import insecure_hosts
from nomos.cli.console import stdout
from nomos.cli.errors import server_extra
from nomos.cli.operator_key import from_file
from nomos.cli.serving import interrupted, print_facts

with server_extra("pdp"):
    from nomos.server.connections.limits import raise_descriptor_limit
    from nomos.server.run import bind, listen
    from nomos.server.settings import Settings
    from nomos.server.settings_reader import read_settings
    from nomos.server.standalone_pdp import StandalonePdp, Trust


def run(
    *,
    control_url: str,
    issuer: str,
    key_file: Path,
    tenant: str,
    policies: Path,
    data: Path,
    workspace: Path | None,
    providers: Path | None,
    host: str,
    port: int,
    host_names: Sequence[str],
) -> None:
    """Serve until interrupted. Raises `ConfigurationError` if the PDP cannot start."""
    raise_descriptor_limit()
    insecure = insecure_hosts.hosts()
    url = checked_url(control_url, setting="--control-url", allow_insecure=insecure)
    with bind(host, port) as listener:
        settings = read_settings(
            policies=policies,
            data=data,
            workspace=workspace,
            providers=providers,
            control_url=url,
            pdp_url=f"http://{host}:{listener.getsockname()[1]}",
            host_names=host_names,
            environ=os.environ,
        )
        key = from_file(key_file, "--key-file").secret
        trust = Trust(issuer, key, tenant, allow_insecure=insecure)
        asyncio.run(_serve(settings, trust, listener))
    stdout.print("stopped")


async def _serve(settings: Settings, trust: Trust, listener: socket.socket) -> None:
    standalone = await StandalonePdp.open(settings, trust, AsyncSigner(shared()))
    try:
        _announce(settings, trust, standalone.pdp_did, await standalone.feed_problem())
        server = (standalone.pdp, listener)
        await listen(server, stop=interrupted(), host_names=standalone.host_names)
    finally:
        await standalone.close()


def _announce(settings: Settings, trust: Trust, did: str, blind: str | None) -> None:
    stdout.print(Text.assemble(("The PDP is running", "bold green"), "  (Ctrl-C stops it)\n"))
    facts = {
        "url": settings.pdp_url,
        "did": did,
        "issuer": trust.issuer,
        "control plane": settings.control_url,
        "data": str(settings.data),
        "files served": str(settings.served_folder),
    }
    print_facts(facts, width=14)
    if blind is not None:
        stdout.print(Text.assemble(("\n  every call is rejected: ", "bold red"), blind))
    stdout.print(
        Text.assemble(
            ("\n  An operator registers it once, as an audience of grants:\n", "dim"),
            f"  nomos services add NAME {did} {settings.pdp_url} --pdp",
        )
    )
