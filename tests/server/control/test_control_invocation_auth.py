"""Agents without an API key: one invocation per request, and access to own objects only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import sqlalchemy as sa
import store_access
from server.control import people
from server.control.chain_agents import NOW, REPO, ChainAgent, cid, new_did, root_of
from server.control.route_table import ROUTES

from nomos._io.signer import AsyncSigner
from nomos._protocol import Answer, Refused, Request, Verify
from nomos.errors import SignerCrashed
from nomos.server.control import delegation_lookup
from nomos.server.storage.tables import nonces
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

POLICY: Final = """
@id("all") permit(principal, action, resource);

@id("careful") @step_up("lead") @reason("a lead looks at merges")
forbid(principal, action == Action::"/github/pr/merge", resource is Github)
unless { context.cosigned };

@id("slowly")
forbid(principal, action == Action::"/github/repo/read", resource is Github)
when { context.rate >= 1 };
"""
LIST: Final = "/github/issue/list"
MERGE: Final = ("/github/pr/merge", {**REPO, "pull_number": 7})


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY) as plane:
        del plane.client.headers["authorization"]
        yield plane


@pytest.fixture
async def root(plane: Plane, signer: AsyncSigner) -> ChainAgent:
    """An agent that has what it needs for these questions."""
    key = {"authorization": f"Bearer {plane.key}"}
    did = await new_did(signer)
    asked = {"command": LIST, "resource": dict(REPO), "agentDid": did, "ttlSeconds": 600}
    answer = (await plane.client.post("/v1/authorize", json=asked, headers=key)).json()
    return ChainAgent(plane, signer, did, tuple(answer["chain"]))


@pytest.fixture
async def child(root: ChainAgent, signer: AsyncSigner) -> ChainAgent:
    return await root.fork(await new_did(signer))


def refused(reply: httpx.Response, code: str, status: int = 401) -> str:
    assert (reply.status_code, reply.json()["error_code"]) == (status, code), reply.text
    assert ("www-authenticate" in reply.headers) == (status == 401)
    sentence: str = reply.json()["error"]
    return sentence


def denied(reply: httpx.Response, reason: str) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    assert (answer["decision"], answer["reason"]) == ("deny", reason), answer
    return answer


async def send(plane: Plane, token: str, **more: Any) -> httpx.Response:
    body = {"command": LIST, "resource": dict(REPO), **more}
    return await plane.client.post(
        "/v1/authorize", json=body, headers={"authorization": f"Bearer {token}"}
    )


async def test_an_invocation_works_once(plane: Plane, child: ChainAgent) -> None:
    token = await child.sign(LIST, {"resource": dict(REPO)})
    assert (await send(plane, token)).json()["decision"] == "allow"
    assert "was already used" in refused(await send(plane, token), "replayed")
    plane.clock.now += 30
    refused(await send(plane, token), "replayed")


async def test_used_nonces_count_for_the_app(plane: Plane, child: ChainAgent) -> None:
    """Otherwise an app with many children could fill what all apps share."""
    assert (await child.ask(LIST)).json()["decision"] == "allow"
    issuer = plane.system.issuer_did
    app = plane.key.removeprefix("nomos_").rpartition("_")[0]
    wanted = sa.select(nonces.c.family)
    held = await plane.system.store.database.read(
        lambda connection: connection.scalars(wanted).all()
    )
    assert held == [f"{issuer} {app}"]


async def test_another_agent_may_use_the_same_nonce(root: ChainAgent, child: ChainAgent) -> None:
    for who in (root, child):
        reply = await who.ask(LIST, signed={"nonce": "the same nonce"})
        assert reply.json()["decision"] == "allow"


@pytest.mark.parametrize("whose", ["the PDP", "the agent itself"])
async def test_an_invocation_for_another_audience_is_refused(
    plane: Plane, child: ChainAgent, whose: str
) -> None:
    audience = plane.system.pdp_did if whose == "the PDP" else child.did
    reply = await child.ask(LIST, signed={"aud": audience})
    refused(reply, "audience_mismatch")


SIGNED_OTHERWISE: Final[dict[str, dict[str, Any]]] = {
    "another resource": {"args": {"resource": {**REPO, "repo": "lib"}}},
    "a resource in another form": {"args": {"resource": {**REPO, "owner": "ACME"}}},
    "no resource": {"args": {"resource": {}}},
    "an argument more": {"args": {"resource": REPO, "state": "open"}},
    "an argument of a request": {"args": {"resource": REPO, "method": "POST"}},
}


@pytest.mark.parametrize("signed", SIGNED_OTHERWISE.values(), ids=list(SIGNED_OTHERWISE))
async def test_a_question_that_was_not_signed_is_denied(
    plane: Plane, child: ChainAgent, signed: dict[str, Any]
) -> None:
    answer = denied(await child.ask(LIST, signed=signed), "resource_mismatch")
    row = await store_access.receipt(plane.system.store, DEFAULT, answer["receiptId"])
    assert row is not None
    assert (row.agent, row.reason) == (child.did, "resource_mismatch")


async def test_the_command_and_the_arguments_must_be_those_signed(
    plane: Plane, root: ChainAgent, child: ChainAgent
) -> None:
    reply = await child.ask(LIST, args={"state": "open"}, signed={"args": {"resource": REPO}})
    denied(reply, "resource_mismatch")
    args = {"resource": dict(REPO), "state": "closed"}
    denied(
        await child.ask(LIST, args={"state": "open"}, signed={"args": args}), "resource_mismatch"
    )
    reply = await child.ask("/github/issue/create", signed={"cmd": LIST})
    denied(reply, "resource_mismatch")


async def test_another_json_spelling_of_an_integer_is_refused(
    plane: Plane, child: ChainAgent
) -> None:
    token = await child.sign(LIST, {"resource": dict(REPO), "per_page": 9})
    body = f'{{"args": {{"per_page": 9.0}}, "resource": {json.dumps(REPO)}, "command": "{LIST}"}}'
    reply = await plane.client.post(
        "/v1/authorize", content=body, headers={"authorization": f"Bearer {token}"}
    )
    assert reply.status_code == 400  # per_page is an integer, and 9.0 is none
    assert "per_page" in reply.json()["error"]


async def test_an_agent_cannot_ask_for_another_agent(root: ChainAgent, child: ChainAgent) -> None:
    assert (await child.ask(LIST, agentDid=child.did)).json()["decision"] == "allow"
    denied(await child.ask(LIST, agentDid=root.did), "audience_mismatch")


async def test_the_chain_in_the_question_must_be_the_invocations(
    root: ChainAgent, child: ChainAgent
) -> None:
    same = list(child.chain)
    assert (await child.ask(LIST, delegatedChain=same)).json()["decision"] == "allow"
    denied(await child.ask(LIST, delegatedChain=list(root.chain)), "chain_invalid")


async def test_the_grant_is_the_child_s_own(plane: Plane, child: ChainAgent) -> None:
    """Without an API key the server's own key signs nothing for anybody."""
    answer = (await child.ask(LIST)).json()
    assert "ucan" not in answer
    assert plane.payload(answer["chain"][0])["aud"] == child.did


