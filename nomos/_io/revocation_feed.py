"""`RevocationFeed`: the revocations of a control plane, followed by long polling.

`nomos._core.feed_state` decides which replies are valid; this module sends the requests, has
checkpoints verified, and measures the age. The view is as old as the request of the last valid
reply: it contains everything that was revoked before that request. An invalid reply changes
nothing, so the age grows, and callers reject a view that is too old.
"""

from __future__ import annotations

import json
import logging
import math
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Any, Final, Protocol

import anyio

from nomos._core.effects import HttpReply, Send
from nomos._core.feed_state import FeedProblem, FeedState, Floor, advance, keys_missing
from nomos._core.revocation_status import NEVER, RevocationStatus
from nomos._core.trust_anchor import TrustedIssuers, keys_of
from nomos._io.checkpoints import CheckpointSigner, checking_async
from nomos._protocol import Checkpoint, Refused
from nomos._times import iso_seconds
from nomos.audit import keys
from nomos.audit.chain import Head, Log
from nomos.audit.check import MAX_CHECKPOINT
from nomos.errors import (
    AuthenticationError,
    ControlPlaneError,
    NomosError,
    SignerError,
    Unreachable,
)

TIMEOUT: Final = 2.0
"""Seconds for a reply, in addition to the time for which the control plane may hold the request."""

FIRST_LOOK_SECONDS: Final = 3.0
"""How long the first callers wait for the first reply by default, in seconds."""

WAIT_SECONDS: Final = 1
"""How long the control plane may hold a request for which there is nothing new."""

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
LEAST_BETWEEN: Final = 0.02  # the shortest pause between two requests, in seconds
UNHELD_PAUSE = 0.5
"""Pause after a request that the control plane did not hold, because it holds too many."""

NOTHING_READ: Final = Floor()

SHOWN: Final = 200
MOST_LOGGED: Final = 32

log = logging.getLogger(__name__)


class Sends(Protocol):
    """The connection to the control plane: `nomos._io.http.AsyncHttp`."""

    async def send(self, send: Send) -> HttpReply: ...


class InvalidFeedReply(Exception):
    """A reply that does not verify; the message says why."""


def _nothing() -> None:
    pass


async def _sleep(seconds: float) -> None:
    """Sleep for about this time, randomised so that clients do not all ask at once."""
    await anyio.sleep(seconds * random.uniform(0.5, 1))  # noqa: S311


