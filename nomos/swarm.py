"""Fork children without a guard: read the inherited chain, delegate a part of it.

    parent = read_parent_chain_from_env(os.environ)
    child = fork_child(
        parent_chain=parent.chain,
        capabilities=[{"with": "github://acme/app", "can": "repo:read"}],
    )
    process = child.popen([sys.executable, "researcher.py"])

A child never has more authority than its parent, because every service verifies every link.
`guard.fork_child` does the same with a guard.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from nomos._child import Child
from nomos._core import chain_verification, fork_request, parent_env
from nomos._core.effects import Flow
from nomos._core.flows import identify
from nomos._core.scope import chain_audience
from nomos._io.handover import key_from_env
from nomos._io.parent_chain_file import parent_from_env
from nomos._io.runtime import SyncRuntime
from nomos._io.signer import SignerConnection, shared
from nomos._tracebacks import without_frames
from nomos.models import Capability, Chain, GrantBase, ParentChain

__all__ = ["Child", "fork_child", "read_parent_chain_from_env"]

T = TypeVar("T")


@without_frames
def read_parent_chain_from_env(environ: Mapping[str, str] | None = None) -> ParentChain:
    """Return the authority that this process inherited, by default from `os.environ`.

    Empty and falsy if there is no parent. The chain's text, every signature and the expiry are
    verified, and that the chain was delegated to the key of this process; the key is loaded for
    signing. Whether the root's issuer is trusted is not checked here: that is for the services.

    Raises:
        ConfigurationError: a variable is set and cannot be used, or there is no key; names it.
        MalformedChain, ExpiredChain, ChainTooDeep, WrongAudience: the chain cannot be used.
    """
    variables = os.environ if environ is None else environ
    parent = parent_from_env(variables)
    if not parent:
        return parent
    where = parent_env.CHAIN if parent_env.CHAIN in variables else parent_env.CHAIN_FILE
    link = shared()
    key = _own_key(link, chain_audience(parent.chains[0]), variables, where=where)
    _run(
        chain_verification.verify_chain(parent, key=key, now=int(time.time()), setting=where), link
    )
    return parent


@without_frames
def fork_child(
    *,
    parent_chain: Chain
    | Sequence[str]
    | ParentChain
    | GrantBase
    | Sequence[Chain]
    | Sequence[Sequence[str]],
    audience_did: str | None = None,
    capabilities: Sequence[Mapping[str, Any] | Capability],
    ttl_seconds: int | None = None,
) -> Child:
    """Delegate some of this process's authority to a child; no network request is made.

    Args:
        parent_chain: the authority of this process: a grant, its `chain`, or the result of
            `read_parent_chain_from_env`.
        audience_did: the child's did:key. Without it, a key is made for the child.
        capabilities: each becomes one chain, such as `{"with": "github://acme/app", "can":
            "repo:read"}`; see `nomos.capabilities`.
        ttl_seconds: lifetime of the child's authority; it never outlasts the parent's.

    The chain must have been delegated to a key of this process: a guard's, or the key that
    `NOMOS_AGENT_KEY_FD`, `NOMOS_AGENT_KEY_HANDOVER_FILE` or `NOMOS_AGENT_KEY_FILE` names.

    Raises:
        AttenuationError: a capability, or the lifetime, exceeds what the chain covers.
        ExpiredChain, ChainTooDeep, MalformedChain, WrongAudience: the chain cannot be used.
        ConfigurationError: an argument is wrong (`.setting` names it), the chain is empty, or this
            process does not have the key that it was delegated to.
        SignerError: the signing binary gave no answer.
    """
    parent = parent_env.as_parent_chain(parent_chain, most=parent_env.max_depth(os.environ))
    offset: float | None = parent_env.clock_offset(os.environ)
    if isinstance(parent_chain, GrantBase):
        offset = parent_chain.clock_offset
    now = int(time.time() + (offset or 0))
    spec = fork_request.child_spec(
        capabilities=capabilities, audience_did=audience_did, ttl_seconds=ttl_seconds, now=now
    )
    link = shared()
    key = chain_audience(parent.chains[0])
    if not link.holds(key):
        _own_key(link, key, os.environ, where="parent_chain")
    wanted = fork_request.ForkRequest(key, parent, (spec,), _nonces(), now)
    (forked,) = _run(fork_request.fork(wanted), link)
    return Child._of(forked, parent_env.clock_variable(offset))  # noqa: SLF001 - made here alone


def _nonces() -> Iterator[str]:
    while True:
        yield secrets.token_urlsafe(16)


def _own_key(link: SignerConnection, wanted: str, environ: Mapping[str, str], *, where: str) -> str:
    """Return the DID of this process's key, which the signing binary holds afterwards.

    It is the key that the variables name; without any, a key that this process has loaded before.
    Raises `ConfigurationError` if there is none, `WrongAudience` if it is not `wanted`.
    """
    seed = key_from_env(environ)
    if seed is None:
        if link.holds(wanted):
            return wanted
        raise chain_verification.no_key(where, wanted)
    did = _run(identify(seed), link)
    link.retain(did, _PROCESS)
    if did != wanted:
        raise chain_verification.another_key(where, wanted, did)
    return did


_PROCESS = object()
"""The owner of keys that stay loaded until the process ends, independent of guards."""


def _run(flow: Flow[T], link: SignerConnection) -> T:
    return SyncRuntime(lambda: link).run(flow)
