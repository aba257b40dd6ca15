"""Random acts of operators, accounts and agents never gain permissions or approvals.

A model tracks which person knows which API key, and who gave each vote. No person approves alone,
no account gains roles that it was not given, and one operator who covers all roles remains.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest
from long_runs import times
from server.control.people import POLICY, operator

from nomos.server.storage import api_keys
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx
    from server.control.conftest import OpenPlane, Plane

    from nomos._io.signer import AsyncSigner

pytestmark = pytest.mark.anyio

HUMANS: Final = ("ruth", "lea", "sec", "mallory", "dev")
ROLES: Final = ("lead", "security")
STEPS: Final = times(140, short=60)


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY) as plane:
        yield plane


@dataclass
class Account:
    """An app, who knows its key now, and who has said that it is another person's."""

    id: str
    key: str
    role: str
    covers: frozenset[str]
    owner: str | None
    known: set[str]
    made_at: float = 0
    confirmed_at: float = 0
    confirmers: set[str] = field(default_factory=set)


@dataclass
class Question:
    """An envelope: what was asked, who asked, and who has really approved of it."""

    body: dict[str, Any]
    app: str
    asked_by: set[str]
    votes: dict[str, set[str]] = field(default_factory=dict)


class Walk:
    """One run. Each step is one request by a person who knows the key that it is made with."""

    def __init__(self, plane: Plane, seed: int) -> None:
        self.plane = plane
        self.random = random.Random(seed)
        self.accounts: dict[str, Account] = {}
        self.questions: dict[str, Question] = {}
        self.given: dict[str, set[str]] = {human: set() for human in HUMANS}
        self.done: Counter[str] = Counter()
        self.number = 0

    async def begin(self) -> None:
        first = (("ruth", "*"), ("lea", "lead"), ("sec", "security"), ("mallory", "lead"))
        for human, cover in first:
            who = await operator(self.plane, cover)
            key = who["authorization"].removeprefix("Bearer ")
            self._add(Account(who["x-app"], key, "operator", frozenset({cover}), None, {human}))
            self.given[human] |= {cover}
        self._add(Account(self.plane.app, self.plane.key, "agent", frozenset(), None, {"dev"}))

    def _add(self, account: Account) -> None:
        self.accounts[account.id] = account

    async def post(self, account: Account, path: str, body: dict[str, Any]) -> httpx.Response:
        headers = {"authorization": f"Bearer {account.key}"}
        reply = await self.plane.client.post(path, json=body, headers=headers)
        assert reply.status_code < 500, reply.text
        return reply

    def held(self, human: str, *roles: str) -> list[Account]:
        return [a for a in self.accounts.values() if human in a.known and a.role in roles]

    async def step(self) -> None:
        human = self.random.choice(HUMANS)
        acts = ("create", "rotate", "confirm", "vote", "ask", "use", "hand", "end", "revoke")
        act = self.random.choices(acts, (5, 3, 3, 8, 6, 6, 3, 1, 1))[0]
        agents = act in ("ask", "use")
        mine = self.held(human, "agent") if agents else self.held(human, "operator")
        if mine:
            await getattr(self, f"_{act}")(human, self.random.choice(mine))

    async def _create(self, human: str, by: Account) -> None:
        role = self.random.choice(("agent", "operator", "operator", "auditor"))
        covers = self.random.sample((*ROLES, "*"), self.random.choice((0, 1, 1, 2)))
        body: dict[str, Any] = {"name": "x", "role": role}
        body |= {"covers": covers} if role == "operator" else {}
        reply = await self.post(by, "/v1/apps", body)
        if reply.status_code == 200:
            made = reply.json()
            owned = frozenset(made["covers"])
            assert "*" in by.covers or owned <= by.covers
            at = self.plane.clock.now
            self._add(Account(made["id"], made["apiKey"], role, owned, by.id, {human}, at))
            self.done["create"] += 1

    async def _rotate(self, human: str, by: Account) -> None:
        other = self.random.choice([by, *self.accounts.values()])
        reply = await self.post(by, f"/v1/apps/{other.id}/rotate", {})
        if reply.status_code == 200:
            other.key, other.known = reply.json()["apiKey"], {human}
            other.owner = reply.json().get("owner")
            assert "*" in by.covers or other.covers <= by.covers
            self.done["rotate"] += 1

    async def _confirm(self, human: str, by: Account) -> None:
        other = self.random.choice(list(self.accounts.values()))
        reply = await self.post(by, f"/v1/apps/{other.id}/confirm", {})
        if reply.status_code == 200:
            other.confirmers.add(human)
            other.confirmed_at = other.confirmed_at or self.plane.clock.now
            self.done["confirm"] += 1

    async def _ask(self, human: str, by: Account) -> None:
        self.number += 1
        command = self.random.choice(("/github/repo/delete", "/github/pr/create"))
        repo = {"provider": "github", "owner": "acme", "repo": f"r{self.number}"}
        body: dict[str, Any] = {"command": command, "resource": repo}
        if command.endswith("create"):
            body["args"] = {"title": "x", "head": "x", "base": "y"}
        reply = await self.post(by, "/v1/authorize", body)
        if reply.status_code == 200 and "approvalEnvelopeId" in reply.json():
            envelope = reply.json()["approvalEnvelopeId"]
            self.questions[envelope] = Question(body, by.id, {human})

    async def _vote(self, human: str, by: Account) -> None:
        if not self.questions:
            return
        envelope = self.random.choice(list(self.questions)[-6:])
        headers = {"authorization": f"Bearer {by.key}"}
        read = await self.plane.client.get(f"/v1/approvals/{envelope}", headers=headers)
        if read.status_code == 200:
            body = {"approve": True, "version": read.json()["version"]}
            reply = await self.post(by, f"/v1/approvals/{envelope}/decide", body)
            if reply.status_code == 200:
                self.questions[envelope].votes[by.id] = {human} | self._vouching(by.id)
                self.done["vote"] += 1

    def _vouching(self, ident: str) -> set[str]:
        """Who has said that the account, or one that made it since, is another person's."""
        found: set[str] = set()
        at: str | None = ident
        oldest = float("inf")
        while at is not None:
            account = self.accounts[at]
            if at == ident or oldest > account.confirmed_at:
                found |= account.confirmers
            oldest, at = min(oldest, account.made_at), account.owner
        return found

    async def _use(self, human: str, by: Account) -> None:
        mine = [each for each, asked in self.questions.items() if asked.app == by.id]
        if not mine:
            return
        envelope = self.random.choice(mine[-4:])
        asked = self.questions[envelope]
        body = {**asked.body, "cosignerEnvelopeId": envelope}
        reply = await self.post(by, "/v1/authorize", body)
        if reply.status_code == 200 and reply.json()["decision"] == "allow":
            self.done["allow"] += 1
            stood = set().union(*asked.votes.values())
            for one in asked.asked_by | {human}:
                assert stood - {one}, f"{one} has approved their own question alone: {asked}"

    async def _hand(self, human: str, by: Account) -> None:
        """Tell another person the key of an account that one registered; they may change it."""
        mine = [a for a in self.accounts.values() if a.owner == by.id and human in a.known]
        if not mine:
            return
        account, other = self.random.choice(mine), self.random.choice(HUMANS)
        account.known.add(other)
        self.given[other] |= account.covers
        if account.role == "operator" and self.random.random() < 0.7:
            reply = await self.post(account, f"/v1/apps/{account.id}/rotate", {})
            if reply.status_code == 200:
                account.key, account.known = reply.json()["apiKey"], {other}

    async def _end(self, human: str, by: Account) -> None:
        other = self.random.choice(list(self.accounts.values()))
        reply = await self.post(by, f"/v1/apps/{other.id}/disable", {})
        self.done["end"] += reply.status_code == 200

    async def _revoke(self, human: str, by: Account) -> None:
        system = self.plane.system
        ident = self.random.choice(
            [by.id, system.pdp_did, system.issuer_did, self.random.choice(list(self.accounts))]
        )
        reply = await self.post(by, "/v1/revocations", {"id": ident})
        if reply.status_code == 200:
            assert ident.startswith("app_")
            self.done["revoke"] += 1

    async def check(self) -> None:
        database = self.plane.system.store.database
        ways = await database.read(api_keys.active_operators, DEFAULT)
        assert ways, "there is no way in any more"
        for human in HUMANS:
            power = set().union(*(a.covers for a in self.held(human, "operator")))
            assert "*" in self.given[human] or power <= self.given[human], human


@pytest.mark.parametrize("seed", range(3))
async def test_no_random_walk_gains_permissions_or_approvals(plane: Plane, seed: int) -> None:
    walk = Walk(plane, seed)
    await walk.begin()
    for _ in range(STEPS):
        await walk.step()
        plane.clock.now += 1
        await walk.check()
    assert walk.done["vote"] > 0, walk.done
