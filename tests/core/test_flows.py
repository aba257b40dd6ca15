"""The flows of a guard, with scripted effects."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from answers import ISSUER, SERVICE, iso, jwt, payload

from nomos._core import flows, requests
from nomos._core.effects import ChildCredential, Flow, HttpReply, Pause, Send, Sign
from nomos._protocol import ForgetKeyAnswer, Invoke, LoadKey, LoadKeyAnswer, Refused, Signed
from nomos._sealed import changed, make
from nomos.errors import (
    ConfigurationError,
    ControlPlaneError,
    Denied,
    ExpiredChain,
    InvalidRequest,
    InvalidResponse,
    ServerError,
    SignerCrashed,
    SignerError,
    StepUpRequired,
    Unreachable,
)
from nomos.models import NO_CHAIN, GrantBase, Secret, chain_of

AGENT = "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"
NOW = 1_790_000_000
READ = "/github/issue/list"
WRITE = "/github/issue/create"
RESOURCE = {"provider": "github", "owner": "acme", "repo": "app"}


def link(command: str = READ, **more: Any) -> str:
    return jwt(payload(AGENT, command, RESOURCE, key="k", now=NOW, **more))


LINK = link()


def call(command: str = READ, **more: Any) -> requests.AuthorizeCall:
    question = requests.question(command=command, resource=RESOURCE, **more.pop("question", {}))
    fields: dict[str, Any] = {
        "question": question,
        "agent": AGENT,
        "idempotency_key": "k",
        "nonce": "n",
        "jitter": (0.0, 0.0),
        "now": float(NOW),
    }
    return requests.AuthorizeCall(**(fields | more))


def allowed(**changes: Any) -> dict[str, Any]:
    body = {
        "decision": "allow",
        "receiptId": "evt_1",
        "expiresAt": iso(NOW + 300),
        "serverTime": iso(NOW + 7),
        "audience": SERVICE,
        "chain": [LINK],
        "resource": RESOURCE,
    } | changes
    return {name: value for name, value in body.items() if value is not None}


def reply(body: object, status: int = 200, **headers: str) -> HttpReply:
    return HttpReply(status, headers, json.dumps(body).encode(), float(NOW))


def finish(flow: Flow[Any], result: object) -> Any:
    """Send the last result into a flow and return what the flow returns."""
    with pytest.raises(StopIteration) as stop:
        flow.send(result)
    return stop.value.value


def to_signing(flow: Flow[Any], answer: HttpReply) -> Invoke:
    assert isinstance(next(flow), Send)
    effect = flow.send(answer)
    assert isinstance(effect, Sign)
    assert isinstance(effect.request, Invoke)
    return effect.request


def held(**changes: Any) -> GrantBase:
    grant = make(
        GrantBase,
        decision="allow",
        command=READ,
        resource=RESOURCE,
        expires_at=datetime.fromtimestamp(NOW + 300, UTC),
        audience=SERVICE,
        chain=chain_of([LINK]),
        agent=AGENT,
        issuer=ISSUER,
    )
    return changed(grant, **changes)


SIGNED = Signed(id=1, jwt="a.b.c", cid="0" * 64)


def test_an_allow_is_requested_and_then_an_invocation_signed() -> None:
    flow = flows.authorize(call())
    invoke = to_signing(flow, reply(allowed()))
    assert invoke.key == AGENT
    assert invoke.payload.aud == SERVICE
    assert invoke.payload.sub == ISSUER
    assert invoke.payload.args == {"resource": RESOURCE}
    assert invoke.payload.iat == NOW + 7 - 60
    assert invoke.payload.exp == NOW + 300
    grant = finish(flow, SIGNED)
    assert grant
    assert (grant.ucan, grant.receipt_id, grant.clock_offset) == ("a.b.c", "evt_1", 7.0)


def test_all_members_of_the_question_are_sent() -> None:
    extra = {"args": {"state": "open"}, "purpose": "triage", "ttl_seconds": 60}
    effect = next(flows.authorize(call(question=extra)))
    assert isinstance(effect, Send)
    assert (effect.method, effect.path) == ("POST", "/v1/authorize")
    assert effect.headers["idempotency-key"] == "k"
    assert json.loads(effect.body) == {
        "command": READ,
        "resource": RESOURCE,
        "ttlSeconds": 60,
        "agentDid": AGENT,
        "args": {"state": "open"},
        "purpose": "triage",
    }


def test_bound_args_come_from_the_canonical_answer() -> None:
    digest = {"sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}
    flow = flows.authorize(call(question={"args": {"content": "hello"}}))
    answer = allowed(args={"content": digest}, chain=[link(args={"content": digest})])
    invoke = to_signing(flow, reply(answer))
    assert invoke.payload.args == {"content": digest, "resource": RESOURCE}


def test_without_a_server_time_the_time_of_arrival_is_used() -> None:
    flow = flows.authorize(call())
    assert to_signing(flow, reply(allowed(serverTime=None))).payload.iat == NOW - 60


def test_a_deny_is_a_falsy_grant_with_its_reason() -> None:
    flow = flows.authorize(call())
    next(flow)
    body = {
        "decision": "deny",
        "reason": "policy_denied",
        "receiptId": "evt_2",
        "explanation": {"policies": ["no-writes"], "message": "writes are off"},
    }
    grant = finish(flow, reply(body))
    assert not grant
    assert grant.ucan is None
    with pytest.raises(Denied) as denied:
        grant.require()
    assert denied.value.code == "policy_denied"
    for part in (READ, "owner=acme", "writes are off", "no-writes", "evt_2"):
        assert part in str(denied.value)


def test_a_step_up_is_neither_allow_nor_deny() -> None:
    flow = flows.authorize(call())
    next(flow)
    body = {"decision": "requires_step_up", "receiptId": "e", "approvalEnvelopeId": "env_1"}
    grant = finish(flow, reply(body))
    assert not grant
    assert grant.approval_envelope_id == "env_1"
    with pytest.raises(Denied, match="env_1"):
        grant.require()


def test_a_step_up_has_its_reason_and_url() -> None:
    flow = flows.authorize(call())
    next(flow)
    body = {
        "decision": "requires_step_up",
        "reason": "approval_expired",
        "receiptId": "evt_1",
        "approvalEnvelopeId": "env_2",
        "approvalUrl": "http://127.0.0.1/approvals/env_2",
        "expiresAt": iso(NOW + 900),
        "explanation": {"policies": ["careful"], "message": "env_1 expired at 14:00"},
    }
    grant = finish(flow, reply(body))
    assert (grant.reason, grant.explanation.policies) == ("approval_expired", ("careful",))
    with pytest.raises(StepUpRequired) as asked:
        grant.require()
    assert asked.value.approval_envelope_id == "env_2"
    for part in ("env_1 expired at 14:00", "careful", "/approvals/env_2", "wait_for_approval"):
        assert part in str(asked.value)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"decision": "yes", "receiptId": "e"}, "decision"),
        ({"allow": True, "receiptId": "e"}, "decision"),
        ({"decision": True, "receiptId": "e"}, "decision"),
        (["allow"], "decision"),
        (allowed(chain=[]), "chain"),
        (allowed(chain=None), "chain"),
        (allowed(expiresAt="soon"), "expiresAt"),
        (allowed(expiresAt=None), "expiresAt"),
        (allowed(audience=None), "audience"),
        (allowed(resource=None), "resource"),
        (allowed(chain=["not a token"]), "delegations"),
        (allowed(chain=["e30.!!!.x"]), "read"),
        (allowed(chain=["e30.W10.x"]), "read"),
        (allowed(chain=[jwt({"iss": ISSUER, "aud": SERVICE})]), "another key"),
        (allowed(chain=[jwt({"aud": AGENT})]), "another key"),
        (allowed(chain=[jwt({"iss": "nobody", "aud": AGENT})]), "another key"),
        (allowed(audience="https://example.com"), "audience"),
        (allowed(expiresAt="0001-01-01T00:00:00Z"), "expiresAt"),
        (allowed(serverTime="9999-12-31T23:59:59Z"), "serverTime"),
        (allowed(receiptId="x" * 2000), "receiptId"),
    ],
)
def test_a_malformed_decision_allows_nothing(body: object, what: str) -> None:
    flow = flows.authorize(call())
    next(flow)
    with pytest.raises(InvalidResponse, match=what):
        flow.send(reply(body))


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"decision":"deny","decision":"allow"}', b"", b"[" * 100_000]
)
def test_a_reply_that_is_not_json_allows_nothing(body: bytes) -> None:
    flow = flows.authorize(call())
    next(flow)
    with pytest.raises(InvalidResponse, match="JSON"):
        flow.send(HttpReply(200, {"content-type": "text/html"}, body, float(NOW)))


def test_a_binary_that_refuses_raises_its_reason() -> None:
    flow = flows.authorize(call())
    to_signing(flow, reply(allowed()))
    with pytest.raises(SignerError, match="no such key") as refused:
        flow.send(Refused(code="unknown_key", message="no such key"))
    assert refused.value.code == "unknown_key"


def test_an_unexpected_answer_of_the_binary_is_an_error() -> None:
    flow = flows.authorize(call())
    to_signing(flow, reply(allowed()))
    with pytest.raises(SignerError, match="unexpected response type"):
        flow.send(ForgetKeyAnswer(id=1, forgotten=True))
    naming = flows.identify(Secret("0" * 64))
    next(naming)
    with pytest.raises(SignerError, match="unexpected response type"):
        naming.send(SIGNED)


def test_identify_loads_the_key_and_learns_its_did() -> None:
    flow = flows.identify(Secret("0" * 64))
    effect = next(flow)
    assert isinstance(effect, Sign)
    assert effect.request == LoadKey(seed="0" * 64)
    assert "0" * 64 not in repr(effect)
    assert "0" * 64 not in repr(effect.request)
    assert finish(flow, LoadKeyAnswer(id=1, key=AGENT)) == AGENT


# Retries


def test_an_unreachable_control_plane_is_retried_after_a_pause() -> None:
    flow = flows.authorize(call(jitter=(0.5, 0.0)))
    first = next(flow)
    assert flow.throw(Unreachable("refused")) == Pause(0.1 * 1.5)
    assert flow.send(None) == first
    assert flow.throw(Unreachable("refused")) == Pause(0.4)
    assert flow.send(None) == first
    with pytest.raises(Unreachable, match="refused"):
        flow.throw(Unreachable("refused"))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_control_plane_is_retried(status: int) -> None:
    flow = flows.authorize(call())
    next(flow)
    assert flow.send(reply({}, status)) == Pause(0.1)
    assert isinstance(flow.send(None), Send)
    assert finish_signed(flow, reply(allowed()))


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("0", 0.1), ("soon", 0.1), ("", 0.1)])
def test_a_retry_after_of_the_server_is_obeyed(asked: str, waited: float) -> None:
    flow = flows.authorize(call())
    next(flow)
    assert flow.send(reply({}, 429, **{"retry-after": asked})) == Pause(waited)


def test_a_retry_after_of_more_than_30_seconds_is_not_waited_for() -> None:
    flow = flows.authorize(call())
    next(flow)
    with pytest.raises(Exception, match="429"):
        flow.send(reply({}, 429, **{"retry-after": "31"}))


def test_a_plain_500_is_not_retried() -> None:
    flow = flows.authorize(call())
    next(flow)
    with pytest.raises(ServerError):
        flow.send(reply({}, 500))


def finish_signed(flow: Flow[Any], answer: HttpReply) -> Any:
    assert isinstance(flow.send(answer), Sign)
    return finish(flow, SIGNED)


# Failing open


TROUBLES = [Unreachable("down"), ServerError("500"), SignerCrashed("gone")]


def fail(flow: Flow[Any], trouble: Exception) -> Any:
    """Let every try end in `trouble`; return the flow's next effect that is not about retrying."""
    effect = next(flow)
    while isinstance(effect, Send | Pause):
        effect = flow.send(None) if isinstance(effect, Pause) else flow.throw(trouble)
    return effect


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda t: type(t).__name__)
def test_open_a_write_raises_all_the_same(trouble: Exception) -> None:
    with pytest.raises(type(trouble)):
        fail(flows.authorize_or_degrade(call(WRITE)), trouble)


