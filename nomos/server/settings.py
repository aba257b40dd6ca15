"""Settings of a system: folder, policies, providers, webhook, URLs, host names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nomos.models import MAX_CHAIN_DEPTH, Secret
from nomos.policy.bundle import Source
from nomos.server.connections.hosts import host_names

HOST: Final = "127.0.0.1"
CONTROL_PORT: Final = 8788
PDP_PORT: Final = 8787


@dataclass(frozen=True)
class UpstreamTarget:
    """The base URL of a provider, and the credential that agents never receive.

    `ca_file` (PEM) has the authorities that its certificate is checked against; None: the default
    authorities.
    """

    base_url: str
    token: Secret | None = None
    ca_file: str | None = None


@dataclass(frozen=True)
class Webhook:
    """The receiver of messages about approvals. Both members are secret."""

    url: str = field(repr=False)
    secret: Secret


@dataclass(frozen=True)
class Settings:
    """All settings of a system.

    `data` is the folder of the database and the keys; one system at a time may use it. `providers`
    is a folder of provider YAML files besides the built-in ones. `facts` declares which of an
    agent's own statements policy may read, with their Cedar types. `workspace` is what the
    filesystem provider serves (by default `data/workspace`). `webhook` receives messages about
    approval requests and their decisions. The end of the audit log is signed every
    `checkpoint_seconds` if it grew; `checkpoint` is one that was stored elsewhere, and the log must
    agree with it at the start. The two URLs are those that users receive; behind a proxy they
    differ from what the server binds. `host_names` are the hosts that requests may name besides
    those of the URLs and loopback.
    """

    data: Path
    policies: tuple[Source, ...]
    providers: Path | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    workspace: Path | None = None
    upstreams: Mapping[str, UpstreamTarget] = field(default_factory=dict)
    webhook: Webhook | None = None
    max_chain_depth: int = MAX_CHAIN_DEPTH
    checkpoint_seconds: float = 60.0
    checkpoint: str | None = None
    host: str = HOST
    control_url: str = f"http://{HOST}:{CONTROL_PORT}"
    pdp_url: str = f"http://{HOST}:{PDP_PORT}"
    host_names: tuple[str, ...] = ()

    @property
    def all_host_names(self) -> tuple[str, ...]:
        """The hosts that requests may name besides loopback. Raises ConfigurationError."""
        return host_names(self.host_names, self.control_url, self.pdp_url)

    @property
    def served_folder(self) -> Path:
        """The folder that the filesystem provider serves."""
        return self.workspace if self.workspace is not None else self.data / "workspace"


def variable_of(provider: str, what: str) -> str:
    """Return the name of a provider's environment variable: `NOMOS_GITHUB_TOKEN`."""
    return f"NOMOS_{provider.upper().replace('-', '_')}_{what}"
