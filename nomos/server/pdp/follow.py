"""A view of revocations for a PDP that stands alone: it follows the control plane's feed.

`feed` decides what a reply proves; this asks for replies, has their checkpoints verified, and
keeps the time. The view is as old as the question that the last good reply answered: whatever
was revoked before that question was asked is in it. A reply that is not believed changes
nothing, and so the view grows old; a view that is too old is refused by whoever asks it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from pydantic import ValidationError

from nomos._core.effects import HttpReply, Send
from nomos._wire import Checkpoint, CheckpointVerified, Refused, VerifyCheckpoint
from nomos.audit import keys
from nomos.audit.check import MAX_TOKEN
from nomos.errors import ControlPlaneError, SignerError, Unreachable
from nomos.server.pdp.feed import Problem, State, advance
from nomos.server.pdp.issuers import TrustedIssuers, keys_of
from nomos.server.pdp.ports import Asks
from nomos.server.pdp.revocations import Seen

WAIT_SECONDS: Final = 1
"""How long the control plane may hold a question for which there is nothing new."""

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
LEAST_BETWEEN: Final = 0.02
"""Between two questions, whatever the control plane does."""

NEVER: Final = 2**31 - 1
"""The age of a view that has seen nothing yet: more than anybody allows."""

SHOWN: Final = 200
MOST_LOGGED: Final = 32

log = logging.getLogger(__name__)


class Sends(Protocol):
    """The way to the control plane: `nomos._io.http.AsyncHttp`."""

    async def send(self, send: Send) -> HttpReply: ...


class Unbelievable(Exception):
    """A reply that proves nothing; the message says why."""


def awake_clock() -> float:
    """Seconds that go on while the machine sleeps, where it has such a clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Followed:
    """What the feed has told so far. `run` keeps it up to date until it is cancelled."""

    def __init__(
        self,
        http: Sends,
        signer: Asks,
        issuers: TrustedIssuers,
        tenant: str,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = awake_clock,
    ) -> None:
        self.state = State(tenant)
        self.seen = asyncio.Event()
        """Set once the log was read to its end."""
        self._http = http
        self._signer = signer
        self._issuers = issuers
        self._clock = clock
        self._monotonic = monotonic
        self._as_of: float | None = None
        self._good_at = clock()
        self._trouble: tuple[str, float] | None = None
        self._logged: set[str] = set()

    async def among(self, ids: Collection[str]) -> Seen:
        """Return those of `ids` that are revoked as far as is known, and how far that is."""
        revoked = frozenset(ident for ident in ids if ident in self.state.ids)
        return Seen(revoked, self._age(), self._sentence())

    async def run(self) -> None:
        """Ask again and again: at once after an answer, after a growing pause after a failure."""
        await self._learn_keys()
        pause = FIRST_PAUSE
        while True:
            try:
                await self._poll()
            except (ControlPlaneError, SignerError) as failure:
                self._failed("cannot be read", str(failure))
            except Unbelievable as problem:
                self.state = self.state.proven()
                self._failed("is refused", str(problem))
                await self._learn_keys()
            else:
                pause = FIRST_PAUSE
                await asyncio.sleep(LEAST_BETWEEN)
                continue
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 (spreads load)
            pause = min(2 * pause, LONGEST_PAUSE)

    # One question

    async def _poll(self) -> None:
        nonce, sent = secrets.token_urlsafe(16), self._monotonic()
        wait = WAIT_SECONDS if self.state.complete and self.seen.is_set() else 0
        path = f"/v1/revocations?since={self.state.since}&wait={wait}&nonce={nonce}"
        reply = _read(await self._http.send(Send("GET", path, {}, patience=wait)))
        said = await self._signed(reply.get("checkpoint"))
        known = advance(self.state, reply, said, nonce)
        if isinstance(known, Problem):
            raise Unbelievable(known.text)
        self.state = known
        if known.complete:
            self._as_of, self._good_at = sent, self._clock()
            self.seen.set()
            self._logged.clear()
            if self._trouble is not None:
                log.warning("the feed of revocations is read again, to row %s", known.head.seq)
                self._trouble = None

    async def _signed(self, token: object) -> Checkpoint:
        """Return what a checkpoint says that the newest key of the issuer has signed."""
        if not isinstance(token, str) or len(token) > MAX_TOKEN:
            raise Unbelievable("it has no checkpoint")
        said = await self._verified(token, [self._issuers.active])
        if isinstance(said, Refused) and said.code == "untrusted_issuer":
            await self._learn_keys()
            said = await self._verified(token, [self._issuers.active])
        if isinstance(said, Refused):
            raise Unbelievable(f"its checkpoint is not the issuer's: {said.message}")
        return said

    async def _verified(self, token: str, issuers: Sequence[str]) -> Checkpoint | Refused:
        if not token.isascii():
            # Half a surrogate pair could not even be written to the binary.
            return Refused(code="malformed_ucan", message="a token is written in ASCII")
        try:
            question = VerifyCheckpoint(token=token, issuers=list(issuers))
        except ValidationError:
            return Refused(code="untrusted_issuer", message="no Ed25519 did:key is its issuer")
        answer = await self._signer.ask(question)
        if isinstance(answer, CheckpointVerified):
            return answer.checkpoint
        if isinstance(answer, Refused):
            return answer
        raise SignerError("the signing binary answered another question")

    # Keys

    async def _learn_keys(self) -> None:
        """Follow the issuer's key log as far as it goes; what is wrong with it changes nothing."""
        try:
            reply = _read(await self._http.send(Send("GET", "/v1/keys", {})))
            entries = reply.get("keys")
            found = await keys.trusted_async(
                entries, self.state.tenant, self._issuers.pinned, self._verified
            )
        except (ControlPlaneError, SignerError) as failure:
            log.info("the key log cannot be read: %s", failure)
        except (Unbelievable, keys.BrokenKeys) as problem:
            self._log_once(f"the key log is refused: {problem}")
        else:
            if (
                isinstance(entries, list)
                and entries
                and not self._issuers.follow(keys_of(entries, found.trusted))
            ):
                self._log_once("the key log is refused: keys that are known are missing from it")

    # Age

    def _age(self) -> int:
        """Whole seconds, the last one begun counted: nothing is ever said to be younger."""
        if self._as_of is None:
            return NEVER
        return max(0, math.ceil(self._monotonic() - self._as_of))

    def _sentence(self) -> str:
        what, since = self._trouble or ("has not answered", self._good_at)
        age = self._age()
        old = "are not known yet" if age == NEVER else f"are known as of {age} seconds ago"
        when = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
        return f"revocations {old}: their feed {what} since {when.replace('+00:00', 'Z')}"

    def _failed(self, what: str, why: str) -> None:
        """Keep what is wrong and since when."""
        sentence = f"{what} ({why[:SHOWN]})" if what == "is refused" else what
        since = self._clock() if self._trouble is None else self._trouble[1]
        self._trouble = (sentence, since)
        self._log_once(f"the feed of revocations {what}: {why[:SHOWN]}")

    def _log_once(self, sentence: str) -> None:
        """Log what is wrong, but not again before something was right; nor without end."""
        if sentence not in self._logged and len(self._logged) < MOST_LOGGED:
            self._logged.add(sentence)
            log.warning("%s", sentence)


def _read(reply: HttpReply) -> dict[str, Any]:
    if reply.status != 200:
        raise Unreachable(f"the control plane answers with status {reply.status}")
    try:
        content = json.loads(reply.body)
    except (ValueError, RecursionError):
        raise Unbelievable("it is not JSON") from None
    if not isinstance(content, dict):
        raise Unbelievable("it is not a JSON object")
    return content
