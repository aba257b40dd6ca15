"""The identity of a guard: its key, and the chains inherited from its parent."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomos._core.chain_verification import another_key, no_key
from nomos._core.fork_request import ChildSpec, ForkRequest, child_spec
from nomos._core.parent_env import CHAIN, CHAIN_FILE, as_parent_chain, clock_offset, max_depth
from nomos._core.scope import chain_audience
from nomos._io.handover import key_from_env
from nomos._io.keyfile import read_key_file
from nomos._io.parent_chain_file import parent_from_env
from nomos._sealed import make
from nomos._settings import FromEnvironment
from nomos.errors import ConfigurationError, MalformedChain
from nomos.models import GrantBase, ParentChain, Secret

Chains = GrantBase | ParentChain | Sequence[str] | Sequence[Sequence[str]]
"""What names authority that can be delegated: a grant, a chain, several chains."""

_CHILD_ARGUMENTS: Final = ("capabilities", "audience_did", "ttl_seconds")


@dataclass(frozen=True)
class Identity:
    """A guard's key and parent chains; `parent` is empty for a root.

    `setting` names where the chains came from, for messages. `parent.max_depth`, the greatest
    number of delegations in a chain, applies to a root as well. `clock_offset` is the number of
    seconds by which the control plane's clock is ahead, if a parent reported it.
    """

    parent: ParentChain
    setting: str
    seed: Secret
    clock_offset: int | None = None


def load_identity(
    parent: FromEnvironment | Chains | None, agent_key_file: str | os.PathLike[str] | None
) -> Identity:
    """Return a guard's identity from its arguments and environment variables.

    Nothing is verified yet: that needs the signing binary. Raises `ConfigurationError` or a
    `ChainError` that names the variable or argument. A value that is wrong never makes a root.
    """
    environ: Mapping[str, str] = os.environ
    setting = "parent"
    if isinstance(parent, FromEnvironment):
        environ = os.environ if parent.environ is None else parent.environ
        setting = CHAIN_FILE if CHAIN_FILE in environ else CHAIN
        inherited = parent_from_env(environ)
    elif parent is None or (isinstance(parent, ParentChain) and not parent):
        # `read_parent_chain_from_env` returns an empty one if there is no parent.
        inherited = make(ParentChain, max_depth=max_depth(environ))
    else:
        inherited = as_parent_chain(parent, setting=setting, most=max_depth(environ))
    holders = _holders(inherited, setting)
    offset = clock_offset(environ) if inherited else None
    seed = _key(holders, setting, agent_key_file, environ)
    return Identity(inherited, setting, seed, offset)


def one_child(
    capabilities: object, audience_did: str | None, ttl_seconds: int | None
) -> tuple[Mapping[str, Any]]:
    """Return the arguments of `fork_child` as the one child of `fork_children`."""
    given_values = (capabilities, audience_did, ttl_seconds)
    return (dict(zip(_CHILD_ARGUMENTS, given_values, strict=True)),)


def forked_by(
    did: str,
    parent: ParentChain,
    wanted: Sequence[Mapping[str, Any]],
    *,
    now: int,
    setting: str,
    several: bool,
) -> ForkRequest:
    """Return the request that forks the `wanted` children of `parent`.

    `setting` names where `parent` came from. With `several`, messages name each child by its index.
    Raises `ConfigurationError` naming the argument, `WrongAudience` for a chain whose audience is
    not `did`.
    """
    for named in _holders(parent, setting):
        if named != did:
            raise another_key(setting, named, did)
    specs = tuple(
        _child_spec(each, f"children[{index}]" if several else "", now)
        for index, each in enumerate(wanted)
    )
    capabilities = sum(len(each.capabilities) for each in specs)
    nonces = [secrets.token_urlsafe(16) for _ in range(capabilities)]
    return ForkRequest(did, parent, specs, nonces, now)


def _child_spec(wanted: Mapping[str, Any], at: str, now: int) -> ChildSpec:
    if not isinstance(wanted, Mapping) or "capabilities" not in wanted:
        raise ConfigurationError(
            f"{at} must be a mapping with `capabilities` and, optionally, `audience_did` and "
            "`ttl_seconds`",
            setting=at,
        )
    for name in wanted:
        if name not in _CHILD_ARGUMENTS:
            raise ConfigurationError(
                f"{at}: {str(name)[:64]!r} is unknown; a child has capabilities and, optionally, "
                "audience_did and ttl_seconds",
                setting=at,
            )
    return child_spec(
        capabilities=wanted["capabilities"],
        audience_did=wanted.get("audience_did"),
        ttl_seconds=wanted.get("ttl_seconds"),
        now=now,
        at=f"{at}." if at else "",
    )


def _holders(parent: ParentChain, setting: str) -> list[str]:
    """Return the audiences of the chains' last delegations: the keys they were delegated to."""
    try:
        return [chain_audience(chain) for chain in parent.chains]
    except MalformedChain as error:
        raise MalformedChain(f"{setting}: {error}", code=error.code, hop=error.hop) from error


def _key(
    holders: Sequence[str],
    setting: str,
    agent_key_file: str | os.PathLike[str] | None,
    environ: Mapping[str, str],
) -> Secret:
    if agent_key_file is not None:
        return read_key_file(agent_key_file, setting="agent_key_file")
    if not holders:
        return Secret(secrets.token_hex(32))
    key = key_from_env(environ)
    if key is None:
        raise no_key(setting, holders[0])
    return key
