"""The follower of the feed: requests, verification, age, and forged replies."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from nomos._core.effects import HttpReply, Send
from nomos._core.revocation_status import NEVER
from nomos._core.trust_anchor import RETIRING_SECONDS, TrustedIssuers
from nomos._io import revocation_feed
from nomos._io.binary_location import find_binary
from nomos._io.revocation_feed import RevocationFeed
from nomos._io.signer import AsyncSigner, Signer, SignerConnection
from nomos._protocol import (
    Answer,
    Checkpoint,
    LoadKey,
    LoadKeyAnswer,
    Refused,
    Request,
    SignCheckpoint,
    Signed,
)
from nomos.audit.chain import ChainedRow as Row
from nomos.audit.chain import Head, Log
from nomos.audit.chain import chained as placed
from nomos.errors import SignerError, Unreachable

NOW, TENANT = 1_800_000_000, "acme"


@pytest.fixture(scope="module")
def link() -> Any:
    link = SignerConnection(find_binary())
    yield link
    link.close()


@dataclass
class ControlPlane:
    """What answers the follower, truthfully unless `lie` changes the answer."""

    signer: Signer
    keys: list[str]
    rows: list[Row] = field(default_factory=list)
    forge: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    down: Exception | None = None
    status: int = 200
    asked: list[dict[str, str]] = field(default_factory=list)
    replies: list[dict[str, Any]] = field(default_factory=list)
    hide_keys: int = 0
    raw: bytes | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def revoke(self, *ids: str) -> None:
        for ident in ids:
            row = {"id": ident, "kind": "cid", "at": 1}
            after = self.rows[-1].head if self.rows else Head()
            self.rows.append(placed(row, TENANT, after))

    async def send(self, send: Send) -> HttpReply:
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.down is not None:
            raise self.down
        parts = urlsplit(send.path)
        if parts.path == "/v1/keys":
            return self._reply({"tenant": TENANT, "keys": self.key_log()})
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append(query)
        since = int(query["since"])
        head = self.rows[-1].head if self.rows else Head()
        answer = {
            "tenant": TENANT,
            "entries": [
                {"row": json.loads(row.text), "hash": row.hash} for row in self.rows[since:]
            ],
            "more": False,
            "checkpoint": self.sign("revocations", head, self.keys[-1], query["nonce"]),
        }
        self.replies.append(answer)
        return self._reply(answer if self.forge is None else self.forge(answer))

    def key_log(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        head, signer = Head(), self.keys[0]
        shown = self.keys[: len(self.keys) - self.hide_keys]
        for number, did in enumerate(shown):
            row = placed({"did": did, "at": (NOW + number) * 1000}, TENANT, head)
            token = self.sign("keys", row.head, signer)
            entries.append({"row": json.loads(row.text), "hash": row.hash, "checkpoint": token})
            head, signer = row.head, did
        return entries

    def sign(self, log: Any, head: Head, key: str, nonce: str | None = None) -> str:
        said = Checkpoint(
            iss=key, log=log, tenant=TENANT, seq=head.seq, head=head.hash, iat=NOW, nonce=nonce
        )
        answer = self.signer.ask(SignCheckpoint(key=key, payload=said))
        assert isinstance(answer, Signed), answer
        return answer.jwt

    def _reply(self, content: Mapping[str, Any]) -> HttpReply:
        body = json.dumps(content).encode() if self.raw is None else self.raw
        return HttpReply(self.status, {}, body, NOW)


@dataclass
class Time:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scene:
    plane: ControlPlane
    followed: RevocationFeed
    issuers: TrustedIssuers
    time: Time
    wall: Time

    async def polled(self, times: int = 2) -> None:
        """Until the follower has asked so many times more."""
        wanted = len(self.plane.asked) + times
        async with asyncio.timeout(20):
            while len(self.plane.asked) < wanted:  # noqa: ASYNC110 (the fake rings no bell)
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)


def key(signer: Signer, number: int) -> str:
    answer = signer.ask(LoadKey(seed=f"{number:064x}"))
    assert isinstance(answer, LoadKeyAnswer)
    return answer.key


@asynccontextmanager
async def following(
    link: SignerConnection,
    *,
    pinned: int = 0,
    keys: int = 1,
    keep: Callable[[Log, Head], Awaitable[None]] | None = None,
) -> AsyncIterator[Scene]:
    signer = Signer(link)
    dids = [key(signer, 700 + number) for number in range(keys)]
    plane = ControlPlane(signer, dids)
    wall, monotonic = Time(NOW), Time()
    issuers = TrustedIssuers(dids[pinned], TENANT, wall)
    followed = RevocationFeed(
        plane, AsyncSigner(link), issuers, TENANT, clock=wall, monotonic=monotonic, keep=keep
    )
    running = asyncio.create_task(followed.run())
    try:
        yield Scene(plane, followed, issuers, monotonic, wall)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _unheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """This control plane holds no question, and is asked again at once."""
    monkeypatch.setattr(revocation_feed, "UNHELD_PAUSE", 0.0)


pytestmark = pytest.mark.anyio


# Honest


async def test_a_view_without_any_reply_is_older_than_any_limit(
    link: SignerConnection,
) -> None:
    async with following(link) as scene:
        scene.plane.gate.clear()
        seen = await scene.followed.lookup(["a"])
        assert (seen.revoked, seen.age_seconds) == (frozenset(), NEVER)
        assert seen.error is not None
        assert "not known yet" in seen.error


async def test_revoked_ids_are_received_and_kept(link: SignerConnection) -> None:
    async with following(link) as scene:
        scene.plane.revoke("a", "b")
        await scene.polled()
        scene.plane.revoke("c")
        await scene.polled()
        seen = await scene.followed.lookup(["a", "c", "x"])
        assert (seen.revoked, seen.age_seconds) == (frozenset("ac"), 0)
        assert scene.plane.asked[-1]["since"] == "3"


async def test_every_request_has_its_own_nonce(link: SignerConnection) -> None:
    async with following(link) as scene:
        await scene.polled(4)
        nonces = [query["nonce"] for query in scene.plane.asked]
        assert len(set(nonces)) == len(nonces)
        assert min(map(len, nonces)) >= 20


async def test_the_age_counts_from_the_request_and_not_from_the_reply(
    link: SignerConnection,
) -> None:
    async with following(link) as scene:
        await scene.polled()
        scene.plane.gate.clear()
        await asyncio.sleep(0.05)  # a question is on its way
        scene.time.now += 3
        assert (await scene.followed.lookup([])).age_seconds == 3
        scene.plane.gate.set()  # for this one question
        scene.plane.gate.clear()
        await scene.polled(1)
        assert (await scene.followed.lookup([])).age_seconds == 3
        scene.plane.gate.set()
        await scene.polled(2)
        assert (await scene.followed.lookup([])).age_seconds == 0
        scene.time.now += 0.1
        assert (await scene.followed.lookup([])).age_seconds == 1


# Out of reach


async def test_while_the_feed_is_unreachable_the_age_grows_and_the_error_has_the_time(
    link: SignerConnection, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(link) as scene:
        scene.plane.revoke("a")
        await scene.polled()
        scene.plane.down = Unreachable("nothing answers")
        await asyncio.sleep(0.3)
        scene.time.now += 7
        scene.wall.now += 7
        seen = await scene.followed.lookup(["a"])
        assert (seen.revoked, seen.age_seconds) == (frozenset("a"), 7)
        assert seen.error == (
            "revocations are known as of 7 seconds ago: their feed cannot be read since "
            "2027-01-15T08:00:00Z, and it is 2027-01-15T08:00:07Z by this clock"
        )
        scene.plane.down = None
        await scene.polled(1)
        assert (await scene.followed.lookup([])).age_seconds == 0
    warnings = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert warnings == [
        "the feed of revocations cannot be read: nothing answers",
        "the feed of revocations is read again, to row 1",
    ]


async def test_an_error_reply_does_not_renew_the_view(link: SignerConnection) -> None:
    async with following(link) as scene:
        await scene.polled()
        scene.plane.status = 401
        scene.plane.revoke("a")
        await asyncio.sleep(0.2)
        scene.time.now += 6
        seen = await scene.followed.lookup(["a"])
        assert (seen.revoked, seen.age_seconds) == (frozenset(), 6)


async def test_failed_requests_are_repeated_with_pauses(link: SignerConnection) -> None:
    async with following(link) as scene:
        await scene.polled()
        asked = len(scene.plane.asked)
        scene.plane.forge = lambda _: {}
        await asyncio.sleep(1.5)
        assert len(scene.plane.asked) - asked < 10


async def test_requests_that_are_not_held_are_repeated_with_pauses(
    link: SignerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control plane holds questions for so many followers, and answers the others at once."""
    monkeypatch.setattr(revocation_feed, "UNHELD_PAUSE", 0.5)
    async with following(link) as scene:
        await scene.polled()
        asked = len(scene.plane.asked)
        await asyncio.sleep(1.5)
        assert 2 <= len(scene.plane.asked) - asked < 10
        scene.plane.revoke("a")
        await scene.polled(1)
        assert (await scene.followed.lookup(["a"])).revoked == {"a"}


