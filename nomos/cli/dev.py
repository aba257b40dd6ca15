"""`nomos dev`: a control plane and a PDP on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from nomos._io.signer import AsyncSigner, shared
from nomos.cli.server_extra import server_extra
from nomos.errors import ConfigurationError
from nomos.models import Secret

with server_extra("dev"):
    from nomos.server.app import System
    from nomos.server.environment import max_chain_depth, upstreams
    from nomos.server.pdp.catalog import load_catalog
    from nomos.server.policies import read_facts, read_policies
    from nomos.server.run import bind, serve
    from nomos.server.settings import HOST, Settings

STARTER = Path(__file__).with_name("starter.cedar")
KEY_FILE = "agent-api-key"


@dataclass(frozen=True)
class Plan:
    """What `nomos dev` was asked for."""

    policies: Path | None
    data: Path
    workspace: Path | None
    providers: Path | None
    control_port: int
    pdp_port: int


def run(plan: Plan, console: Console) -> None:
    """Serve until interrupted. Raises `ConfigurationError` for what stands in the way."""
    asyncio.run(_run(plan, console))


async def _run(plan: Plan, console: Console) -> None:
    control = _bound(plan.control_port, "--control-port")
    pdp = _bound(plan.pdp_port, "--pdp-port")
    settings = Settings(
        data=plan.data.absolute(),
        policies=read_policies(plan.policies or STARTER),
        facts=read_facts(plan.policies or STARTER),
        providers=plan.providers,
        workspace=plan.workspace.absolute() if plan.workspace else None,
        upstreams=upstreams(load_catalog(plan.providers), os.environ),
        max_chain_depth=max_chain_depth(os.environ),
        control_url=f"http://{HOST}:{control.getsockname()[1]}",
        pdp_url=f"http://{HOST}:{pdp.getsockname()[1]}",
    )
    system = await System.open(settings, AsyncSigner(shared()))
    try:
        key = await _agent_key(system, settings.data / KEY_FILE)
        _announce(plan, settings, key, console)
        await serve(system, control, pdp, stop=_interrupted())
    finally:
        await system.close()
    console.print("stopped")


def _bound(port: int, option: str) -> socket.socket:
    try:
        return bind(HOST, port)
    except ConfigurationError as taken:
        raise ConfigurationError(str(taken), setting=option) from taken


async def _agent_key(system: System, file: Path) -> Secret:
    """Return the key of this folder's agent app, so that it stays the same after a restart."""
    kept = _kept(file)
    if kept is not None:
        return kept
    key = await system.create_app("dev")
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(key.reveal() + "\n")
    return key


def _kept(file: Path) -> Secret | None:
    try:
        return Secret(file.read_text().strip())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}", setting="data") from error


def _interrupted() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def _announce(plan: Plan, settings: Settings, key: Secret, console: Console) -> None:
    console.print(Text.assemble(("Nomos is running", "bold green"), "  (Ctrl-C stops it)\n"))
    for name, value in (
        ("NOMOS_CONTROL_URL", settings.control_url),
        ("NOMOS_PDP_URL", settings.pdp_url),
        ("NOMOS_API_KEY", key.reveal()),
    ):
        console.print(Text.assemble(("  export ", "dim"), f"{name}={value}"))
    console.print()
    given = (
        str(plan.policies.absolute())
        if plan.policies
        else "the starter: reads only (--policies DIR)"
    )
    for name, value in (
        ("policies", given),
        ("data", str(settings.data)),
        ("files served", str(settings.served_folder)),
    ):
        console.print(Text.assemble((f"  {name:<13}", "dim"), value))
