"""Children: what a parent forks, and how a process reads what it was given."""

import subprocess
import sys
from datetime import datetime
from typing import Any, assert_type

from anyio.abc import Process

from nomos import (
    AuthGuard,
    Capability,
    Chain,
    Child,
    Grant,
    ParentChain,
    fork_child,
    read_parent_chain_from_env,
)
from nomos.constraints import one_of

READ = {"with": "github://acme/app", "can": "issue:list"}


def fork(guard: AuthGuard, grant: Grant) -> None:
    child = guard.fork_child(
        parent_chain=grant.chain,
        audience_did="did:key:…",
        capabilities=[
            {"with": "github://acme/app", "can": "*", "constraints": [one_of("state", ["open"])]}
        ],
        ttl_seconds=60,
    )
    assert_type(child, Child)
    assert_type(guard.fork_children([{"capabilities": [READ]}]), tuple[Child, ...])
    typed = Capability("/github/issue/list", {"provider": "github"})
    assert_type(fork_child(parent_chain=[["a.b.c"]], capabilities=[typed]), Child)
    assert_type(fork_child(parent_chain=grant, capabilities=[READ]), Child)


def parent() -> None:
    held = read_parent_chain_from_env()
    assert_type(held, ParentChain)
    assert_type(bool(held), bool)
    assert_type(held.chain, Chain)
    assert_type(held.chains, tuple[Chain, ...])
    assert_type(list(held.chain), list[str])
    AuthGuard(control_plane_url="https://nomos.example.com", parent=held)


def start(child: Child) -> None:
    with child:
        assert_type(child.agent, str)
        assert_type(child.chain, Chain)
        assert_type(child.capabilities, tuple[Capability, ...])
        assert_type(child.expires_at, datetime)
        assert_type(child.env(), dict[str, str])
        assert_type(child.env(base={"PATH": "/bin"}), dict[str, str])
        assert_type(child.popen([sys.executable, "child.py"], text=True), subprocess.Popen[Any])


async def start_awaited(child: Child) -> None:
    async with child:
        assert_type(await child.open([sys.executable, "child.py"]), Process)
