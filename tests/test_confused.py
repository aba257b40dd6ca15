"""Replies about another question than the one that was sent are refused.

The unchanged replies come from a real one, so its PDP would accept all that is signed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import pytest
from guard_kinds import GUARD_KINDS, GuardKind
from hostile import Reply, Script, control_plane

from nomos import AuthGuard
from nomos.errors import InvalidResponse

POLICY: Final = 'permit (principal, action in Action::"/filesystem", resource);'
READ, WRITE = "/filesystem/file/read", "/filesystem/file/write"
OTHER: Final = {"provider": "filesystem", "path": "important.txt"}

Change = Callable[[dict[str, Any]], Any]


def nothing(_: dict[str, Any]) -> None:
    pass


@pytest.fixture(scope="module")
def system() -> Iterator[AuthGuard]:
    with AuthGuard.embedded(policies=POLICY) as guard:
        yield guard


@contextmanager
def between(
    system: AuthGuard, *, question: Change = nothing, answer: Change = nothing
) -> Iterator[Script]:
    """Stand before a control plane, and change what is asked there and what it answers."""

    def forward(body: bytes) -> Reply:
        sent = json.loads(body)
        question(sent)
        kept = ("authorization", "idempotency-key", "nomos-call-id", "content-type")
        headers = {name: plane.requests[-1][0][name] for name in kept}
        url = f"{system.control_plane_url}/v1/authorize"
        said = httpx.post(url, json=sent, headers=headers, trust_env=False)
        reply_body = said.json()
        answer(reply_body)
        return Reply(said.status_code, reply_body)

    with control_plane(forward) as plane:
        yield plane


def ask(plane: Script, system: AuthGuard, guard_kind: GuardKind, **question: Any) -> Any:
    asked = {
        "command": WRITE,
        "resource": {"provider": "filesystem", "path": "/scratch.txt"},
        "args": {"content": "hello"},
    } | question
    guard = guard_kind.guard(control_plane_url=plane.url, api_key=system.api_key)
    return guard_kind.call(guard.authorize, **asked)


@pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)
def test_an_unchanged_allow_is_signed(system: AuthGuard, guard_kind: GuardKind) -> None:
    with between(system) as plane:
        assert ask(plane, system, guard_kind).ucan
        assert ask(plane, system, guard_kind, command="/filesystem", args=None).commands
        assert ask(plane, system, guard_kind, purpose="p", context={"a": [1.0]}, ttl_seconds=5).ucan


@pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "change",
    [
        lambda q: q.update(resource=OTHER),
        lambda q: q.update(args={"content": "pwned"}),
        lambda q: q.pop("args"),
        lambda q: q.update(command=READ, args={}),
        lambda q: q.update(command="/filesystem") or q.pop("args"),
        lambda q: q.update(ttlSeconds=3600),
        lambda q: q.update(purpose="harmless"),
        lambda q: q.update(context={"ticket": "OPS-1"}),
    ],
)
def test_a_question_that_was_changed_on_its_way_is_not_signed_for(
    system: AuthGuard, guard_kind: GuardKind, change: Change
) -> None:
    with between(system, question=change) as plane, pytest.raises(InvalidResponse, match="nothing"):
        ask(plane, system, guard_kind)


@pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)
def test_an_earlier_signed_allow_is_refused_for_another_question(
    system: AuthGuard, guard_kind: GuardKind
) -> None:
    seen: list[dict[str, Any]] = []

    def again(reply_body: dict[str, Any]) -> None:
        seen.append(dict(reply_body))
        reply_body.update({**seen[0], "callId": reply_body["callId"]})

    guard = guard_kind.guard(control_plane_url="http://127.0.0.1:1", api_key=system.api_key)
    asked = {"command": READ, "resource": {"provider": "filesystem", "path": "a"}}
    with between(system, answer=again) as plane:
        guard._endpoint.url = plane.url
        assert guard_kind.call(guard.authorize, **asked).ucan
        with pytest.raises(InvalidResponse, match="another question"):
            guard_kind.call(guard.authorize, **asked)
