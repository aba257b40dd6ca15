"""`nomos dev`: run a control plane and a PDP on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.text import Text

from nomos._io.keyfile import encryption_key, read_private_line, sealed
from nomos._io.signer import AsyncSigner, shared
from nomos.audit.check import MAX_CHECKPOINT
from nomos.cli.console import stdout
from nomos.cli.errors import server_extra
from nomos.cli.serving import interrupted, print_facts
from nomos.errors import ConfigurationError
from nomos.models import Secret

with server_extra("dev"):
    from nomos.server.app import System
    from nomos.server.connections.limits import raise_descriptor_limit
    from nomos.server.control.credentials import authenticate
    from nomos.server.control.errors import ControlError
    from nomos.server.domain.accounts import EVERY_ROLE, Role
    from nomos.server.environment import webhook
    from nomos.server.run import bind, serve
    from nomos.server.settings import HOST, Settings
    from nomos.server.settings_reader import read_settings
    from nomos.server.storage.tenants import DEFAULT

STARTER = Path(__file__).with_name("starter.cedar")
KEY_FILE = "agent-api-key"
OPERATOR_KEY_FILE = "operator-api-key"
WIDTH = 13


def run(
    *,
    policies: Path | None,
    data: Path,
    workspace: Path | None,
    providers: Path | None,
    control_port: int,
    pdp_port: int,
    host_names: Sequence[str],
    checkpoint: Path | None,
) -> None:
    """Serve until interrupted. Raises `ConfigurationError` if the servers cannot start."""
    raise_descriptor_limit()
    with _bound(control_port, "--control-port") as control, _bound(pdp_port, "--pdp-port") as pdp:
        control_url, pdp_url = (f"http://{HOST}:{each.getsockname()[1]}" for each in (control, pdp))
        pinned = None if checkpoint is None else _checkpoint(checkpoint)
        settings = read_settings(
            policies=policies or STARTER,
            data=data,
            workspace=workspace,
            providers=providers,
            control_url=control_url,
            pdp_url=pdp_url,
            host_names=host_names,
            environ=os.environ,
        )
        settings = replace(settings, checkpoint=pinned, webhook=webhook(os.environ))
        source = None if policies is None else str(policies.absolute())
        asyncio.run(_serve(settings, source, control, pdp))


async def _serve(
    settings: Settings, source: str | None, control: socket.socket, pdp: socket.socket
) -> None:
    system = await System.open(settings, AsyncSigner(shared()))
    try:
        agent = await _key(system, settings.data / KEY_FILE, "dev", "agent")
        file = settings.data / OPERATOR_KEY_FILE
        operator = await _key(system, file, "operator", "operator", covers=(EVERY_ROLE,))
        _announce(await _active_policies(source, system), settings, agent)
        # The sign-in link works once; the key stays in its file.
        link = await system.login_link(operator)
        approvals = f"{link.reveal()}  (one-time sign-in link)"
        issuer = {"issuer": system.issuer_did, "operator key": str(file), "approvals": approvals}
        print_facts(issuer, WIDTH)
        await serve(system, control, pdp, stop=interrupted())
    finally:
        await system.close()
    stdout.print("stopped")


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


async def _active_policies(source: str | None, system: System) -> str:
    """Describe the active policies: the files, or a version activated through the API since."""
    version = await system.store.policies.find(DEFAULT, system.live.version)
    if version is not None and version.origin != "file":
        return f"version {version.number}, activated through the API (nomos policy versions)"
    return source or "built-in: reads only (--policies DIR replaces them)"


def _announce(policies: str, settings: Settings, key: Secret) -> None:
    stdout.print(Text.assemble(("Nomos is running", "bold green"), "  (Ctrl-C stops it)\n"))
    for name, value in (
        ("NOMOS_CONTROL_URL", settings.control_url),
        ("NOMOS_PDP_URL", settings.pdp_url),
        ("NOMOS_API_KEY", key.reveal()),
    ):
        stdout.print(Text.assemble(("  export ", "dim"), f"{name}={value}"))
    stdout.print()
    served = str(settings.served_folder)
    print_facts({"policies": policies, "data": str(settings.data), "files served": served}, WIDTH)
