"""Following a control plane from a thread: whom to believe, and what was revoked.

One thread with an asyncio loop of its own asks (`nomos._io.revocation_feed`); callers in any loop
or thread only read what it knows. It begins with the first question, and again in a process that
was forked: a child inherits what was known and asks over connections of its own. A thread that
cannot ask changes nothing, and so the view grows old; whoever looks decides how old is too old.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import random
import re
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import anyio.to_thread

from nomos._core.effects import Send
from nomos._core.feed_state import Floor, keys_missing
from nomos._core.revocation_status import NEVER, Seen
from nomos._core.trust_anchor import (
    NoTrustAnchor,
    TrustAnchor,
    TrustedIssuers,
    find_trust_anchor,
    keys_of,
)
from nomos._io.checkpoints import checking_async
from nomos._io.http import AsyncHttp, Endpoint
from nomos._io.revocation_feed import (
    FIRST_LOOK_SECONDS,
    LONGEST_PAUSE,
    NOTHING_READ,
    SHOWN,
    TIMEOUT,
    InvalidFeedReply,
    RevocationFeed,
    content,
)
from nomos._io.signer import AsyncSigner, shared
from nomos._io.urls import is_loopback
from nomos.audit import keys
from nomos.audit.chain import Head, Log
from nomos.errors import (
    ConfigurationError,
    ControlPlaneError,
    NomosError,
    SignerError,
    Unintelligible,
    Unreachable,
)
from nomos.models import MAX_CHAIN_DEPTH, Secret

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger(__name__)

LEAST_WAIT: Final = 0.1
MOST_WAIT: Final = 60.0

_DID: Final = re.compile(r"did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}")


class Floors(Protocol):
    """Where it is kept, for each issuer, how far its logs were read. It may have to wait.

    An issuer is named by the key that is known: the pinned one, or else the first of its log. What
    comes before a known key is anybody's, and so never names a floor. Both raise NomosError when
    that fails.
    """

    def floor(self, issuer: str) -> Floor: ...

    def keep_floor(self, issuer: str, log: Log, head: Head) -> None: ...


class ControlPlaneSync:
    """What a control plane says of its keys and of revocations, kept up to date.

    `pinned` is a DID that the operator knows: the keys that follow it are believed, and no
    others. Without it, the keys are believed that the control plane shows at first. `wait` is how
    many seconds the first callers wait for the first look, from 0.1 to 60. `allow_insecure` names
    hosts that plain http may be used to; `setting` is where the URL comes from. `floors` remembers
    how far it was read, so that a control plane that was rolled back is noticed after a restart.
    Thread-safe; `close` ends the thread.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: Secret | None,
        pinned: str | None = None,
        wait: float = FIRST_LOOK_SECONDS,
        allow_insecure: Iterable[str] = (),
        setting: str = "url",
        floors: Floors | None = None,
    ) -> None:
        self._wait = _seconds(wait)
        endpoint = Endpoint(
            url, api_key=api_key, timeout=TIMEOUT, allow_insecure=allow_insecure, setting=setting
        )
        _check_pinned(endpoint.url, pinned)
        self._learner = _SyncState(endpoint, pinned, floors)
        self._run: _SyncThread | None = None
        self._starting = threading.Lock()
        self._closed = False
        _followers.add(self)

    def __repr__(self) -> str:
        return f"ControlPlaneSync({self._learner.url})"

    @property
    def max_depth(self) -> int:
        """How many delegations the control plane lets a chain have."""
        return self._learner.max_depth

    def issuers(self) -> list[str]:
        """Return the DIDs that may root a chain now; none before the first look."""
        return self._learner.issuers()

    def server_time(self) -> float | None:
        """Return the control plane's time now; None before the first look."""
        return self._learner.server_time()

    def among(self, ids: Collection[str]) -> Seen:
        """Return those of `ids` that are revoked, and how far that is known."""
        self.look()
        return self._learner.seen(ids)

    async def aamong(self, ids: Collection[str]) -> Seen:
        """`among`, awaited, under asyncio and trio."""
        await self.alook()
        return self._learner.seen(ids)

    def look(self) -> None:
        """Follow from now on. The first callers wait for the first look, `wait` at most."""
        run = self._running()
        if run is not None and run.wants_time:
            run.wait()

    async def alook(self) -> None:
        """`look`, awaited."""
        run = self._running()
        if run is not None and run.wants_time:
            await anyio.to_thread.run_sync(run.wait, abandon_on_cancel=True)

    def ready(self) -> None:
        """Wait for the first look. Raises what is wrong if there is none.

        That is ConfigurationError for a control plane that does not follow the pinned DID,
        Unreachable for one that gives no answer, another ControlPlaneError for one that gives a
        wrong one, SignerError without the binary.
        """
        self.look()
        self._learner.check(self._wait)

    async def aready(self) -> None:
        """`ready`, awaited."""
        await self.alook()
        self._learner.check(self._wait)

    def close(self, *, wait: bool = True) -> None:
        """End the thread. What is known stays, and grows old. Doing it twice is harmless."""
        with self._starting:
            self._closed = True
            run = self._run
        if run is not None:
            run.stop()
            if wait:
                run.join()

    def after_fork(self) -> None:
        """In a forked child: the thread, and whoever held the lock, stayed with the parent."""
        self._starting = threading.Lock()
        self._run = None

    def _running(self) -> _SyncThread | None:
        """The thread of this process, begun if there is none; None once this is closed."""
        run = self._run
        if run is not None and run.lasts:
            return run
        with self._starting:
            if self._closed or (self._run is not None and self._run.lasts):
                return self._run
            run = self._run = _SyncThread(self._learner.learn, self._wait)
            # Nobody may have closed this when it is collected; the thread knows only the learner.
            weakref.finalize(self, run.stop)
            return run


