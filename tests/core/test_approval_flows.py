"""The flows of approvals, with scripted effects and a scripted clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from nomos._core import approvals
from nomos._core.approvals import Waiting
from nomos._core.effects import Effect, Flow, HttpReply, Now, Pause, Send
from nomos._sealed import make
from nomos.errors import (
    ConfigurationError,
    Conflict,
    Denied,
    InvalidRequest,
    InvalidResponse,
    NotFound,
    RateLimited,
    ServerError,
    StepUpRequired,
    Unreachable,
)
from nomos.models import Explanation, GrantBase

ENV = "env_01jb"
URL = f"http://127.0.0.1:8788/approvals/{ENV}"
NOW = 1_790_000_000
VERSION = "a" * 64
NO_PAUSES = (0.0, 0.0)


def iso(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat()


def view(state: str = "pending", **changes: Any) -> dict[str, Any]:
    """An approval as the control plane sends it."""
    vote = {"operator": "app_1", "name": "Ada", "approve": True, "roles": ["lead"], "at": iso(NOW)}
    return {
        "id": ENV,
        "state": state,
        "app": {"id": "app_2", "name": "tests"},
        "agent": "did:key:z6Mk",
        "command": "/github/pr/create",
        "resource": {"provider": "github", "owner": "acme", "repo": "app"},
        "argsBound": True,
        "args": {"title": "Fix"},
        "purpose": "a fix",
        "roles": ["lead"],
        "approvedRoles": ["lead"],
        "votes": [vote],
        "reason": "a lead looks at this first",
        "createdAt": iso(NOW),
        "expiresAt": iso(NOW + 900),
        "decidedAt": iso(NOW + 5),
        "approvalUrl": URL,
        "version": VERSION,
        "aMemberOfTomorrow": 1,
    } | changes


def reply(body: object, status: int = 200, **headers: str) -> HttpReply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpReply(status, names, json.dumps(body).encode(), float(NOW))


Answer = HttpReply | Exception | Callable[[Send], HttpReply]


@dataclass
class World:
    """A clock, and a server that gives its answers in order and the last one for ever.

    An answer takes `latency` seconds, and a pending one for as long as it was asked to wait if
    `holds`.
    """

    given: Sequence[Answer]
    holds: bool = True
    latency: float = 0.0
    clock: float = 1000.0
    looks: list[tuple[float, Send]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answers = list(self.given)

    def run(self, flow: Flow[Any]) -> Any:
        try:
            effect = next(flow)
            while True:
                try:
                    result = self.perform(effect)
                except Unreachable as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(result)
        except StopIteration as stop:
            return stop.value

    def perform(self, effect: Effect[Any]) -> Any:
        match effect:
            case Now():
                return self.clock
            case Pause(seconds):
                assert seconds > 0
                self.pauses.append(seconds)
                self.clock += seconds
                return None
            case Send():
                assert len(self.looks) < 2000, "this never ends"
                return self.answer(effect)
        raise AssertionError(effect)

    def answer(self, send: Send) -> HttpReply:
        self.looks.append((self.clock, send))
        self.clock += self.latency
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        reply_sent = answer(send) if callable(answer) else answer
        if self.holds and b'"pending"' in reply_sent.body:
            self.clock += send.extra_timeout
        return reply_sent

    @property
    def elapsed(self) -> float:
        return self.clock - 1000.0


def waiting(timeout: float = 900.0, jitter: float = 0.0) -> Flow[Any]:
    return approvals.wait(Waiting(ENV, timeout, jitter))


@pytest.mark.parametrize("state", ["approved", "denied", "expired", "consumed"])
def test_a_decided_approval_is_returned_at_once(state: str) -> None:
    world = World([reply(view(state))])
    approval = world.run(waiting())
    assert (approval.state, bool(approval)) == (state, state == "approved")
    assert (len(world.looks), world.pauses) == (1, [])


def test_an_approval_has_all_its_fields_and_unknown_members_are_ignored() -> None:
    approval = World([reply(view("approved"))]).run(waiting())
    assert (approval.id, approval.url, approval.agent) == (ENV, URL, "did:key:z6Mk")
    assert approval.resource == {"provider": "github", "owner": "acme", "repo": "app"}
    assert (approval.args, approval.args_bound) == ({"title": "Fix"}, True)
    assert (approval.roles, approval.approved_roles) == (("lead",), ("lead",))
    assert (approval.purpose, approval.reason) == ("a fix", "a lead looks at this first")
    assert approval.expires_at == datetime.fromtimestamp(NOW + 900, UTC)
    assert approval.decided_at == datetime.fromtimestamp(NOW + 5, UTC)
    (vote,) = approval.votes
    assert (vote.name, vote.approve, vote.roles, vote.reason) == ("Ada", True, ("lead",), None)
    assert not hasattr(approval, "a_member_of_tomorrow")
    with pytest.raises(ValueError, match="frozen"):
        approval.state = "denied"


def test_long_polls_extend_the_timeout_of_the_request() -> None:
    world = World([reply(view())] * 3 + [reply(view("approved"))])
    assert world.run(waiting(900))
    sends = [send for _, send in world.looks]
    assert {(send.method, send.path) for send in sends} == {("GET", f"/v1/approvals/{ENV}?wait=25")}
    assert {send.extra_timeout for send in sends} == {25}
    assert world.pauses == []
    assert world.elapsed == 75


def test_waiting_without_a_decision_ends_with_a_timeout() -> None:
    world = World([reply(view())])
    with pytest.raises(TimeoutError) as late:
        world.run(waiting(60))
    assert 60 <= world.elapsed < 61
    assert [send.extra_timeout for _, send in world.looks] == [25, 25, 9, 0, 0]
    for part in (ENV, URL, "60 s", "2026-09-21 14:28:20 UTC"):
        assert part in str(late.value)
    assert late.value.__cause__ is None


def test_fractions_of_a_second_are_waited_locally_before_a_last_request() -> None:
    world = World([reply(view()), reply(view()), reply(view("approved"))])
    assert world.run(waiting(1.5))
    assert [send.path.partition("?")[2] for _, send in world.looks] == ["", "", ""]
    assert world.elapsed == 1.5


def test_a_timeout_of_zero_sends_one_request() -> None:
    world = World([reply(view())])
    with pytest.raises(TimeoutError, match="within 0 s"):
        world.run(waiting(0))
    assert [(send.path, send.extra_timeout) for _, send in world.looks] == [
        (f"/v1/approvals/{ENV}", 0)
    ]
    assert world.pauses == []
    assert World([reply(view("denied"))]).run(waiting(0)).state == "denied"


def test_an_infinite_timeout_waits_until_a_decision() -> None:
    world = World([*[reply(view())] * 500, reply(view("expired"))])
    assert world.run(waiting(float("inf"))).state == "expired"
    assert world.elapsed == 500 * 25


def test_a_server_without_long_polling_is_polled_slowly() -> None:
    world = World([reply(view())] * 10 + [reply(view("approved"))], holds=False)
    assert world.run(waiting(900, jitter=0.5))
    assert world.pauses == [1.5] * 10
    slow = World([reply(view()), reply(view("approved"))], holds=False, latency=0.4)
    assert slow.run(waiting(900))
    assert slow.pauses == [pytest.approx(0.6)]


@pytest.mark.parametrize(
    "trouble",
    [Unreachable("down"), reply({}, 502), reply({}, 503), reply({}, 504), reply({}, 429)],
    ids=lambda one: str(one.status),
)
def test_temporary_failures_are_retried_with_growing_pauses(trouble: Answer) -> None:
    world = World([*[trouble] * 9, reply(view()), trouble, reply(view("approved"))])
    assert world.run(waiting(900, jitter=0.5))
    doubling = [0.2 * 2**n * 1.5 for n in range(6)]
    assert world.pauses == pytest.approx([*doubling, 15.0, 15.0, 15.0, 0.3])


def test_a_retry_after_of_the_server_is_obeyed() -> None:
    busy = reply({}, 429, retry_after="40")
    world = World([busy, reply(view("approved"))])
    assert world.run(waiting(900))
    assert world.pauses == [40.0]
    world = World([reply(view()), busy])
    with pytest.raises(TimeoutError, match="the last request failed"):
        world.run(waiting(30))
    assert world.elapsed == 30
    assert len(world.looks) == 2, "asked to stay away for longer than there is time"


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (Unreachable("nothing there"), Unreachable),
        (reply({"error": "busy"}, 503), ServerError),
        (reply({"error": "slow down"}, 429), RateLimited),
    ],
)
def test_without_any_reply_the_error_is_no_timeout(trouble: Answer, error: type[Exception]) -> None:
    for timeout in (0, 5):
        with pytest.raises(error) as raised:
            World([trouble]).run(waiting(timeout))
        assert not isinstance(raised.value, TimeoutError)


def test_a_timeout_after_an_outage_names_the_failure() -> None:
    world = World([reply(view()), Unreachable("nothing there")])
    with pytest.raises(TimeoutError, match="the last request failed: nothing there") as late:
        world.run(waiting(40))
    assert isinstance(late.value.__cause__, Unreachable)
    assert 40 <= world.elapsed < 41


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply({"error": "no such approval", "error_code": "not_found"}, 404), NotFound),
        (reply({}, 500), ServerError),
        (reply(["approved"]), InvalidResponse),
        (reply(view("granted")), InvalidResponse),
        (reply(view("approved", id="env_other")), InvalidResponse),
        (reply(view("approved", argsBound="yes")), InvalidResponse),
        (reply(view("approved", createdAt="2026-01-01T00:00:00")), InvalidResponse),
        (reply(view("approved", votes=[{"approve": 1}])), InvalidResponse),
        (reply({"state": "approved"}), InvalidResponse),
        (HttpReply(200, {}, b"<html>", 0.0), InvalidResponse),
        (HttpReply(302, {"location": "http://elsewhere"}, b"", 0.0), InvalidResponse),
    ],
)
def test_permanent_failures_are_raised_at_once(answer: HttpReply, error: type[Exception]) -> None:
    world = World([answer])
    with pytest.raises(error):
        world.run(waiting())
    assert (len(world.looks), world.pauses) == (1, [])


def test_a_mistyped_id_that_the_server_does_not_know_is_not_blamed_on_the_url() -> None:
    gone = reply({"error": "there is no approval env_01jb", "error_code": "not_found"}, 404)
    with pytest.raises(NotFound) as raised:
        World([gone]).run(waiting())
    assert str(raised.value) == "there is no approval env_01jb"


@pytest.mark.parametrize("seconds", [-1, float("nan"), "900", None, True])
def test_an_invalid_timeout_is_refused(seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout must be 0 or more"):
        World([reply(view())]).run(waiting(seconds))


@pytest.mark.parametrize(
    "ident", [None, "", "env_", "evt_1", "env_1/../x", "env_1?x=1", "env_\n", "env_" + "a" * 65, 5]
)
def test_an_invalid_id_is_refused_before_sending(ident: Any) -> None:
    flows: list[Flow[Any]] = [
        approvals.wait(Waiting(ident, 1, 0.0)),
        approvals.get_approval(ident, NO_PAUSES),
        approvals.decide(ident, approve=True, reason=None, pauses=NO_PAUSES),
    ]
    for flow in flows:
        world = World([reply(view("approved"))])
        with pytest.raises(InvalidRequest) as refused:
            world.run(flow)
        assert refused.value.fields == ("envelope_id",)
        assert world.looks == []


def test_a_wait_that_is_closed_ends() -> None:
    flow = waiting()
    assert isinstance(next(flow), Now)
    assert isinstance(flow.send(0.0), Send)
    flow.close()
    with pytest.raises(StopIteration):
        next(flow)


# The operator's side


def test_reading_an_approval_is_one_request_and_is_retried() -> None:
    world = World([Unreachable("down"), reply(view())])
    assert world.run(approvals.get_approval(ENV, (0.1, 0.4))).state == "pending"
    assert [send.path for _, send in world.looks] == [f"/v1/approvals/{ENV}"] * 2
    assert world.pauses == [0.1]


def test_the_queue_is_a_list_of_approvals() -> None:
    world = World([reply({"approvals": [view(), view(id="env_2")], "serverTime": iso(NOW)})])
    listed = world.run(approvals.queue("pending", 50, NO_PAUSES))
    assert [one.id for one in listed] == [ENV, "env_2"]
    assert world.looks[0][1].path == "/v1/approvals?state=pending&limit=50"
    with pytest.raises(InvalidResponse, match="list of approvals"):
        World([reply({"approvals": [{}]})]).run(approvals.queue("all", 1, NO_PAUSES))


@pytest.mark.parametrize(
    ("state", "limit", "wrong"),
    [
        ("open", 50, "state"),
        ("", 50, "state"),
        ("all", 0, "limit"),
        ("all", 201, "limit"),
        ("all", True, "limit"),
        ("all", "9", "limit"),
    ],
)
def test_an_unknown_state_filter_is_refused_before_sending(
    state: str, limit: Any, wrong: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        World([]).run(approvals.queue(state, limit, NO_PAUSES))
    assert refused.value.fields == (wrong,)


def test_a_decision_is_sent_with_its_reason() -> None:
    world = World([reply(view()), reply(view("denied"))])
    flow = approvals.decide(ENV, approve=False, reason="not today", pauses=NO_PAUSES)
    assert world.run(flow).state == "denied"
    read, send = (send for _, send in world.looks)
    assert (read.method, read.path) == ("GET", f"/v1/approvals/{ENV}")
    assert (send.method, send.path) == ("POST", f"/v1/approvals/{ENV}/decide")
    said = {"approve": False, "reason": "not today", "version": VERSION}
    assert json.loads(send.body) == said
    assert send.headers["content-type"] == "application/json"


def test_a_decision_is_sent_with_the_version_that_was_shown() -> None:
    world = World([reply(view("approved"))])
    flow = approvals.decide(ENV, approve=True, reason=None, pauses=NO_PAUSES, version="b" * 64)
    assert world.run(flow)
    [(_, send)] = world.looks
    assert json.loads(send.body) == {"approve": True, "version": "b" * 64}


def test_an_approval_without_a_version_is_not_decided() -> None:
    world = World([reply(view(version=None)), reply(view("approved"))])
    with pytest.raises(InvalidResponse, match="nothing was decided"):
        world.run(approvals.decide(ENV, approve=True, reason=None, pauses=NO_PAUSES))
    assert len(world.looks) == 1
    wrong: Any = 5
    flow = approvals.decide(ENV, approve=True, reason=None, pauses=NO_PAUSES, version=wrong)
    with pytest.raises(InvalidRequest) as refused:
        World([]).run(flow)
    assert refused.value.fields == ("version",)


def test_a_late_decision_raises_the_servers_conflict() -> None:
    said = {"error": "denied at 12:00 by Ada", "error_code": "already_decided"}
    flow = approvals.decide(ENV, approve=True, reason=None, pauses=NO_PAUSES)
    with pytest.raises(Conflict, match="denied at 12:00 by Ada") as raised:
        World([reply(view()), reply(said, 409)]).run(flow)
    assert raised.value.code == "already_decided"


@pytest.mark.parametrize("yes", ["false", "no", 1, None])
def test_approve_accepts_booleans_only(yes: Any) -> None:
    with pytest.raises(InvalidRequest, match="approve must be True or False"):
        World([]).run(approvals.decide(ENV, approve=yes, reason=None, pauses=NO_PAUSES))


@pytest.mark.parametrize("reason", ["", "x" * 281, 5])
def test_an_invalid_reason_is_refused(reason: Any) -> None:
    with pytest.raises(InvalidRequest, match="280") as refused:
        World([]).run(approvals.decide(ENV, approve=True, reason=reason, pauses=NO_PAUSES))
    assert refused.value.fields == ("reason",)


# What a grant says that waits for a person, or that a person refused


def grant(**members: Any) -> GrantBase:
    fields: dict[str, Any] = {
        "decision": "requires_step_up",
        "command": "/github/pr/create",
        "resource": {"provider": "github", "owner": "acme", "repo": "app"},
        "approval_envelope_id": ENV,
    }
    return make(GrantBase, **(fields | members))


def test_a_step_up_error_has_url_expiry_and_next_step() -> None:
    asked = grant(
        approval_url=URL,
        expires_at=datetime.fromtimestamp(NOW, UTC),
        explanation=make(Explanation, policies=("careful",), message="a lead looks at this first"),
        receipt_id="evt_1",
    )
    with pytest.raises(StepUpRequired) as raised:
        asked.require()
    assert str(raised.value).splitlines() == [
        (
            "/github/pr/create on github owner=acme repo=app needs a person's approval "
            "until 2026-09-21 14:13:20 UTC"
        ),
        "  a lead looks at this first",
        "  asked for by policy: careful",
        f"  decide at: {URL}",
        (
            "  wait: guard.wait_for_approval('env_01jb'); then authorize again with "
            "cosigner_envelope_id='env_01jb'"
        ),
        "  receipt: evt_1",
    ]
    with pytest.raises(StepUpRequired) as raised:
        grant().require()
    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("reason", "means"),
    [
        ("approval_denied", "a person denied it"),
        ("approval_expired", "in time"),
        ("approval_not_found", "no such approval"),
        ("approval_mismatch", "another question"),
        ("approval_already_used", "can be used once"),
    ],
)
def test_a_denial_about_an_approval_explains_its_reason(reason: str, means: str) -> None:
    with pytest.raises(Denied, match=f"is denied: {reason} .*{means}") as raised:
        grant(decision="deny", reason=reason).require()
    assert raised.value.code == reason