def test_open_a_child_gets_no_grant_beyond_its_chain() -> None:
    with pytest.raises(Unreachable):
        fail(flows.authorize_or_degrade(call(covered=False)), Unreachable("down"))


def test_open_a_grant_of_a_prefix_is_used_again_as_it_is() -> None:
    memory = held(command="/github/get", commands=("/github/get",))
    with pytest.raises(StopIteration) as stop:
        fail(flows.authorize_or_degrade(call("/github/get", held=[memory])), Unreachable("down"))
    assert (stop.value.value.commands, stop.value.value.degraded) == (("/github/get",), True)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda t: type(t).__name__)
def test_open_a_read_without_an_earlier_allow_continues_without_a_token(trouble: Exception) -> None:
    flow = flows.authorize_or_degrade(call())
    with pytest.raises(StopIteration) as stop:
        fail(flow, trouble)
    grant = stop.value.value
    assert (bool(grant), grant.degraded, grant.ucan) == (True, True, None)
    assert type(trouble).__name__ in grant.explanation.message


def test_open_a_read_reuses_the_chain_it_holds() -> None:
    flow = flows.authorize_or_degrade(call(held=[held(clock_offset=7.0)]))
    effect = fail(flow, Unreachable("down"))
    assert isinstance(effect, Sign)
    invoke = effect.request
    assert isinstance(invoke, Invoke)
    assert invoke.payload.prf == [LINK]
    assert (invoke.payload.iat, invoke.payload.exp) == (NOW + 7 - 60, NOW + 7 + 60)
    grant = finish(flow, SIGNED)
    assert (grant.degraded, grant.ucan) == (True, "a.b.c")


