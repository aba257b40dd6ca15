"""Both guards against control planes that fail, answer falsely, are slow or missing."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from guard_kinds import GUARD_KINDS, GuardKind
from hostile import Reply, control_plane

from nomos import AsyncAuthGuard, AuthGuard, FailOpenWarning, errors
from nomos.guard import Grant

API_KEY = "nomos_app_secretsecretsecret"
READ: dict[str, Any] = {
    "command": "/github/issue/list",
    "resource": {"provider": "github", "owner": "acme", "repo": "app"},
}
WRITE = READ | {"command": "/github/issue/create"}
DENY = {"decision": "deny", "reason": "policy_denied", "receiptId": "evt_1"}

pytestmark = pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)


def make(guard_kind: GuardKind, url: str, **settings: Any) -> Any:
    return guard_kind.guard(control_plane_url=url, **({"api_key": API_KEY} | settings))


def unused_url() -> str:
    """A URL of this machine where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_deny_comes_back_as_a_grant(guard_kind: GuardKind) -> None:
    with control_plane(Reply(body=DENY)) as plane:
        guard = make(guard_kind, plane.url)
        grant = guard_kind.call(guard.authorize, **READ)
        assert (grant.decision, grant.reason, bool(grant)) == ("deny", "policy_denied", False)
        with pytest.raises(errors.Denied, match="policy_denied"):
            guard_kind.call(grant.headers)
        guard_kind.call(guard.close)
    headers, _ = plane.requests[0]
    assert headers["authorization"] == f"Bearer {API_KEY}"


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(500), errors.ServerError),
        (Reply(200, b"<html>Welcome!</html>", "text/html"), errors.InvalidResponse),
        (Reply(200, {"decision": "yes", "receiptId": "e"}), errors.InvalidResponse),
        (Reply(200, {"allow": True, "receiptId": "e"}), errors.InvalidResponse),
        (Reply(200, {**DENY, "decision": "allow"}), errors.InvalidResponse),
        (Reply(200, b"[" * 200_000), errors.InvalidResponse),
        (Reply(200, b" " * 5_000_000), errors.InvalidResponse),
        (Reply(302, b"", headers={"location": "http://127.0.0.1:1/"}), errors.InvalidResponse),
        (Reply(401, {"error": "no", "error_code": "invalid_api_key"}), errors.AuthenticationError),
        (Reply(403, {"error": "no", "error_code": "app_disabled"}), errors.PermissionDenied),
        (Reply(404, b"nothing here", "text/plain"), errors.NotFound),
        (Reply(409, {"error": "no"}), errors.Conflict),
    ],
    ids=lambda one: f"{one.status}-{len(one.body)}" if isinstance(one, Reply) else one.__name__,
)
@pytest.mark.parametrize("question", [READ, WRITE], ids=["read", "write"])
def test_closed_anything_but_a_decision_raises(
    guard_kind: GuardKind, question: dict[str, Any], reply: Reply, error: type[Exception]
) -> None:
    with control_plane(reply) as plane:
        guard = make(guard_kind, plane.url)
        with pytest.raises(error) as raised:
            guard_kind.call(guard.authorize, **question)
        guard_kind.call(guard.close)
    assert API_KEY not in str(raised.value) + repr(raised.value)
    assert len(plane.requests) == 1


def test_a_control_plane_that_is_down_is_named(guard_kind: GuardKind) -> None:
    url = unused_url()
    guard = make(guard_kind, url)
    with pytest.raises(errors.Unreachable, match=url):
        guard_kind.call(guard.authorize, **READ)
    guard_kind.call(guard.close)


@pytest.mark.parametrize(
    "reply", [Reply(delay=2), Reply(body=b" " * 9, drip=0.2)], ids=["no answer", "dripping"]
)
def test_a_slow_control_plane_times_out(guard_kind: GuardKind, reply: Reply) -> None:
    with control_plane(reply) as plane:
        guard = make(guard_kind, plane.url, timeout=0.3)
        began = time.monotonic()
        with pytest.raises(errors.Unreachable, match=r"within 0\.3 s"):
            guard_kind.call(guard.authorize, **READ)
        assert time.monotonic() - began < 8
        guard_kind.call(guard.close)


