"""A key that is replaced while somebody signs in by it begins nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from server.pages.conftest import Town

pytestmark = pytest.mark.anyio


def replaced_before(town: Town, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have the operator's key replaced between its check and what is kept by it."""
    sessions = town.system.store.sessions
    act: Any = getattr(sessions, name)

    async def late(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.undo()
        app = town.operator.reveal().removeprefix("nomos_").rsplit("_", 1)[0]
        reply = await by_key(town, f"/v1/apps/{app}/rotate")
        assert reply.status_code == 200, reply.text
        return await act(*args, **kwargs)

    monkeypatch.setattr(sessions, name, late)


async def by_key(town: Town, path: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {town.operator.reveal()}"}
    return await town.agent.post(path, headers=headers)


async def test_no_session_begins_by_a_key_that_was_replaced_meanwhile(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = town.stranger()
    replaced_before(town, monkeypatch, "begin")
    reply = await person.sign_in(town.operator.reveal())
    assert reply.status_code == 401
    assert await town.records("session") == []


async def test_no_link_is_made_by_a_key_that_was_replaced_meanwhile(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced_before(town, monkeypatch, "add_link")
    reply = await by_key(town, "/v1/login-links")
    assert (reply.status_code, reply.json()["error_code"]) == (401, "invalid_api_key")
