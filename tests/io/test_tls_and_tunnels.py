"""TLS with a private authority, and proxies, for threads and tasks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from guard_kinds import GUARD_KINDS, GuardKind
from wires import Authority, Peer, authority, serving, tunnel

from nomos import errors

BODY = {"decision": "deny", "reason": "policy_denied", "receiptId": "evt_1"}
READ: dict[str, Any] = {
    "command": "/github/issue/list",
    "resource": {"provider": "github", "owner": "acme", "repo": "app"},
}
each_guard_kind = pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)


def answering(peer: Peer) -> None:
    while request := peer.request():
        peer.reply(request, BODY)


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    names = ("127.0.0.1", "localhost", "nomos.test")
    return authority(tmp_path_factory.mktemp("ca"), names)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)


@each_guard_kind
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_private_authority_is_trusted_when_it_is_named(
    guard_kind: GuardKind, host: str, private: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answering, private.server) as wire:
        url = f"https://{host}:{wire.port}"
        guard = guard_kind.guard(control_plane_url=url)
        with pytest.raises(errors.Unreachable) as raised:
            guard_kind.call(guard.authorize, **READ)
        guard_kind.call(guard.close)
        for part in ("certificate is not trusted", "SSL_CERT_FILE"):
            assert part in str(raised.value)
        assert not raised.value.sent
        monkeypatch.setenv("SSL_CERT_FILE", str(private.ca_file))
        guard = guard_kind.guard(control_plane_url=url)
        for _ in range(2):
            assert guard_kind.call(guard.authorize, **READ).decision == "deny"
        guard_kind.call(guard.close)


@each_guard_kind
def test_https_to_a_plain_http_server_has_a_hint(guard_kind: GuardKind) -> None:
    def plain(peer: Peer) -> None:
        peer.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with serving(plain) as wire:
        guard = guard_kind.guard(control_plane_url=f"https://127.0.0.1:{wire.port}")
        with pytest.raises(errors.Unreachable, match="may speak plain http"):
            guard_kind.call(guard.authorize, **READ)
        guard_kind.call(guard.close)


@each_guard_kind
def test_a_certificate_of_another_name_is_refused(
    guard_kind: GuardKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = authority(tmp_path, ("other.example",))
    monkeypatch.setenv("SSL_CERT_FILE", str(other.ca_file))
    with serving(answering, other.server) as wire:
        guard = guard_kind.guard(control_plane_url=f"https://127.0.0.1:{wire.port}")
        with pytest.raises(errors.Unreachable, match="certificate is not trusted"):
            guard_kind.call(guard.authorize, **READ)
        guard_kind.call(guard.close)


@each_guard_kind
def test_a_server_without_tls_is_reported(guard_kind: GuardKind) -> None:
    def plain(peer: Peer) -> None:
        peer.sock.recv(100)
        peer.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with serving(plain) as wire:
        guard = guard_kind.guard(control_plane_url=f"https://127.0.0.1:{wire.port}")
        with pytest.raises(errors.Unreachable, match="cannot be reached: TLS failed"):
            guard_kind.call(guard.authorize, **READ)
        guard_kind.call(guard.close)


@each_guard_kind
@pytest.mark.parametrize("drip", [False, True])
def test_a_handshake_that_never_ends_is_within_the_timeout(
    guard_kind: GuardKind, *, drip: bool
) -> None:
    def slow(peer: Peer) -> None:
        if drip:
            peer.drip(b"\x16\x03\x03\x3f\xff" + bytes(1000), 0.1)
        peer.silence()

    with serving(slow) as wire:
        guard = guard_kind.guard(control_plane_url=f"https://127.0.0.1:{wire.port}", timeout=1)
        began = time.monotonic()
        with pytest.raises(errors.Unreachable):
            guard_kind.call(guard.authorize, **READ)
        assert time.monotonic() - began < 8
        guard_kind.call(guard.close)


@each_guard_kind
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_https_is_tunnelled_through_a_proxy_that_sees_no_key(
    guard_kind: GuardKind, scheme: str, private: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(private.ca_file))
    seen: list[bytes] = []
    with (
        serving(answering, private.server) as wire,
        serving(tunnel(seen), private.server if scheme == "https" else None) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://me:word@localhost:{proxy.port}")
        url = f"https://nomos.test:{wire.port}"
        guard = guard_kind.guard(control_plane_url=url, api_key="nomos_app_secret")
        assert guard_kind.call(guard.authorize, **READ).decision == "deny"
        guard_kind.call(guard.close)
        through = len(seen)
        monkeypatch.setenv("NO_PROXY", "nomos.test,fd07:b51a:cc66:f0::/64")
        guard = guard_kind.guard(control_plane_url=url, api_key="nomos_app_secret", timeout=5)
        with pytest.raises(errors.Unreachable):
            guard_kind.call(guard.authorize, **READ)
        guard_kind.call(guard.close)
    assert len(seen) == through > 0
    assert seen[0].startswith(f"CONNECT nomos.test:{wire.port} HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic bWU6d29yZA==" in seen[0]
    assert b"secret" not in seen[0]


@each_guard_kind
def test_a_slow_proxy_fails_within_the_timeout_and_is_named(
    guard_kind: GuardKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(peer: Peer) -> None:
        peer.request()
        peer.drip(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 1000, 0.1)

    with serving(slow) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://me:word@127.0.0.1:{proxy.port}")
        guard = guard_kind.guard(control_plane_url="https://nomos.invalid", timeout=1)
        began = time.monotonic()
        with pytest.raises(errors.Unreachable, match=r"the proxy .* of ALL_PROXY") as raised:
            guard_kind.call(guard.authorize, **READ)
        assert time.monotonic() - began < 8
        guard_kind.call(guard.close)
    assert "word" not in str(raised.value)
