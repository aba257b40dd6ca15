"""The choice of a proxy from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from guard_kinds import GUARD_KINDS, GuardKind
from hostile import Reply, control_plane

from nomos import errors
from nomos._io.proxies import Proxy, proxy_for
from nomos._io.tls import client_context

URL = "https://nomos.example.com"
PROXY = "http://proxy.example.com:3128"
DENY = {"decision": "deny", "reason": "policy_denied", "receiptId": "evt_1"}
READ: dict[str, Any] = {
    "command": "/github/issue/list",
    "resource": {"provider": "github", "owner": "acme", "repo": "app"},
}
EVERY = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
each_guard_kind = pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_https_uses_the_configured_proxy(variable: str) -> None:
    assert proxy_for(URL, {variable: PROXY}) == Proxy(PROXY, variable)


def test_the_first_variable_of_several_is_used() -> None:
    environ = dict.fromkeys(EVERY, "http://other:1") | {"https_proxy": PROXY}
    assert proxy_for(URL, environ) == Proxy(PROXY, "https_proxy")
    assert proxy_for(URL, {"https_proxy": " ", "ALL_PROXY": PROXY}) == Proxy(PROXY, "ALL_PROXY")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "https://127.0.0.1",
        "https://127.8.8.8",
        "https://[::1]",
        "https://localhost",
        "http://pdp.internal",
    ],
)
def test_neither_this_machine_nor_plain_http_goes_through_one(url: str) -> None:
    assert proxy_for(url, dict.fromkeys(EVERY, PROXY)) is None


@pytest.mark.parametrize("url", ["https://localhost.", "https://[::ffff:127.0.0.1]"])
def test_other_spellings_are_not_this_machine(url: str) -> None:
    assert proxy_for(url, {"HTTPS_PROXY": PROXY}) == Proxy(PROXY, "HTTPS_PROXY")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("proxy:3128", "http://proxy:3128"),
        ("http://proxy", "http://proxy:80"),
        ("https://proxy", "https://proxy:443"),
        ("http://[fd00::1]:8080/", "http://[fd00::1]:8080"),
        ("http://us%40er:p%3Ass@proxy:1", "http://proxy:1"),
    ],
)
def test_spellings_of_a_proxy(text: str, url: str) -> None:
    found = proxy_for(URL, {"HTTPS_PROXY": text})
    assert found is not None
    assert found.url == url
    assert found.auth == ((b"us@er", b"p:ss") if "@" in text else None)
    assert "p:ss" not in repr(found)
    assert str(found) == f"the proxy {url} of HTTPS_PROXY"


@pytest.mark.parametrize(
    "text",
    ["http://", "://", "ftp://proxy:1", "http://proxy:x", "http://proxy:99999", "http://[::1", "é"],
)
def test_a_proxy_that_cannot_be_used_is_a_wrong_setting(text: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="ALL_PROXY must be the URL") as raised:
        proxy_for(URL, {"ALL_PROXY": text})
    assert raised.value.setting == "ALL_PROXY"


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_needs_its_package(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"ALL_PROXY": f"{scheme}://proxy"}
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(errors.ConfigurationError, match="pip install socksio") as raised:
        proxy_for(URL, environ)
    assert raised.value.setting == "ALL_PROXY"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: "there")
    assert proxy_for(URL, environ) == Proxy(f"{scheme}://proxy:1080", "ALL_PROXY")


@pytest.mark.parametrize(
    ("text", "host", "excepted"),
    [
        ("localhost,fd07:b51a:cc66:f0::/64", "nomos.example.com", False),
        ("localhost,fd07:b51a:cc66:f0::/64", "[fd07:b51a:cc66:f0::7]", True),
        ("localhost,fd07:b51a:cc66:f0::/64", "[fd07:b51a:cc66:f1::7]", False),
        ("*", "nomos.example.com", True),
        ("example.com", "nomos.example.com", True),
        (".example.com", "nomos.example.com", True),
        ("*.example.com", "nomos.example.com", True),
        ("EXAMPLE.com", "nomos.example.com", True),
        ("example.com", "nomos.example.com.", True),
        ("ample.com", "nomos.example.com", False),
        ("nomos.example.com", "example.com", False),
        ("example.com:443", "example.com", True),
        ("example.com:8443", "example.com", False),
        ("example.com:8443", "example.com:8443", True),
        ("10.0.0.0/8", "10.2.3.4", True),
        ("10.0.0.1/8", "10.2.3.4", True),
        ("10.0.0.0/8", "11.2.3.4", False),
        ("10.2.3.4", "10.2.3.4", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("[fd00::1]:443", "[fd00::1]", True),
        ("[fd00::1]:444", "[fd00::1]", False),
        ("fd00::1", "[fd00:0::1]", True),
        ("10.0.0.0/8", "[fd00::1]", False),
        (" , ,,example.com , ", "example.com", True),
        ("[::1", "nomos.example.com", False),
        ("http://nomos.example.com", "nomos.example.com", False),
        ("10.0.0.0/99", "10.0.0.1", False),
        (".", "nomos.example.com", False),
        ("\x00", "nomos.example.com", False),
    ],
)
def test_exceptions(text: str, host: str, *, excepted: bool) -> None:
    for variable in ("NO_PROXY", "no_proxy"):
        found = proxy_for(f"https://{host}", {"HTTPS_PROXY": PROXY, variable: text})
        assert (found is None) is excepted


@each_guard_kind
@pytest.mark.parametrize("value", ["proxy", "http://[", "socks5://127.0.0.1:1", "nonsense://"])
def test_this_machine_is_reached_with_any_variables(
    guard_kind: GuardKind, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with control_plane(Reply(body={})) as other, control_plane(Reply(body=DENY)) as plane:
        for variable in EVERY:
            monkeypatch.setenv(variable, other.url if value == "proxy" else value)
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(variable, "fd07:b51a:cc66:f0::/64,[::1,*.x,http://")
        for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
            monkeypatch.setenv(variable, "/nowhere/at/all")
        for url in (plane.url, plane.url.replace("127.0.0.1", "localhost")):
            guard = guard_kind.guard(control_plane_url=url, api_key="nomos_a_secret")
            assert guard_kind.call(guard.authorize, **READ).decision == "deny"
            guard_kind.call(guard.close)
        assert other.requests == []


@each_guard_kind
@pytest.mark.parametrize(
    ("variable", "value", "match"),
    [
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "No such file"),
        ("SSL_CERT_FILE", __file__, "contains no certificates"),
        ("SSL_CERT_DIR", "/nowhere/certs", "names no folder"),
        ("SSLKEYLOGFILE", "/nowhere/keys", "cannot be written"),
    ],
)
@pytest.mark.parametrize("mode", ["closed", "open"])
def test_an_invalid_tls_variable_is_a_configuration_error(  # noqa: PLR0917
    guard_kind: GuardKind,
    variable: str,
    value: str,
    match: str,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for each in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, value)
    guard = guard_kind.guard(control_plane_url="https://127.0.0.1:1", failure_mode=mode)
    with pytest.raises(errors.ConfigurationError, match=match) as raised:
        guard_kind.call(guard.authorize, **READ)
    assert raised.value.setting == variable
    guard_kind.call(guard.close)


def test_a_file_of_ones_own_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        client_context({}, ca_file=str(tmp_path / "ca.pem"), setting="NOMOS_GITHUB_CA_FILE")
    assert raised.value.setting == "NOMOS_GITHUB_CA_FILE"


@each_guard_kind
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_guard_with_an_invalid_proxy_is_a_configuration_error(
    guard_kind: GuardKind, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in EVERY:
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, "ftp://proxy")
    with pytest.raises(errors.ConfigurationError) as raised:
        guard_kind.guard(control_plane_url=URL)
    assert raised.value.setting == variable
