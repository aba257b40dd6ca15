"""Requests to the control plane, and the meaning of its replies."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from nomos import errors
from nomos._core import read_commands, replies, requests
from nomos._core.effects import HttpReply
from nomos.constraints import eq
from nomos.errors import InvalidRequest
from nomos.models import chain_of
from nomos.server.control.messages import authorize_request

RESOURCE = {"provider": "github", "owner": "acme", "repo": "app"}
AGENT = "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"


def reply(status: int, body: object = None, **headers: str) -> HttpReply:
    content = b"<html>busy</html>" if body is None else json.dumps(body).encode()
    return HttpReply(status, headers, content, 0.0)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"command": "github/issue/list"}, "command"),
        ({"command": "/GitHub"}, "command"),
        ({"command": "/" + "a" * 256}, "command"),
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": 3601}, "ttl_seconds"),
        ({"ttl_seconds": True}, "ttl_seconds"),
        ({"ttl_seconds": "60"}, "ttl_seconds"),
        ({"resource": None}, "resource"),
        ({"resource": "github"}, "resource"),
        ({"purpose": "x" * 281}, "purpose"),
        ({"purpose": "a\x00b"}, "purpose"),
        ({"audience": 1}, "audience"),
        ({"args": [1]}, "args"),
        ({"cosigner_envelope_id": ""}, "cosigner_envelope_id"),
        ({"cosigner_envelope_id": "e" * 65}, "cosigner_envelope_id"),
    ],
)
def test_a_malformed_question_is_not_sent(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest, match=path) as refused:
        requests.question(**({"command": "/github/issue/list", "resource": RESOURCE} | fields))
    assert refused.value.fields == (path,)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, "\ud800", b"bytes"])
def test_values_without_a_json_form_are_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="plain JSON"):
        requests.question(command="/a/b", resource={"provider": "a"}, args={"value": value})
    with pytest.raises(InvalidRequest, match="plain JSON"):
        requests.post("/v1/revocations", {"value": value})


def test_a_question_is_sent_as_it_was_when_it_was_checked() -> None:
    """Its values may be changed meanwhile, by another thread of the agent."""
    args: dict[str, Any] = {"labels": ["a"], "pair": (1, 2)}
    asked = requests.question(command="/github/issue/create", resource=RESOURCE, args=args)
    args["labels"].append(float("nan"))
    parent = chain_of(["a.b.c"])
    sent = requests.authorize(requests.AuthorizeCall(asked, AGENT, "k", "n", (), 0.0, parent))
    expected = {
        "command": "/github/issue/create",
        "resource": RESOURCE,
        "args": {"labels": ["a"], "pair": [1, 2]},
        "ttlSeconds": 300,
    }
    assert asked.sent == expected
    assert json.loads(sent.body) == expected | {"agentDid": AGENT, "delegatedChain": ["a.b.c"]}
    assert sent.claim is not None
    assert sent.claim.args == {"labels": ["a"], "pair": [1, 2], "resource": RESOURCE}


def test_the_server_reads_every_member_of_a_question_by_its_name_on_the_wire() -> None:
    asked = requests.question(
        command="/github/issue/list",
        resource=RESOURCE,
        args={"state": "open"},
        constraints=eq("state", "open"),
        ttl_seconds=60,
        audience=AGENT,
        purpose="to read",
        context={"level": 1},
        cosigner_envelope_id="env_1",
    )
    parent = chain_of(["a.b.c"])
    call = requests.AuthorizeCall(asked, AGENT, "k", "n", (), 0.0, parent)
    read = authorize_request(json.loads(requests.authorize(call).body))
    own = type(asked).model_fields
    assert {name: getattr(read, name) for name in own} == {
        name: getattr(asked, name) for name in own
    }
    assert (read.agent_did, read.delegated_chain) == (AGENT, ["a.b.c"])


def test_an_invalid_question_names_the_python_argument() -> None:
    with pytest.raises(InvalidRequest, match="ttl_seconds must be a whole number of seconds"):
        requests.question(command="/github/issue/list", resource=RESOURCE, ttl_seconds=0)


@pytest.mark.parametrize("key", ["", "a b", "a\r\nx: y", "é", "x" * 129])
def test_a_call_id_that_no_header_can_hold_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest, match="idempotency_key"):
        requests.idempotency_key(key, "did:key:x", None)
    with pytest.raises(InvalidRequest, match="cosigner_envelope_id"):
        requests.idempotency_key("c", "did:key:x", key)


def test_text_of_a_server_is_made_printable_short_and_without_secrets() -> None:
    said = "\x1b[2Jbad header Bearer abc and nomos_app_secretsecret " + "x" * 3_000_000
    with pytest.raises(errors.InvalidRequest) as raised:
        replies.decision(reply(400, {"error": said, "fields": [said, 5]}))
    message = str(raised.value)
    assert len(message) < 600
    assert message.isprintable()
    assert "abc" not in message
    assert "secretsecret" not in message
    assert raised.value.fields[1] == ""


def test_a_401_about_a_chain_names_the_parent() -> None:
    with pytest.raises(errors.AuthenticationError, match="revoked: this is about the parent") as no:
        replies.raise_error(reply(401, {"error": "no", "error_code": "revoked"}))
    assert no.value.code == "revoked"


def test_a_401_about_a_token_suggests_to_check_the_control_plane_url() -> None:
    with pytest.raises(
        errors.AuthenticationError, match="check that control_plane_url is not the PDP's"
    ):
        replies.decision(reply(401, {"error": "no token", "error_code": "malformed_ucan"}))
    with pytest.raises(errors.AuthenticationError, match="NOMOS_API_KEY"):
        replies.decision(reply(401, {"error": "no", "error_code": "invalid_api_key"}))


def test_an_idempotency_key_has_call_agent_and_approval() -> None:
    assert requests.idempotency_key("c", "did:key:x", None) == "c:did:key:x:-"
    assert requests.idempotency_key("c", "did:key:x", "env_1") == "c:did:key:x:env_1"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequest),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDenied),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (413, errors.InvalidRequest),
        (418, errors.ControlPlaneError),
        (429, errors.RateLimited),
        (500, errors.ServerError),
        (503, errors.ServerError),
        (204, errors.InvalidResponse),
        (302, errors.InvalidResponse),
    ],
)
def test_every_status_has_its_error(status: int, kind: type[errors.ControlPlaneError]) -> None:
    body = {"error": "a sentence", "error_code": "a_code", "fields": ["resource.repo"]}
    with pytest.raises(kind) as raised:
        replies.decision(reply(status, body, **{"x-request-id": "req_1", "retry-after": "9"}))
    assert type(raised.value) is kind
    assert (raised.value.status, raised.value.code) == (status, "a_code")
    assert raised.value.request_id == "req_1"
    if isinstance(raised.value, errors.InvalidRequest):
        assert raised.value.fields == ("resource.repo",)
    if isinstance(raised.value, errors.RateLimited):
        assert raised.value.retry_after == 9.0


@pytest.mark.parametrize("body", [None, [], {"error": None, "error_code": 5, "fields": "x"}])
def test_an_error_without_a_nomos_body_has_its_status(body: object) -> None:
    with pytest.raises(errors.InvalidRequest, match="HTTP 400") as raised:
        replies.decision(reply(400, body))
    assert (raised.value.code, raised.value.fields) == (None, ())


@pytest.mark.parametrize("last", sorted(read_commands.READS))
def test_a_read_is_known_by_its_last_segment(last: str) -> None:
    assert read_commands.is_read(f"/github/issue/{last}")
    assert not read_commands.is_read(f"/github/{last}/create")


@pytest.mark.parametrize("command", ["/a/write", "/a/list_all", "/a/readwrite", "/a", "read-all"])
def test_an_unknown_command_is_a_write(command: str) -> None:
    assert not read_commands.is_read(command)


def test_a_text_that_is_too_long_to_be_sent_is_named_by_its_digest() -> None:
    text = "é" * 600_000
    sha256 = {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    for args, expected in (
        ({"content": text, "encoding": "utf-8"}, {"content": sha256, "encoding": "utf-8"}),
        ({"a": "x" * 9000, "b": text, "n": 1}, {"a": "x" * 9000, "b": sha256, "n": 1}),
        ({"content": "short"}, {"content": "short"}),
        ({"many": ["x" * 1000] * 100}, {"many": ["x" * 1000] * 100}),
        ({f"a{n}": "x" * 100 for n in range(500)}, {f"a{n}": "x" * 100 for n in range(500)}),
        (None, None),
        ("text", "text"),
        ({1: text, "a": object()}, None),
        ({"content": "\ud800" * 20_000}, None),
    ):
        found = requests.digested(args)
        assert found == (args if expected is None else expected)
    asked = requests.question(
        command="/filesystem/file/write", resource=RESOURCE, args={"content": text}
    )
    assert asked.args == {"content": sha256}


def test_arguments_are_those_of_a_grant_that_is_bound_to_their_digest() -> None:
    bound = {"content": {"sha256": hashlib.sha256(b"text").hexdigest()}, "n": 1}
    assert requests.same_args({"content": "text", "n": 1}, bound)
    assert requests.same_args(bound, bound)
    fitting: dict[str, Any] = {"content": "text", "n": 1}
    wrong: list[dict[str, Any]] = [{"n": "1"}, {"n": True}, {"n": 1.5}, {"content": "Text"}]
    for other in ({"content": "text"}, *({**fitting, **each} for each in wrong)):
        assert not requests.same_args(other, bound)


STEP_UP = {
    "decision": "requires_step_up",
    "receiptId": "evt_1",
    "approvalEnvelopeId": "env_1",
}


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JavaScript://%0aalert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "//evil.example/approvals/env_1",
        "/approvals/env_1",
        "https://nomos.example@evil.example/approvals/env_1",
        "https://user:secret@nomos.example/",
        "https:///approvals",
        "http://[::1",
        "http://nomos.example:0/",
        "http://nomos.example:99999/",
        "https://nomos.example/\x1b[2J",
        "https://nomos.example/\r\nx",
        "https://nomos.example/a b",
        "https://evil.example\\@nomos.example/",
        "https://nomos.example/\u202egnp",
        "https://n\u00f3mos.example/",
        'https://nomos.example/"><script>',
        "https://nomos.example/" + "x" * 1024,
        "",
        7,
    ],
)
def test_an_approval_url_must_be_http_or_https(url: object) -> None:
    with pytest.raises(errors.ControlPlaneError, match="approvalUrl") as refused:
        replies.decision(reply(200, STEP_UP | {"approvalUrl": url}))
    assert not isinstance(refused.value, errors.InvalidResponse)  # which open mode would pass by
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8788/approvals/env_1", "https://nomos.example/approvals/env_1", None]
)
def test_a_valid_approval_url_is_returned_unchanged(url: str | None) -> None:
    found = replies.decision(reply(200, STEP_UP | {"approvalUrl": url}))
    assert isinstance(found, replies.StepUp)
    assert found.approval_url == url
