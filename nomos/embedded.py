"""`EmbeddedServer`: control plane and PDP in a thread, for `AuthGuard.embedded` and `nomos demo`.

`start` validates its arguments, binds both ports and returns; the thread opens the database and
serves requests. Connections that arrive earlier wait in the queue of the listening socket, so
callers need not poll for readiness.

The guard of an embedded server is an ordinary guard with an ordinary URL: threads, asyncio, trio,
forked and spawned processes use it in the same way. It is no security boundary against the code of
this process.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from nomos._identifiers import is_did
from nomos._io.child_files import no_temporary_folder
from nomos._io.signer import AsyncSigner, shared
from nomos.errors import ConfigurationError
from nomos.models import Secret

HOST: Final = "127.0.0.1"
"""The address that both servers listen on."""
STOP_SECONDS: Final = 10.0
"""How long `close` waits for the thread, in seconds."""

try:
    from nomos.policy import bundle
    from nomos.server.app import System
    from nomos.server.control import credentials
    from nomos.server.data_folder import consistency
    from nomos.server.data_folder.layout import lock_data_dir
    from nomos.server.domain.accounts import EVERY_ROLE
    from nomos.server.environment import webhook
    from nomos.server.providers.catalog import load_catalog
    from nomos.server.run import bind, serve
    from nomos.server.settings import Settings
    from nomos.server.settings_reader import read_settings
    from nomos.server.storage.tenants import DEFAULT
except ModuleNotFoundError as missing:
    raise ConfigurationError(
        f"the embedded server needs {missing.name}, which is not installed: "
        "pip install 'nomos[server]'",
        setting="embedded",
    ) from missing


class EmbeddedServer:
    """A running system. `close` stops it and removes the data folder if that is temporary."""

    def __init__(
        self,
        settings: Settings,
        sockets: Sockets,
        private: Path | None,
        services: Mapping[str, str],
    ) -> None:
        self.control_plane_url = settings.control_url
        self.pdp_url = settings.pdp_url
        self.workspace = settings.served_folder
        self.failure: Exception | None = None
        now = time.time()
        self._issued = credentials.issue("embedded", "agent", DEFAULT, now)
        self._operator = credentials.issue(
            "embedded operator", "operator", DEFAULT, now, covers=(EVERY_ROLE,)
        )
        self._sockets = sockets
        self._private = private
        self._services = dict(services)
        self._owner = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(settings,), name="nomos-embedded", daemon=True
        )
        _running.add(self)
        self._thread.start()

    @property
    def api_key(self) -> Secret:
        """An agent's API key for this system."""
        return self._issued.text

    @property
    def operator_key(self) -> Secret:
        """An operator's API key for this system, which covers every role."""
        return self._operator.text

    def trouble(self) -> str | None:
        """Return why the system has failed, None if it has not."""
        if self.failure is None:
            return None
        return f"the embedded server has failed: {type(self.failure).__name__}: {self.failure}"

    def close(self) -> None:
        """Stop the system, once. Does nothing in a process that did not start it."""
        if os.getpid() != self._owner or self._stopping.is_set():
            return
        self._stopping.set()
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        self._thread.join(STOP_SECONDS)
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)

    def after_fork(self) -> None:
        """Close the listeners in a forked child, which would accept the parent's connections."""
        for listener in self._sockets:
            listener.close()

    def _run(self, settings: Settings) -> None:
        try:
            asyncio.run(self._serve(settings))
        except Exception as failure:  # noqa: BLE001 - reported by the next request
            self.failure = failure
        finally:
            for listener in self._sockets:
                listener.close()

    async def _serve(self, settings: Settings) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._stopping.is_set():
            return
        system = await System.open(settings, AsyncSigner(shared()))
        try:
            for issued in (self._issued, self._operator):
                # In a data folder that exists already, this replaces the app of the last start.
                await system.store.add_app(issued.app, issued.key, succeeds=True)
            await system.register_services(self._services)
            await serve(system, *self._sockets, stop=self._stop)
        finally:
            await system.close()


Sockets = tuple[socket.socket, socket.socket]


def start(
    *,
    policies: str | Path,
    data: str | os.PathLike[str] | None = None,
    providers: str | os.PathLike[str] | None = None,
    workspace: str | os.PathLike[str] | None = None,
    services: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> EmbeddedServer:
    """Start a system on free loopback ports; see `AuthGuard.embedded` for the arguments.

    Raises `InvalidPolicy`, or `ConfigurationError` for a folder that cannot be used.
    """
    check_services(services or {})
    private = _private_folder() if data is None else None
    sockets: Sockets | None = None
    try:
        sockets = (bind(HOST, 0), bind(HOST, 0))
        control, pdp = (f"http://{HOST}:{listener.getsockname()[1]}" for listener in sockets)
        environ = os.environ if environ is None else environ
        settings = read_settings(
            policies=policies,
            data=private or Path(os.fspath(data or "")),
            workspace=None if workspace is None else Path(workspace),
            providers=None if providers is None else Path(providers),
            control_url=control,
            pdp_url=pdp,
            host_names=(),
            environ=environ,
        )
        settings = replace(settings, webhook=webhook(environ))
        bundle.load(settings.policies, load_catalog(settings.providers), settings.facts)
        lock = lock_data_dir(settings)
        try:
            consistency.inspect(settings.data)
        finally:
            lock.release()
        return EmbeddedServer(settings, sockets, private, services or {})
    except BaseException:
        for listener in sockets or ():
            listener.close()
        if private is not None:
            shutil.rmtree(private, ignore_errors=True)
        raise


def _private_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="nomos-"))
    except OSError as error:
        raise no_temporary_folder(error) from error


_SERVICE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def check_services(services: Mapping[str, str]) -> None:
    """Raise `ConfigurationError` for an invalid service name, an invalid DID, or a repeated DID."""
    for name, did in services.items():
        if not (isinstance(name, str) and _SERVICE.fullmatch(name)) or name == "pdp":
            raise ConfigurationError(
                "services: a name has 1 to 63 lower-case letters, digits and -, and begins with a "
                "letter or digit; the name pdp is reserved",
                setting="services",
            )
        if not isinstance(did, str) or not is_did(did):
            raise ConfigurationError(
                f"services: {name} must have the DID of its key, did:key:z6Mk…, as `nomos keygen` "
                "prints it",
                setting="services",
            )
    if len(set(services.values())) < len(services):
        raise ConfigurationError("services: two services have the same DID", setting="services")


def _after_fork_in_child() -> None:
    for server in list(_running):
        server.after_fork()


_running: weakref.WeakSet[EmbeddedServer] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork_in_child)
