"""Several questions in one request: results in order, and errors in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import store_access
from pydantic import TypeAdapter

from nomos.errors import SignerCrashed
from nomos.server.control import batch
from nomos.server.control.authorize import authorize
from nomos.server.control.batch import MAX_KEY, MAX_QUESTIONS, BatchReply
from nomos.server.http import quotas
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    import httpx
    from server.control.conftest import Plane

pytestmark = pytest.mark.anyio

REPO = {"provider": "github", "owner": "acme", "repo": "app"}
ARCHIVE = REPO | {"repo": "archive"}
LIST: dict[str, Any] = {"command": "/github/issue/list", "resource": REPO}
DENIED = LIST | {"resource": ARCHIVE}
STEP_UP = {"command": "/github/pr/create", "resource": REPO}
UNKNOWN = LIST | {"command": "/github/issue/steal"}
CLOSED = LIST | {"color": "red"}


async def ask(
    plane: Plane, *questions: Any, headers: dict[str, str] | None = None
) -> httpx.Response:
    body = {"requests": list(questions)}
    return await plane.client.post("/v1/authorize/batch", json=body, headers=headers)


def kind(result: dict[str, Any]) -> str:
    return str(result.get("decision") or result["error_code"])


async def test_each_question_has_its_result_at_its_index(plane: Plane) -> None:
    before = len(await plane.receipts())
    reply = await ask(plane, LIST, UNKNOWN, DENIED, CLOSED, STEP_UP, "no object", LIST)
    assert reply.status_code == 200
    results = reply.json()["results"]
    TypeAdapter(BatchReply).validate_python({"results": results})
    assert [kind(each) for each in results] == [
        "allow",
        "invalid_request",
        "deny",
        "invalid_request",
        "requires_step_up",
        "invalid_request",
        "allow",
    ]
    assert results[5]["error"] == "requests.5: must be a JSON object"
    assert results[1]["fields"] == ["command"]
    assert results[3]["fields"] == ["color"]
    assert results[1]["request_id"] == reply.headers["x-request-id"]
    # One receipt for each that was decided, and nothing for the others.
    decided = [each["receiptId"] for each in results if "decision" in each]
    assert len(set(decided)) == 4
    recorded = [each for each in await plane.receipts() if each.kind == "decision"]
    assert {each.id for each in recorded} == set(decided)
    assert len(await plane.receipts()) == before + 4


async def test_a_result_equals_that_of_a_single_question(standing: Plane, agent: str) -> None:
    own = {"receiptId", "chain", "ucan"}
    for question in (LIST, LIST | {"agentDid": agent}, DENIED):
        alone = (await standing.client.post("/v1/authorize", json=question)).json()
        (result,) = (await ask(standing, question)).json()["results"]
        assert result.keys() == alone.keys()
        for name in alone.keys() - own:
            assert result[name] == alone[name]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"requests": []},
        {"requests": {}},
        {"requests": None},
        {"requests": [LIST] * (MAX_QUESTIONS + 1)},
        {"requests": [LIST], "dryRun": True},
    ],
)
async def test_an_invalid_batch_is_refused_as_a_whole(
    standing: Plane, body: dict[str, Any]
) -> None:
    before = len(await standing.receipts())
    reply = await standing.client.post("/v1/authorize/batch", json=body)
    assert (reply.status_code, reply.json()["error_code"]) == (400, "invalid_request")
    assert len(await standing.receipts()) == before


async def test_a_repeated_batch_gets_the_same_results(plane: Plane) -> None:
    headers = {"idempotency-key": "k"}
    first = (await ask(plane, LIST, DENIED, UNKNOWN, headers=headers)).json()["results"]
    before = len(await plane.receipts())
    again = (await ask(plane, LIST, DENIED, UNKNOWN, headers=headers)).json()["results"]
    assert [each.get("receiptId") for each in again] == [each.get("receiptId") for each in first]
    assert len(await plane.receipts()) == before
    # In another order these are other questions under the same keys.
    other = (await ask(plane, DENIED, LIST, headers=headers)).json()["results"]
    assert [kind(each) for each in other] == ["idempotency_conflict"] * 2
    assert len(await plane.receipts()) == before


async def test_an_idempotency_key_too_long_for_an_index_is_refused(standing: Plane) -> None:
    for length, status in ((MAX_KEY, 200), (MAX_KEY + 1, 400)):
        reply = await ask(standing, LIST, headers={"idempotency-key": "x" * length})
        assert reply.status_code == status
    assert reply.json()["fields"] == ["Idempotency-Key"]


async def test_each_question_counts_against_the_rate(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plane.system.quotas, "_questions", 3)
    monkeypatch.setattr(quotas, "QUESTIONS_A_SECOND", 1e-3)
    results = (await ask(plane, *[LIST] * 5)).json()["results"]
    assert [kind(each) for each in results] == ["allow"] * 3 + ["rate_limited"] * 2
    decided = [each for each in await plane.receipts() if each.kind == "decision"]
    assert len(decided) == 3


async def test_an_app_disabled_meanwhile_gets_no_more_decisions(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = authorize

    async def then_disabled(*given: Any, **named: Any) -> Any:
        answer = await real(*given, **named)
        await store_access.disable_app(plane.system.store, DEFAULT, plane.app)
        return answer

    monkeypatch.setattr(batch, "authorize", then_disabled)
    results = (await ask(plane, LIST, LIST, LIST)).json()["results"]
    assert [kind(each) for each in results] == ["allow", "app_disabled", "app_disabled"]


async def test_a_question_that_cannot_be_signed_is_unavailable_at_its_index(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dead(*_given: object) -> Any:
        raise SignerCrashed("it died")

    monkeypatch.setattr("nomos.server.control.authorize.delegate", dead)
    results = (await ask(plane, DENIED, LIST, DENIED)).json()["results"]
    assert [kind(each) for each in results] == ["deny", "unavailable", "deny"]
    assert len([each for each in await plane.receipts() if each.kind == "decision"]) == 2
