"""Every route, called with every role and with none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from server.control.route_table import ROUTES

from nomos.server.domain.accounts import Role

if TYPE_CHECKING:
    from server.control.conftest import Plane

pytestmark = pytest.mark.anyio

CALLERS: Final = ("nobody", "stranger", "agent", "operator", "auditor")

NO: Final = 401
FORBIDDEN: Final = 403

ANSWERS: Final[dict[str, tuple[int, int, int, int, int]]] = {
    # no key, a key of no app of this server, agent, operator, auditor
    "POST /v1/authorize": (NO, NO, 200, FORBIDDEN, FORBIDDEN),
    "POST /v1/authorize/batch": (NO, NO, 400, FORBIDDEN, FORBIDDEN),
    "GET /v1/approvals": (NO, NO, FORBIDDEN, 200, FORBIDDEN),
    "GET /v1/approvals/{id}": (NO, NO, 404, 404, FORBIDDEN),
    "POST /v1/approvals/{id}/decide": (NO, NO, FORBIDDEN, 404, FORBIDDEN),
    "POST /v1/login-links": (NO, NO, FORBIDDEN, 200, FORBIDDEN),
    "POST /v1/revocations": (NO, NO, 404, 200, FORBIDDEN),
    "GET /v1/revocations": (NO, NO, 200, 200, 200),
    "GET /v1/receipts": (NO, NO, 200, 200, 200),
    "GET /v1/receipts/{id}": (NO, NO, 404, 404, 404),
    "GET /v1/swarms": (NO, NO, FORBIDDEN, 200, 200),
    "GET /v1/swarms/{id}": (NO, NO, FORBIDDEN, 404, 404),
    "GET /v1/audit/checkpoint": (NO, NO, FORBIDDEN, 200, 200),
    "GET /v1/audit/export": (NO, NO, FORBIDDEN, 200, 200),
    "GET /v1/keys": (200, 200, 200, 200, 200),
    "POST /v1/keys/rotate": (NO, NO, FORBIDDEN, 200, FORBIDDEN),
    "GET /v1/policies": (NO, NO, FORBIDDEN, 200, 200),
    "GET /v1/policies/{version}": (NO, NO, FORBIDDEN, 200, 200),
    "POST /v1/policies": (NO, NO, FORBIDDEN, 200, FORBIDDEN),
    "POST /v1/policies/{version}/activate": (NO, NO, FORBIDDEN, 200, FORBIDDEN),
    "POST /v1/policies/rollback": (NO, NO, FORBIDDEN, 404, FORBIDDEN),
    "GET /v1/apps": (NO, NO, FORBIDDEN, 200, FORBIDDEN),
    "POST /v1/apps": (NO, NO, FORBIDDEN, 200, FORBIDDEN),
    "POST /v1/apps/{id}/disable": (NO, NO, FORBIDDEN, 404, FORBIDDEN),
    "POST /v1/apps/{id}/rotate": (NO, NO, FORBIDDEN, 404, FORBIDDEN),
    "POST /v1/apps/{id}/confirm": (NO, NO, FORBIDDEN, 404, FORBIDDEN),
    "GET /v1/services": (NO, NO, FORBIDDEN, 200, FORBIDDEN),
    "POST /v1/services": (NO, NO, FORBIDDEN, 200, FORBIDDEN),
    "POST /v1/services/{name}/remove": (NO, NO, FORBIDDEN, 404, FORBIDDEN),
    "GET /.well-known/nomos": (200, 200, 200, 200, 200),
    "GET /healthz": (200, 200, 200, 200, 200),
    "GET /readyz": (200, 200, 200, 200, 200),
    # Pages know sessions only: an API key in a header opens none of them.
    "GET /approvals": (303, 303, 303, 303, 303),
    "GET /approvals/style": (200, 200, 200, 200, 200),
    "GET /approvals/login": (200, 200, 200, 200, 200),
    "POST /approvals/login": (FORBIDDEN,) * 5,
    "POST /approvals/logout": (303,) * 5,
    "GET /approvals/{id}": (303, 303, 303, 303, 303),
    "POST /approvals/{id}": (303,) * 5,
    "GET /approvals/{rest:path}": (404,) * 5,
    "POST /approvals/{rest:path}": (404,) * 5,
}

SENT: Final[dict[str, dict[str, Any]]] = {
    "POST /v1/authorize": {
        "command": "/github/issue/list",
        "resource": {"provider": "github", "owner": "acme", "repo": "app"},
    },
    "POST /v1/approvals/{id}/decide": {"approve": True, "version": "0" * 64},
    "POST /v1/revocations": {"id": "0" * 64},
    "POST /v1/policies": {"sources": {"a.cedar": "permit (principal, action, resource);"}},
    "POST /v1/apps": {"name": "another", "role": "agent"},
    "POST /v1/services": {
        "name": "wiki",
        "did": "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
        "url": "https://wiki.example",
    },
}


def name(method: str, path: str) -> str:
    return f"{method} {path.partition('.')[0] if '/style.' in path else path}"


def test_the_table_is_of_all_routes() -> None:
    assert {name(route.method, route.path) for route in ROUTES} == set(ANSWERS)


@pytest.mark.parametrize("caller", CALLERS)
async def test_every_route_answers_every_role_as_listed(plane: Plane, caller: str) -> None:
    headers = {
        "nobody": {"authorization": ""},
        "stranger": {"authorization": f"Bearer nomos_app_{'0' * 26}_{'a' * 52}"},
    }.get(caller)
    if headers is None:
        headers = await plane.another(cast(Role, caller))
    found = {}
    for route in ROUTES:
        what = name(route.method, route.path)
        path = route.path.replace("{id}", f"env_{'0' * 26}").replace("{version}", "1")
        request = plane.client.build_request(
            route.method,
            path.replace("{rest:path}", "no/such/page"),
            **_sent(route.method, what),
            headers=headers,
        )
        if caller == "nobody":
            del request.headers["authorization"]
        found[what] = (await plane.client.send(request)).status_code
    assert found == {what: answers[CALLERS.index(caller)] for what, answers in ANSWERS.items()}


def _sent(method: str, what: str) -> dict[str, Any]:
    if method != "POST":
        return {}
    if " /approvals" in what:
        return {"data": {"decision": "approve", "token": "x"}}
    return {"json": SENT.get(what, {})}
