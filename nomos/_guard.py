"""`GuardBase`: construction, settings and closing, shared by the sync and async guards.

It performs no network I/O: the subclasses send, sign and wait.
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
    """Construction, settings and closing of both guards."""

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
        """Make a guard from arguments; `from_env` and `embedded` are the other ways.

        Args:
            control_plane_url: base URL of the control plane: https, or http on loopback.
            api_key: API key of the app (`nomos_<app>_<secret>`). Without one the guard
                authenticates with the chain inherited from its parent.
            pdp_url: base URL of the PDP, by the same rule. The guard does not call it: it is kept
                as `guard.pdp_url` and passed to children.
            agent_key_file: path of the agent's persistent Ed25519 key: 64 lower-case hex digits in
                a private file (`nomos keygen` makes one). Without it the guard uses the key that
                was inherited with the chain; a root makes a new key, which is lost when the guard
                closes.
            parent: the authority that the guard acts by: a grant, a chain, several chains or a
                `ParentChain`. By default the `NOMOS_PARENT_…` variables of this process are read,
                and if none is set the guard is a root. None makes it a root in any case.
            failure_mode: `"closed"` raises if no decision can be had. `"open"` then allows commands
                that only read: the grant is `degraded`, and a `FailOpenWarning` is given. A guard
                with a parent's chain is allowed no more than that chain covers.
            timeout: seconds for each call as a whole, above 0 and at most 300.
            allow_insecure: host names for which plain http is accepted, in addition to those in
                `NOMOS_ALLOW_INSECURE_HOSTS`.

        Raises:
            ConfigurationError: a setting is wrong; `.setting` names it.
            ChainError: the parent's chain cannot be read. Its signatures, expiry and audience are
                verified on first use.
        """
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
        """Make a guard from the variables in `environ`, by default those of this process.

        `NOMOS_CONTROL_URL` is required. `NOMOS_API_KEY`, `NOMOS_PDP_URL`, `NOMOS_AGENT_KEY_FILE`,
        `NOMOS_ALLOW_INSECURE_HOSTS` and the variables of `Child.env` are optional. `nomos dev`
        prints the values for a local control plane. Raises as the constructor does; `.setting` of a
        `ConfigurationError` is then the variable's name.
        """
        environ = os.environ if environ is None else environ
        hosts = named((), environ)
        settings = read_environment(environ)
        for name in ("control_plane_url", "pdp_url"):
            if name in settings:  # checked here, so that the error names the variable
                checked_url(settings[name], setting=VARIABLES[name], allow_insecure=hosts)
        try:
            return cls(**settings, allow_insecure=tuple(hosts))
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

        Both listen on free ports of 127.0.0.1 and stop when the guard is closed. This needs no
        setup, and it is no security boundary against the agent's own code, which runs in the same
        process.

        Args:
            policies: Cedar text (`str`), or a file or folder (`Path`).
            data: the data folder. Without it, a private temporary folder that is removed on close.
            providers: a folder of provider tables, in addition to the built-in ones.
            workspace: the folder that the filesystem provider serves; by default one inside `data`.
                `guard.workspace` is its path.
            services: name and DID of each service beside the PDP that may be an audience:
                `{"tickets": "did:key:z6Mk…"}`.

        Raises:
            InvalidPolicy: a policy does not parse or validate; names file, line and policy.
            ConfigurationError: another argument is wrong, or this process inherited a parent's
                authority, which an embedded control plane does not know.
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
        """Keep an embedded server, and report its failure reason in this guard's errors."""
        self._server = server
        self._endpoint.failure_reason = server.trouble
        operator = Endpoint(
            self._endpoint.url, api_key=server.operator_key, timeout=self._endpoint.timeout
        )
        operator.failure_reason = server.trouble
        self._connect_operator(operator)
        weakref.finalize(self, server.close)

    @abstractmethod
    def _connect(self) -> None:
        """Make the HTTP client, sync or async."""

    @abstractmethod
    def _connect_operator(self, endpoint: Endpoint) -> None:
        """Make the HTTP client that uses the operator's API key of an embedded server."""

    @property
    def control_plane_url(self) -> str:
        """The base URL of the control plane."""
        return self._endpoint.url

    @property
    def pdp_url(self) -> str | None:
        """The base URL of the PDP, None if it was not given."""
        return self._pdp_url

    @property
    def workspace(self) -> Path | None:
        """The folder that an embedded filesystem provider serves; None without a server."""
        return None if self._server is None else self._server.workspace

    @property
    def api_key(self) -> str | None:
        """The API key in plain text, None without one. No `repr`, log or error shows it."""
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
        """Mark the guard closed; return the request to remove its key, if any and not shared."""
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