class _SyncState:
    """What is known so far, and the coroutine that learns more. It outlives a fork."""

    def __init__(self, endpoint: Endpoint, pinned: str | None, floors: Floors | None) -> None:
        self.url = endpoint.url
        self.max_depth = MAX_CHAIN_DEPTH
        self._http = AsyncHttp(endpoint)
        self._pinned = pinned
        self._floors = floors
        self._issuers: TrustedIssuers | None = None
        self._followed: RevocationFeed | None = None
        self._told: Callable[[], object] = lambda: None
        self._failure: Exception | None = None

    def issuers(self) -> list[str]:
        return [] if self._issuers is None else list(self._issuers)

    def server_time(self) -> float | None:
        return None if self._followed is None else self._followed.server_time()

    def seen(self, ids: Collection[str]) -> Seen:
        if self._followed is not None:
            return self._followed.status(ids)
        why = "the control plane has given no usable answer"
        if isinstance(self._failure, ConfigurationError):
            why = "the control plane cannot be shown to follow the pinned issuer"
        elif not isinstance(self._failure, ControlPlaneError | SignerError | None):
            why = f"how far they were read before cannot be looked up: {self._failure}"
        return Seen(frozenset(), NEVER, f"revocations are not known yet: {why}")

    def check(self, waited: float) -> None:
        """Raise what is wrong after `waited` seconds, unless the log was read to its end once."""
        seen = self.seen(())
        if seen.age != NEVER:
            return
        failure = self._failure if self._followed is None else self._followed.failure
        if isinstance(failure, Unreachable):
            why = str(failure).rstrip(".")
        elif isinstance(failure, NomosError):
            raise failure
        elif failure is not None:
            raise Unintelligible(f"{self.url}: {seen.trouble}")
        else:
            why = f"{self.url}: {seen.trouble}. Does it run, and is this its URL?"
        end = "" if why.endswith("?") else "."
        raise Unreachable(
            f"{why}{end} Nothing usable came within {waited:g} s; wait= gives a slow one more"
        ) from failure

    async def learn(self, told: Callable[[], object]) -> None:
        """Learn until cancelled; `told` is called once there is something to be known."""
        self._told = told
        while self._followed is None:
            try:
                await self._begin(AsyncSigner(shared()))
            except NomosError as failure:
                if type(failure) is not type(self._failure):
                    log.warning("%s", failure)
                self._failure = failure
                if isinstance(failure, ConfigurationError):
                    told()
                await anyio.sleep(LONGEST_PAUSE * random.uniform(0.5, 1))  # noqa: S311
        await self._followed.run()

    async def _begin(self, signer: AsyncSigner) -> None:
        """Read whom to believe, and prove it. Raises what is wrong."""
        try:
            document = content(await self._http.send(Send("GET", "/.well-known/nomos", {})))
            start = find_trust_anchor(document, self._pinned)
            check = checking_async(signer)
            found = await keys.trusted_async(start.entries, start.tenant, start.did, check)
        except InvalidFeedReply as problem:
            raise Unintelligible(f"{self.url}/.well-known/nomos: {problem}") from None
        except (NoTrustAnchor, keys.BrokenKeys) as problem:
            raise self._unfounded(problem) from None
        issuers = TrustedIssuers(start.did, start.tenant, time.time)
        floor = await self._floor(start.did)
        if keys_missing(start.entries, floor.keys) is None:
            # Any other log is not begun with: the right one would not go on from it.
            issuers.follow(keys_of(start.entries, found.trusted))
        followed = self._following(signer, issuers, start, floor)
        # A fork may come between any two of these; what is followed comes last.
        self.max_depth, self._issuers = start.max_depth, issuers
        self._followed = followed
        self._failure = None

    async def _floor(self, issuer: str) -> Floor:
        if self._floors is None:
            return NOTHING_READ
        return await anyio.to_thread.run_sync(self._floors.floor, issuer)

    def _following(
        self, signer: AsyncSigner, issuers: TrustedIssuers, start: TrustAnchor, floor: Floor
    ) -> RevocationFeed:
        """Return what is to be followed from now on, and no less far than before."""
        floors = self._floors
        begin = functools.partial(
            RevocationFeed, self._http, signer, issuers, start.tenant, looked=self._looked
        )
        if floors is None:
            return begin()

        async def keep(which: Log, head: Head) -> None:
            await anyio.to_thread.run_sync(floors.keep_floor, start.did, which, head)

        return begin(floor=floor, keep=keep)

    def _looked(self) -> None:
        self._told()  # another one in a forked child

    def _unfounded(self, problem: Exception) -> Exception:
        why = str(problem)[:SHOWN]
        if self._pinned is None:
            return Unintelligible(f"{self.url}/.well-known/nomos: {why}")
        return ConfigurationError(
            f"the control plane at {self.url} cannot be shown to follow the pinned issuer: {why}. "
            "Whose DID is it, and is this the right URL?",
            setting="pinned",
        )