async def test_an_invocation_is_valid_between_its_times_only(
    plane: Plane, child: ChainAgent
) -> None:
    """A caller signs from a minute ago on, and learns the time here from replies (`serverTime`)."""
    for good in ({"iat": NOW - 119, "exp": NOW + 1}, {"iat": NOW, "exp": NOW + 120}):
        assert (await child.ask(LIST, signed=good)).json()["decision"] == "allow"
    denied(await child.ask(LIST, signed={"iat": NOW - 120, "exp": NOW}), "expired")
    denied(await child.ask(LIST, signed={"iat": NOW + 1, "exp": NOW + 90}), "not_yet_valid")
    long = await child.ask(LIST, signed={"iat": NOW - 60, "exp": NOW + 121})
    assert "60 seconds" in refused(long, "malformed_ucan")


async def test_a_delegation_is_refused_as_an_invocation(plane: Plane, child: ChainAgent) -> None:
    refused(await send(plane, child.chain[-1]), "malformed_ucan")


@pytest.mark.parametrize("token", ["a.b.c", "a.b", "..", "eyJ.e30.x y", "x." * 300_000])
async def test_text_that_is_no_token_is_refused(plane: Plane, token: str) -> None:
    refused(await send(plane, token), "malformed_ucan")


async def test_two_tokens_are_refused(plane: Plane, child: ChainAgent) -> None:
    token = await child.sign(LIST, {"resource": dict(REPO)})
    reply = await plane.client.post(
        "/v1/authorize",
        json={"command": LIST, "resource": dict(REPO)},
        headers=[("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")],
    )
    refused(reply, "invalid_api_key")


