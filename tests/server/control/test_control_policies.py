"""Versions of policies through the API: stored, listed, activated, rolled back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import sqlalchemy as sa

from nomos._io.signer import AsyncSigner
from nomos._limits import MAX_POLICIES
from nomos.errors import ConfigurationError
from nomos.policy.bundle import Source, load
from nomos.server.app import System
from nomos.server.policies import activation
from nomos.server.policies.active import ActivePolicy
from nomos.server.providers.catalog import load_catalog
from nomos.server.settings import Settings
from nomos.server.storage import tables
from nomos.server.storage.bundles import Content
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

NOTHING = {"sources": {"none.cedar": "// nothing is permitted\n"}}
ALL = {"sources": {"all.cedar": '@id("all") permit(principal, action, resource);'}}
FACTS = {
    "sources": {
        "facts.cedar": '@id("fact") permit(principal, action, resource) when '
        "{ context.agent has ticket };"
    },
    "facts": {"ticket": "String"},
}


class Operator:
    """An operator of a plane."""

    def __init__(self, plane: Plane, headers: dict[str, str]) -> None:
        self.plane = plane
        self.headers = headers

    async def get(self, path: str = "") -> httpx.Response:
        return await self.plane.client.get(f"/v1/policies{path}", headers=self.headers)

    async def post(self, path: str = "", body: Any = None) -> httpx.Response:
        return await self.plane.client.post(f"/v1/policies{path}", json=body, headers=self.headers)

    async def put(self, body: Any) -> dict[str, Any]:
        reply = await self.post("", body)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    async def activate(self, version: int) -> dict[str, Any]:
        reply = await self.post(f"/{version}/activate")
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    async def decision(self, **changes: Any) -> tuple[str, list[str]]:
        answer = (await self.plane.ask(**changes)).json()
        policies = answer.get("explanation", {}).get("policies", [])
        return answer["decision"], policies


@pytest.fixture
async def operator(plane: Plane) -> Operator:
    return Operator(plane, await plane.another("operator"))


async def test_a_version_is_put_activated_and_decides_at_once(operator: Operator) -> None:
    assert await operator.decision() == ("allow", [])
    kept = await operator.put(NOTHING)
    assert (kept["version"], kept["origin"], kept["active"], kept["created"]) == (
        2,
        "api",
        False,
        True,
    )
    assert await operator.decision() == ("allow", [])
    done = await operator.activate(2)
    assert (done["version"], done["before"], done["hash"]) == (2, 1, kept["hash"])
    assert done["activatedBy"] == kept["putBy"] == operator.headers["authorization"][13:43]
    assert await operator.decision() == ("deny", [])
    [receipt, *_] = await operator.plane.receipts()
    assert (receipt.kind, receipt.bundle) == ("decision", kept["hash"])


async def test_facts_belong_to_their_version(operator: Operator) -> None:
    kept = await operator.put(FACTS)
    await operator.activate(kept["version"])
    assert await operator.decision() == ("deny", [])
    assert await operator.decision(context={"ticket": "OPS-1"}) == ("allow", [])
    whole = (await operator.get(f"/{kept['version']}")).json()
    assert {name: whole[name] for name in FACTS} == FACTS
    assert whole["active"] is True


async def test_the_pdp_decides_by_the_same_version(operator: Operator) -> None:
    await operator.activate((await operator.put(ALL))["version"])
    system = operator.plane.system
    answer = (
        await operator.plane.ask(
            command="/filesystem/dir/list", resource={"provider": "filesystem", "path": ""}
        )
    ).json()
    transport = httpx.ASGITransport(app=system.pdp)
    headers = {"authorization": f"Bearer {answer['ucan']}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://pdp") as pdp:
        served = await pdp.get("/filesystem/dir/list", params={"path": ""}, headers=headers)
        assert served.status_code == 200, served.text
        await operator.activate((await operator.put(NOTHING))["version"])
        refused = await pdp.get("/filesystem/dir/list", params={"path": ""}, headers=headers)
        assert (refused.status_code, refused.json()["error_code"]) == (403, "policy_denied")


async def test_a_second_rollback_returns_to_the_first(operator: Operator) -> None:
    nothing_before = await operator.post("/rollback")
    assert nothing_before.status_code == 404
    assert "no version was active before version 1" in nothing_before.json()["error"]
    await operator.activate((await operator.put(NOTHING))["version"])
    for version, decision in ((1, "allow"), (2, "deny"), (1, "allow")):
        back = (await operator.post("/rollback")).json()
        assert back["version"] == version
        assert (await operator.decision())[0] == decision


async def test_the_second_of_two_rollbacks_of_one_version_is_refused(
    operator: Operator,
) -> None:
    await operator.activate((await operator.put(NOTHING))["version"])
    both = [operator.post("/rollback", {"replaces": 2}) for _ in range(2)]
    done, late = sorted(await asyncio.gather(*both), key=lambda each: each.status_code)
    assert (done.status_code, done.json()["version"]) == (200, 1)
    assert (late.status_code, late.json()["error_code"]) == (409, "already_decided")
    assert "version 1 is active" in late.json()["error"]
    assert (await operator.decision())[0] == "allow"


async def test_every_act_is_recorded_with_its_operator(operator: Operator) -> None:
    kept = await operator.put(ALL)
    await operator.put(ALL)
    await operator.activate(2)
    await operator.activate(2)
    await operator.post("/rollback")
    found = [each for each in await operator.plane.receipts() if each.kind == "policy"]
    assert [(each.act, each.detail) for each in reversed(found)] == [
        ("put", {"version": 2, "hash": kept["hash"]}),
        ("activate", {"version": 2, "hash": kept["hash"]}),
        ("rollback", {"version": 1, "hash": found[0].detail["hash"]}),
    ]
    assert {each.actor for each in found} == {kept["putBy"]}


async def test_the_same_content_is_the_same_version(operator: Operator) -> None:
    first, again = await operator.put(ALL), await operator.put(ALL)
    assert (again["version"], again["created"]) == (first["version"], False)
    assert first["created"] is True


async def test_versions_are_listed_newest_first_and_in_pages(operator: Operator) -> None:
    await operator.put(NOTHING)
    await operator.put(ALL)
    listed = (await operator.get()).json()
    assert [each["version"] for each in listed["policies"]] == [3, 2, 1]
    assert listed["active"] == 1
    assert "putBy" not in listed["policies"][2]
    assert "sources" not in listed["policies"][0]
    page = (await operator.get("?limit=1&before=3")).json()
    assert [each["version"] for each in page["policies"]] == [2]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "before=-1", "limit=1&limit=2"])
async def test_a_wrong_page_is_named(operator: Operator, query: str) -> None:
    reply = await operator.get(f"?{query}")
    assert (reply.status_code, reply.json()["fields"]) == (400, [query.split("=", maxsplit=1)[0]])


async def test_an_invalid_bundle_is_refused_with_every_problem_and_its_place(
    operator: Operator,
) -> None:
    reply = await operator.post(
        "",
        {
            "sources": {
                "a.cedar": '\n\n@id("typo") permit(principal, action, resource is Github) '
                'when { resource.colour == "red" };',
                "b.cedar": "permit(principal",
            }
        },
    )
    error = reply.json()
    assert (reply.status_code, error["error_code"]) == (400, "invalid_policy")
    assert [(each["file"], each["line"], each["policy"]) for each in error["problems"]] == [
        ("a.cedar", 3, "typo"),
        ("b.cedar", 1, "b.cedar:1"),
    ]
    assert "the upload is not valid: a.cedar:3: typo" in error["error"]
    assert "; b.cedar:1: " in error["error"]
    assert len((await operator.get()).json()["policies"]) == 1


async def test_only_the_first_problems_are_listed(operator: Operator) -> None:
    bad = "permit(principal, action, resource) when { resource.colour == 1 };\n"
    reply = await operator.post("", {"sources": {"a.cedar": bad * 60}})
    assert len(reply.json()["problems"]) == 50
    assert "; and " in reply.json()["error"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "sources"),
        ({"sources": {"a": 1}}, "sources"),
        ({"sources": {"": "x"}}, "sources"),
        ({"sources": {"a\n": "x"}}, "sources"),
        ({"sources": {f"f{place}": "" for place in range(257)}}, "sources"),
        ({"sources": {}, "facts": {"ticket": "Text"}}, "facts"),
        ({"sources": {}, "facts": {"no name": "String"}}, "facts"),
        ({"sources": {}, "force": True}, "force"),
    ],
)
async def test_a_wrong_body_names_its_member(operator: Operator, body: Any, field: str) -> None:
    reply = await operator.post("", body)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error_code"] == "invalid_request"
    assert reply.json()["fields"][0] == field


async def test_an_empty_bundle_is_a_version(operator: Operator) -> None:
    kept = await operator.put({"sources": {}})
    await operator.activate(kept["version"])
    assert await operator.decision() == ("deny", [])


async def test_policies_may_be_as_large_as_a_mebibyte_and_no_larger(operator: Operator) -> None:
    text = "// " + "x" * (900 * 1024)
    assert (await operator.put({"sources": {"a": text}}))["created"]
    reply = await operator.post("", {"sources": {"a": "// " + "x" * MAX_POLICIES}})
    assert (reply.status_code, reply.json()["error_code"]) == (413, "too_large")
    assert "1024 KiB" in reply.json()["error"]


@pytest.mark.parametrize("version", ["9", "0", "-1", "01", "x", "1" * 30, "%2e%2e"])
async def test_a_missing_version_is_not_found(operator: Operator, version: str) -> None:
    assert (await operator.get(f"/{version}")).status_code == 404
    reply = await operator.post(f"/{version}/activate")
    assert (reply.status_code, reply.json()["error_code"]) == (404, "not_found")


async def test_only_operators_change_versions(plane: Plane) -> None:
    for role, reads in (("agent", 403), ("auditor", 200)):
        other = Operator(plane, await plane.another(role))  # type: ignore[arg-type]
        assert (await other.get()).status_code == reads
        assert (await other.get("/1")).status_code == reads
        for path in ("", "/1/activate", "/rollback"):
            assert (await other.post(path, ALL)).status_code == 403


# Across restarts


async def test_an_activation_survives_a_restart_until_files_change(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    data = tmp_path / "data"
    async with open_plane(data, signer) as plane:
        operator = Operator(plane, await plane.another("operator"))
        await operator.activate((await operator.put(NOTHING))["version"])
        key, headers = plane.key, operator.headers
    async with open_plane(data, signer, key=key) as plane:
        operator = Operator(plane, headers)
        assert (await operator.decision())[0] == "deny"
        assert (await operator.get()).json()["active"] == 2
    edited = '@id("edited") permit(principal, action, resource);'
    async with open_plane(data, signer, key=key, policy=edited) as plane:
        operator = Operator(plane, headers)
        assert (await operator.decision())[0] == "allow"
        listed = (await operator.get()).json()
        assert (listed["active"], listed["policies"][0]["origin"]) == (3, "file")
        assert (await operator.post("/rollback")).json()["version"] == 2
    async with open_plane(data, signer, key=key, policy=edited) as plane:
        assert (await Operator(plane, headers).decision())[0] == "deny"


PROVIDER = """\
provider: my-api
fields: {project: {required: true}}
commands: {/my-api/thing/read: {risk: read, resource: [project]}}
"""


async def test_an_active_version_that_no_longer_validates_stops_the_start(
    tmp_path: Path, signer: AsyncSigner
) -> None:
    providers = tmp_path / "providers"
    providers.mkdir()
    (providers / "my-api.yaml").write_text(PROVIDER)
    files = (Source("a.cedar", "permit(principal, action, resource);"),)
    settings = Settings(data=tmp_path / "data", policies=files, providers=providers)
    text = '@id("mine") permit(principal, action == Action::"/my-api/thing/read", resource);'
    system = await System.open(settings, signer)
    try:
        who = activation.policy_author(DEFAULT, lambda: 1.0, by="app_x")
        content = Content("0" * 64, (Source("mine.cedar", text),), {})
        version, _ = await system.store.policies.put(who, content)
        await system.store.policies.activate(who, version)
    finally:
        await system.close()
    without = Settings(data=tmp_path / "data", policies=files)
    with pytest.raises(ConfigurationError) as raised:
        await System.open(without, signer)
    error = str(raised.value)
    assert "policy version 2 is active and no longer validates" in error
    assert "mine.cedar:1: mine: there is no provider `my-api`" in error
    assert "change the policy files" in error
    changed = Settings(data=tmp_path / "data", policies=(Source("a.cedar", "// new"),))
    system = await System.open(changed, signer)
    try:
        key = (await system.create_app("o", "operator", ("*",))).reveal()
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=system.control), base_url="http://control"
        ) as client:
            reply = await client.post(
                "/v1/policies/2/activate", headers={"authorization": f"Bearer {key}"}
            )
        assert (reply.status_code, reply.json()["error_code"]) == (400, "invalid_policy")
        assert "policy version 2 is not valid: mine.cedar:1" in reply.json()["error"]
        assert (await system.store.policies.active(DEFAULT)).version == 3  # type: ignore[union-attr]
    finally:
        await system.close()


# Another process on the same database


async def activate_behind(plane: Plane, data: Path, version: int) -> None:
    """What another process does: a row, and nothing in this one."""
    number = (await plane.system.store.policies.active(DEFAULT)).number + 1  # type: ignore[union-attr]
    engine = sa.create_engine(f"sqlite:///{data / 'nomos.db'}")
    with engine.begin() as connection:
        row = {"tenant": DEFAULT, "number": number, "version": version, "at": 1, "by": "app_x"}
        connection.execute(tables.activations.insert(), row)
    engine.dispose()


async def test_an_activation_by_another_process_takes_effect_within_seconds(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    data = tmp_path / "data"
    async with open_plane(data, signer) as plane:
        operator = Operator(plane, await plane.another("operator"))
        kept = await operator.put(NOTHING)
        await activate_behind(plane, data, kept["version"])
        for _ in range(30):
            if (await operator.decision())[0] == "deny":
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("the other version did not begin to decide within three seconds")


async def test_an_unusable_version_is_skipped_and_logged(
    tmp_path: Path,
    signer: AsyncSigner,
    open_plane: OpenPlane,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = tmp_path / "data"
    async with open_plane(data, signer) as plane:
        operator = Operator(plane, await plane.another("operator"))
        kept = await operator.put(NOTHING)
        engine = sa.create_engine(f"sqlite:///{data / 'nomos.db'}")
        with engine.begin() as connection:
            broken = json.dumps([["x.cedar", "permit("]])
            connection.execute(
                sa.text("UPDATE bundles SET sources = :broken WHERE version = 2"),
                {"broken": broken},
            )
        engine.dispose()
        await activate_behind(plane, data, kept["version"])
        for _ in range(50):
            if "stays active" in caplog.text:
                break
            await asyncio.sleep(0.1)
        assert (await operator.decision())[0] == "allow"
        assert "policy version 2 is active and no longer validates" in caplog.text
        assert "Version 1 stays active" in caplog.text


async def test_a_slower_activation_does_not_undo_a_later_one() -> None:
    one, two, three = (load([], load_catalog()) for _ in range(3))
    live = ActivePolicy(one, 1, 1)
    live.activate(three, 3, 3)
    live.activate(two, 2, 2)
    assert (live.bundle, live.version, live.activation) == (three, 3, 3)


async def test_concurrent_activations_leave_one_active_version(operator: Operator) -> None:
    for body in (NOTHING, ALL, FACTS):
        await operator.put(body)
    await asyncio.gather(*(operator.activate(version) for version in (2, 3, 4, 1, 2, 3)))
    active = (await operator.get()).json()["active"]
    decided = {1: "allow", 2: "deny", 3: "allow", 4: "deny"}[active]
    assert (await operator.decision())[0] == decided
    rolled = await asyncio.gather(*(operator.post("/rollback") for _ in range(4)))
    assert {each.status_code for each in rolled} == {200}
