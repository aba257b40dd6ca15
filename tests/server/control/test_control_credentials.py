"""API keys and their roles."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import httpx
import pytest
import store_access

from nomos.errors import ConfigurationError
from nomos.server.control import credentials
from nomos.server.control.errors import ControlError
from nomos.server.domain.accounts import ROLES, ApiKey, Role

if TYPE_CHECKING:
    from server.control.conftest import Plane

pytestmark = pytest.mark.anyio

WRONG = {
    "nothing": "",
    "no scheme": "{key}",
    "another scheme": "Basic {key}",
    "another secret": "Bearer {other}",
    "a secret too short": "Bearer {short}",
    "a secret too long": "Bearer {key}a",
    "a secret in capitals": "Bearer {upper}",
    "an app that does not exist": "Bearer {unknown}",
    "two": "Bearer {key}, Bearer {key}",
}


@pytest.mark.parametrize("header", WRONG.values(), ids=list(WRONG))
async def test_a_wrong_api_key_is_refused(standing: Plane, header: str) -> None:
    key = standing.key
    app, secret = key.rsplit("_", 1)
    sent = header.format(
        key=key,
        other=f"{app}_{'a' * 52}",
        short=key[:-1],
        upper=f"{app}_{secret.upper()}",
        unknown=f"nomos_app_{'0' * 26}_{secret}",
    )
    reply = await standing.ask({"authorization": sent})
    assert (reply.status_code, reply.json()["error_code"]) == (401, "invalid_api_key")
    assert reply.headers["www-authenticate"] == 'Bearer realm="nomos"'
    assert secret not in reply.text


async def test_a_missing_api_key_is_reported_with_the_header_to_send(standing: Plane) -> None:
    del standing.client.headers["authorization"]
    reply = await standing.ask()
    standing.client.headers["authorization"] = f"Bearer {standing.key}"
    assert (reply.status_code, reply.json()["error_code"]) == (401, "missing_api_key")
    assert "Authorization: Bearer nomos_" in reply.json()["error"]


async def test_the_question_is_not_parsed_before_authentication(standing: Plane) -> None:
    reply = await standing.ask({"authorization": "Bearer nobody"}, command="nonsense")
    assert reply.status_code == 401


async def test_a_disabled_app_is_refused_at_once(plane: Plane) -> None:
    assert (await plane.ask()).status_code == 200
    assert await store_access.disable_app(plane.system.store, "default", plane.app)
    reply = await plane.ask()
    assert (reply.status_code, reply.json()["error_code"]) == (403, "app_disabled")
    secret = plane.key.rsplit("_", 1)[1]
    wrong = plane.key.replace(secret, "a" * 52)
    assert (await plane.ask({"authorization": f"Bearer {wrong}"})).status_code == 401


async def test_only_its_own_tenant_can_disable_an_app(plane: Plane) -> None:
    assert not await store_access.disable_app(plane.system.store, "another", plane.app)
    assert (await plane.ask()).status_code == 200


class Keys:
    """Two apps, one of which has two keys; counts what is looked up."""

    def __init__(self, *keys: ApiKey) -> None:
        self.keys = keys
        self.asked: list[str] = []

    async def keys_of(self, app: str) -> tuple[ApiKey, ...]:
        self.asked.append(app)
        return tuple(key for key in self.keys if key.app == app)


async def test_an_unknown_app_takes_as_long_as_a_wrong_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same look-up, one hash, one comparison, and the same words."""
    compared = 0

    def counting(a: str, b: str) -> bool:
        nonlocal compared
        compared += 1
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", counting)
    issued = credentials.issue("a", "agent", "default", 1)
    keys = Keys(issued.key)
    said = set()
    for app in (issued.app.id, "app_" + "0" * 26):
        with pytest.raises(ControlError) as refusal:
            await credentials.authenticate(keys, [f"Bearer nomos_{app}_{'a' * 52}"], ROLES)
        said.add((refusal.value.code, refusal.value.message))
    assert (compared, len(keys.asked), len(said)) == (2, 2, 1)


async def test_each_of_an_app_s_keys_works_in_its_own_role() -> None:
    first = credentials.issue("a", "agent", "default", 1)
    second = credentials.issue("a", "operator", "default", 1)
    renamed = ApiKey(first.app.id, "default", "operator", second.key.secret_hash)
    keys = Keys(first.key, renamed)
    text = f"nomos_{first.app.id}_{second.text.reveal().rsplit('_', 1)[1]}"
    assert await credentials.authenticate(keys, [f"Bearer {text}"], ROLES) == renamed
    sent = [f"bearer {first.text.reveal()}"]
    assert await credentials.authenticate(keys, sent, ROLES) == first.key


def test_a_key_is_not_in_the_repr_of_its_objects() -> None:
    issued = credentials.issue("a", "agent", "default", 1)
    secret = issued.text.reveal().rsplit("_", 1)[1]
    assert secret not in repr(issued)
    assert issued.key.secret_hash not in repr(issued)
    assert secret not in issued.key.secret_hash


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "a\x1b[1m"])
def test_a_wrong_name_of_an_app_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="1 to 100 characters"):
        credentials.issue(name, "agent", "default", 1)


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="agent, operator, auditor"):
        credentials.issue("a", "admin", "default", 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["agent", "auditor"])
def test_only_an_operator_covers_roles(role: Role) -> None:
    with pytest.raises(ConfigurationError, match="only an operator covers roles"):
        credentials.issue("a", role, "default", 1, covers=("lead",))
    assert credentials.issue("a", "operator", "default", 1, covers=("lead",)).key.covers == (
        "lead",
    )


@pytest.mark.parametrize("covers", [("",), ("a\nb",), ("x",) * 33])
def test_roles_have_plain_names(covers: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="up to 32 names"):
        credentials.issue("a", "operator", "default", 1, covers=covers)


@pytest.mark.parametrize("query", ["access_token=x", "limit=1&Access%5FToken=x", "access_token"])
async def test_a_token_in_a_url_is_refused_even_beside_a_good_key(
    standing: Plane, query: str
) -> None:
    reply = await standing.client.get(f"/v1/receipts?{query}")
    assert (reply.status_code, reply.json()["error_code"]) == (400, "invalid_request")
    assert "appears in logs" in reply.json()["error"]
    assert reply.headers["www-authenticate"].startswith('Bearer error="invalid_request"')


async def test_two_authorization_headers_are_refused(standing: Plane) -> None:
    sent = [("authorization", f"Bearer {standing.key}")] * 2
    reply = await standing.client.send(
        httpx.Request("GET", "http://control/v1/receipts", headers=sent)
    )
    assert (reply.status_code, reply.json()["error_code"]) == (401, "invalid_api_key")