def test_all_attempts_of_a_call_have_one_idempotency_key(guard_kind: GuardKind) -> None:
    with control_plane(
        Reply(503), Reply(429, headers={"retry-after": "0"}), Reply(body=DENY)
    ) as plane:
        guard = make(guard_kind, plane.url)
        assert not guard_kind.call(guard.authorize, **READ)
        assert not guard_kind.call(guard.authorize, **READ)
        guard_kind.call(guard.close)
    keys = [headers["idempotency-key"] for headers, _ in plane.requests]
    assert len(keys) == 4
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]
    assert keys[0].split(":")[1:3] == ["did", "key"]


def test_open_a_read_continues_with_a_warning_each_time(
    guard_kind: GuardKind, caplog: pytest.LogCaptureFixture
) -> None:
    guard = make(guard_kind, unused_url(), failure_mode="open")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "nomos"), pytest.warns(FailOpenWarning):
            grant = guard_kind.call(guard.authorize, **READ)
        assert (bool(grant), grant.degraded, grant.ucan) == (True, True, None)
        assert "allowed without a decision" in caplog.text
    with pytest.raises(errors.ConfigurationError, match="no delegation"):
        guard_kind.call(grant.headers)
    guard_kind.call(guard.close)


@pytest.mark.parametrize("reply", [Reply(500), Reply(200, {"decision": "yes"}), None])
def test_open_a_write_raises_all_the_same(guard_kind: GuardKind, reply: Reply | None) -> None:
    with control_plane(reply or Reply()) as plane:
        guard = make(guard_kind, plane.url if reply else unused_url(), failure_mode="open")
        with pytest.raises((errors.ServerError, errors.InvalidResponse, errors.Unreachable)):
            guard_kind.call(guard.authorize, **WRITE)
        guard_kind.call(guard.close)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_open_a_refusal_is_no_outage(guard_kind: GuardKind, status: int) -> None:
    with control_plane(Reply(status, {"error": "no"})) as plane:
        guard = make(guard_kind, plane.url, failure_mode="open")
        with pytest.raises(errors.ControlPlaneError):
            guard_kind.call(guard.authorize, **READ)
        guard_kind.call(guard.close)


def test_a_missing_binary_raises_and_open_a_read_continues(
    guard_kind: GuardKind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOMOS_UCAN_BIN", str(tmp_path / "gone"))
    guard = make(guard_kind, unused_url())
    with pytest.raises(errors.BinaryNotFound, match="gone"):
        guard_kind.call(guard.authorize, **READ)
    guard = make(guard_kind, unused_url(), failure_mode="open")
    with pytest.warns(FailOpenWarning, match="BinaryNotFound"):
        grant = guard_kind.call(guard.authorize, **READ)
    assert (bool(grant), grant.degraded, grant.ucan) == (True, True, None)
    with pytest.raises(errors.BinaryNotFound, match="gone"):
        guard_kind.call(guard.authorize, **WRITE)


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"control_plane_url": "nomos.example.com"}, "control_plane_url"),
        ({"control_plane_url": "ftp://nomos.example.com"}, "control_plane_url"),
        ({"control_plane_url": "https://user:pw@nomos.example.com"}, "control_plane_url"),
        ({"control_plane_url": None}, "control_plane_url"),
        ({"control_plane_url": "http://[::1"}, "control_plane_url"),
        ({"control_plane_url": "http://127.0.0.1:99999"}, "control_plane_url"),
        ({"control_plane_url": "http://127.0.0.1:0"}, "control_plane_url"),
        ({"control_plane_url": "http://a b"}, "control_plane_url"),
        ({"control_plane_url": "htps://user:hunter2@host"}, "control_plane_url"),
        ({"parent": "a.b.c"}, "parent"),
        ({"parent": []}, "parent"),
        ({"pdp_url": "pdp"}, "pdp_url"),
        ({"api_key": "two words"}, "api_key"),
        ({"api_key": ""}, "api_key"),
        ({"api_key": "line\nbreak"}, "api_key"),
        ({"failure_mode": "ajar"}, "failure_mode"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "10"}, "timeout"),
        ({"agent_key_file": "/nowhere/key"}, "agent_key_file"),
        ({"agent_key_file": 7}, "agent_key_file"),
        ({"agent_key_file": b"/nowhere/key"}, "agent_key_file"),
        ({"agent_key_file": "no\ud800where"}, "agent_key_file"),
        ({"agent_key_file": "no\0where"}, "agent_key_file"),
        ({"allow_insecure": None}, "allow_insecure"),
        ({"allow_insecure": True}, "allow_insecure"),
    ],
)
def test_a_wrong_setting_is_named(
    guard_kind: GuardKind, settings: dict[str, Any], setting: str
) -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        guard_kind.guard(**({"control_plane_url": "http://127.0.0.1:1"} | settings))
    assert raised.value.setting == setting
    assert setting in str(raised.value)
    assert "two words" not in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("api_key", "sentence"),
    [
        (f"{API_KEY}\n", "There is a line break before or after it"),
        (f"{API_KEY}\r\n", ".strip() text that is read"),
        (f"\t{API_KEY}", "There is a line break before or after it"),
        (f"Bearer {API_KEY}", "leave off `Bearer `"),
        (" ", "it is empty"),
        ("", "it is empty"),
        (API_KEY.encode(), "not bytes"),
    ],
)
def test_text_around_an_api_key_is_reported(
    guard_kind: GuardKind, api_key: Any, sentence: str
) -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        guard_kind.guard(control_plane_url="http://127.0.0.1:1", api_key=api_key)
    assert sentence in str(raised.value)
    assert API_KEY not in str(raised.value)