async def test_the_app_of_the_chain_must_be_able_to_act(plane: Plane, child: ChainAgent) -> None:
    await store_access.disable_app(plane.system.store, DEFAULT, plane.app)
    refused(await child.ask(LIST), "app_disabled", 403)


async def test_a_question_counts_in_the_apps_rate(plane: Plane, signer: AsyncSigner) -> None:
    plane.client.headers["authorization"] = f"Bearer {plane.key}"
    root = await root_of(plane, signer, await new_did(signer), "/github/repo/read")
    child = await root.fork(await new_did(signer))
    answer = (await child.ask("/github/repo/read")).json()
    assert answer["explanation"]["policies"] == ["slowly"]


async def test_faulty_chains_do_not_count_in_the_rate_and_their_records_are_bounded(
    plane: Plane, child: ChainAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delegation_lookup, "MAX_FAULTS", 3)
    before = len(await plane.receipts())
    for _ in range(3):
        denied(await child.ask("/github/issue/create"), "chain_attenuation_violation")
    reply = await child.ask("/github/issue/create")
    refused(reply, "rate_limited", 429)
    assert reply.headers["retry-after"] == "60"
    decisions = [row for row in await plane.receipts() if row.kind == "decision"]
    assert len(decisions) == before + 3
    assert (await child.ask(LIST)).json()["decision"] == "allow"
    plane.clock.now += 60
    denied(await child.ask("/github/issue/create"), "chain_attenuation_violation")


class Broken:
    """A signer that verifies nothing any more."""

    def __init__(self, signer: AsyncSigner) -> None:
        self._signer = signer
        self.answer: Refused | None = None
        self.broken = False

    async def ask(self, request: Request) -> Answer | Refused:
        if self.broken and isinstance(request, Verify):
            if self.answer is None:
                raise SignerCrashed("gone")
            return self.answer
        return await self._signer.ask(request)


@pytest.mark.parametrize("answer", [None, Refused(code="internal", message="?")])
async def test_a_failed_verification_is_unavailable(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane, answer: Refused | None
) -> None:
    broken = Broken(signer)
    async with open_plane(tmp_path / "data", broken, policy=POLICY) as plane:
        root = await root_of(plane, signer, await new_did(signer), LIST)
        child = await root.fork(await new_did(signer))
        before = len(await plane.receipts())
        broken.broken, broken.answer = True, answer
        for reply in (
            await child.ask(LIST),
            await child.ask_with_key(LIST),
            await child.request("GET", f"/v1/receipts/evt_{'0' * 26}"),
        ):
            refused(reply, "unavailable", 503)
        assert len(await plane.receipts()) == before


# Requests that are no questions


