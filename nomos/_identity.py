"""On what a guard stands: what its parent handed over, and the key that goes with it."""

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
"""Whatever names authority that can be handed on: a grant, a chain, several chains."""

_WISHED: Final = ("capabilities", "audience_did", "ttl_seconds")


@dataclass(frozen=True)
class Identity:
    """`parent` is empty for a root; `setting` names where it came from, for messages.

    How many delegations a chain may have, `parent.max_depth`, holds for both. `clock_offset` is by
    how many seconds the control plane's clock is ahead, where a parent said so.
    """

    parent: ParentChain
    setting: str
    seed: Secret
    clock_offset: int | None = None


def load_identity(
    parent: FromEnvironment | Chains | None, agent_key_file: str | os.PathLike[str] | None
) -> Identity:
    """Return what a guard stands on, from its arguments and the variables of this process.

    Nothing is proven yet; that takes the binary. Raises `ConfigurationError` or a `ChainError`
    naming the variable or argument: a child never becomes a root because something is wrong.
    """
    environ: Mapping[str, str] = os.environ
    setting = "parent"
    if isinstance(parent, FromEnvironment):
        environ = os.environ if parent.environ is None else parent.environ
        setting = CHAIN_FILE if CHAIN_FILE in environ else CHAIN
        inherited = parent_from_env(environ)
    elif parent is None or (isinstance(parent, ParentChain) and not parent):
        # An empty one is how `read_parent_chain_from_env` says that there is no parent.
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
    return (dict(zip(_WISHED, given_values, strict=True)),)


def forked_by(
    did: str,
    parent: ParentChain,
    wanted: Sequence[Mapping[str, Any]],
    *,
    now: int,
    setting: str,
    several: bool,
) -> ForkRequest:
    """Return what to ask the binary for, so that children get what is `wanted`.

    `setting` is where `parent` came from; of `several` children each is named by its number.
    Raises `ConfigurationError` naming the argument, `WrongAudience` for another key's chain.
    """
    for named in _holders(parent, setting):
        if named != did:
            raise another_key(setting, named, did)
    wishes = tuple(
        _child_spec(each, f"children[{index}]" if several else "", now)
        for index, each in enumerate(wanted)
    )
    capabilities = sum(len(each.capabilities) for each in wishes)
    nonces = [secrets.token_urlsafe(16) for _ in range(capabilities)]
    return ForkRequest(did, parent, wishes, nonces, now)


def _child_spec(wanted: Mapping[str, Any], at: str, now: int) -> ChildSpec:
    if not isinstance(wanted, Mapping) or "capabilities" not in wanted:
        raise ConfigurationError(
            f"{at} must be a mapping with `capabilities`, and with `audience_did` and "
            "`ttl_seconds` where those are wanted",
            setting=at,
        )
    for name in wanted:
        if name not in _WISHED:
            raise ConfigurationError(
                f"{at}: {str(name)[:64]!r} is unknown; a child is described by capabilities, and "
                "by audience_did and ttl_seconds where those are wanted",
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
    """The keys that the chains say they are for."""
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