def test_a_parent_that_is_no_chain_is_named(guard_kind: GuardKind) -> None:
    for chains in (["a.b.c"], [["a.b.c"], ["a.b"]]):
        with pytest.raises(errors.MalformedChain, match="parent"):
            make(guard_kind, "http://127.0.0.1:1", parent=chains)


def test_from_env_reads_what_it_is_given(guard_kind: GuardKind) -> None:
    environ = {"NOMOS_CONTROL_URL": "http://127.0.0.1:1/", "NOMOS_API_KEY": API_KEY}
    guard = guard_kind.guard.from_env(environ | {"NOMOS_PDP_URL": "http://127.0.0.1:2"})
    assert guard.control_plane_url == "http://127.0.0.1:1"
    assert guard.pdp_url == "http://127.0.0.1:2"
    assert guard.api_key == API_KEY
    with pytest.raises(errors.ConfigurationError, match="NOMOS_CONTROL_URL is not set"):
        guard_kind.guard.from_env({})


@pytest.mark.parametrize(
    "variable",
    [
        "NOMOS_PARENT_UCAN_CHAIN",
        "NOMOS_PARENT_UCAN_CHAIN_FILE",
        "NOMOS_PARENT_RECEIPT_ID",
        "NOMOS_SWARM_ID",
        "NOMOS_AGENT_KEY_FD",
        "NOMOS_AGENT_KEY_HANDOVER_FILE",
    ],
)
@pytest.mark.parametrize("value", ["[]", ""])
def test_a_child_never_silently_becomes_a_root(
    guard_kind: GuardKind, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"NOMOS_CONTROL_URL": "http://127.0.0.1:1", variable: value}
    with pytest.raises((errors.ConfigurationError, errors.ChainError), match=variable):
        guard_kind.guard.from_env(given)
    monkeypatch.setenv(variable, value)
    with pytest.raises((errors.ConfigurationError, errors.ChainError), match=variable):
        make(guard_kind, "http://127.0.0.1:1")
    assert make(guard_kind, "http://127.0.0.1:1", parent=None)


def test_open_an_invalid_question_is_no_outage(guard_kind: GuardKind) -> None:
    guard = make(guard_kind, unused_url(), failure_mode="open")
    for wrong in (
        {"resource": {"provider": "github", "path": Path("x")}},
        {"idempotency_key": "a\r\nb"},
        {"idempotency_key": 7},
        {"idempotency_key": b"a"},
        {"ttl_seconds": 0},
    ):
        with pytest.raises(errors.InvalidRequest):
            guard_kind.call(guard.authorize, **(READ | wrong))
    guard_kind.call(guard.close)


def test_a_guard_prints_no_secret_and_does_not_pickle(guard_kind: GuardKind) -> None:
    guard = make(guard_kind, "http://127.0.0.1:1", failure_mode="open")
    assert API_KEY not in repr(guard) + repr(vars(guard))
    assert guard._standing.seed.reveal() not in repr(vars(guard))
    with pytest.raises(TypeError, match="signing key"):
        pickle.dumps(guard)