@pytest.mark.parametrize(
    "memory",
    [
        held(expires_at=datetime.fromtimestamp(NOW, UTC)),
        held(chain=NO_CHAIN),
        held(expires_at=None),
        held(chain=chain_of([jwt({"aud": AGENT, "meta": {"approval": {"id": "env_1"}}})])),
    ],
    ids=["expired", "no chain", "no expiry", "approved by a person"],
)
def test_open_a_chain_that_no_longer_serves_is_not_reused(memory: GrantBase) -> None:
    with pytest.raises(StopIteration) as stop:
        fail(flows.authorize_or_degrade(call(held=[memory])), Unreachable("down"))
    assert (stop.value.value.degraded, stop.value.value.ucan) == (True, None)


def test_open_a_dead_binary_leaves_a_read_without_a_token() -> None:
    flow = flows.authorize_or_degrade(call(held=[held()]))
    fail(flow, Unreachable("down"))
    with pytest.raises(StopIteration) as stop:
        flow.throw(SignerCrashed("gone"))
    assert (stop.value.value.degraded, stop.value.value.ucan) == (True, None)


@pytest.mark.parametrize(
    "refusal",
    [
        {"decision": "deny", "receiptId": "e", "explanation": None, "reason": "policy_denied"},
        {"decision": "deny", "receiptId": "e", "reason": 7},
        {"decision": "deny"},
        {"decision": "deny", "receiptId": "e", "reason": "x", "serverTime": "soon"},
        {"decision": "requires_step_up", "receiptId": "e", "approvalEnvelopeId": 7},
    ],
)
def test_open_a_refusal_that_cannot_be_read_is_no_outage(refusal: dict[str, Any]) -> None:
    flow = flows.authorize_or_degrade(call())
    next(flow)
    with pytest.raises(ControlPlaneError, match="nothing was allowed"):
        flow.send(reply(refusal))


