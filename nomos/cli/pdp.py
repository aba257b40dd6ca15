"""`nomos pdp`: run a PDP without a control plane on the same machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from nomos._io.signer import AsyncSigner, shared
from nomos._io.urls import checked_url
from nomos.cli import insecure_hosts
from nomos.cli.console import stdout
from nomos.cli.errors import reports_errors, server_extra
from nomos.cli.operator_key import from_file

if TYPE_CHECKING:
    from nomos.server.settings import Settings
    from nomos.server.standalone_pdp import Trust


Workspace = Annotated[
    Path | None,
    typer.Option(
        help="Folder that the filesystem provider serves. Default: workspace/ in the data folder.",
        show_default=False,
    ),
]

Providers = Annotated[
    Path | None,
    typer.Option(
        help="Folder of provider definitions (YAML). Default: only the built-in providers.",
        show_default=False,
    ),
]

HostName = Annotated[
    list[str] | None,
    typer.Option(
        help="Host name to accept in requests, besides loopback names and those in "
        "$NOMOS_HOST_NAMES. Repeatable.",
        show_default=False,
    ),
]


@reports_errors
def pdp(
    *,
    control_url: Annotated[
        str, typer.Option(help="URL of the control plane whose grants the PDP accepts.")
    ],
    issuer: Annotated[str, typer.Option(help="DID of the trusted issuer.")],
    key_file: Annotated[
        Path,
        typer.Option(help="File (mode 0600) with an API key of any role, for the revocation feed."),
    ],
    policies: Annotated[Path, typer.Option(help="Cedar file, or folder of *.cedar files.")],
    data: Annotated[Path, typer.Option(help="Data folder: its key and records.")],
    workspace: Workspace = None,
    providers: Providers = None,
    tenant: Annotated[str, typer.Option(help="Tenant whose grants are accepted.")] = "default",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8789,
    host_name: HostName = None,
) -> None:
    """Run a standalone PDP, which verifies tokens and makes the calls that policy allows.

    It has its own key, policies and records, and follows the control plane's revocations.
    """
    with server_extra("pdp"):
        from nomos.server.connections.limits import raise_descriptor_limit
        from nomos.server.data_folder.layout import check_outside_workspace
        from nomos.server.environment import max_chain_depth, named_hosts, upstreams
        from nomos.server.policies.loading import read_facts, read_policies
        from nomos.server.providers.catalog import load_catalog
        from nomos.server.run import bind
        from nomos.server.settings import Settings
        from nomos.server.standalone_pdp import Trust

    raise_descriptor_limit()
    url = checked_url(control_url, setting="--control-url", allow_insecure=insecure_hosts.hosts())
    listener = bind(host, port)
    try:
        settings = Settings(
            data=data.absolute(),
            policies=read_policies(policies),
            facts=read_facts(policies),
            providers=providers,
            workspace=workspace.absolute() if workspace else None,
            upstreams=upstreams(load_catalog(providers), os.environ),
            max_chain_depth=max_chain_depth(os.environ),
            control_url=url,
            pdp_url=f"http://{host}:{listener.getsockname()[1]}",
            host_names=(*(host_name or ()), *named_hosts(os.environ)),
        )
        check_outside_workspace(settings, policies, os.environ)
        trust = Trust(
            issuer,
            from_file(key_file, "--key-file").secret,
            tenant,
            allow_insecure=insecure_hosts.hosts(),
        )
        asyncio.run(_run(settings, trust, listener))
    finally:
        listener.close()
    stdout.print("stopped")


async def _run(settings: Settings, trust: Trust, listener: socket.socket) -> None:
    from nomos.server.run import listen
    from nomos.server.standalone_pdp import StandalonePdp

    standalone = await StandalonePdp.open(settings, trust, AsyncSigner(shared()))
    try:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        _announce(settings, trust, standalone.pdp_did, await standalone.feed_problem())
        await listen((standalone.pdp, listener), stop=stop, host_names=standalone.host_names)
    finally:
        await standalone.close()


def _announce(settings: Settings, trust: Trust, did: str, blind: str | None) -> None:
    stdout.print(Text.assemble(("The PDP is running", "bold green"), "  (Ctrl-C stops it)\n"))
    for name, value in (
        ("url", settings.pdp_url),
        ("did", did),
        ("issuer", trust.issuer),
        ("control plane", settings.control_url),
        ("data", str(settings.data)),
        ("files served", str(settings.served_folder)),
    ):
        stdout.print(Text.assemble((f"  {name:<14}", "dim"), value))
    if blind is not None:
        stdout.print(Text.assemble(("\n  every call is rejected: ", "bold red"), blind))
    stdout.print(
        Text.assemble(
            ("\n  An operator registers it once, as an audience of grants:\n", "dim"),
            f"  nomos services add NAME {did} {settings.pdp_url} --pdp",
        )
    )