def test_closing_twice_is_harmless_and_a_closed_guard_raises(guard_kind: GuardKind) -> None:
    with control_plane(Reply(body=DENY)) as plane:
        guard = make(guard_kind, plane.url)
        guard_kind.call(guard.authorize, **READ)
        for _ in range(2):
            guard_kind.call(guard.close)
        with pytest.raises(errors.ConfigurationError, match="closed"):
            guard_kind.call(guard.authorize, **READ)


def test_a_proxy_of_the_environment_is_used_for_https_and_is_named(
    guard_kind: GuardKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    with control_plane(Reply()) as proxy:
        host = proxy.url.removeprefix("http://")
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@{host}")
        guard = make(guard_kind, "https://nomos.invalid")
        with pytest.raises(errors.Unreachable) as raised:
            guard_kind.call(guard.authorize, **READ)
        guard_kind.call(guard.close)
    assert f"through the proxy {proxy.url} of HTTPS_PROXY cannot be reached" in str(raised.value)
    assert "501" in str(raised.value)
    assert "secret" not in str(raised.value)


class TestKeyFiles:
    SEED = "00" * 31 + "02"
    DID = "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"

    def write(self, path: Path, text: str, mode: int = 0o600) -> Path:
        path.write_text(text)
        path.chmod(mode)
        return path

    def test_a_key_file_gives_the_agent_its_lasting_did(
        self, guard_kind: GuardKind, tmp_path: Path
    ) -> None:
        path = self.write(tmp_path / "agent.key", self.SEED + "\n")
        with control_plane(Reply(body=DENY)) as plane:
            guard = make(guard_kind, plane.url, agent_key_file=path)
            assert guard_kind.call(guard.authorize, **READ).agent == self.DID
            guard_kind.call(guard.close)
        assert self.DID.encode() in plane.requests[0][1]

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
    def test_a_key_that_others_can_read_is_not_used(
        self, guard_kind: GuardKind, tmp_path: Path, mode: int
    ) -> None:
        path = self.write(tmp_path / "agent.key", self.SEED, mode)
        with pytest.raises(errors.ConfigurationError, match="chmod 600"):
            make(guard_kind, "http://127.0.0.1:1", agent_key_file=path)

    @pytest.mark.parametrize("text", ["", "zz" * 32, "00" * 31, "AA" * 32, "00" * 33])
    def test_a_file_that_is_no_key_is_refused_without_repeating_it(
        self, guard_kind: GuardKind, tmp_path: Path, text: str
    ) -> None:
        path = self.write(tmp_path / "agent.key", text)
        with pytest.raises(errors.ConfigurationError, match="64 lower-case hex") as raised:
            make(guard_kind, "http://127.0.0.1:1", agent_key_file=path)
        assert not text or text not in str(raised.value)

    def test_a_key_file_that_is_no_regular_file_is_refused_at_once(
        self, guard_kind: GuardKind, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "pipe", 0o600)
        with pytest.raises(errors.ConfigurationError, match="regular file"):
            make(guard_kind, "http://127.0.0.1:1", agent_key_file=tmp_path / "pipe")


def test_a_context_manager_closes(guard_kind: GuardKind) -> None:
    if guard_kind.backend is None:
        with AuthGuard(control_plane_url="http://127.0.0.1:1") as guard:
            pass
        with pytest.raises(errors.ConfigurationError, match="closed"):
            guard.authorize(**READ)
        return

    async def use() -> None:
        async with AsyncAuthGuard(control_plane_url="http://127.0.0.1:1") as guard:
            pass
        with pytest.raises(errors.ConfigurationError, match="closed"):
            await guard.authorize(**READ)

    guard_kind.call(use)


def test_a_grant_does_not_pickle(guard_kind: GuardKind) -> None:
    with control_plane(Reply(body=DENY)) as plane:
        guard = make(guard_kind, plane.url)
        grant = guard_kind.call(guard.authorize, **READ)
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(grant)
        assert isinstance(grant, Grant) is (guard_kind.backend is None)
        guard_kind.call(guard.close)
