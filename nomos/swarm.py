"""A process and its children, without a guard: read what a parent gave, and hand on less of it.

    parent = read_parent_chain_from_env(os.environ)
    child = fork_child(
        parent_chain=parent.chain,
        capabilities=[{"with": "github://acme/app", "can": "repo:read"}],
    )
    process = child.popen([sys.executable, "researcher.py"])

A child can do less than its parent or the same, never more, whoever forks it: every service
checks every link. Guards do the same with `guard.fork_child`, and act with what they were given.
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
    """Return the authority that this process was started with, by default from `os.environ`.

    Empty and falsy if no parent gave any. What is there is checked: the text, every signature,
    the expiry, and that it ends in the key of this process, which is ready to sign afterwards.
    Who the root's issuer is, only a service knows that trusts one.

    Raises:
        ConfigurationError: a variable is set and of no use, or no key is at hand; it is named.
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
    """Hand some of this process's authority to a child, without asking anybody.

    `parent_chain` is what this process holds: a grant, its `chain`, or what
    `read_parent_chain_from_env` returns. `audience_did` is the child's did:key; without it, a
    key is made and goes to the child with the rest. Each of `capabilities` becomes a chain for
    exactly that (`{"with": "github://acme/app", "can": "repo:read"}`; see
    `nomos.capabilities`). `ttl_seconds` may end it earlier than the parent's.

    The key that the chain is for must be this process's: a guard's, or the one that
    `NOMOS_AGENT_KEY_FD`, `NOMOS_AGENT_KEY_HANDOVER_FILE` or `NOMOS_AGENT_KEY_FILE` names.

    Raises:
        Widening: a capability, or the time, is not within what the chain gives.
        ExpiredChain, ChainTooDeep, MalformedChain, WrongAudience: the chain cannot be handed on.
        ConfigurationError: an argument is wrong (`.setting` names it), the chain is empty, or
            the key that it is for is not at hand.
        SignerError: the signing binary gave no answer.
    """
    parent = parent_env.as_parent_chain(parent_chain, most=parent_env.max_depth(os.environ))
    offset: float | None = parent_env.clock_offset(os.environ)
    if isinstance(parent_chain, GrantBase):
        offset = parent_chain.clock_offset
    now = int(time.time() + (offset or 0))
    wish = fork_request.child_spec(
        capabilities=capabilities, audience_did=audience_did, ttl_seconds=ttl_seconds, now=now
    )
    link = shared()
    key = chain_audience(parent.chains[0])
    if not link.holds(key):
        _own_key(link, key, os.environ, where="parent_chain")
    wanted = fork_request.ForkRequest(key, parent, (wish,), _nonces(), now)
    (forked,) = _run(fork_request.fork(wanted), link)
    return Child._of(forked, parent_env.clock_variable(offset))  # noqa: SLF001 - made here alone


def _nonces() -> Iterator[str]:
    while True:
        yield secrets.token_urlsafe(16)


def _own_key(link: SignerConnection, wanted: str, environ: Mapping[str, str], *, where: str) -> str:
    """Return the DID of this process's key, which the binary holds afterwards.

    That is the key which the variables name; without any, one that this process has already.
    Raises `ConfigurationError` if it has none, `WrongAudience` if it has another than `wanted`.
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
"""Needs the key of this process for as long as it lives, whichever guards come and go."""


def _run(flow: Flow[T], link: SignerConnection) -> T:
    return SyncRuntime(lambda: link).run(flow)