def awake_clock() -> float:
    """Return monotonic seconds that include the machine's sleep, if it has such a clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class RevocationFeed:
    """The state of a control plane's revocation feed. `run` updates it until it is cancelled.

    `looked` is called whenever the log was read to its end, and when access is denied, because then
    there is nothing to wait for. `floor` is how far this log and that of the issuer's keys were
    read before: a log that ends before it, or has another row there, is rejected. `keep` is awaited
    with each new end of either log before that end counts, so that it can be the floor of the next
    start; if it fails, the end does not count. After `fork()` both processes may run it, each with
    connections of its own.
    """

    def __init__(
        self,
        http: Sends,
        signer: CheckpointSigner,
        issuers: TrustedIssuers,
        tenant: str,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = awake_clock,
        looked: Callable[[], object] = _nothing,
        floor: Floor = NOTHING_READ,
        keep: Callable[[Log, Head], Awaitable[None]] | None = None,
    ) -> None:
        self.state = FeedState(tenant, floor=floor.revocations)
        self.failure: Exception | None = None
        """Why the last request had no valid reply."""
        self._keep = keep
        self._keys_floor = floor.keys
        self._keys_wrong = "has not been read" if floor.keys.seq > 0 else None
        self._http = http
        self._signer = signer
        self._looked = looked
        self._issuers = issuers
        self._clock = clock
        self._monotonic = monotonic
        self._as_of: float | None = None
        self._server: tuple[int, float] | None = None
        self._good_at = clock()
        self._trouble: tuple[str, float] | None = None
        self._logged: set[str] = set()

    async def lookup(self, ids: Collection[str]) -> RevocationStatus:
        """The same as `status`, as an async revocation lookup."""
        return self.status(ids)

    def status(self, ids: Collection[str]) -> RevocationStatus:
        """Return those of `ids` that are known to be revoked, with the age of that knowledge."""
        # The age is read first: the rows may be of a later request than the age, never an earlier.
        age = self._age()
        known = self.state.ids
        return RevocationStatus(
            frozenset(id_ for id_ in ids if id_ in known), age, self._sentence(age)
        )

    def server_time(self) -> float | None:
        """Return the control plane's time now, by its last signature and a monotonic clock."""
        if self._server is None:
            return None
        said, at = self._server
        return said + self._monotonic() - at

    async def run(self) -> None:
        """Poll: at once after a reply, and after a growing pause after a failure."""
        await self._learn_keys()
        pause, wait = FIRST_PAUSE, 0
        while True:
            try:
                in_vain = await self._poll(wait)
            except (ControlPlaneError, SignerError) as failure:
                self._failed("cannot be read", failure)
                if isinstance(failure, AuthenticationError):
                    self._looked()
            except InvalidFeedReply as problem:
                self.state = self.state.proven()
                self._failed("is refused", problem)
                await self._learn_keys()
            else:
                pause, wait = FIRST_PAUSE, WAIT_SECONDS if self.state.complete else 0
                await _sleep(UNHELD_PAUSE if in_vain else LEAST_BETWEEN)
                continue
            await _sleep(pause)
            pause, wait = min(2 * pause, LONGEST_PAUSE), 0

    # One request

    async def _poll(self, wait: int) -> bool:
        """Send one request. Return True if nothing is new and it was not held for `wait`."""
        nonce, sent = secrets.token_urlsafe(16), self._monotonic()
        path = f"/v1/revocations?since={self.state.since}&wait={wait}&nonce={nonce}"
        reply = content(await self._http.send(Send("GET", path, {}, extra_timeout=wait)))
        said = await self._signed(reply.get("checkpoint"))
        known = advance(self.state, reply, said, nonce)
        if isinstance(known, FeedProblem):
            raise InvalidFeedReply(known.text)
        new = known.since > self.state.since
        if known.complete:
            floor = await self._kept("revocations", known.head, known.floor)
            known = replace(known, floor=floor)
        self.state = known
        if known.complete:
            self._as_of, self._good_at = sent, self._clock()
            self._server = said.iat, self._monotonic()
            self.failure = None
            self._looked()
            self._logged.clear()
            if self._trouble is not None:
                log.warning("the feed of revocations is read again, to row %s", known.head.seq)
                self._trouble = None
        return not new and self._monotonic() - sent < wait / 2

    async def _signed(self, token: object) -> Checkpoint:
        """Return the content of a checkpoint that the newest issuer key has signed."""
        if not isinstance(token, str) or len(token) > MAX_CHECKPOINT:
            raise InvalidFeedReply("it has no checkpoint")
        if self._keys_wrong is not None:
            raise InvalidFeedReply(f"the issuer's key log {self._keys_wrong}")
        check = checking_async(self._signer)
        said = await check(token, [self._issuers.active])
        if isinstance(said, Refused) and said.code == "untrusted_issuer":
            await self._learn_keys()
            said = await check(token, [self._issuers.active])
        if isinstance(said, Refused):
            raise InvalidFeedReply(f"its checkpoint is not the issuer's: {said.message}")
        return said

    # Keys

    async def _learn_keys(self) -> None:
        """Follow the issuer's key log as far as it is valid; an invalid one changes nothing."""
        try:
            reply = content(await self._http.send(Send("GET", "/v1/keys", {})))
            entries = reply.get("keys")
            check = checking_async(self._signer)
            found = await keys.trusted_async(
                entries, self.state.tenant, self._issuers.pinned, check
            )
        except (ControlPlaneError, SignerError) as failure:
            log.info("the key log cannot be read: %s", failure)
        except (InvalidFeedReply, keys.BrokenKeys) as problem:
            self._log_once(f"the key log is refused: {problem}")
        else:
            if isinstance(entries, list):
                await self._take_keys(entries, found)

    async def _take_keys(self, entries: list[Any], found: keys.IssuerKeyLog) -> None:
        """Use a key log that was verified, unless known rows are missing."""
        wrong = keys_missing(entries, self._keys_floor)
        if wrong is not None:
            # Keys that this process has trusted before stay trusted: they are not older.
            self._keys_wrong = self._keys_wrong and f"is refused: {wrong}"
            self._log_once(f"the key log is refused: {wrong}")
        elif entries and not self._issuers.follow(keys_of(entries, found.trusted)):
            self._log_once("the key log is refused: known keys are missing from it")
        elif found.earlier and len(found.trusted) == 1:
            # The known key has signed none of these rows, so anyone can have written them.
            self._keys_wrong = None
        elif entries:
            await self._keep_keys(Head(len(entries), entries[-1]["hash"]))

    async def _keep_keys(self, end: Head) -> None:
        """Store how far the key log was read; until then, nothing that its keys sign counts."""
        try:
            self._keys_floor = await self._kept("keys", end, self._keys_floor)
        except InvalidFeedReply as problem:
            self._keys_wrong = str(problem)
            self._log_once(f"the key log {problem}")
        else:
            self._keys_wrong = None

    async def _kept(self, which: Log, end: Head, floor: Head) -> Head:
        """Store the end of a log as the floor of the next start, and return the floor now."""
        if self._keep is None or end.seq <= floor.seq:
            return floor
        try:
            await self._keep(which, end)
        except NomosError as failure:
            raise InvalidFeedReply(f"cannot be stored: {failure}") from failure
        return end

    # Age

    def _age(self) -> int:
        """Return the age in whole seconds, rounded up."""
        if self._as_of is None:
            return NEVER
        return max(0, math.ceil(self._monotonic() - self._as_of))

    def _sentence(self, age: int) -> str:
        what, since = self._trouble or ("has not answered", self._good_at)
        old = "are not known yet" if age == NEVER else f"are known as of {age} seconds ago"
        return (
            f"revocations {old}: their feed {what} since {iso_seconds(since)}, and it is "
            f"{iso_seconds(self._clock())} by this clock"
        )

    def _failed(self, what: str, failure: Exception) -> None:
        """Store what is wrong, and since when."""
        self.failure, why = failure, str(failure)
        sentence = f"{what} ({why[:SHOWN]})" if what == "is refused" else what
        since = self._clock() if self._trouble is None else self._trouble[1]
        self._trouble = (sentence, since)
        self._log_once(f"the feed of revocations {what}: {why[:SHOWN]}")

    def _log_once(self, sentence: str) -> None:
        """Log a problem once until a request succeeds; the number of problems is limited."""
        if sentence not in self._logged and len(self._logged) < MOST_LOGGED:
            self._logged.add(sentence)
            log.warning("%s", sentence)


def content(reply: HttpReply) -> dict[str, Any]:
    """Return the JSON object of a reply. Raises `ControlPlaneError` or `InvalidFeedReply`."""
    if reply.status in (401, 403):
        raise AuthenticationError(
            f"the control plane returned status {reply.status}: its feed of revocations needs an "
            "API key of any role (api_key=, or --key-file), and none or an invalid one was sent",
            status=reply.status,
        )
    if reply.status != 200:
        where = ""
        if reply.status == 404:
            where = ": check that this is the URL of a control plane, not of a PDP, without a path"
        raise Unreachable(f"the control plane returned status {reply.status}{where}")
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        raise InvalidFeedReply("it is not JSON") from None
    if not isinstance(found, dict):
        raise InvalidFeedReply("it is not a JSON object")
    return found
