"""Requests to an upstream, and its replies."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from wires import Peer, authority, serving

if TYPE_CHECKING:
    from pathlib import Path

    from server.pdp.conftest import World

CREDENTIAL = "ghp_" + "c0ffee" * 6
READ, CREATE = "/github/repo/read", "/github/issue/create"


def read(world: World, repo: str) -> httpx.Response:
    resource = {"provider": "github", "owner": "acme", "repo": repo}
    params = {"owner": "acme", "repo": repo}
    return world.call("GET", READ, world.token(READ, resource), params=params)


def create(world: World, repo: str) -> httpx.Response:
    resource = {"provider": "github", "owner": "acme", "repo": repo}
    body = {"owner": "acme", "repo": repo, "title": "New"}
    return world.call("POST", CREATE, world.token(CREATE, resource), json=body)


def failure(response: httpx.Response) -> tuple[int, str]:
    assert CREDENTIAL not in response.text
    return response.status_code, response.json()["error_code"]


def test_the_credential_goes_upstream_and_the_token_does_not(world: World) -> None:
    token = world.token(READ, {"provider": "github", "owner": "acme", "repo": "app"})
    headers = {"cookie": "a=b", "x-forwarded-for": "1.2.3.4", "x-secret": "mine"}
    params = {"owner": "acme", "repo": "app"}
    said = world.call("GET", READ, token, params=params, headers=headers)
    assert said.status_code == 200
    ((_, _, sent, _),) = world.upstream.seen
    assert sent["authorization"] == f"Bearer {CREDENTIAL}"
    assert set(sent) == {"host", "accept", "accept-encoding", "user-agent", "authorization"}
    assert token not in str(world.upstream.seen)


def test_headers_and_cookies_of_the_upstream_are_dropped(world: World) -> None:
    for _ in range(2):
        said = read(world, "app")
        assert not {"set-cookie", "x-upstream", "server"} & set(said.headers)
    assert all("cookie" not in headers for _, _, headers, _ in world.upstream.seen)


def test_each_call_has_a_connection_of_its_own(world: World) -> None:
    # Bytes left on a connection could be taken for the reply to the next call.
    world.upstream.connections.clear()
    for _ in range(3):
        assert read(world, "app").status_code == 200
    assert len(world.upstream.connections) == 3


def test_secrets_in_a_reply_are_redacted(world: World) -> None:
    resource = {"provider": "github", "owner": "acme", "repo": "app"}
    token = world.token("/github/issue/list", resource)
    params = {"owner": "acme", "repo": "app"}
    (issue,) = world.call("GET", "/github/issue/list", token, params=params).json()["issues"]
    assert issue["body"] == "use [REDACTED:github_pat]"


def test_an_upstream_that_echoes_the_credential_does_not_give_it_away(world: World) -> None:
    said = read(world, "echo")
    assert said.status_code == 200
    assert CREDENTIAL not in said.text
    assert said.json()["you sent"] == "[REDACTED:credential]"


@pytest.mark.parametrize(
    ("repo", "expected", "says"),
    [
        ("none", (404, "not_found"), "404"),
        ("moved", (502, "upstream_error"), "answered 301, a redirect"),
        ("locked", (502, "upstream_error"), "answered 401"),
        ("html", (502, "upstream_error"), "did not reply in JSON"),
        ("nan", (502, "upstream_error"), "did not reply in JSON"),
        ("infinite", (502, "upstream_error"), "did not reply in JSON"),
        ("deep", (502, "upstream_error"), "did not reply in JSON"),
        ("huge", (502, "upstream_error"), "sent a reply of more than"),
        ("squeezed", (502, "upstream_error"), "sent a compressed reply"),
        ("twice", (502, "upstream_error"), "sent more than one reply"),
        ("slammed", (502, "upstream_error"), "did not reply in HTTP"),
        ("silent", (504, "upstream_timeout"), "did not answer in time"),
    ],
)
def test_an_unusable_reply_is_an_error_with_a_message(
    world: World, repo: str, expected: tuple[int, str], says: str
) -> None:
    said = read(world, repo)
    assert failure(said) == expected
    assert says in said.json()["error"]
    assert len(world.upstream.seen) == 1
    (row,) = world.receipts(said)
    assert (row.decision, row.status) == ("allow", expected[0])


@pytest.mark.parametrize(
    ("repo", "expected", "after"),
    [
        ("limited", (429, "rate_limited"), "7"),
        ("dated", (429, "rate_limited"), "9"),
        ("unclear", (429, "rate_limited"), None),
        ("secondary", (429, "rate_limited"), "60"),
        ("forbidden", (502, "upstream_error"), None),
        ("resting", (502, "upstream_error"), "86400"),
    ],
)
def test_a_rate_limit_of_the_upstream_is_reported_with_retry_after(
    world: World, repo: str, expected: tuple[int, str], after: str | None
) -> None:
    said = read(world, repo)
    assert failure(said) == expected
    assert said.headers.get("retry-after") == after


def test_an_empty_success_and_odd_text_are_passed_on(world: World) -> None:
    assert read(world, "empty").json() == {}
    assert read(world, "surrogate").content == b'{"half":"\\ud800"}'


@pytest.mark.parametrize(("repo", "status", "doubts"), [("picky", "422", 0), ("broken", "500", 1)])
def test_a_failed_write_states_whether_it_may_have_taken_effect(
    world: World, repo: str, status: str, doubts: int
) -> None:
    said = create(world, repo)
    assert failure(said) == (502, "upstream_error")
    assert f"answered {status}" in said.json()["error"]
    assert said.json()["error"].count("It may have been done") == doubts
    assert [row.status for row in world.receipts(said)] == [None, 502]


def test_a_provider_without_settings_is_a_503_that_names_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets: Any = world.ports.upstreams
    monkeypatch.delitem(targets, "github")
    said = create(world, "app")
    assert failure(said) == (503, "unavailable")
    assert "NOMOS_GITHUB_URL" in said.json()["error"]
    (row,) = world.receipts(said)
    assert (row.decision, row.status) == ("allow", 503)


def test_an_upstream_with_a_private_authority(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def issue(peer: Peer) -> None:
        peer.reply(peer.request() + b"nomos-call-id: x\r\n", {"id": 7})

    private = authority(tmp_path)
    targets: Any = world.ports.upstreams
    here = targets["github"]
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with serving(issue, private.server) as wire:
        url = f"https://localhost:{wire.port}"
        monkeypatch.setitem(targets, "github", type(here)(url, here.token))
        with caplog.at_level(logging.WARNING):
            said = read(world, "app")
        assert failure(said) == (502, "upstream_error")
        for text in (said.json()["error"], caplog.text):
            assert "certificate is not trusted" in text
            assert "NOMOS_GITHUB_CA_FILE" in text
        named = type(here)(url, here.token, str(private.ca_file))
        monkeypatch.setitem(targets, "github", named)
        assert read(world, "app").json()["id"] == 7
        missing = type(here)(url, here.token, str(tmp_path / "none.pem"))
        monkeypatch.setitem(targets, "github", missing)
        said = read(world, "app")
        assert failure(said) == (503, "unavailable")
        assert "NOMOS_GITHUB_CA_FILE" in said.json()["error"]


def test_an_unreachable_upstream_is_a_502(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    targets: Any = world.ports.upstreams
    here = targets["github"]
    nowhere = type(here)("http://127.0.0.1:9", here.token)
    monkeypatch.setitem(targets, "github", nowhere)
    said = create(world, "app")
    assert failure(said) == (502, "upstream_error")
    assert "cannot be reached: Connection refused" in said.json()["error"]
    assert "may have been done" not in said.json()["error"]


def test_no_credential_and_no_token_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = world.token(READ, {"provider": "github", "owner": "acme", "repo": "app"})
    params = {"owner": "acme", "repo": "app"}
    world.call("GET", READ, token, params=params)
    read(world, "silent")
    read(world, "locked")
    world.store.broken.add("record")
    world.call("GET", READ, token, params=params)
    ours = [record for record in caplog.records if record.name.startswith(("nomos", "uvicorn"))]
    assert ours
    logged = "\n".join(caplog.handler.format(record) for record in caplog.records)
    assert CREDENTIAL not in logged
    assert all(token not in caplog.handler.format(record) for record in ours)
