"""URLs that may be called: https, this machine, and hosts that the user names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nomos import AsyncAuthGuard, AuthGuard, errors
from nomos._io.control_plane_sync import ControlPlaneSync
from nomos._io.http import Endpoint
from nomos._io.urls import INSECURE_HOSTS, checked_url, is_loopback, named
from nomos.resources import Catalog
from nomos.server.environment import upstreams, webhook
from nomos.server.providers.catalog import load_catalog
from nomos.verify import AsyncVerifier, Verifier

DID = "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"
SECRET = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def nothing_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(INSECURE_HOSTS, raising=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://nomos.example.com",
        "https://nomos.example.com:8443/base/",
        "https://10.0.0.1",
        "http://127.0.0.1:8788",
        "http://127.9.9.9",
        "http://[::1]:8788",
        "http://[0:0:0:0:0:0:0:1]",
        "http://localhost:8788",
        "http://LOCALHOST",
    ],
)
def test_https_and_loopback_urls_are_accepted(url: str) -> None:
    assert checked_url(url, setting="url") == url.rstrip("/")


PLAIN = [
    "http://pdp.internal",
    "http://nomos.example.com:8788",
    "http://10.0.0.1",
    "http://0.0.0.0:8788",
    "http://[::]:8788",
    "http://[::ffff:127.0.0.1]:8788",
    "http://[fd07:b51a:cc66:f0::254]",
    "http://localhost.:8788",
    "http://localhost.localdomain",
    "http://my.localhost",
    "http://127.0.0.1.nip.io",
    "http://xn--lcalhost-54a",
    "http://128.0.0.1",
]


@pytest.mark.parametrize("url", PLAIN)
def test_plain_http_to_another_host_is_refused_and_the_setting_is_named(url: str) -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        checked_url(url, setting="control_plane_url")
    assert raised.value.setting == "control_plane_url"
    for part in ("allow_insecure=[", INSECURE_HOSTS):
        assert part in str(raised.value)
    assert not is_loopback(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.1:8788",
        "http://2130706433",
        "http://0x7f000001",
        "http://0x7f.0.0.1",
        "http://0177.0.0.1",
        "http://127.0.0.1.",
        "https://127.1",
        "https://0x7f000001",
        "http://127.0.0.1\\@evil.example",
        "http://127.0.0.1%00.evil.example",
        "http://user:password@127.0.0.1",
        "http://127.0.0.1@evil.example",
        "http://127.0.0.1 ",
        " http://127.0.0.1",
        "http://127.0.0.1\n",
        "http://127.0.0.1\t.evil",
        "http://localhost\u3002evil",
        "http://\uff4cocalhost",
        "http://[::1%25lo]",
        "http://[::1]evil.example",
        "http://127.0.0.1:0",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:8_0",
        "http://127.0.0.1?a=b",
        "http://127.0.0.1#a",
        "http://",
        "http:///path",
        "http://..",
        f"http://{'a' * 64}.example",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "127.0.0.1:8788",
        "http://127.0.0.1/" + "a" * 5000,
        None,
        7,
        b"http://127.0.0.1",
    ],
)
def test_an_ambiguous_url_is_refused(url: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="must be an http") as raised:
        checked_url(url, setting="pdp_url", allow_insecure=["evil.example"])
    assert "password@" not in str(raised.value)
    assert not is_loopback(url) or "?" in url or "#" in url


def test_only_the_named_host_may_be_called_over_plain_http() -> None:
    hosts = ["PDP.internal", "10.0.0.1", "fd00::1", "[fd00::2]"]
    good = ("http://pdp.internal:8787", "http://10.0.0.1", "http://[fd00::1]:1", "http://[fd00::2]")
    for url in good:
        assert checked_url(url, setting="url", allow_insecure=hosts) == url
    for url in ("http://a.pdp.internal", "http://pdp.internal.evil", "http://10.0.0.10"):
        with pytest.raises(errors.ConfigurationError):
            checked_url(url, setting="url", allow_insecure=hosts)


def test_the_variable_names_hosts_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INSECURE_HOSTS, " pdp.internal, 10.0.0.1 ,")
    assert checked_url("http://pdp.internal", setting="url") == "http://pdp.internal"
    assert AuthGuard(control_plane_url="http://10.0.0.1").control_plane_url == "http://10.0.0.1"


@pytest.mark.parametrize(
    "host", ["", "*", "http://pdp.internal", "pdp.internal:80", "a/b", "a b", "a\n", 7, None]
)
def test_an_invalid_host_name_is_refused(host: Any) -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        named([host])
    assert raised.value.setting == "allow_insecure"


def test_a_single_text_is_not_a_list_of_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.ConfigurationError, match="list of host names"):
        named("pdp.internal")
    monkeypatch.setenv(INSECURE_HOSTS, "http://pdp.internal")
    with pytest.raises(errors.ConfigurationError) as raised:
        named()
    assert raised.value.setting == INSECURE_HOSTS


CALLERS: list[tuple[str, Callable[..., Any]]] = [
    ("guard", lambda url, **more: AuthGuard(control_plane_url=url, **more)),
    ("async guard", lambda url, **more: AsyncAuthGuard(control_plane_url=url, **more)),
    (
        "pdp_url",
        lambda url, **more: AuthGuard(control_plane_url="http://[::1]:1", pdp_url=url, **more),
    ),
    (
        "async verifier",
        lambda url, **more: AsyncVerifier.from_control_plane(
            url, audience=DID, trust_anchor=DID, startup_timeout=0.1, **more
        ),
    ),
    ("follower", lambda url, **more: ControlPlaneSync(url, api_key=None, trust_anchor=DID, **more)),
    ("endpoint", lambda url, **more: Endpoint(url, api_key=None, timeout=1, **more)),
]


@pytest.mark.parametrize("call", [call for _, call in CALLERS], ids=[name for name, _ in CALLERS])
def test_every_client_refuses_plain_http_to_unnamed_hosts(call: Callable[..., Any]) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"is plain http to pdp\.invalid"):
        call("http://pdp.invalid:8788")
    call("http://pdp.invalid:8788", allow_insecure=["pdp.invalid"])


def test_a_verifier_refuses_plain_http_before_sending() -> None:
    with pytest.raises(errors.ConfigurationError, match=r"is plain http to pdp\.invalid"):
        Verifier.from_control_plane(
            "http://pdp.invalid", audience=DID, trust_anchor=DID, startup_timeout=0.1
        )


def test_a_child_inherits_its_parents_insecure_hosts() -> None:
    guard = AuthGuard(
        control_plane_url="http://pdp.internal", allow_insecure=["pdp.internal"], api_key="k"
    )
    assert guard._insecure_hosts == {"pdp.internal"}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(None)


def test_upstreams_and_webhooks_refuse_plain_http_to_unnamed_hosts(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = {"NOMOS_GITHUB_URL": "http://github.internal", "NOMOS_GITHUB_TOKEN": "t"}
    hook = {"NOMOS_WEBHOOK_URL": "http://hooks.internal/a?b=c", "NOMOS_WEBHOOK_SECRET": SECRET}
    with pytest.raises(errors.ConfigurationError, match=INSECURE_HOSTS) as raised:
        upstreams(catalog, upstream)
    assert raised.value.setting == "NOMOS_GITHUB_URL"
    with pytest.raises(errors.ConfigurationError, match=INSECURE_HOSTS) as raised:
        webhook(hook)
    assert raised.value.setting == "NOMOS_WEBHOOK_URL"
    monkeypatch.setenv(INSECURE_HOSTS, "github.internal,hooks.internal")
    assert upstreams(catalog, upstream)["github"].base_url == "http://github.internal"
    found = webhook(hook)
    assert found is not None
    assert found.url == "http://hooks.internal/a?b=c"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NOMOS_CONTROL_URL", "http://127.0.0.1:1\n"),
        ("NOMOS_CONTROL_URL", " http://127.0.0.1:1"),
        ("NOMOS_CONTROL_URL", "http://pdp.invalid"),
        ("NOMOS_PDP_URL", "http://127.0.0.1:1 \n"),
        ("NOMOS_PDP_URL", "http://pdp.invalid"),
        ("NOMOS_API_KEY", "nomos_app secret"),
        ("NOMOS_API_KEY", "nomos_app_\x00secret"),
        ("NOMOS_AGENT_KEY_FILE", "/nowhere/agent.key"),
        (INSECURE_HOSTS, "http://pdp.invalid"),
    ],
)
@pytest.mark.parametrize("kind", [AuthGuard, AsyncAuthGuard])
def test_a_variable_that_is_wrong_is_named(kind: type[Any], variable: str, value: str) -> None:
    environ = {"NOMOS_CONTROL_URL": "http://127.0.0.1:1", variable: value}
    with pytest.raises(errors.ConfigurationError) as raised:
        kind.from_env(environ)
    assert raised.value.setting == variable
    assert variable in str(raised.value)
    assert value not in str(raised.value) or not variable.endswith("API_KEY")


def test_the_hosts_of_an_environment_that_is_given_are_permitted() -> None:
    environ = {"NOMOS_CONTROL_URL": "http://pdp.invalid", INSECURE_HOSTS: "pdp.invalid"}
    assert AuthGuard.from_env(environ).control_plane_url == "http://pdp.invalid"
