"""Random sequences of approvals, compared with a small model.

The machine asks, answers, uses, waits and revokes in any order, against a real server with a
real signer; the model says after each step who may be allowed what.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import pytest
import store_access
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from long_runs import times
from server.control.people import ISSUE, POLICY, decide, operator

from nomos._io.signer import AsyncSigner, Signer, SignerConnection
from nomos._protocol import LoadKey, LoadKeyAnswer
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

T = TypeVar("T")

COVERS: Final = {
    "lead": {"lead"},
    "security": {"security"},
    "chief": {"lead", "security"},
    "intern": {"intern"},
}
NEEDED: Final = {None: {"lead"}, "urgent": {"lead", "security"}}
REVOKED: Final = ["nothing"] * 12 + ["envelope"] * 4 + ["agent", "app"]
"""What is revoked: rarely an agent or the app, for little can happen after that."""

OUTCOMES: Final = {
    *("allow", "step_up_required", "approval_expired", "approval_mismatch", "approval_denied"),
    *("approval_already_used", "revoked"),
}
"""What must have come about for the run to have shown anything."""

Question = tuple[str, str]
"""The agent who asks, and the title of the issue."""


@dataclass(frozen=True)
class Plan:
    """How an approval is come by and used; `who` None: for the question that was asked."""

    person: str
    approve: bool
    seconds: int
    revoked: bool
    who: tuple[int, str] | None
    purpose: str | None
    times: int


@dataclass
class Known:
    """What the model knows of an envelope."""

    question: Question
    expires: float
    roles: set[str]
    approved: set[str] = field(default_factory=set)
    over: bool = False

    def waits(self, now: float) -> bool:
        return not self.over and now < self.expires and not self.roles <= self.approved

    def permits(self, question: Question, purpose: str | None, now: float) -> bool:
        complete = self.roles | NEEDED[purpose] <= self.approved
        return self.question == question and complete and not self.over and now < self.expires


class Driver:
    """The server, and one loop that everything runs in."""

    def __init__(self, runner: asyncio.Runner, plane: Plane, signer: Signer) -> None:
        self._runner = runner
        self._signer = signer
        self._seeds = itertools.count(1)
        self.runs = itertools.count()
        self.plane = plane
        self.seen: Counter[str] = Counter()
        self.people = {who: self.run(operator(plane, *roles)) for who, roles in COVERS.items()}

    def new_agent(self) -> str:
        answer = self._signer.ask(LoadKey(seed=f"{next(self._seeds):064x}"))
        assert isinstance(answer, LoadKeyAnswer)
        return answer.key

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


class Approvals(RuleBasedStateMachine):
    """One app, two agents with four questions each, and four people."""

    envelopes = Bundle("envelopes")
    questions = some.tuples(some.integers(0, 1), some.sampled_from(["one", "two", "three", "four"]))
    others = some.none() | questions
    purposes = some.sampled_from(list(NEEDED))
    plans = some.builds(
        Plan,
        person=some.sampled_from(["chief", "lead"] * 3 + sorted(COVERS)),
        approve=some.sampled_from([True] * 4 + [False]),
        seconds=some.sampled_from([0, 0, 0, 899, 900]),
        revoked=some.sampled_from([False] * 5 + [True]),
        who=some.none() | some.none() | questions,
        purpose=purposes,
        times=some.sampled_from([2, 2, 1]),
    )

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self.driver = driver
        self.plane = driver.plane
        self.agents = [driver.new_agent(), driver.new_agent()]
        self.app = driver.run(self.plane.another())
        # A denial is for every app's question about one repository: each run has its own.
        self.repo = {**ISSUE["resource"], "repo": f"repo-{next(driver.runs)}"}
        self.app_id = self.app["authorization"].removeprefix("Bearer nomos_").rpartition("_")[0]
        self.known: dict[str, Known] = {}
        self.revoked: set[str] = set()
        self.allowed: dict[str, set[str]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.numbers = itertools.count()

    # What may happen

    @rule(target=envelopes, who=questions, purpose=purposes)
    def ask(self, who: tuple[int, str], purpose: str | None) -> Any:
        return self._new(self._ask(self._question(who), purpose, None))

    @rule(target=envelopes, who=others, purpose=purposes, envelope=envelopes)
    def use(self, who: tuple[int, str] | None, purpose: str | None, envelope: str) -> Any:
        question = self.known[envelope].question if who is None else self._question(who)
        return self._new(self._ask(question, purpose, envelope))

    @rule(target=envelopes, who=questions, purpose=purposes, plan=plans)
    def go_all_the_way(self, who: tuple[int, str], purpose: str | None, plan: Plan) -> Any:
        """Ask, have it answered, perhaps wait, and use it, perhaps for another question."""
        envelope = self._ask(self._question(who), purpose, None)
        if envelope is None:
            return multiple()
        self.answer(envelope, plan.person, approve=plan.approve)
        self.wait(plan.seconds)
        if plan.revoked:
            self._revoke(envelope)
        for _ in range(plan.times):
            self.use(plan.who, plan.purpose, envelope)
        return self._new(envelope)

    @rule(
        envelope=envelopes,
        who=some.sampled_from(sorted(COVERS)),
        approve=some.sampled_from([True, True, True, False]),
    )
    def answer(self, envelope: str, who: str, approve: bool) -> None:  # noqa: FBT001 (drawn)
        known = self.known[envelope]
        wanted = known.roles - known.approved if approve else known.roles
        counts = known.waits(self._now) and bool(wanted & COVERS[who])
        person = self.driver.people[who]
        reply = self.driver.run(decide(self.plane, person, envelope, approve=approve))
        assert (reply.status_code == 200) == (counts and envelope not in self.revoked)
        if reply.status_code == 200 and approve:
            known.approved |= known.roles & COVERS[who]
        elif reply.status_code == 200:
            known.over = True

    @rule(seconds=some.sampled_from([1, 200, 899, 900]))
    def wait(self, seconds: int) -> None:
        self.plane.clock.now += seconds

    @rule(envelope=envelopes, what=some.sampled_from(REVOKED))
    def revoke(self, envelope: str, what: str) -> None:
        agent, _ = self.known[envelope].question
        ident = {"envelope": envelope, "agent": agent, "app": self.app_id}.get(what)
        if ident is not None:
            self._revoke(ident)

    @rule(number=some.integers(0, 50))
    def repeat(self, number: int) -> None:
        """Repeat a call with its key: the same allow, or none."""
        if self.calls:
            key, body = self.calls[number % len(self.calls)]
            self._received(self._post(key, body), body.get("cosignerEnvelopeId"))

    @invariant()
    def an_approval_gives_one_delegation(self) -> None:
        assert all(len(tokens) <= 1 for tokens in self.allowed.values())

    # How it is done

    @property
    def _now(self) -> float:
        return self.plane.clock.now

    def _question(self, who: tuple[int, str]) -> Question:
        return self.agents[who[0]], who[1]

    def _revoke(self, ident: str) -> None:
        self.revoked.add(ident)
        self.driver.run(store_access.revoke(self.plane.system.store, DEFAULT, [ident]))

    def _ask(self, question: Question, purpose: str | None, envelope: str | None) -> str | None:
        """Ask, hold the answer against the model, and return the envelope it names."""
        agent, title = question
        body = {**ISSUE, "resource": self.repo, "args": {"title": title}, "agentDid": agent}
        body |= {} if envelope is None else {"cosignerEnvelopeId": envelope}
        body |= {} if purpose is None else {"purpose": purpose}
        known = self.known.get(envelope or "")
        revoked = {agent, self.app_id, envelope} & self.revoked
        may = known is not None and known.permits(question, purpose, self._now) and not revoked
        key = f"call {next(self.numbers)}"
        self.calls.append((key, body))
        answer = self._post(key, body)
        assert (answer["decision"] == "allow") == may, (answer, known)
        self._received(answer, envelope)
        if may:
            assert known is not None
            known.over = True
        if answer["decision"] != "requires_step_up":
            return None
        self._put(answer["approvalEnvelopeId"], question, purpose)
        return str(answer["approvalEnvelopeId"])

    @staticmethod
    def _new(envelope: str | None) -> Any:
        return multiple() if envelope is None else envelope

    def _put(self, envelope: str, question: Question, purpose: str | None) -> None:
        known = self.known.get(envelope)
        if known is None:
            self.known[envelope] = Known(question, self._now + 900, set(NEEDED[purpose]))
            return
        assert known.question == question
        if known.waits(self._now) and not known.roles >= NEEDED[purpose]:
            # It is another text to decide on, which is not approved yet.
            known.roles |= NEEDED[purpose]
            known.approved = set()

    def _post(self, key: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {**self.app, "idempotency-key": key}
        answer: dict[str, Any] = self.driver.run(self.plane.ask(headers, **body)).json()
        self.driver.seen[answer.get("reason", answer["decision"])] += 1
        return answer

    def _received(self, answer: dict[str, Any], envelope: str | None) -> None:
        if answer["decision"] == "allow":
            assert envelope is not None
            assert envelope not in self.revoked
            self.allowed.setdefault(envelope, set()).add(answer["chain"][0])


@pytest.fixture
def driver(
    tmp_path: Path, signer: AsyncSigner, link: SignerConnection, open_plane: OpenPlane
) -> Iterator[Driver]:
    with asyncio.Runner() as runner:
        opening = open_plane(tmp_path / "data", signer, policy=POLICY)
        plane = runner.run(_entered(opening))
        yield Driver(runner, plane, Signer(link))
        runner.run(_left(opening))


async def _entered(opening: Any) -> Any:
    return await opening.__aenter__()


async def _left(opening: Any) -> None:
    await opening.__aexit__(None, None, None)


def test_no_allow_contradicts_the_model(driver: Driver) -> None:
    run_state_machine_as_test(
        cast("type[Approvals]", lambda: Approvals(driver)),
        settings=settings(
            max_examples=times(120, short=40),
            derandomize=True,  # or now and then an outcome below would not come about
            stateful_step_count=15,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # a failure of few steps is short enough as it is
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert set(driver.seen) >= OUTCOMES, driver.seen