def test_unknown_members_of_an_explanation_are_ignored() -> None:
    flow = flows.authorize_or_degrade(call())
    next(flow)
    explanation = {"policies": ["no"], "url": "https://example.com"}
    body = {"decision": "deny", "reason": "x", "receiptId": "e", "explanation": explanation}
    assert finish(flow, reply(body)).explanation.policies == ("no",)


def test_open_a_refusal_stays_a_refusal() -> None:
    flow = flows.authorize_or_degrade(call())
    next(flow)
    deny = {"decision": "deny", "reason": "policy_denied", "receiptId": "e"}
    assert not finish(flow, reply(deny))
    flow = flows.authorize_or_degrade(call())
    next(flow)
    with pytest.raises(InvalidRequest):
        flow.send(reply({"error": "no"}, 400))


# Signing again


def test_an_invocation_is_valid_for_a_minute_by_the_servers_clock() -> None:
    flow = flows.invoke(held(clock_offset=-5.0), args={"state": "open"}, now=NOW, nonce="n2")
    effect = next(flow)
    assert isinstance(effect, Sign)
    assert isinstance(effect.request, Invoke)
    payload = effect.request.payload
    assert (payload.iat, payload.exp, payload.nonce) == (NOW - 65, NOW + 55, "n2")
    assert payload.args == {"state": "open", "resource": RESOURCE}
    assert finish(flow, SIGNED) == "a.b.c"


