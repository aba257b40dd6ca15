"""Refused requests: a message, the fields at fault, a stable code."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from nomos._limits import MAX_BODY_WITH_CHAIN
from nomos.server.control import body

if TYPE_CHECKING:
    import httpx
    from server.control.conftest import Plane

pytestmark = pytest.mark.anyio

REPO = {"provider": "github", "owner": "acme", "repo": "app"}
FILE = {"provider": "filesystem", "path": "a"}
UNRELATED_DID = "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"


def refused(reply: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check the one shape that errors have, and return the body."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    error: dict[str, Any] = reply.json()
    assert set(error) - {"fields"} == {"error", "error_code", "request_id"}
    assert error["error_code"] == code
    assert error["request_id"] == reply.headers["x-request-id"]
    assert error["error"]
    return error


WRONG: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "no command": ({"command": ...}, ["command"], "command: is required"),
    "command null": ({"command": None}, ["command"], "is null"),
    "command without slash": ({"command": "github"}, ["command"], "command:"),
    "command in capitals": ({"command": "/GitHub/issue/list"}, ["command"], "command:"),
    "command with a slash at its end": ({"command": "/github/issue/"}, ["command"], "command:"),
    "command with a newline": ({"command": "/github/issue/list\n"}, ["command"], "command:"),
    "command too long": ({"command": "/" + "a" * 256}, ["command"], "command:"),
    "command a number": ({"command": 1}, ["command"], "command:"),
    "no resource": ({"resource": ...}, ["resource"], "resource: is required"),
    "resource a list": ({"resource": []}, ["resource"], "resource:"),
    "resource without provider": (
        {"resource": {"owner": "acme", "repo": "app"}},
        ["resource.provider"],
        "provider",
    ),
    "resource of another provider": (
        {"resource": FILE},
        ["resource.provider"],
        'must be "github"',
    ),
    "resource without repo": (
        {"resource": {"provider": "github", "owner": "acme"}},
        ["resource.repo"],
        "repo",
    ),
    "resource with an unknown field": (
        {"resource": {**REPO, "branch": "main"}},
        ["resource.branch"],
        "branch",
    ),
    "resource with null": ({"resource": {**REPO, "repo": None}}, ["resource.repo"], "repo"),
    "resource with a boolean": ({"resource": {**REPO, "repo": True}}, ["resource.repo"], "repo"),
    "path that climbs": (
        {"command": "/filesystem/file/read", "resource": {**FILE, "path": "../x"}},
        ["resource.path"],
        "path",
    ),
    "unknown provider": (
        {"command": "/gitlab/issue/list", "resource": {"provider": "gitlab"}},
        ["command"],
        "there is no provider 'gitlab'; this server has filesystem, github",
    ),
    "ttl 0": ({"ttlSeconds": 0}, ["ttlSeconds"], "greater than or equal to 1"),
    "ttl too long": ({"ttlSeconds": 3601}, ["ttlSeconds"], "less than or equal to 3600"),
    "ttl a text": ({"ttlSeconds": "300"}, ["ttlSeconds"], "ttlSeconds:"),
    "ttl a boolean": ({"ttlSeconds": True}, ["ttlSeconds"], "ttlSeconds:"),
    "ttl a fraction": ({"ttlSeconds": 300.5}, ["ttlSeconds"], "ttlSeconds:"),
    "ttl a float": ({"ttlSeconds": 300.0}, ["ttlSeconds"], "ttlSeconds:"),
    "ttl null": ({"ttlSeconds": None}, ["ttlSeconds"], "is null; leave it out"),
    "args a list": ({"args": []}, ["args"], "args:"),
    "args null": ({"args": None}, ["args"], "is null"),
    "args undeclared": ({"args": {"page_size": 3}}, ["args.page_size"], "page_size"),
    "args of the wrong type": ({"args": {"state": 3}}, ["args.state"], "state"),
    "args called resource": ({"args": {"resource": {}}}, ["args.resource"], "resource"),
    "args too large": (
        {
            "command": "/filesystem/file/write",
            "resource": FILE,
            "args": {"content": "x" * 16 * 1024},
        },
        ["args"],
        "16384 is the most",
    ),
    "agent not a DID": ({"agentDid": "me"}, ["agentDid"], "agentDid:"),
    "agent null": ({"agentDid": None}, ["agentDid"], "is null"),
    "agent of another kind of key": (
        {"agentDid": "did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc"},
        ["agentDid"],
        "agentDid:",
    ),
    "agent that is no point of the curve": (
        {"agentDid": "did:key:z6Mk" + "z" * 44},
        ["agentDid"],
        "agentDid: names no usable Ed25519 key",
    ),
    "audience elsewhere": ({"audience": UNRELATED_DID}, ["audience"], "name the PDP (did:key:"),
    "audience empty": ({"audience": ""}, ["audience"], "not a registered service"),
    "purpose too long": ({"purpose": "x" * 281}, ["purpose"], "purpose:"),
    "purpose that hides text": ({"purpose": "a\x1b[2Kb"}, ["purpose"], "purpose:"),
    "context a text": ({"context": "blue"}, ["context"], "context:"),
    "context too large": ({"context": {"a": "x" * 4096}}, ["context"], "4096 is the most"),
    "facts too large": ({"context": {"a": "x" * 2048}}, ["context"], "2048 is the most"),
    "unknown member": ({"sudo": True}, ["sudo"], "sudo: is not a member of this request"),
    "snake case": ({"ttl_seconds": 5}, ["ttl_seconds"], "is not a member"),
    "envelope empty": ({"cosignerEnvelopeId": ""}, ["cosignerEnvelopeId"], "at least 1"),
    "envelope a number": ({"cosignerEnvelopeId": 7}, ["cosignerEnvelopeId"], "valid string"),
    "envelope too long": ({"cosignerEnvelopeId": "e" * 65}, ["cosignerEnvelopeId"], "at most 64"),
    "chain empty": ({"delegatedChain": []}, ["delegatedChain"], "at least 1 item"),
    "chain null": ({"delegatedChain": None}, ["delegatedChain"], "is null"),
    "chain a text": ({"delegatedChain": "a.b.c"}, ["delegatedChain"], "valid list"),
    "chain of numbers": ({"delegatedChain": [1]}, ["delegatedChain"], "valid string"),
    "chain endless": ({"delegatedChain": ["a.b.c"] * 65}, ["delegatedChain"], "at most 64"),
    "parent of no form": ({"parentReceiptId": "evt_1"}, ["parentReceiptId"], "pattern"),
    "parent of nobody": (
        {"parentReceiptId": f"evt_{'0' * 26}"},
        ["parentReceiptId"],
        "your app has no receipt",
    ),
    "swarm empty": ({"swarmId": ""}, ["swarmId"], "pattern"),
    "swarm too long": ({"swarmId": "s" * 65}, ["swarmId"], "pattern"),
    "swarm of another alphabet": ({"swarmId": "a b"}, ["swarmId"], "pattern"),
    "swarm with a newline": ({"swarmId": "a\n"}, ["swarmId"], "pattern"),
    "dry run": ({"dryRun": True}, ["dryRun"], "dry runs are not available"),
    "prefix without a key of its own": (
        {"command": "/github/pr", "resource": REPO},
        ["agentDid"],
        "Ask for one of /github/pr/",
    ),
    "prefix with args": (
        {"command": "/github", "args": {}, "agentDid": UNRELATED_DID},
        ["args"],
        "stands for several commands",
    ),
    "prefix with an envelope": (
        {"command": "/github", "cosignerEnvelopeId": "env_1", "agentDid": UNRELATED_DID},
        ["cosignerEnvelopeId"],
        "operators approve one call",
    ),
    "prefix of another resource": (
        {"command": "/github", "resource": FILE, "agentDid": UNRELATED_DID},
        ["resource.provider"],
        'must be "github"',
    ),
    "prefix with an unknown field": (
        {"command": "/github", "resource": {**REPO, "branch": "x"}, "agentDid": UNRELATED_DID},
        ["resource.branch"],
        "branch",
    ),
}


@pytest.mark.parametrize(("changes", "fields", "says"), WRONG.values(), ids=list(WRONG))
async def test_an_invalid_question_has_a_message_and_fields(
    standing: Plane, changes: dict[str, Any], fields: list[str], says: str
) -> None:
    before = len(await standing.receipts())
    error = refused(await standing.ask(**changes), 400, "invalid_request")
    assert error["fields"] == fields
    assert says in error["error"]
    assert len(await standing.receipts()) == before


async def test_all_wrong_members_are_named_at_once(standing: Plane) -> None:
    reply = await standing.ask(ttlSeconds=0, purpose="x" * 300, resource=..., other=1)
    error = refused(reply, 400, "invalid_request")
    assert error["fields"] == ["resource", "ttlSeconds", "purpose", "other"]


async def test_a_dry_run_that_is_switched_off_is_an_ordinary_question(standing: Plane) -> None:
    assert (await standing.ask(dryRun=False)).json()["decision"] == "allow"


async def test_the_pdp_may_be_named_as_audience(standing: Plane) -> None:
    asked = {"audience": standing.system.pdp_did}
    assert (await standing.ask(**asked)).json()["decision"] == "allow"


BAD_JSON: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not JSON"),
    "half": (b'{"command": ', "not JSON"),
    "a list": (b"[]", "must be a JSON object"),
    "a text": (b'"x"', "must be a JSON object"),
    "another encoding": ('{"command": "é"}'.encode("latin-1"), "not UTF-8"),
    "NaN": (b'{"ttlSeconds": NaN}', "NaN is not JSON"),
    "infinity": (b'{"context": {"a": -Infinity}}', "-Infinity is not JSON"),
    "a number that overflows": (b'{"context": {"a": 1e999}}', "too large"),
    "an integer beyond doubles": (b'{"context": {"a": 9007199254740993}}', "beyond 2^53-1"),
    "an integer of many digits": (b'{"ttlSeconds": ' + b"9" * 5000 + b"}", "JSON"),
    "the same member twice": (b'{"command": "/a", "command": "/b"}', "more than once"),
    "the same member twice below": (b'{"context": {"a": 1, "a": 2}}', "more than once"),
    "half a surrogate pair": (b'{"context": {"a": "\\ud800"}}', "surrogate"),
    "half a surrogate pair as a name": (b'{"context": {"\\ud800": 1}}', "NFC"),
    "a name that is not composed": ('{"context": {"e\u0301": 1}}'.encode(), "NFC"),
    "deep": (b'{"context": ' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}", "deeper than 16"),
    "bottomless": (b'{"context": ' + b"[" * 30_000, "not JSON"),
}


@pytest.mark.parametrize(("content", "says"), BAD_JSON.values(), ids=list(BAD_JSON))
async def test_ambiguous_json_is_refused(standing: Plane, content: bytes, says: str) -> None:
    reply = await standing.client.post("/v1/authorize", content=content)
    assert says in refused(reply, 400, "invalid_request")["error"]


async def test_text_of_the_caller_is_repeated_shortened(standing: Plane) -> None:
    error = refused(await standing.ask(**{"x\u202e" + "y" * 5000: 1}), 400, "invalid_request")
    assert len(error["error"]) < 200
    assert "\u202e" not in error["error"]
    assert len(error["fields"][0]) == 128
    for changes in (
        {"resource": {**REPO, "z" * 5000: 1}},
        {"args": {"z" * 5000: 1}},
        {"context": {"z" * 5000: float("1e300")} | {"y" * 5000: {"x" * 5000: 2**60}}},
    ):
        error = refused(await standing.ask(**changes), 400, "invalid_request")
        assert len(json.dumps(error)) < 1000


async def test_a_body_over_the_limit_is_not_read_to_its_end(standing: Plane) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 100 * MAX_BODY_WITH_CHAIN:
            sent += 1024
            yield b" " * 1024

    reply = await standing.client.post("/v1/authorize", content=endless())
    assert "512 KiB" in refused(reply, 413, "too_large")["error"]
    assert sent <= MAX_BODY_WITH_CHAIN + 2048


async def test_a_body_that_announces_too_much_is_not_read_at_all(standing: Plane) -> None:
    reply = await standing.client.post("/v1/authorize", content=b" " * (MAX_BODY_WITH_CHAIN + 1))
    refused(reply, 413, "too_large")
    lying = {"content-length": "9" * 400}
    reply = await standing.client.post("/v1/authorize", content=b"{}", headers=lying)
    refused(reply, 413, "too_large")


async def test_a_body_that_never_ends_is_not_waited_for(
    standing: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "SECONDS_TO_SEND", 0.01)

    async def stalled() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    reply = await standing.client.post("/v1/authorize", content=stalled())
    assert "did not arrive" in refused(reply, 400, "invalid_request")["error"]


async def test_a_body_of_the_largest_size_is_read(standing: Plane) -> None:
    content = json.dumps({"command": "/github/issue/list", "resource": REPO}).encode()
    reply = await standing.client.post("/v1/authorize", content=content.ljust(MAX_BODY_WITH_CHAIN))
    assert reply.json()["decision"] == "allow"


@pytest.mark.parametrize("key", ["", "x" * 257, "é", "a\tb"])
async def test_a_wrong_idempotency_key_is_refused(standing: Plane, key: str) -> None:
    reply = await standing.ask({"idempotency-key": key.encode("latin-1")})  # type: ignore[dict-item]
    assert refused(reply, 400, "invalid_request")["fields"] == ["Idempotency-Key"]


async def test_unknown_paths_are_not_found(standing: Plane) -> None:
    for path in ("/", "/docs", "/redoc", "/v1/authorize/", "/v1/nothing", "/healthz/"):
        refused(await standing.client.get(path), 404, "not_found")
    twice = refused(await standing.client.post("/v1/v1/authorize"), 404, "not_found")
    assert "NOMOS_CONTROL_URL" in twice["error"] and "without /v1" in twice["error"]
    once = refused(await standing.client.get("/v1/nothing"), 404, "not_found")
    assert "without /v1" not in once["error"]


async def test_another_method_is_not_allowed(standing: Plane) -> None:
    reply = await standing.client.get("/v1/authorize")
    refused(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "POST"
    refused(await standing.client.post("/healthz"), 405, "method_not_allowed")


@pytest.mark.parametrize("sent", ["a", "A-z_0.9", "x" * 128, "trace:123", "Root=1-5f;Sampled=1"])
async def test_a_well_formed_request_id_is_repeated(standing: Plane, sent: str) -> None:
    for path in ("/healthz", "/nope"):
        reply = await standing.client.get(path, headers={"x-request-id": sent})
        assert reply.headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "a\u00e9", 'a"b', "<script>"])
async def test_another_request_id_is_replaced(standing: Plane, sent: str) -> None:
    headers = {"x-request-id": sent.encode("latin-1")}
    reply = await standing.client.get("/healthz", headers=headers)  # type: ignore[arg-type]
    assert reply.headers["x-request-id"].startswith("req_")


async def test_every_request_has_an_id_of_its_own(standing: Plane) -> None:
    ids = {(await standing.client.get("/healthz")).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5
