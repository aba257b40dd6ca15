"""`nomos dev`: run a control plane and a PDP on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from nomos._io.keyfile import encryption_key, read_private_line, sealed
from nomos._io.signer import AsyncSigner, shared
from nomos.audit.check import MAX_CHECKPOINT
from nomos.cli.errors import server_extra
from nomos.errors import ConfigurationError
from nomos.models import Secret

with server_extra("dev"):
    from nomos.server.app import System
    from nomos.server.connections.limits import raise_descriptor_limit
    from nomos.server.control.credentials import authenticate
    from nomos.server.control.errors import ControlError
    from nomos.server.data_folder.layout import check_outside_workspace
    from nomos.server.domain.accounts import EVERY_ROLE, Role
    from nomos.server.environment import max_chain_depth, named_hosts, upstreams, webhook
    from nomos.server.policies.loading import read_facts, read_policies
    from nomos.server.providers.catalog import load_catalog
    from nomos.server.run import bind, serve
    from nomos.server.settings import HOST, Settings
    from nomos.server.storage.tenants import DEFAULT

STARTER = Path(__file__).with_name("starter.cedar")
KEY_FILE = "agent-api-key"
OPERATOR_KEY_FILE = "operator-api-key"


@dataclass(frozen=True)
class Plan:
    """The options of `nomos dev`."""

    policies: Path | None
    data: Path
    workspace: Path | None
    providers: Path | None
    control_port: int
    pdp_port: int
    host_names: tuple[str, ...] = ()
    checkpoint: Path | None = None


def run(plan: Plan, console: Console) -> None:
    """Serve until interrupted. Raises `ConfigurationError` if the servers cannot start."""
    raise_descriptor_limit()
    asyncio.run(_run(plan, console))


async def _run(plan: Plan, console: Console) -> None:
    with (
        _bound(plan.control_port, "--control-port") as control,
        _bound(plan.pdp_port, "--pdp-port") as pdp,
    ):
        await _serve(plan, console, control, pdp)


async def _serve(plan: Plan, console: Console, control: socket.socket, pdp: socket.socket) -> None:
    settings = Settings(
        checkpoint=None if plan.checkpoint is None else _checkpoint(plan.checkpoint),
        data=plan.data.absolute(),
        policies=read_policies(plan.policies or STARTER),
        facts=read_facts(plan.policies or STARTER),
        providers=plan.providers,
        workspace=plan.workspace.absolute() if plan.workspace else None,
        upstreams=upstreams(load_catalog(plan.providers), os.environ),
        webhook=webhook(os.environ),
        max_chain_depth=max_chain_depth(os.environ),
        control_url=f"http://{HOST}:{control.getsockname()[1]}",
        pdp_url=f"http://{HOST}:{pdp.getsockname()[1]}",
        host_names=(*plan.host_names, *named_hosts(os.environ)),
    )
    check_outside_workspace(settings, plan.policies or STARTER, os.environ)
    system = await System.open(settings, AsyncSigner(shared()))
    try:
        agent = await _key(system, settings.data / KEY_FILE, "dev", "agent")
        file = settings.data / OPERATOR_KEY_FILE
        operator = await _key(system, file, "operator", "operator", covers=(EVERY_ROLE,))
        _announce(await _active_policies(plan, system), settings, agent, console)
        await _announce_approvals(system, operator, file, console)
        await serve(system, control, pdp, stop=_interrupted())
    finally:
        await system.close()
    console.print("stopped")


def _checkpoint(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_CHECKPOINT + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as failure:
        why = failure.strerror if isinstance(failure, OSError) else "it is not a checkpoint"
        raise ConfigurationError(
            f"the checkpoint {file} cannot be read: {why}. Write one with "
            "`nomos audit checkpoint > FILE`",
            setting="--checkpoint",
        ) from None


def _bound(port: int, option: str) -> socket.socket:
    try:
        return bind(HOST, port)
    except ConfigurationError as taken:
        raise ConfigurationError(str(taken), setting=option) from taken


async def _key(
    system: System, file: Path, name: str, role: Role, covers: Sequence[str] = ()
) -> Secret:
    """Return the API key in `file`. On the first start, create an app and write its key there."""
    key = _read_key(file)
    if key is None:
        key = await system.create_app(name, role, covers, succeeds=True)
        _write_key(file, key)
        return key
    try:
        await authenticate(system.store, [f"Bearer {key.reveal()}"], (role,))
    except ControlError as refused:
        raise ConfigurationError(
            f"this server rejects the API key in {file}: {refused.message}. Write the current "
            f"key into it{_another(file, role)}",
            setting="data",
        ) from refused
    return key


def _another(file: Path, role: Role) -> str:
    if role == "operator":
        data = file.parent
        return f", or a new operator's: nomos operators create NAME --data {data} > {file}"
    return ", or delete the file: the next start creates a new app and key"


def _read_key(file: Path) -> Secret | None:
    if not file.exists():
        return None
    key = Secret(read_private_line(file, setting="data"))
    if encryption_key() is not None:
        _write_key(file, key)  # encrypts a file that was written before the encryption key was set
    return key


def _write_key(file: Path, key: Secret) -> None:
    """Write a key to a file that only its owner can read. The file is replaced atomically."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(sealed(key.reveal()) + "\n")
    unfinished.replace(file)


def _interrupted() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _active_policies(plan: Plan, system: System) -> str:
    """Describe the active policies: the files, or a version activated through the API since."""
    version = await system.store.policies.find(DEFAULT, system.live.version)
    if version is not None and version.origin != "file":
        return f"version {version.number}, activated through the API (nomos policy versions)"
    if plan.policies is None:
        return "built-in: reads only (--policies DIR replaces them)"
    return str(plan.policies.absolute())


def _announce(policies: str, settings: Settings, key: Secret, console: Console) -> None:
    console.print(Text.assemble(("Nomos is running", "bold green"), "  (Ctrl-C stops it)\n"))
    for name, value in (
        ("NOMOS_CONTROL_URL", settings.control_url),
        ("NOMOS_PDP_URL", settings.pdp_url),
        ("NOMOS_API_KEY", key.reveal()),
    ):
        console.print(Text.assemble(("  export ", "dim"), f"{name}={value}"))
    console.print()
    for name, value in (
        ("policies", policies),
        ("data", str(settings.data)),
        ("files served", str(settings.served_folder)),
    ):
        console.print(Text.assemble((f"  {name:<13}", "dim"), value))


async def _announce_approvals(
    system: System, operator: Secret, file: Path, console: Console
) -> None:
    """Print where operators decide. The link works once; the key stays in its file."""
    rows = [("issuer", system.issuer_did), ("operator key", str(file))]
    link = await system.login_link(operator)
    rows.append(("approvals", f"{link.reveal()}  (one-time sign-in link)"))
    for name, value in rows:
        console.print(Text.assemble((f"  {name:<13}", "dim"), value))
