"""Grants for services that evaluate no policy: never more than policy allows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from server.control.chain_agents import ChainAgent, key
from server.control.people import decide

from nomos._identifiers import cid_of
from nomos._io.signer import AsyncSigner
from nomos.policy.bundle import Source, load
from nomos.server.control import grant_review
from nomos.server.domain.outdated_grants import ServiceGrant, outdated
from nomos.server.providers.catalog import load_catalog
from nomos.server.storage import service_grants

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

SERVICE = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
PROVIDER = """
provider: tickets
fields:
  queue: {required: true, case: lower}
  number: {type: integer}
  path: {type: path}
  tag: {}
commands:
  /tickets/ticket/read:
    risk: read
    resource: [queue]
    optional: [number]
    args:
      state: {}
  /tickets/ticket/close:
    risk: write
    method: POST
    resource: [queue, number]
    args:
      comment: {required: true, place: body}
  /tickets/file/read:
    risk: read
    resource: [queue, path]
    optional: [tag]
"""
POLICY = """
@id("agents") permit(principal, action in Action::"/tickets/ticket", resource is Tickets);
@id("files") permit(principal, action == Action::"/tickets/file/read", resource is Tickets)
when { resource has path && (resource.path == "a" || resource.path like "a/*") };
@id("hr-stays-closed") forbid(principal, action in Action::"/tickets", resource is Tickets)
when { resource.queue == "hr" };
@id("vip") @step_up("lead")
forbid(principal, action == Action::"/tickets/ticket/close", resource is Tickets)
when { resource.queue == "vip" } unless { context.cosigned };
@id("secret") forbid(principal, action, resource is Tickets)
when { resource has path && resource.path like "a/secret/*" };
@id("tagged") forbid(principal, action, resource is Tickets)
when { resource has tag && resource.tag == "t" };
"""
CLOSE = {"command": "/tickets/ticket/close", "args": {"comment": "done"}}
READ = {"command": "/tickets/ticket/read"}
FILE = {"command": "/tickets/file/read"}


@asynccontextmanager
async def opened_plane(
    folder: Path, signer: AsyncSigner, open_plane: OpenPlane, policy: str
) -> AsyncIterator[tuple[Plane, dict[str, str]]]:
    """A system with the service registered, and the headers of an operator."""
    (folder / "providers").mkdir()
    (folder / "providers" / "tickets.yaml").write_text(PROVIDER)
    async with open_plane(
        folder / "data", signer, policy=policy, providers=folder / "providers"
    ) as plane:
        operator = await plane.another("operator")
        made = await plane.client.post(
            "/v1/services",
            json={"name": "tickets", "did": SERVICE, "url": "https://tickets.example"},
            headers=operator,
        )
        assert made.status_code == 200, made.text
        yield plane, operator


@pytest.fixture(scope="module")
async def plane(
    tmp_path_factory: pytest.TempPathFactory, signer: AsyncSigner, open_plane: OpenPlane
) -> Any:
    folder = tmp_path_factory.mktemp("services")
    async with opened_plane(folder, signer, open_plane, POLICY) as (plane, _):
        yield plane


async def asked(plane: Plane, agent: str, **changes: Any) -> dict[str, Any]:
    fields = {"provider": "tickets", **changes.pop("resource", {})}
    body = {"resource": fields, "agentDid": agent, "audience": SERVICE, **changes}
    answer: dict[str, Any] = (await plane.ask(**body)).json()
    return answer


def opened(answer: dict[str, Any]) -> list[tuple[str, str]]:
    assert (answer["decision"], answer["reason"]) == ("deny", "policy_denied"), answer
    found = answer["explanation"]["open"]
    assert answer["explanation"]["policies"] == sorted({each["policy"] for each in found})
    return [(each["policy"], each["field"]) for each in found]


async def test_a_leaf_is_signed_with_exactly_its_resource(plane: Plane, agent: str) -> None:
    answer = await asked(plane, agent, **READ, resource={"queue": "OPS"})
    assert answer["decision"] == "allow", answer
    claims = plane.payload(answer["chain"][0])
    assert claims["meta"]["closed"] is True and "forkable" not in claims["meta"]
    assert claims["meta"]["audience"] == SERVICE
    resource = {"provider": "tickets", "queue": "ops"}
    assert claims["pol"] == [["==", ".cmd", READ["command"]], ["==", ".resource", resource]]


async def test_a_folder_is_signed_with_its_absent_fields(plane: Plane, agent: str) -> None:
    answer = await asked(plane, agent, **FILE, resource={"queue": "ops", "path": "a/public"})
    assert answer["decision"] == "allow", answer
    claims = plane.payload(answer["chain"][0])
    assert claims["meta"]["closed"] is True
    assert claims["pol"] == [
        ["==", ".cmd", FILE["command"]],
        ["==", ".resource.number?", None],
        ["==", ".resource.tag?", None],
    ]


async def test_a_grant_for_the_pdp_is_not_marked_as_closed(plane: Plane, agent: str) -> None:
    for audience in (..., plane.system.pdp_did):
        answer = await asked(plane, agent, command="/tickets/ticket", audience=audience)
        assert answer["decision"] == "allow", answer
        claims = plane.payload(answer["chain"][0])
        assert not {"closed", "forkable"} & set(claims["meta"])
        assert len(claims["pol"]) == 1


OPEN: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "a prefix": (
        {"command": "/tickets/ticket"},
        [("hr-stays-closed", "resource.queue"), ("vip", "resource.queue")],
    ),
    "a folder": (
        {**FILE, "resource": {"queue": "ops", "path": "a"}},
        [("secret", "resource.path")],
    ),
}


async def test_a_field_that_policy_reads_must_be_named(plane: Plane, agent: str) -> None:
    for name, (question, expected) in OPEN.items():
        answer = await asked(plane, agent, **question)
        assert opened(answer) == expected, name
        assert all(field in answer["explanation"]["message"] for _, field in expected)


async def test_a_prefix_with_all_fields_that_policy_reads_is_granted(
    plane: Plane, agent: str
) -> None:
    answer = await asked(plane, agent, command="/tickets/ticket", resource={"queue": "ops"})
    assert answer["decision"] == "allow", answer
    claims = plane.payload(answer["chain"][0])
    assert claims["meta"]["closed"] is True
    # No command of the prefix takes these.
    assert claims["pol"][1:] == [["==", ".resource.path?", None], ["==", ".resource.tag?", None]]


async def test_an_approved_grant_is_closed(plane: Plane, agent: str) -> None:
    question = {**CLOSE, "resource": {"queue": "vip", "number": 1}}
    answer = await asked(plane, agent, **question)
    assert answer["decision"] == "requires_step_up", answer
    envelope = answer["approvalEnvelopeId"]
    decided = await decide(plane, await plane.another("operator"), envelope)
    assert decided.status_code == 200, decided.text
    answer = await asked(plane, agent, **question, cosignerEnvelopeId=envelope)
    assert answer["decision"] == "allow", answer
    claims = plane.payload(answer["chain"][0])
    assert claims["meta"]["closed"] is True and claims["meta"]["approval"]["id"] == envelope


async def test_an_idempotent_answer_is_the_same(plane: Plane, agent: str) -> None:
    body: dict[str, Any] = {"command": "/tickets/ticket", "agentDid": agent, "audience": SERVICE}
    body["resource"] = {"provider": "tickets"}
    first, again = [(await plane.ask({"idempotency-key": "s-1"}, **body)).json() for _ in range(2)]
    assert opened(first) and {**first, "serverTime": ""} == {**again, "serverTime": ""}


APART = """
@id("agents") permit(principal, action, resource is Tickets);
@id("root-writes") forbid(principal, action == Action::"/tickets/ticket/close", resource)
unless { principal.delegationDepth == 0 };
"""


async def test_a_grant_is_not_forkable_if_policy_distinguishes_principals(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane, agent: str
) -> None:
    async with opened_plane(tmp_path, signer, open_plane, APART) as (plane, _):
        found = {}
        for question in ({**CLOSE, "resource": {"queue": "a", "number": 1}}, READ):
            answer = await asked(plane, agent, **{"resource": {"queue": "a"}, **question})
            assert answer["decision"] == "allow", answer
            meta = plane.payload(answer["chain"][0])["meta"]
            found[question["command"]] = (meta["closed"], meta.get("forkable"))
    assert found == {CLOSE["command"]: (True, False), READ["command"]: (True, None)}


async def test_a_registered_pdp_may_get_open_grants(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane, agent: str
) -> None:
    async with opened_plane(tmp_path, signer, open_plane, POLICY) as (plane, operator):
        body = {"name": "tickets", "did": SERVICE, "url": "https://tickets.example"}
        refused = await asked(plane, agent, command="/tickets/ticket")
        assert opened(refused)
        made = await plane.client.post(
            "/v1/services", json={**body, "decides": True}, headers=operator
        )
        assert made.json()["decides"] is True
        answer = await asked(plane, agent, command="/tickets/ticket")
        assert answer["decision"] == "allow"
        assert "closed" not in plane.payload(answer["chain"][0])["meta"]
        back = await plane.client.post("/v1/services", json=body, headers=operator)
        assert back.json()["decides"] is False
        assert opened(await asked(plane, agent, command="/tickets/ticket"))
        acts = [each.detail["decides"] for each in await plane.receipts() if each.act]
        assert acts == [False, True, False]


ALL = '@id("agents") permit(principal, action in Action::"/tickets", resource is Tickets);'


async def test_an_activation_lists_outdated_live_grants(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane, agent: str
) -> None:
    async with opened_plane(tmp_path, signer, open_plane, ALL) as (plane, operator):
        grants = [
            await asked(plane, agent, command="/tickets/ticket"),
            await asked(plane, agent, **READ, resource={"queue": "ops"}),
            await asked(plane, agent, **READ, resource={"queue": "hr"}),
            await asked(plane, agent, **FILE, resource={"queue": "ops", "path": "a"}),
            await asked(plane, agent, **CLOSE, resource={"queue": "vip", "number": 1}),
        ]
        assert {each["decision"] for each in grants} == {"allow"}
        short = await asked(plane, agent, **READ, resource={"queue": "hr"}, ttlSeconds=1)
        mine = await asked(plane, agent, **READ, resource={"queue": "hr"}, audience=...)
        assert short["decision"] == mine["decision"] == "allow"
        plane.clock.now += 2
        put = await plane.client.post(
            "/v1/policies", json={"sources": {"p.cedar": POLICY}}, headers=operator
        )
        path = f"/v1/policies/{put.json()['version']}/activate"
        done = (await plane.client.post(path, headers=operator)).json()
        assert done["outdated"] == 4 and "revoked" not in done
        found = {each["receiptId"]: each for each in done["outdatedGrants"]}
        assert set(found) == {grants[place]["receiptId"] for place in (0, 2, 3, 4)}
        assert found[grants[0]["receiptId"]]["policies"] == ["hr-stays-closed", "vip"]
        assert found[grants[0]["receiptId"]]["open"] == [
            {"policy": "hr-stays-closed", "field": "resource.queue"},
            {"policy": "vip", "field": "resource.queue"},
        ]
        assert found[grants[2]["receiptId"]]["policies"] == ["hr-stays-closed"]
        assert found[grants[3]["receiptId"]]["open"] == [
            {"policy": "secret", "field": "resource.path"}
        ]
        assert found[grants[4]["receiptId"]]["policies"] == ["vip"]
        again = (await plane.client.post(path, json={"revokeLive": True}, headers=operator)).json()
        assert (again["outdated"], again["revoked"]) == (4, 4)
        cids = [each["cid"] for each in again["outdatedGrants"]]
        assert await plane.system.store.revoked(cids) == set(cids)
        acts = [each for each in await plane.receipts() if each.act == "revoke"]
        assert {each.cid for each in acts} == set(cids)
        assert (await plane.client.post(path, headers=operator)).json()["outdated"] == 0
        rolled = await plane.client.post("/v1/policies/rollback", headers=operator)
        assert rolled.json()["outdated"] == 0


async def test_all_live_grants_are_compared(
    tmp_path: Path,
    signer: AsyncSigner,
    open_plane: OpenPlane,
    agent: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service_grants, "PAGE", 2)
    monkeypatch.setattr(grant_review, "MAX_LISTED", 2)
    async with opened_plane(tmp_path, signer, open_plane, ALL) as (plane, operator):
        # Grants that live longer, or as long, are read before these.
        lives = ((300, "ops"), (300, "hr"), (300, "ops"), (300, "hr"), (299, "hr"), (298, "hr"))
        grants = [
            await asked(plane, agent, **READ, resource={"queue": queue}, ttlSeconds=ttl)
            for ttl, queue in lives
        ]
        put = await plane.client.post(
            "/v1/policies", json={"sources": {"p.cedar": POLICY}}, headers=operator
        )
        path = f"/v1/policies/{put.json()['version']}/activate"
        done = (await plane.client.post(path, headers=operator)).json()
        assert (done["outdated"], len(done["outdatedGrants"])) == (4, 2)
        again = (await plane.client.post(path, json={"revokeLive": True}, headers=operator)).json()
        assert (again["outdated"], again["revoked"]) == (4, 4)
        cids = {cid_of(each["chain"][0]) for each in grants}
        wide = {cid_of(grants[place]["chain"][0]) for place in (1, 3, 4, 5)}
        assert await plane.system.store.revoked(cids) == wide


async def test_a_start_compares_a_bounded_number_of_live_grants(
    tmp_path: Path,
    signer: AsyncSigner,
    open_plane: OpenPlane,
    agent: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened_plane(tmp_path, signer, open_plane, ALL) as (plane, _):
        for _ in range(3):
            await asked(plane, agent, **READ, resource={"queue": "hr"})
    caplog.clear()
    with pytest.MonkeyPatch.context() as few:
        few.setattr(service_grants, "PAGE", 1)
        few.setattr(grant_review, "MAX_AT_START", 2)
        async with open_plane(
            tmp_path / "data", signer, policy=POLICY, providers=tmp_path / "providers"
        ):
            pass
    assert "at least 2 live grants for services would not be given" in caplog.text


async def test_a_forkable_grant_is_listed_if_policy_distinguishes_principals(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane, agent: str
) -> None:
    async with opened_plane(tmp_path, signer, open_plane, ALL) as (plane, operator):
        await asked(plane, agent, **READ, resource={"queue": "ops"})
        await asked(plane, agent, **CLOSE, resource={"queue": "ops", "number": 1})
        put = await plane.client.post(
            "/v1/policies", json={"sources": {"p.cedar": APART}}, headers=operator
        )
        path = f"/v1/policies/{put.json()['version']}/activate"
        done = (await plane.client.post(path, headers=operator)).json()
        [found] = done["outdatedGrants"]
        assert (found["command"], found["handedOn"]) == (CLOSE["command"], True)
        assert found["policies"] == ["root-writes"]


async def test_a_start_with_other_policies_logs_outdated_grants(
    tmp_path: Path,
    signer: AsyncSigner,
    open_plane: OpenPlane,
    agent: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened_plane(tmp_path, signer, open_plane, ALL) as (plane, _):
        await asked(plane, agent, **READ, resource={"queue": "hr"})
    async with open_plane(
        tmp_path / "data", signer, policy=POLICY, providers=tmp_path / "providers"
    ):
        assert "1 live grants for services would not be given" in caplog.text
    (tmp_path / "providers" / "tickets.yaml").unlink()
    caplog.clear()
    async with open_plane(
        tmp_path / "data",
        signer,
        policy="permit(principal, action, resource);",
        providers=tmp_path / "providers",
    ):
        assert "1 live grants for services would not be given" in caplog.text


async def test_a_grant_decided_during_an_activation_is_refused_or_listed(
    tmp_path: Path,
    signer: AsyncSigner,
    open_plane: OpenPlane,
    agent: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened_plane(tmp_path, signer, open_plane, ALL) as (plane, operator):
        put = await plane.client.post(
            "/v1/policies", json={"sources": {"p.cedar": POLICY}}, headers=operator
        )
        path = f"/v1/policies/{put.json()['version']}/activate"
        kept = plane.system.store.service_grants
        add = kept.add

        async def slowly(grant: Any) -> None:
            assert (await plane.client.post(path, headers=operator)).json()["outdated"] == 0
            await add(grant)

        monkeypatch.setattr(kept, "add", slowly)
        body = {**READ, "resource": {"provider": "tickets", "queue": "hr"}, "agentDid": agent}
        reply = await plane.ask(**body, audience=SERVICE)
        assert (reply.status_code, reply.json()["error_code"]) == (503, "unavailable")


async def test_a_childs_grant_for_a_service_is_closed_with_its_chains_statements(
    plane: Plane, signer: AsyncSigner
) -> None:
    parent, child = await key(signer, 0x61), await key(signer, 0x62)
    answer = await asked(plane, parent, command="/tickets/ticket", audience=...)
    root = ChainAgent(plane, signer, parent, tuple(answer["chain"]))
    pinned = await root.fork(child, pol=[["==", ".resource.queue", "ops"]])
    for one in (await root.fork(child), pinned):
        chain = {"agentDid": child, "delegatedChain": list(one.chain)}
        found = await asked(plane, child, **READ, **chain, resource={"queue": "ops"})
        assert found["decision"] == "allow", found
        claims = plane.payload(found["chain"][0])
        assert claims["meta"]["closed"] is True and claims["meta"]["audience"] == SERVICE
        assert claims["meta"]["lineage"]["depth"] == 1
        whole = ["==", ".resource", {"provider": "tickets", "queue": "ops"}]
        assert whole in claims["pol"]
        assert (["==", ".resource.queue", "ops"] in claims["pol"]) is (one is pinned)
        denied = await asked(plane, child, **READ, **chain, resource={"queue": "hr"})
        assert denied["decision"] == "deny"


async def test_a_statement_that_permits_one_value_names_the_field(plane: Plane, agent: str) -> None:
    prefix = {"command": "/tickets/ticket"}
    for pol, good in (
        ([["==", ".resource.queue", "ops"]], True),
        ([["and", [["==", '.resource["queue"]', "ops"]]]], True),
        ([["or", [["==", ".resource.queue", "ops"]]]], True),
        ([["or", [["==", ".resource.queue", "ops"], ["==", ".resource.queue", "hr"]]]], False),
        ([["like", ".resource.queue", "o*"]], False),
        ([["==", ".resource.queue", "OPS"]], False),  # in no form that a queue has
        ([["==", ".resource.queue", 7]], False),
        ([["==", ".args.queue", "ops"]], False),
    ):
        answer = await asked(plane, agent, **prefix, pol=pol)
        assert (answer["decision"] == "allow") is good, (pol, answer)
    folder = {**FILE, "resource": {"queue": "ops", "path": "a"}}
    one = await asked(plane, agent, **folder, pol=[["==", ".resource.path", "a/x"]])
    assert one["decision"] == "allow", one
    assert ["==", ".resource.tag?", None] in plane.payload(one["chain"][0])["pol"]
    secret = await asked(plane, agent, **folder, pol=[["==", ".resource.path", "a/secret/x"]])
    assert secret["decision"] == "deny" and "open" in secret["explanation"]
    beyond = await asked(plane, agent, **folder, pol=[["==", ".resource.path", "b"]])
    assert opened(beyond) == [("secret", "resource.path")]


BOUND = '@id("bound") forbid(principal, action, resource) unless { context.argsBound };'


async def test_a_read_is_bound_to_its_arguments_if_policy_requires_it(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane, agent: str
) -> None:
    question = {**READ, "resource": {"queue": "ops"}}
    async with opened_plane(tmp_path, signer, open_plane, ALL) as (plane, operator):
        before = await asked(plane, agent, **question, args={"state": "open"})
        pol = plane.payload(before["chain"][0])["pol"]
        assert ["==", ".args.state", "open"] in pol
        assert ["==", ".args", {"state": "open"}] not in pol
        put = await plane.client.post(
            "/v1/policies", json={"sources": {"p.cedar": ALL + BOUND}}, headers=operator
        )
        path = f"/v1/policies/{put.json()['version']}/activate"
        done = (await plane.client.post(path, headers=operator)).json()
        assert [each["receiptId"] for each in done["outdatedGrants"]] == [before["receiptId"]]
        assert done["outdatedGrants"][0]["open"] == [{"policy": "bound", "field": "args"}]
        for args in ({}, {"state": "open"}):
            answer = await asked(plane, agent, **question, args=args)
            assert ["==", ".args", args] in plane.payload(answer["chain"][0])["pol"]
        unbound = await asked(plane, agent, **question)
        assert (unbound["decision"], unbound["explanation"]["policies"]) == ("deny", ["bound"])
        again = (await plane.client.post(path, headers=operator)).json()
        assert [each["receiptId"] for each in again["outdatedGrants"]] == [before["receiptId"]]


async def test_the_denial_names_fields_and_the_remedy(plane: Plane, agent: str) -> None:
    answer = await asked(plane, agent, **FILE, resource={"queue": "ops", "path": "a"})
    message = answer["explanation"]["message"]
    assert "resource.path (secret)" in message
    assert "add the constraint eq('.resource.path', 'a') for exactly this one" in message
    answer = await asked(plane, agent, command="/tickets/ticket")
    message = answer["explanation"]["message"]
    assert "resource.queue (hr-stays-closed, vip)" in message
    assert "Name resource.queue in the resource. Or ask for one command at a time." in message


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"grant": {"commands": []}}'])
def test_a_damaged_grant_is_listed(text: str) -> None:
    bundle = load((Source("p.cedar", "permit(principal, action, resource);"),), load_catalog())
    grant = ServiceGrant("default", "0" * 64, "app_1", SERVICE, SERVICE, "evt_1", 9, text)
    found = outdated(bundle, grant, 1)
    assert found is not None and found.grant is grant
