"""The permission table: every row, by every kind of operator, at real routes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import store_access
from server.control.people import ISSUE, POLICY, asked, operator
from server.control.route_table import ROUTES

from nomos.server.control import permissions
from nomos.server.control.errors import ControlError
from nomos.server.control.permissions import TABLE, PermissionTarget, Rule
from nomos.server.domain.accounts import ApiKey
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from server.control.conftest import OpenPlane, Plane

    from nomos._io.signer import AsyncSigner

pytestmark = pytest.mark.anyio

DOCS: Final = Path(__file__).parents[3] / "docs" / "operators.md"

SERVICE: Final = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"

WHO: Final = ("root", "maker", "grandmaker", "peer", "partial", "nothing")
"""`maker` registered the target and covers `lead`, `grandmaker` registered that one, `peer` is
another operator who covers `lead`, `partial` one who covers `security`, `nothing` covers none."""


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY) as plane:
        yield plane


Headers = dict[str, str]


@dataclass
class World:
    """A plane, its people, and something of each kind that the maker's apps have."""

    plane: Plane
    people: dict[str, Headers]

    async def register(self, role: str, *covers: str, by: str = "maker") -> Headers:
        body = {"name": "x", "role": role, **({"covers": list(covers)} if covers else {})}
        who = self.people[by]
        made = (await self.plane.client.post("/v1/apps", json=body, headers=who)).json()
        return {"authorization": f"Bearer {made['apiKey']}", "x-app": made["id"]}

    async def taken(self, account: Headers) -> Headers:
        path = f"/v1/apps/{account['x-app']}/rotate"
        made = (await self.plane.client.post(path, headers=account)).json()
        return {"authorization": f"Bearer {made['apiKey']}", "x-app": made["id"]}

    async def post(self, who: Headers, path: str, body: dict[str, Any] | None = None) -> int:
        reply = await self.plane.client.post(path, json=body or {}, headers=who)
        return reply.status_code


@pytest.fixture
async def world(plane: Plane) -> World:
    people = {
        "root": await operator(plane, "*"),
        "grandmaker": await operator(plane, "lead"),
        "peer": await operator(plane, "lead"),
        "partial": await operator(plane, "security"),
        "nothing": await operator(plane),
    }
    world = World(plane, people)
    people["maker"] = await world.register("operator", "lead", by="grandmaker")
    return world


def app_act(role: str, act: str, *covers: str) -> Callable[[World, Headers], Awaitable[int]]:
    async def work(world: World, who: Headers) -> int:
        app = await world.register(role, *covers)
        if act == "confirm":
            app = await world.taken(app)
        if act == "revoke":
            return await world.post(who, "/v1/revocations", {"id": app["x-app"]})
        return await world.post(who, f"/v1/apps/{app['x-app']}/{act}")

    return work


def registering(role: str, *covers: str) -> Callable[[World, Headers], Awaitable[int]]:
    async def work(world: World, who: Headers) -> int:
        body = {"name": "x", "role": role, **({"covers": list(covers)} if covers else {})}
        return await world.post(who, "/v1/apps", body)

    return work


def fixed(
    path: str, body: dict[str, Any], *, first: dict[str, Any] | None = None
) -> Callable[[World, Headers], Awaitable[int]]:
    """One request; `first` is a service that is registered before."""

    async def work(world: World, who: Headers) -> int:
        if first is not None:
            await world.post(world.people["root"], "/v1/services", first)
        return await world.post(who, path, body)

    return work


def revoking(kind: str) -> Callable[[World, Headers], Awaitable[int]]:
    async def work(world: World, who: Headers) -> int:
        bot, plane = await world.register("agent"), world.plane
        ident = plane.system.pdp_did
        if kind == "approval":
            ident = (await plane.ask(bot, **ISSUE)).json()["approvalEnvelopeId"]
        elif kind in ("agent", "delegation"):
            listing = {"command": "/github/issue/list", "resource": ISSUE["resource"]}
            receipt = (await plane.ask(bot, **listing)).json()["receiptId"]
            record = await store_access.receipt(plane.system.store, DEFAULT, receipt)
            assert record is not None
            ident = str(record.agent if kind == "agent" else record.cid)
        elif kind == "issuer key":
            ident = plane.system.issuer_did
            await world.post(world.people["root"], "/v1/keys/rotate")
        return await world.post(who, "/v1/revocations", {"id": ident})

    return work


SERVED: Final = {"name": "wiki", "did": SERVICE, "url": "https://wiki.example"}
CEDAR: Final = {"sources": {"a.cedar": "permit (principal, action, resource);"}}

ALL: Final = frozenset(WHO)
ROOT: Final = frozenset({"root"})
LEADS: Final = frozenset({"root", "maker", "grandmaker", "peer"})

