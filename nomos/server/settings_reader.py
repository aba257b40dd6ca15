"""`read_settings`: settings of a server from its arguments, files and environment variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nomos.server.connections.hosts import host_names as checked_host_names
from nomos.server.data_folder.layout import check_outside_workspace
from nomos.server.environment import max_chain_depth, named_hosts, upstreams
from nomos.server.policies.loading import read_facts, read_policies
from nomos.server.providers.catalog import load_catalog
from nomos.server.settings import Settings


def read_settings(
    *,
    policies: str | Path,
    data: Path,
    workspace: Path | None,
    providers: Path | None,
    control_url: str,
    pdp_url: str,
    host_names: Sequence[str],
    environ: Mapping[str, str],
) -> Settings:
    """Return the settings of a server, without a webhook and a checkpoint.

    `policies` is a file or folder, or Cedar text (`str`). Raises `InvalidPolicy` and
    `ConfigurationError`, which names the setting or the variable.
    """
    settings = Settings(
        data=data.absolute(),
        policies=read_policies(policies),
        facts=read_facts(policies),
        providers=providers,
        workspace=None if workspace is None else workspace.absolute(),
        upstreams=upstreams(load_catalog(providers), environ),
        max_chain_depth=max_chain_depth(environ),
        control_url=control_url,
        pdp_url=pdp_url,
        host_names=checked_host_names((*host_names, *named_hosts(environ))),
    )
    check_outside_workspace(settings, policies, environ)
    return settings
