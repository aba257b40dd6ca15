"""What both guards are made of: settings, the agent's key, and what they remember.

Nothing here sends, signs or waits, so nothing here has a colour.
"""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol, Self

from nomos._approvals import operator_key_required
from nomos._guard_core import GuardCore
from nomos._identity import Chains, load_identity
from nomos._io.http import Endpoint
from nomos._io.urls import checked_url, named
from nomos._protocol import ForgetKey
from nomos._settings import (
    FROM_ENV,
    VARIABLES,
    FailureMode,
    FromEnvironment,
    checked_api_key,
    checked_failure_mode,
    checked_timeout,
    read_environment,
    refuse_swarm,
)
from nomos._tracebacks import without_frames
from nomos.errors import ConfigurationError
from nomos.models import Secret


class OwnServer(Protocol):
    """A server that a guard started and has to close: `nomos.embedded.EmbeddedServer`."""

    workspace: Path

    @property
    def operator_key(self) -> Secret: ...

    def trouble(self) -> str | None: ...

    def close(self) -> None: ...


class GuardBase(GuardCore, ABC):
    """What both guards are made of: settings, the agent's key, and what they remember."""

    @without_frames
    def __init__(
        self,
        *,
        control_plane_url: str,
        api_key: str | None = None,
        pdp_url: str | None = None,
        agent_key_file: str | os.PathLike[str] | None = None,
        parent: FromEnvironment | Chains | None = FROM_ENV,
        failure_mode: FailureMode = "closed",
        timeout: float = 10.0,
        allow_insecure: Sequence[str] = (),
    ) -> None:
        allowed = named(allow_insecure)
        super().__init__(
            insecure_hosts=allowed,
            failure_mode=checked_failure_mode(failure_mode),
            endpoint=Endpoint(
                control_plane_url,
                api_key=checked_api_key(api_key),
                timeout=checked_timeout(timeout),
                allow_insecure=allowed,
            ),
            pdp_url=None
            if pdp_url is None
            else checked_url(pdp_url, setting="pdp_url", allow_insecure=allowed),
            standing=load_identity(parent, agent_key_file),
        )
        self._server: OwnServer | None = None
        self._closed = False
        self._connect()

    @classmethod
    @without_frames
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make a guard from the variables that `nomos dev` prints, or that a parent handed over.

        `NOMOS_CONTROL_URL` must be set, or `ConfigurationError` names it; `NOMOS_API_KEY`,
        `NOMOS_PDP_URL` and `NOMOS_AGENT_KEY_FILE` may be, and what `Child.env` returns.
        """
        environ = os.environ if environ is None else environ
        hosts = named((), environ)
        told = read_environment(environ)
        for name in ("control_plane_url", "pdp_url"):
            if name in told:  # so that what is wrong with it is said of the variable
                checked_url(told[name], setting=VARIABLES[name], allow_insecure=hosts)
        try:
            return cls(**told, allow_insecure=tuple(hosts))
        except ConfigurationError as wrong:
            variable = VARIABLES.get(wrong.setting)
            if variable is None:
                raise
            message = str(wrong).replace(wrong.setting, variable, 1)
            raise ConfigurationError(message, setting=variable) from None

    @classmethod
    @without_frames
    def embedded(
        cls,
        *,
        policies: str | Path,
        data: str | os.PathLike[str] | None = None,
        providers: str | os.PathLike[str] | None = None,
        workspace: str | os.PathLike[str] | None = None,
        services: Mapping[str, str] | None = None,
    ) -> Self:
        """Start a control plane and a PDP inside this process, and return a guard for them.

        `policies` is Cedar text (`str`) or a file or folder (`Path`). `data` is where state
        is kept; without it, a private temporary folder that is removed on close. `providers`
        is a folder of provider tables, `workspace` the folder that the filesystem provider
        serves (by default a folder inside `data`; `guard.workspace` says which). Both servers
        listen on 127.0.0.1, on free ports. `services` are those beside the PDP that grants may
        be made out to, by name: `{"tickets": "did:key:z6Mk…"}`.

        This is the whole system without anything to set up. It is no boundary against the
        code of the agent itself, which runs in the same process.

        Raises `InvalidPolicy` naming file, policy and line; `ConfigurationError` for the rest.
        """
        from nomos.embedded import start

        refuse_swarm(os.environ)
        server = start(
            policies=policies,
            data=data,
            providers=providers,
            workspace=workspace,
            services=services,
        )
        try:
            guard = cls(
                control_plane_url=server.control_plane_url,
                api_key=server.api_key.reveal(),
                pdp_url=server.pdp_url,
                parent=None,
            )
        except BaseException:
            server.close()
            raise
        guard._attach_embedded_server(server)
        return guard

    def _attach_embedded_server(self, server: OwnServer) -> None:
        """Take on a server of this process, and its own account of what went wrong."""
        self._server = server
        self._endpoint.failure_reason = server.trouble
        operator = Endpoint(
            self._endpoint.url,
            api_key=server.operator_key,
            timeout=self._endpoint.timeout,
        )
        operator.failure_reason = server.trouble
        self._connect_operator(operator)
        weakref.finalize(self, server.close)

    @abstractmethod
    def _connect(self) -> None:
        """Make the HTTP client of this colour."""

    @abstractmethod
    def _connect_operator(self, endpoint: Endpoint) -> None:
        """Make another one, for what an embedded server's operator does."""

    @property
    def control_plane_url(self) -> str:
        """The base URL that this guard asks."""
        return self._endpoint.url

    @property
    def pdp_url(self) -> str | None:
        """The base URL of the PDP, if this guard was told."""
        return self._pdp_url

    @property
    def workspace(self) -> Path | None:
        """The folder that an embedded server's filesystem provider serves; None without one."""
        return None if self._server is None else self._server.workspace

    @property
    def api_key(self) -> str | None:
        """The API key itself; it is in no `repr`, log or error."""
        return self._endpoint.api_key.reveal() if self._endpoint.api_key else None

    def __repr__(self) -> str:
        if "_endpoint" not in vars(self):  # its constructor raised
            return f"{type(self).__name__}()"
        mode = "" if self._failure_mode == "closed" else ", failure_mode='open'"
        return f"{type(self).__name__}({self.control_plane_url!r}{mode})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled: it holds a signing key. "
            "Make one in the process that needs it."
        )

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigurationError("this guard is closed; make a new one", setting="guard")

    @property
    def _operator_key(self) -> Secret:
        return self._server.operator_key if self._server else self._operator_key_required()

    def _operator_key_required(self) -> NoReturn:
        raise operator_key_required(self.control_plane_url)

    def _release_signing_key(self) -> ForgetKey | None:
        """Close once; return the request that makes the binary forget this guard's key."""
        if self._closed:
            return None
        did, link = self._did, self._linked
        self._closed = True
        self._standing.seed.wipe()
        if did is None or link is None or not link.release(did, self):
            return None
        if link.running() is None:
            link.drop(did)
            return None
        return ForgetKey(key=did)