ROWS: Final[dict[tuple[str, str], tuple[Any, frozenset[str]]]] = {
    ("register", "agent's app"): (registering("agent"), ALL),
    ("register", "auditor"): (registering("auditor"), ALL),
    ("register", "operator"): (registering("operator", "lead"), LEADS),
    ("rotate", "agent's app"): (app_act("agent", "rotate"), frozenset({"maker"})),
    ("rotate", "auditor"): (app_act("auditor", "rotate"), frozenset({"maker"})),
    ("rotate", "operator"): (app_act("operator", "rotate", "lead"), frozenset({"maker"})),
    ("disable", "agent's app"): (app_act("agent", "disable"), ALL - {"nothing"}),
    ("disable", "auditor"): (app_act("auditor", "disable"), ALL - {"nothing"}),
    ("disable", "operator"): (app_act("operator", "disable", "lead"), LEADS),
    ("confirm", "operator"): (
        app_act("operator", "confirm", "lead"),
        frozenset({"root", "peer"}),
    ),
    ("revoke", "agent's app"): (app_act("agent", "revoke"), ALL - {"nothing"}),
    ("revoke", "auditor"): (app_act("auditor", "revoke"), ALL - {"nothing"}),
    ("revoke", "operator"): (app_act("operator", "revoke", "lead"), LEADS),
    ("revoke", "agent"): (revoking("agent"), ALL - {"nothing"}),
    ("revoke", "delegation"): (revoking("delegation"), ALL - {"nothing"}),
    ("revoke", "approval"): (revoking("approval"), LEADS),
    ("revoke", "issuer key"): (revoking("issuer key"), ROOT),
    ("revoke", "service"): (
        fixed("/v1/revocations", {"id": SERVICE}, first=SERVED),
        frozenset(),
    ),
    ("revoke", "PDP"): (revoking("PDP"), frozenset()),
    ("rotate", "issuer key"): (fixed("/v1/keys/rotate", {}), ROOT),
    ("register", "service"): (fixed("/v1/services", SERVED), ROOT),
    ("remove", "service"): (fixed("/v1/services/wiki/remove", {}, first=SERVED), ROOT),
    ("change", "policies"): (fixed("/v1/policies", CEDAR), ROOT),
}


def test_every_row_of_the_table_is_tested() -> None:
    assert set(ROWS) == set(TABLE)


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
async def test_the_permission_table_holds_for_every_kind_of_operator(
    world: World, row: tuple[str, str]
) -> None:
    work, allowed = ROWS[row]
    found = {name: await work(world, world.people[name]) for name in WHO}
    assert {name for name, status in found.items() if status == 200} == allowed, found
    assert {status for name, status in found.items() if name not in allowed} <= {403}, found


def test_every_route_that_changes_something_is_in_the_table() -> None:
    """What else operators may POST changes nothing of others': it decides, or is their own."""
    others = {"/v1/approvals/{id}/decide", "/v1/login-links"}
    by_target = {"/v1/apps", "/v1/revocations"}
    for route in ROUTES:
        if route.method == "POST" and "operator" in (route.roles or ()):
            named = route.path in others or route.path.startswith(tuple(by_target))
            assert named != (route.act is not None), route.path
            assert route.act is None or route.act in TABLE


async def test_an_operator_acts_on_their_own_account(world: World) -> None:
    for name in ("maker", "nothing"):
        who = await world.taken(world.people[name])
        assert await world.post(who, "/v1/revocations", {"id": who["x-app"]}) == 200
        assert await world.post(who, "/v1/apps", {"name": "x", "role": "agent"}) == 403


async def test_an_operator_who_covers_no_role_revokes_only_for_own_apps(
    world: World,
) -> None:
    nothing, plane = world.people["nothing"], world.plane
    bot = await world.register("agent", by="nothing")
    envelope = (await plane.ask(bot, **ISSUE)).json()["approvalEnvelopeId"]
    assert await world.post(nothing, "/v1/revocations", {"id": envelope}) == 200
    assert await world.post(nothing, "/v1/revocations", {"id": bot["x-app"]}) == 200
    theirs = await asked(plane, **ISSUE)
    assert await world.post(nothing, "/v1/revocations", {"id": theirs}) == 403


async def test_a_service_is_revoked_once_it_is_removed(world: World) -> None:
    root, plane = world.people["root"], world.plane
    await world.post(root, "/v1/services", SERVED)
    refused = await plane.client.post("/v1/revocations", json={"id": SERVICE}, headers=root)
    assert (refused.status_code, refused.json()["error_code"]) == (403, "forbidden")
    assert "nomos services remove" in refused.json()["error"]
    removed = await plane.client.post("/v1/services/wiki/remove", headers=root)
    assert (removed.status_code, removed.json()["did"]) == (200, SERVICE)
    assert await world.post(root, "/v1/services/wiki/remove") == 404
    assert await world.post(root, "/v1/revocations", {"id": SERVICE}) == 200
    acts = [row.act for row in await plane.receipts()]
    assert acts[:3] == ["revoke", "remove_service", "register_service"]


async def test_the_pdp_still_works(world: World) -> None:
    refused = await world.plane.client.post(
        "/v1/revocations", json={"id": world.plane.system.pdp_did}, headers=world.people["root"]
    )
    assert (refused.status_code, refused.json()["error_code"]) == (403, "forbidden")
    assert await world.plane.system.store.revoked([world.plane.system.pdp_did]) == frozenset()


def test_an_act_without_a_row_is_refused() -> None:
    key = ApiKey("app_1", DEFAULT, "operator", "", covers=("*",))
    with pytest.raises(ControlError):
        permissions.check(key, "confirm", PermissionTarget("policies", "x"))


def test_the_documentation_has_the_table() -> None:
    rows = re.findall(r"^\| (\w+) \| ([\w' ]+) \| (.+) \|$", DOCS.read_text(), re.MULTILINE)
    _, *documented = [((act, kind), words) for act, kind, words in rows]
    assert dict(documented) == {row: in_words(rule) for row, rule in TABLE.items()}


def in_words(rule: Rule) -> str:
    """Return a rule in the words of the documentation."""
    return "; or ".join(" and ".join(every) for every in rule)
