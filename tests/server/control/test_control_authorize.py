"""Decisions of `authorize`, their tokens and their records."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydantic import TypeAdapter

from nomos._io.signer import AsyncSigner
from nomos._protocol import Answer, Call, Hello, Refused, Request, Verified, Verify
from nomos.errors import InvalidRequest
from nomos.server.control import messages, request, signing
from nomos.server.control.messages import AllowReply, AuthorizeReply, DenyReply, StepUpReply
from nomos.server.providers.catalog import load_catalog

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

    from nomos.server.control.context import Context

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000
REPO = {"provider": "github", "owner": "acme", "repo": "app"}
FILE = {"provider": "filesystem", "path": "notes/a.txt"}
REPLY: TypeAdapter[AllowReply | DenyReply | StepUpReply] = TypeAdapter(AuthorizeReply)


async def test_an_allow_has_exactly_the_promised_members(standing: Plane, agent: str) -> None:
    reply = await standing.ask(agentDid=agent)
    assert reply.status_code == 200
    assert reply.headers["cache-control"] == "no-store"
    answer = reply.json()
    assert REPLY.validate_python(answer)
    assert answer.pop("receiptId").startswith("evt_")
    assert len(answer.pop("chain")) == 1
    assert answer == {
        "decision": "allow",
        "expiresAt": "2027-01-15T08:05:00.000Z",
        "serverTime": "2027-01-15T08:00:00.000Z",
        "audience": standing.system.pdp_did,
        "resource": REPO,
    }


async def test_the_delegation_has_exactly_the_allowed_claims(standing: Plane, agent: str) -> None:
    asked = {"agentDid": agent, "purpose": "triage", "context": {"team": "blue"}}
    answer = (await standing.ask(**asked)).json()
    claims = standing.payload(answer["chain"][0])
    assert len(claims.pop("nonce")) == 22
    bundle = claims["meta"]["facts"].pop("bundle")
    assert len(bundle) == 64
    assert claims == {
        "iss": standing.system.issuer_did,
        "aud": agent,
        "sub": standing.system.issuer_did,
        "cmd": "/github/issue/list",
        "pol": [["==", ".cmd", "/github/issue/list"]],
        "nbf": NOW - 60,
        "exp": NOW + 300,
        "meta": {
            "resource_constraint": REPO,
            "receipt_id": answer["receiptId"],
            "app_id": standing.app,
            "audience": standing.system.pdp_did,
            "facts": {"purpose": "triage", "agent": {"team": "blue"}},
            "reads": ["/github/issue/list"],
        },
    }


async def test_facts_that_were_not_given_are_not_in_the_token(standing: Plane, agent: str) -> None:
    answer = (await standing.ask(agentDid=agent)).json()
    assert set(standing.payload(answer["chain"][0])["meta"]["facts"]) == {"bundle"}


async def test_the_chain_verifies_for_its_agent(
    standing: Plane, agent: str, signer: AsyncSigner
) -> None:
    answer = (await standing.ask(agentDid=agent)).json()
    verified = await signer.ask(
        Verify(
            chain=answer["chain"],
            now=NOW,
            trusted_issuers=[standing.system.issuer_did],
            audience=agent,
        )
    )
    assert isinstance(verified, Verified)
    assert verified.constraint == REPO
    assert verified.expires_at == NOW + 300


async def test_the_resource_is_canonical_in_the_answer_the_token_and_the_receipt(
    plane: Plane, agent: str
) -> None:
    answer = (await plane.ask(agentDid=agent, resource={**REPO, "owner": "ACME"})).json()
    assert answer["resource"] == REPO
    constraint = plane.payload(answer["chain"][0])["meta"]["resource_constraint"]
    [receipt] = await plane.receipts()
    assert constraint == receipt.resource == REPO


@pytest.mark.parametrize("ttl", [1, 3600])
async def test_a_grant_has_the_requested_lifetime(standing: Plane, agent: str, ttl: int) -> None:
    answer = (await standing.ask(agentDid=agent, ttlSeconds=ttl)).json()
    assert standing.payload(answer["chain"][0])["exp"] == NOW + ttl


async def test_a_read_is_bound_to_each_argument_that_was_given(standing: Plane, agent: str) -> None:
    args = {"state": "open", "per_page": 5}
    answer = (await standing.ask(agentDid=agent, args=args)).json()
    assert answer["args"] == args
    assert standing.payload(answer["chain"][0])["pol"] == [
        ["==", ".cmd", "/github/issue/list"],
        ["==", ".args.per_page", 5],
        ["==", ".args.state", "open"],
    ]


async def test_a_write_is_bound_to_exactly_its_arguments(standing: Plane, agent: str) -> None:
    digest = {"sha256": hashlib.sha256(b"hello").hexdigest()}
    answer = (
        await standing.ask(
            command="/filesystem/file/write",
            resource=FILE,
            agentDid=agent,
            args={"content": "hello"},
        )
    ).json()
    assert answer["args"] == {"content": digest}
    assert standing.payload(answer["chain"][0])["pol"] == [
        ["==", ".cmd", "/filesystem/file/write"],
        ["==", ".args", {"content": digest}],
    ]


async def test_policy_sees_whether_arguments_are_bound(standing: Plane, agent: str) -> None:
    write = {"command": "/filesystem/file/write", "resource": FILE, "agentDid": agent}
    denied = (await standing.ask(**write)).json()
    assert (denied["decision"], denied["explanation"]["policies"]) == ("deny", ["bound"])
    assert "args" not in denied


async def test_without_an_agent_the_app_s_own_key_signs_the_invocation(
    standing: Plane, signer: AsyncSigner
) -> None:
    answer = (await standing.ask(args={"state": "open"})).json()
    claims = standing.payload(answer["ucan"])
    assert (claims["iat"], claims["exp"]) == (NOW - 60, NOW + 300)
    assert claims["prf"] == answer["chain"]
    verified = await signer.ask(
        Verify(
            invocation=answer["ucan"],
            now=NOW,
            trusted_issuers=[standing.system.issuer_did],
            audience=standing.system.pdp_did,
            pdp=True,
            call=Call(cmd="/github/issue/list", resource=REPO, args={"state": "open"}),
        )
    )
    assert isinstance(verified, Verified)
    assert verified.agent == claims["iss"] == standing.payload(answer["chain"][0])["aud"]
    again = (await standing.ask()).json()
    assert standing.payload(again["ucan"])["iss"] == claims["iss"]


async def test_each_app_has_a_key_of_its_own(standing: Plane) -> None:
    mine = (await standing.ask()).json()
    theirs = (await standing.ask(await standing.another())).json()
    holders = {standing.payload(answer["ucan"])["iss"] for answer in (mine, theirs)}
    assert len(holders) == 2


async def test_an_invocation_is_refused_for_another_call(
    standing: Plane, signer: AsyncSigner
) -> None:
    answer = (await standing.ask(args={"state": "open"})).json()
    refused = await signer.ask(
        Verify(
            invocation=answer["ucan"],
            now=NOW,
            trusted_issuers=[standing.system.issuer_did],
            audience=standing.system.pdp_did,
            pdp=True,
            call=Call(cmd="/github/issue/list", resource=REPO, args={"state": "all"}),
        )
    )
    assert isinstance(refused, Refused)
    assert refused.code == "resource_mismatch"


@pytest.mark.parametrize(
    ("changes", "reason", "policies", "message"),
    [
        (
            {"resource": {**REPO, "owner": "other"}},
            "policy_denied",
            [],
            "no policy permits /github/issue/list here",
        ),
        (
            {"resource": {**REPO, "repo": "archive"}},
            "policy_denied",
            ["frozen"],
            "the archive is frozen",
        ),
        (
            {"command": "/github/issue/read", "resource": {**REPO, "issue_number": 7}},
            "policy_error",
            ["broken"],
            "broken",
        ),
    ],
)
async def test_a_deny_has_a_reason_and_no_token(
    standing: Plane, changes: dict[str, Any], reason: str, policies: list[str], message: str
) -> None:
    reply = await standing.ask(**changes)
    assert reply.status_code == 200
    answer = reply.json()
    assert REPLY.validate_python(answer)
    assert answer.pop("receiptId").startswith("evt_")
    assert message in answer["explanation"].pop("message")
    assert answer == {
        "decision": "deny",
        "reason": reason,
        "serverTime": "2027-01-15T08:00:00.000Z",
        "explanation": {"policies": policies},
    }


async def test_purpose_and_declared_facts_reach_policy(standing: Plane) -> None:
    asked = {"command": "/filesystem/dir/list", "resource": {**FILE, "path": "notes"}}
    given = {"purpose": "tidy up", "context": {"team": "blue"}}
    assert (await standing.ask(**asked, **given)).json()["decision"] == "allow"
    assert (await standing.ask(**asked)).json()["explanation"]["policies"] == ["for-a-reason"]


async def test_policy_sees_the_rate_of_an_app(plane: Plane) -> None:
    read = {"command": "/github/repo/read"}
    decisions = [(await plane.ask(**read)).json()["decision"] for _ in range(3)]
    assert decisions == ["allow", "allow", "deny"]
    assert (await plane.ask(await plane.another(), **read)).json()["decision"] == "allow"
    plane.clock.now += 60
    assert (await plane.ask(**read)).json()["decision"] == "allow"


async def test_the_rate_of_an_app_survives_a_restart(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    read = {"command": "/github/repo/read"}
    async with open_plane(tmp_path / "data", signer) as plane:
        for _ in range(2):
            await plane.ask(**read)
    async with open_plane(tmp_path / "data", signer, key=plane.key) as plane:
        assert (await plane.ask(**read)).json()["decision"] == "deny"


async def test_every_decision_has_a_receipt(plane: Plane, agent: str) -> None:
    allowed = await plane.ask(
        {"x-request-id": "trace-1"}, agentDid=agent, args={"state": "open"}, purpose="triage"
    )
    plane.clock.now += 1
    denied = await plane.ask(agentDid=agent, resource={**REPO, "repo": "archive"})
    no, yes = await plane.receipts()
    assert (yes.id, no.id) == (allowed.json()["receiptId"], denied.json()["receiptId"])
    jwt = allowed.json()["chain"][0]
    assert yes.cid == hashlib.sha256(jwt.encode()).hexdigest()
    assert (yes.kind, yes.tenant, yes.app, yes.agent) == ("decision", "default", plane.app, agent)
    assert (yes.command, yes.resource, yes.args) == (
        "/github/issue/list",
        REPO,
        {"state": "open"},
    )
    assert (yes.decision, yes.reason, yes.policies) == ("allow", None, ("reads",))
    assert (yes.at, yes.expires_at) == (NOW * 1000, NOW + 300)
    assert (yes.purpose, yes.request_id) == ("triage", "trace-1")
    assert (no.decision, no.reason, no.policies) == ("deny", "policy_denied", ("frozen",))
    assert (no.cid, no.expires_at, no.args) == (None, None, None)
    assert yes.bundle is not None and len(yes.bundle) == 64
    assert yes.bundle == no.bundle


async def test_secrets_are_redacted_before_a_receipt_is_stored(plane: Plane) -> None:
    secret = "ghp_" + "a" * 36
    await plane.ask(args={"state": secret}, purpose=f"use {secret}")
    [receipt] = await plane.receipts()
    assert secret not in repr(receipt)
    assert receipt.purpose == "use [REDACTED:github_pat]"


async def test_policy_sees_a_fact_as_the_token_will_carry_it(standing: Plane) -> None:
    """9.0 is written 9 in a token, where the PDP will read it as a whole number."""
    given = {"level": 9.0, "in": [{"a": 1.5}]}
    asked = {"command": "/github/issue/list", "resource": REPO, "context": given}
    read = request.canonicalize(
        messages.authorize_request(asked), load_catalog(), "did:key:x", "0" * 64
    )
    assert read.context is not None
    assert isinstance(read.context["level"], int)
    answer = (await standing.ask(context=given)).json()
    facts = standing.payload(answer["chain"][0])["meta"]["facts"]["agent"]
    assert facts == read.context == {"level": 9, "in": [{"a": 1.5}]}


@pytest.mark.parametrize("number", [1e16, 9007199254740992.0, -1e20])
async def test_a_number_that_no_token_can_have_is_refused(standing: Plane, number: float) -> None:
    reply = await standing.ask(context={"x": number})
    assert (reply.status_code, reply.json()["error_code"]) == (400, "invalid_request")
    assert reply.json()["fields"] == ["context.x"]


async def test_a_refusal_of_the_binary_to_sign_is_an_invalid_request() -> None:
    """Such as a name that two versions of Unicode normalise differently."""
    refused = Refused(code="malformed_ucan", message="a member name is not in NFC")

    class Picky:
        async def ask(self, request: Request) -> Answer | Refused:
            return refused

    with pytest.raises(InvalidRequest, match="cannot be signed: a member name"):
        await signing._sign(cast("Context", SimpleNamespace(signer=Picky())), Hello())


@pytest.mark.parametrize("command", ["/github/issue/lsit", "/github/issue/list/mine"])
async def test_a_misspelt_command_is_an_invalid_request(plane: Plane, command: str) -> None:
    reply = await plane.ask(command=command, args={"body": "secret"})
    assert reply.status_code == 400
    said = reply.json()
    assert (said["error_code"], said["fields"]) == ("invalid_request", ["command"])
    assert f"{command} is not a registered command; the nearest are" in said["error"]
    assert "/github/issue/list" in said["error"]
    assert not await plane.receipts()


async def test_no_two_grants_are_the_same(standing: Plane, agent: str) -> None:
    answers = [(await standing.ask(agentDid=agent)).json() for _ in range(3)]
    assert len({answer["chain"][0] for answer in answers}) == 3
    assert len({answer["receiptId"] for answer in answers}) == 3


async def test_without_policies_everything_is_denied(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    async with open_plane(tmp_path / "data", signer, policy="") as plane:
        answer = (await plane.ask()).json()
    assert (answer["decision"], answer["reason"]) == ("deny", "policy_denied")
