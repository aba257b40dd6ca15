"""A key that is rotated during a sign-in starts no session and makes no link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from server.pages.conftest import Site

pytestmark = pytest.mark.anyio


def replaced_before(site: Site, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have the operator's key replaced between its check and what is kept by it."""
    sessions = site.system.store.sessions
    act: Any = getattr(sessions, name)

    async def late(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.undo()
        app = site.operator.reveal().removeprefix("nomos_").rsplit("_", 1)[0]
        reply = await by_key(site, f"/v1/apps/{app}/rotate")
        assert reply.status_code == 200, reply.text
        return await act(*args, **kwargs)

    monkeypatch.setattr(sessions, name, late)


async def by_key(site: Site, path: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {site.operator.reveal()}"}
    return await site.agent.post(path, headers=headers)


async def test_no_session_starts_with_a_key_rotated_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = site.visitor()
    replaced_before(site, monkeypatch, "begin")
    reply = await person.sign_in(site.operator.reveal())
    assert reply.status_code == 401
    assert await site.records("session") == []


async def test_no_link_is_made_with_a_key_rotated_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced_before(site, monkeypatch, "add_link")
    reply = await by_key(site, "/v1/login-links")
    assert (reply.status_code, reply.json()["error_code"]) == (401, "invalid_api_key")