async def test_an_agent_sees_its_own_approvals_and_no_others(
    plane: Plane, signer: AsyncSigner
) -> None:
    plane.client.headers["authorization"] = f"Bearer {plane.key}"
    command, resource = MERGE
    root = await root_of(plane, signer, await new_did(signer), LIST)
    asked = {"command": command, "resource": resource, "args": {}, "agentDid": root.did}
    lead = await people.operator(plane, "lead")
    envelope = await people.asked(plane, **asked)
    child = await root.fork(await new_did(signer))
    path = f"/v1/approvals/{envelope}"
    seen = await root.request("GET", path, query="?wait=0")
    assert (seen.status_code, seen.json()["state"]) == (200, "pending")
    assert "root" not in seen.json() and "invokedBy" not in seen.json()
    refused(await child.request("GET", path), "not_found", 404)
    assert (await people.decide(plane, lead, envelope)).json()["state"] == "approved"
    assert (await root.request("GET", path)).json()["state"] == "approved"


async def test_an_agent_sees_its_receipts_and_the_one_of_its_root(
    plane: Plane, root: ChainAgent, child: ChainAgent, signer: AsyncSigner
) -> None:
    own = (await child.ask(LIST)).json()["receiptId"]
    sibling = await root.fork(await new_did(signer))
    other = (await sibling.ask(LIST)).json()["receiptId"]
    first = child.root["meta"]["receipt_id"]
    for ident, status in ((own, 200), (first, 200), (other, 404), (f"evt_{'0' * 26}", 404)):
        reply = await child.request("GET", f"/v1/receipts/{ident}")
        assert reply.status_code == status, reply.text


async def test_a_request_is_signed_with_its_method_path_and_body(
    plane: Plane, child: ChainAgent
) -> None:
    path = f"/v1/receipts/{child.root['meta']['receipt_id']}"
    right = {
        "resource": dict(REPO),
        "method": "GET",
        "path": path,
        "body": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }
    assert (await child.request("GET", path, signed={"args": right})).status_code == 200
    wrongs: tuple[dict[str, Any], ...] = (
        {"method": "POST"},
        {"path": f"{path}0"},
        {"path": f"{path}?x=1"},
        {"body": "0" * 64},
        {"resource": {}},
        {"more": 1},
    )
    for wrong in wrongs:
        reply = await child.request("GET", path, signed={"args": {**right, **wrong}})
        assert "another request" in refused(reply, "resource_mismatch")
    for missing in ("method", "path", "body"):
        args = {name: value for name, value in right.items() if name != missing}
        refused(await child.request("GET", path, signed={"args": args}), "resource_mismatch")
    subcommand = await child.request("GET", path, signed={"cmd": f"{LIST}/x"})
    refused(subcommand, "resource_mismatch")


async def test_a_request_on_a_faulty_chain_has_the_faults_code(
    plane: Plane, child: ChainAgent, signer: AsyncSigner
) -> None:
    path = f"/v1/receipts/{child.root['meta']['receipt_id']}"
    wide = await child.fork(child.did, cmd="/github")
    refused(await wide.request("GET", path), "chain_attenuation_violation")
    over = await child.fork(child.did, exp=NOW)
    refused(await over.request("GET", path), "expired")
    early = await child.fork(child.did, nbf=NOW + 1)
    refused(await early.request("GET", path), "not_yet_valid")
    other_holder = replace(child, did=await new_did(signer))
    refused(await other_holder.request("GET", path), "chain_invalid")
    await store_access.revoke(plane.system.store, DEFAULT, [cid(child.chain[-1])])
    refused(await child.request("GET", path), "revoked")
    assert all(row.kind != "call" for row in await plane.receipts())


async def test_routes_for_other_roles_refuse_invocations(plane: Plane, child: ChainAgent) -> None:
    open_to = {(route.method, route.path) for route in ROUTES if route.holder is not None}
    assert open_to == {
        ("POST", "/v1/authorize"),
        ("GET", "/v1/approvals/{id}"),
        ("GET", "/v1/receipts/{id}"),
        ("POST", "/v1/revocations"),
    }
    for route in ROUTES:
        if route.roles is None or (route.method, route.path) in open_to:
            continue
        path = route.path.replace("{id}", f"env_{'0' * 26}").replace("{version}", "1")
        refused(await child.request(route.method, path), "invalid_api_key")