async def test_the_first_request_asks_for_no_hold(link: SignerConnection) -> None:
    """Nor does one after a failure: callers that wait have no view yet."""
    async with following(link) as scene:
        await scene.polled()
        assert [each["wait"] for each in scene.plane.asked[:2]] == ["0", "1"]
        scene.plane.down = Unreachable("nothing answers")
        await asyncio.sleep(0.2)
        scene.plane.asked.clear()
        scene.plane.down = None
        await scene.polled()
        assert [each["wait"] for each in scene.plane.asked[:2]] == ["0", "1"]


# Lied to


def without_checkpoint(answer: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in answer.items() if k != "checkpoint"}


def forged(answer: dict[str, Any]) -> dict[str, Any]:
    token = answer["checkpoint"]
    return {**answer, "checkpoint": token[:-6] + ("AAAAAA" if token[-6:] != "AAAAAA" else "BBBB")}


FORGERIES: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "no checkpoint": (without_checkpoint, "it has no checkpoint"),
    "a long checkpoint": (lambda a: {**a, "checkpoint": "x" * 5000}, "it has no checkpoint"),
    "a forged checkpoint": (forged, "its checkpoint is not the issuer's"),
    "nonsense": (lambda a: {**a, "checkpoint": "x.y.z"}, "its checkpoint is not the issuer's"),
    "half a surrogate": (
        lambda a: {**a, "checkpoint": "\ud800.y.z"},
        "its checkpoint is not the issuer's",
    ),
    "rows left out": (lambda a: {**a, "entries": []}, "row 2 is missing"),
    "another tenant": (lambda a: {**a, "tenant": "evil"}, "it is another tenant's"),
}