def test_an_invocation_expires_with_its_grant() -> None:
    effect = next(flows.invoke(held(), args=None, now=NOW + 290, nonce="n"))
    assert isinstance(effect, Sign)
    assert isinstance(effect.request, Invoke)
    assert effect.request.payload.exp == NOW + 300


def test_an_expired_grant_signs_nothing() -> None:
    with pytest.raises(ExpiredChain, match="authorize again"):
        next(flows.invoke(held(clock_offset=10.0), args=None, now=NOW + 290, nonce="n"))


def test_a_grant_that_does_not_allow_signs_nothing() -> None:
    with pytest.raises(Denied):
        next(flows.invoke(held(decision="deny"), args=None, now=NOW, nonce="n"))
    with pytest.raises(ConfigurationError, match="degraded"):
        next(flows.invoke(held(chain=NO_CHAIN), args=None, now=NOW, nonce="n"))


LEAVES = ["/github/issue/create", "/github/issue/list"]


def test_an_allow_of_a_prefix_lists_its_commands_and_signs_nothing_yet() -> None:
    flow = flows.authorize(call("/github/issue"))
    next(flow)
    chain = [link("/github/issue", commands=LEAVES)]
    grant = finish(flow, reply(allowed(commands=LEAVES, chain=chain)))
    assert grant
    assert (grant.commands, grant.ucan, grant.chain) == (tuple(LEAVES), None, chain_of(chain))


@pytest.mark.parametrize(
    ("command", "commands"),
    [
        ("/github/issue", ["/github/repo/read"]),
        ("/github/issue", ["/github/issues"]),
        ("/github/issue", ["/github"]),
        (READ, [WRITE]),
    ],
)
def test_commands_outside_of_the_requested_prefix_are_refused(
    command: str, commands: list[str]
) -> None:
    flow = flows.authorize(call(command))
    next(flow)
    with pytest.raises(InvalidResponse, match="not within the one"):
        flow.send(reply(allowed(commands=commands)))


@pytest.mark.parametrize("commands", [["issue"], "x", [1], ["/A"], ["/a"] * 1001])
def test_invalid_commands_make_no_allow(commands: Any) -> None:
    flow = flows.authorize(call("/a"))
    next(flow)
    with pytest.raises(InvalidResponse, match="commands"):
        flow.send(reply(allowed(commands=commands)))


def test_one_command_of_a_prefix_is_signed_on_a_resource_of_its_own() -> None:
    grant = held(command="/github/issue", commands=tuple(LEAVES), resource={"provider": "github"})
    flow = flows.invoke(
        grant, command=WRITE, resource=RESOURCE, args={"title": "x"}, now=float(NOW), nonce="n"
    )
    effect = next(flow)
    assert isinstance(effect, Sign)
    assert isinstance(effect.request, Invoke)
    payload = effect.request.payload
    assert (payload.cmd, payload.args) == (WRITE, {"title": "x", "resource": RESOURCE})


def test_a_child_sends_its_chain_and_signs_the_question() -> None:
    parent = chain_of(["a.b.c", LINK])
    send = next(flows.authorize(call(parent=parent, question={"args": {"state": "open"}})))
    assert isinstance(send, Send)
    assert json.loads(send.body)["delegatedChain"] == ["a.b.c", LINK]
    assert send.claim == ChildCredential(parent, READ, {"state": "open", "resource": RESOURCE})
    assert "a.b.c" not in repr(send)


@pytest.mark.parametrize("body", [{"decision": "deny", "reason": "policy_denied"}, {}])
def test_every_decision_sets_the_clock_offset(body: dict[str, Any]) -> None:
    asked = {"decision": "requires_step_up", "approvalEnvelopeId": "env_1"}
    body_sent = (body or asked) | {"receiptId": "evt_1", "serverTime": iso(NOW + 7)}
    flow = flows.authorize(call())
    next(flow)
    assert finish(flow, reply(body_sent)).clock_offset == 7.0