class _SyncThread:
    """A thread with an asyncio loop of its own, in one process, from now on until `stop`."""

    def __init__(
        self, learn: Callable[[Callable[[], object]], Awaitable[None]], wait: float
    ) -> None:
        self._pid = os.getpid()
        self._learn = learn
        self._began = time.monotonic()
        self._until = self._began + wait
        self._told = threading.Event()
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._main, name="nomos-following", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._pid == os.getpid() and self._thread.is_alive()

    @property
    def lasts(self) -> bool:
        """Whether there is no need for another thread, or it is too soon for one."""
        return self.alive or time.monotonic() < self._began + LONGEST_PAUSE

    @property
    def wants_time(self) -> bool:
        """Whether there is nothing to be known yet, and it is worth waiting for."""
        return not self._told.is_set() and time.monotonic() < self._until

    def wait(self) -> None:
        """Wait until there is something to be known, or for as long as is reasonable."""
        self._told.wait(max(0.0, self._until - time.monotonic()))

    def stop(self) -> None:
        """Let the thread end. Takes no lock: it may be called wherever garbage is collected."""
        self._stopped = True
        loop, task = self._loop, self._task
        if loop is not None and task is not None and self._pid == os.getpid():
            # A loop that has ended by itself is closed.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)

    def join(self) -> None:
        """Wait for the thread's end, though not forever."""
        if self.alive and self._thread is not threading.current_thread():
            self._thread.join(TIMEOUT)

    def _main(self) -> None:
        import asyncio  # takes 20 ms, which those who follow nobody do without

        try:
            asyncio.run(self._work())
        except Exception:
            # While the interpreter ends, a loop cannot start threads any more: that is no news.
            if threading.main_thread().is_alive():
                log.exception("following of revocations failed; the next token begins it again")
        finally:
            self._told.set()

    async def _work(self) -> None:
        import asyncio

        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        if not self._stopped:  # `stop` looks for the loop after it has said so
            with contextlib.suppress(asyncio.CancelledError):
                await self._learn(self._told.set)


def _seconds(wait: object) -> float:
    number = isinstance(wait, int | float) and not isinstance(wait, bool)
    if number and LEAST_WAIT <= float(str(wait)) <= MOST_WAIT:
        return float(str(wait))
    raise ConfigurationError(
        f"wait must be a number of seconds from {LEAST_WAIT:g} to {MOST_WAIT:g}, not {wait!r:.40}",
        setting="wait",
    )


def _check_pinned(url: str, pinned: str | None) -> None:
    if pinned is not None and not _DID.fullmatch(pinned):
        raise ConfigurationError(
            "pinned is a did:key:z6Mk…, as `issuers` in the control plane's /.well-known/nomos has "
            "it. Learn it from someone you trust",
            setting="pinned",
        )
    if pinned is None and not (url.startswith("https:") or is_loopback(url)):
        raise ConfigurationError(
            "whoever is on the way can answer over plain http, so the keys that are shown there "
            "are not believed. Use https, or say which issuer you know: pinned=did:key:…",
            setting="pinned",
        )


def _after_fork_in_child() -> None:
    for follower in list(_followers):
        follower.after_fork()


def _at_exit() -> None:
    for follower in list(_followers):
        follower.close()


_followers: weakref.WeakSet[ControlPlaneSync] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