@pytest.mark.parametrize("name", sorted(FORGERIES))
async def test_a_forged_reply_changes_nothing_and_is_logged_once(
    link: SignerConnection, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    forge, sentence = FORGERIES[name]
    async with following(link) as scene:
        scene.plane.revoke("a")
        await scene.polled()
        known = scene.followed.state
        scene.plane.forge = forge
        scene.plane.revoke("b")
        await scene.polled(4)
        scene.time.now += 6
        seen = await scene.followed.lookup(["a", "b"])
        assert scene.followed.state == known
        assert (seen.revoked, seen.age_seconds) == (frozenset("a"), 6)
        assert seen.error is not None
        assert f"is refused ({sentence}" in seen.error
        assert sum(sentence in each.getMessage() for each in caplog.records) == 1
        scene.plane.forge = None
        await scene.polled(1)
        assert (await scene.followed.lookup(["b"])).revoked == {"b"}


@pytest.mark.parametrize(
    "raw", [b"", b"<html>", b"[]", b"7", b"{", b"\xff", b"[" * 100_000, b'{"checkpoint": null}']
)
async def test_a_malformed_reply_changes_nothing(link: SignerConnection, raw: bytes) -> None:
    async with following(link) as scene:
        scene.plane.revoke("a")
        await scene.polled()
        scene.plane.raw = raw
        await scene.polled(3)
        scene.time.now += 6
        seen = await scene.followed.lookup(["a"])
        assert (seen.revoked, seen.age_seconds) == (frozenset("a"), 6)
        scene.plane.raw = None
        await scene.polled(2)
        assert (await scene.followed.lookup([])).age_seconds == 0


async def test_a_failed_verification_of_a_checkpoint_proves_nothing(link: SignerConnection) -> None:
    async with following(link) as scene:
        await scene.polled()

        class Dead:
            async def ask(self, request: Request) -> Answer | Refused:
                raise SignerError("it has died")

        scene.followed._signer, alive = Dead(), scene.followed._signer
        scene.plane.revoke("a")
        await scene.polled(3)
        scene.time.now += 6
        assert (await scene.followed.lookup(["a"])).age_seconds == 6
        scene.followed._signer = alive
        await scene.polled(2)
        assert (await scene.followed.lookup(["a"])).revoked == {"a"}


async def test_a_replayed_reply_is_refused(link: SignerConnection) -> None:
    async with following(link) as scene:
        await scene.polled()
        old = scene.plane.replies[-1]
        scene.plane.forge = lambda _: old
        scene.plane.revoke("a")
        await scene.polled(3)
        scene.time.now += 6
        assert (await scene.followed.lookup(["a"])).age_seconds == 6


# Keys


async def test_a_rotated_key_is_accepted_by_the_key_log(link: SignerConnection) -> None:
    async with following(link) as scene:
        await scene.polled()
        old = scene.plane.keys[-1]
        scene.plane.keys.append(key(scene.plane.signer, 800))
        scene.plane.revoke("a")
        await scene.polled(2)
        assert (await scene.followed.lookup(["a"])).revoked == {"a"}
        assert set(scene.issuers) == {old, scene.plane.keys[-1]}
        assert scene.issuers.active == scene.plane.keys[-1]


async def test_a_replaced_key_is_trusted_until_its_tokens_expire(
    link: SignerConnection,
) -> None:
    async with following(link, keys=3) as scene:
        await scene.polled()
        first, second, third = scene.plane.keys
        assert dict(scene.issuers) == dict.fromkeys((first, second, third), TENANT)
        scene.wall.now = NOW + 1 + RETIRING_SECONDS
        assert list(scene.issuers) == [second, third]
        assert first not in scene.issuers
        assert len(scene.issuers) == 2
        scene.wall.now += 10**9
        assert list(scene.issuers) == [third]


async def test_keys_before_the_pinned_one_are_not_trusted(link: SignerConnection) -> None:
    """Anybody can make a key that names a known one as its successor."""
    async with following(link, keys=3, pinned=1) as scene:
        await scene.polled()
        assert list(scene.issuers) == scene.plane.keys[1:]


async def test_a_replaced_key_signs_no_feed(link: SignerConnection) -> None:
    """Were it stolen, it could otherwise show an old log as the newest."""
    async with following(link, keys=2) as scene:
        await scene.polled()
        stolen = scene.plane.keys[0]

        def signed_by_old(answer: dict[str, Any]) -> dict[str, Any]:
            nonce = scene.plane.asked[-1]["nonce"]
            token = scene.plane.sign("revocations", scene.followed.state.head, stolen, nonce)
            return {**answer, "checkpoint": token}

        scene.plane.forge = signed_by_old
        scene.plane.hide_keys = 1
        await scene.polled(3)
        scene.time.now += 6
        assert (await scene.followed.lookup([])).age_seconds == 6
        assert scene.issuers.active == scene.plane.keys[-1]


async def test_an_unrelated_key_is_not_accepted_as_the_issuer(link: SignerConnection) -> None:
    async with following(link) as scene:
        await scene.polled()
        pinned = scene.plane.keys[0]
        scene.plane.keys[:] = [key(scene.plane.signer, 900)]
        scene.plane.revoke("a")
        await scene.polled(3)
        assert list(scene.issuers) == [pinned]
        assert (await scene.followed.lookup(["a"])).revoked == frozenset()


async def test_unsigned_rows_are_not_kept_as_the_floor(
    link: SignerConnection,
) -> None:
    """Anyone can put rows before a known key: kept, they would refuse the right log for ever."""
    kept: list[tuple[Log, int]] = []

    async def keep(which: Log, head: Head) -> None:
        kept.append((which, head.seq))

    async with following(link, keys=2, pinned=1, keep=keep) as scene:
        await scene.polled()
        scene.plane.revoke("a")
        await scene.polled()
        assert (await scene.followed.lookup(["a"])).revoked == {"a"}
        assert kept == [("revocations", 1)]
        # Its successor's row is signed by the known key, and with it all that come before.
        scene.plane.keys.append(key(scene.plane.signer, 800))
        await scene.polled()
        assert kept == [("revocations", 1), ("keys", 3)]
    kept.clear()
    async with following(link, keep=keep) as scene:
        await scene.polled()
        assert kept == [("keys", 1)]
