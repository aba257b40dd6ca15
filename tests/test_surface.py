"""The names of `import nomos`, its sync and async classes, and an import without effects."""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
import subprocess
import sys
from typing import Any, get_args

import pytest

import nomos
from nomos import (
    AsyncAuthGuard,
    AsyncGrant,
    AsyncReceipt,
    AsyncVerifier,
    AuthGuard,
    Grant,
    Receipt,
    Verifier,
)
from nomos._approvals import Approvals, AsyncApprovals
from nomos._protocol import RefusalCode
from nomos._sealed import make
from nomos.errors import NomosError
from nomos.models import DenyReason, GrantBase, Secret, VerificationCode, chain_of


def test_all_lists_exactly_the_public_names() -> None:
    public = {
        name
        for name, value in vars(nomos).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert sorted(public) == sorted(nomos.__all__)


def test_every_error_has_one_root_and_is_exported() -> None:
    tree = [NomosError]
    for error in tree:
        tree += error.__subclasses__()
    ours = {error for error in tree if error.__module__ == "nomos.errors"}
    assert {error.__name__ for error in ours} <= set(nomos.__all__)
    assert issubclass(nomos.ConfigurationError, ValueError)


def public_methods(kind: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(kind)
        if callable(member) and (not name.startswith("_") or name == "__init__")
    }


def attributes(kind: type) -> set[str]:
    """The names of what is read, not called."""
    return {name for name, one in inspect.getmembers(kind) if isinstance(one, property)}


def parameters(function: Any) -> list[tuple[str, Any, Any, str]]:
    """Names, kinds, defaults and annotations; the twins' own names count as one."""
    return [
        (one.name, one.kind, one.default, str(one.annotation).replace("Async", ""))
        for one in inspect.signature(function).parameters.values()
    ]


TWINS = [
    (AuthGuard, AsyncAuthGuard),
    (Grant, AsyncGrant),
    (Approvals, AsyncApprovals),
    (Receipt, AsyncReceipt),
    (Verifier, AsyncVerifier),
]


@pytest.mark.parametrize(("sync", "twin"), TWINS)
def test_sync_and_async_classes_have_the_same_methods_and_parameters(
    sync: type, twin: type
) -> None:
    mine, theirs = public_methods(sync), public_methods(twin)
    assert mine.keys() == theirs.keys()
    assert attributes(sync) == attributes(twin)
    made = {"__init__"} if sync in (AuthGuard, Verifier) else set()
    for name in mine.keys() - {"__init__"} | made:
        assert parameters(mine[name]) == parameters(theirs[name]), name


def test_sync_and_async_classes_differ_only_in_awaiting() -> None:
    awaited = {
        name
        for _, kind in TWINS
        for name, member in public_methods(kind).items()
        if asyncio.iscoroutinefunction(member)
    }
    assert awaited == {
        *("authorize", "close", "headers", "receipt", "revoke", "wait_for_approval"),
        *("decide", "get", "list", "verify"),
        *("did", "fork_child", "fork_children", "explain"),
    }
    blocking = [
        name
        for kind, _ in TWINS
        for name, member in public_methods(kind).items()
        if asyncio.iscoroutinefunction(member)
    ]
    assert blocking == []


def test_importing_reads_no_environment_starts_nothing_and_leaves_httpx_alone() -> None:
    program = """
import json, os, subprocess, sys, threading
class Watched(dict):
    read = []
    def __getitem__(self, key): self.read.append(key); return super().__getitem__(key)
    def get(self, key, default=None): self.read.append(key); return super().get(key, default)
started = []
import anyio, pydantic
real = os.environ
os.environ = Watched(real)
subprocess.Popen.__init__ = lambda *a, **k: started.append(a)
import nomos
print(json.dumps({
    "read": [name for name in Watched.read if "NOMOS" in name],
    "started": len(started),
    "threads": threading.active_count(),
    "modules": [name for name in ("httpx", "fastapi", "cedarpy", "nomos.embedded")
                if name in sys.modules],
}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"read": [], "started": 0, "threads": 1, "modules": []}


def test_every_error_survives_a_trip_between_processes_without_its_grant() -> None:
    grant = make(GrantBase, decision="deny", command="/a", resource={"provider": "a"})
    made = [
        nomos.ConfigurationError("wrong", setting="timeout"),
        nomos.Denied("no", code="expired", grant=grant, hop=1),
        nomos.Denied("no", code="revoked", field="iss", wanted="a", found="b", fix="ask again"),
        nomos.StepUpRequired("ask", approval_envelope_id="env_1", grant=grant),
        nomos.InvalidRequest("no", fields=("a",), status=400, code="c", request_id="r"),
        nomos.RateLimited("slow", retry_after=3.0),
        nomos.InvalidPolicy([nomos.PolicyProblem("a.cedar", 1, "a", "wrong")]),
        nomos.BinaryNotFound("gone"),
        nomos.ExpiredChain("late", code="expired"),
        nomos.InvalidReceipt("changed", code="changed"),
    ]
    for error in made:
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == {**vars(error), **({"grant": None} if "grant" in vars(error) else {})}


def test_no_secret_is_printed_formatted_or_pickled() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert secret.reveal() == "hunter2"


def test_a_chain_reads_as_strings_and_prints_as_a_count() -> None:
    chain = chain_of(["a.b.c", "d.e.f"])
    assert list(chain) == ["a.b.c", "d.e.f"]
    assert (chain[0], chain[1:], len(chain)) == ("a.b.c", chain_of(["d.e.f"]), 2)
    assert hash(chain) == hash(chain_of(["a.b.c", "d.e.f"]))
    assert chain != ["a.b.c", "d.e.f"]
    assert repr(chain) == "Chain(2 links)"
    assert repr(chain[:1]) == "Chain(1 link)"


def test_a_grant_is_true_for_an_allow_and_for_nothing_else() -> None:
    for decision in ("deny", "requires_step_up"):
        grant = make(GrantBase, decision=decision, command="/a", resource={"provider": "a"})
        assert not grant
    grant = make(
        GrantBase,
        decision="allow",
        command="/a",
        resource={},
        ucan="a.b.c",
        chain=chain_of(["d.e.f"]),
    )
    assert grant
    assert grant.require() is grant
    assert "a.b.c" not in repr(grant)
    assert "d.e.f" not in repr(grant)


def test_codes_of_the_binary_are_reasons_for_a_deny() -> None:
    verification = set(get_args(VerificationCode))
    assert verification < {code for part in get_args(DenyReason) for code in get_args(part)}
    assert verification < {code for part in get_args(RefusalCode) for code in get_args(part)}
