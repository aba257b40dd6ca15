"""Constraints of questions: checked, signed, bound to approvals, shown and recorded."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from server.control.chain_agents import key, root_of
from server.control.people import ISSUE, POLICY, REPO, approved, asked, operator, seen

from nomos._io.signer import AsyncSigner
from nomos._protocol import Answer, CheckPolicy, HelloAnswer, Refused, Request
from nomos.constraints import at_most, eq, not_eq, url
from nomos.errors import SignerError
from nomos.server.control import signing
from nomos.server.control.approval_view import ApprovalReply
from nomos.server.domain.envelope import action_hash, fingerprint

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

    from nomos.server.control.context import Context

pytestmark = pytest.mark.anyio

OPEN = eq("state", "open").pol
LIST = ["==", ".cmd", "/github/issue/list"]


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY) as plane:
        yield plane


async def test_constraints_are_signed_after_the_servers_statements(
    plane: Plane, agent: str
) -> None:
    pol = [*OPEN, *url("u", host="example.com", path_prefix="/x", query=True).pol]
    answer = (await plane.ask(agentDid=agent, pol=pol)).json()
    assert plane.payload(answer["chain"][0])["pol"] == [LIST, *pol]
    bound = (await plane.ask(agentDid=agent, args={"page": 1}, pol=pol)).json()
    assert plane.payload(bound["chain"][0])["pol"] == [LIST, ["==", ".args.page", 1], *pol]
    prefix = (await plane.ask(command="/github/user", agentDid=agent, pol=pol)).json()
    assert plane.payload(prefix["chain"][0])["pol"][1:] == pol
    plain = (await plane.ask(agentDid=agent, pol=[])).json()
    assert plane.payload(plain["chain"][0])["pol"] == [LIST]
    ours = (await plane.ask(pol=OPEN)).json()
    assert plane.payload(ours["chain"][0])["pol"] == [LIST, *OPEN]


async def test_constraints_are_recorded_without_secrets(plane: Plane, agent: str) -> None:
    token = "ghp_" + "a" * 36
    await plane.ask(agentDid=agent, pol=eq("state", token).pol)
    await plane.ask(agentDid=agent, resource={**REPO, "repo": "archive"}, pol=OPEN)
    await plane.ask(agentDid=agent)
    details = [row.detail for row in await plane.receipts() if row.kind == "decision"]
    hidden = [["==", ".args.state", "[REDACTED:github_pat]"]]
    assert sorted(map(str, details)) == sorted(map(str, [{"pol": hidden}, {"pol": OPEN}, {}]))


async def test_a_child_has_its_parents_and_its_own_constraints(
    plane: Plane, signer: AsyncSigner
) -> None:
    parent = await root_of(plane, signer, await key(signer, 0x61), "/github/issue/list", pol=OPEN)
    child = await parent.fork(await key(signer, 0x62), pol=not_eq("page", 2).pol)
    own = at_most("per_page", 5).pol
    for reply in (
        await child.ask("/github/issue/list", pol=own),
        await child.ask_with_key("/github/issue/list", pol=own),
    ):
        signed = plane.payload(reply.json()["chain"][0])["pol"]
        assert signed == [LIST, *OPEN, *not_eq("page", 2).pol, *own]
    vacuous = await child.ask("/github/issue/list", pol=[["or", []]])
    assert (vacuous.status_code, vacuous.json()["fields"]) == (400, ["pol"])


WRONG: list[tuple[Any, str]] = [
    ("x", "valid list"),
    ({}, "valid list"),
    (None, "null"),
    ([1], "pol[0]"),
    ([["xor", ".args.a", 1]], "pol[0]"),
    ([OPEN[0], ["==", "a", 1]], "pol[1]"),
    ([["<", ".args.a", "1"]], "number"),
    ([["or", []]], "or"),
    ([["!=", ".args.a", 1]], "missing"),
    ([["not", ["==", ".args.a", 1]]], "missing"),
    ([["any", ".args.a", ["==", ".", 1]]], "empty"),
    (OPEN * 101, "100"),
    ([["==", ".args.a", "x" * 1000]] * 9, "8192"),
    ([["==", ".args.a", "x" * 1025]], "1024"),
    ([["==", ".args.\u202e", 1]], "selector"),
]


@pytest.mark.parametrize(("pol", "words"), WRONG)
async def test_unsignable_statements_are_an_invalid_request(
    standing: Plane, agent: str, pol: Any, words: str
) -> None:
    reply = await standing.ask(agentDid=agent, pol=pol)
    error = reply.json()
    assert reply.status_code == 400
    assert (error["error_code"], error["fields"]) == ("invalid_request", ["pol"])
    assert error["error"].isascii()
    assert words in error["error"]


async def test_numbers_are_signed_as_the_binary_reads_them(plane: Plane, agent: str) -> None:
    answer = (await plane.ask(agentDid=agent, pol=[["==", ".args.page", 9.0]])).json()
    (row,) = [row for row in await plane.receipts() if row.kind == "decision"]
    for pol in (plane.payload(answer["chain"][0])["pol"][1:], row.detail["pol"]):
        assert pol == [["==", ".args.page", 9]]
        assert isinstance(pol[0][2], int)


async def test_a_statement_that_cannot_be_worded_is_shown_as_json(plane: Plane, agent: str) -> None:
    long = ["==", f".args.{'a' * 300}", "\u202e"]
    envelope = await asked(plane, **ISSUE, agentDid=agent, pol=[*OPEN, long])
    shown = (await seen(plane, envelope))["constraints"]
    assert shown == ['state is "open"', json.dumps(long)]
    assert shown[1].isascii()


@pytest.mark.parametrize(
    "answer", [Refused(code="internal", message="x"), HelloAnswer.model_construct()]
)
async def test_unchecked_statements_are_an_error(
    answer: Answer | Refused,
) -> None:
    class Silent:
        async def ask(self, request: Request) -> Answer | Refused:
            assert isinstance(request, CheckPolicy)
            return answer

    context = cast("Context", SimpleNamespace(signer=Silent()))
    with pytest.raises(SignerError, match="did not check the statements"):
        await signing.checked_policy(context, OPEN)
    assert await signing.checked_policy(context, None) == ()


async def test_an_approval_is_bound_to_the_constraints_and_shows_them(
    plane: Plane, agent: str
) -> None:
    lead = await operator(plane, "lead")
    question = {**ISSUE, "agentDid": agent, "pol": [*OPEN, *at_most("milestone", 9).pol]}
    envelope = await approved(plane, lead, **question)
    view = await seen(plane, envelope)
    assert ApprovalReply.model_validate(view)
    assert view["pol"] == question["pol"]
    assert view["constraints"] == ['state is "open"', "milestone is at most 9"]
    for other in (..., OPEN, [*question["pol"], *eq("x", 1).pol]):
        changed = {**question, "pol": other, "cosignerEnvelopeId": envelope}
        answer = (await plane.ask(**changed)).json()
        assert answer["reason"] == "approval_mismatch"
        assert answer["explanation"]["fields"] == ["pol"]
    answer = (await plane.ask(**question, cosignerEnvelopeId=envelope)).json()
    assert answer["decision"] == "allow"
    assert plane.payload(answer["chain"][0])["pol"][-2:] == question["pol"]


async def test_a_question_without_constraints_has_an_unchanged_fingerprint(
    plane: Plane, agent: str
) -> None:
    envelope = await asked(plane, **ISSUE, agentDid=agent)
    view = await seen(plane, envelope)
    assert not {"pol", "constraints"} & set(view)
    bound = {
        "tenant": "default",
        "app": plane.app,
        "agentDid": agent,
        "command": ISSUE["command"],
        "resource": dict(REPO),
        "args": ISSUE["args"],
        "context": ISSUE["context"],
        "ttl": 300,
        "root": None,
        "invokedBy": [],
    }
    assert view["fingerprint"] == fingerprint(bound)
    # With constraints it is another question, and for a denial the same action.
    assert fingerprint(bound | {"pol": OPEN}) != fingerprint(bound)
    assert action_hash(bound | {"pol": OPEN}) == action_hash(bound)


async def test_the_queue_shows_the_constraints_in_words(plane: Plane, agent: str) -> None:
    envelope = await asked(plane, **ISSUE, agentDid=agent, pol=OPEN)
    queue = await plane.client.get(
        "/v1/approvals", headers=await operator(plane, "lead"), params={"state": "pending"}
    )
    (view,) = queue.json()["approvals"]
    assert (view["id"], view["constraints"]) == (envelope, ['state is "open"'])
