"""`ControlPlaneSync`: a thread that keeps issuer keys and revocations of a control plane current.

One thread with an asyncio loop of its own sends the requests (`nomos._io.revocation_feed`); callers
in any loop or thread only read its state. It starts with the first lookup, and again in a forked
process: a child inherits the state and opens connections of its own. If requests fail, the state
does not change and its age grows; the caller decides which age is too old.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import anyio.to_thread

from nomos._core.effects import Send
from nomos._core.feed_state import Floor, keys_missing
from nomos._core.revocation_status import NEVER, RevocationStatus
from nomos._core.trust_anchor import (
    NoTrustAnchor,
    TrustAnchor,
    TrustedIssuers,
    find_trust_anchor,
    keys_of,
)
from nomos._identifiers import is_did
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
    InvalidResponse,
    NomosError,
    SignerError,
    Unreachable,
)
from nomos.models import MAX_CHAIN_DEPTH, Secret

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger(__name__)

LEAST_WAIT: Final = 0.1  # the smallest `startup_timeout`, in seconds
MOST_WAIT: Final = 60.0  # the largest `startup_timeout`, in seconds


class Floors(Protocol):
    """Stores, for each issuer, how far its logs were read. The calls may block.

    An issuer is named by the key that is known: the pinned one, or else the first of its log. Keys
    before a known key prove nothing, and so never name a floor. Both methods raise `NomosError` if
    they fail.
    """

    def floor(self, issuer: str) -> Floor: ...

    def keep_floor(self, issuer: str, log: Log, head: Head) -> None: ...


class ControlPlaneSync:
    """The issuer keys and revocations of a control plane, kept up to date. Thread-safe.

    Args:
        url: base URL of the control plane.
        api_key: an API key of any role, None for a control plane that needs none.
        trust_anchor: a DID of the issuer that the operator knows: this key and its successors are
            trusted, and no others. Without it, the keys that the control plane shows first are
            trusted.
        startup_timeout: seconds that the first callers wait for the first synchronization, 0.1 to
            60.
        allow_insecure: hosts for which plain http is accepted.
        setting: where the URL comes from, for messages.
        floors: stores how far the logs were read, so that a rollback is detected after a restart.

    Raises `ConfigurationError`. `close` ends the thread.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: Secret | None,
        trust_anchor: str | None = None,
        startup_timeout: float = FIRST_LOOK_SECONDS,
        allow_insecure: Iterable[str] = (),
        setting: str = "url",
        floors: Floors | None = None,
    ) -> None:
        self._wait = _seconds(startup_timeout)
        endpoint = Endpoint(
            url, api_key=api_key, timeout=TIMEOUT, allow_insecure=allow_insecure, setting=setting
        )
        _check_pinned(endpoint.url, trust_anchor)
        self._learner = _SyncState(endpoint, trust_anchor, floors)
        self._run: _SyncThread | None = None
        self._starting = threading.Lock()
        self._closed = False
        _followers.add(self)

    def __repr__(self) -> str:
        return f"ControlPlaneSync({self._learner.url})"

    @property
    def max_depth(self) -> int:
        """The control plane's limit of delegations in a chain."""
        return self._learner.max_depth

    def issuers(self) -> list[str]:
        """Return the DIDs that may root a chain now; none before the first synchronization."""
        return self._learner.issuers()

    def server_time(self) -> float | None:
        """Return the control plane's time now; None before the first synchronization."""
        return self._learner.server_time()

    def lookup(self, ids: Collection[str]) -> RevocationStatus:
        """Return those of `ids` that are revoked, with the age of that knowledge."""
        self.look()
        return self._learner.seen(ids)

    async def alookup(self, ids: Collection[str]) -> RevocationStatus:
        """The same as `lookup`, to be awaited under asyncio and trio."""
        await self.alook()
        return self._learner.seen(ids)

    def look(self) -> None:
        """Start the thread. The first callers wait up to `startup_timeout` for a first state."""
        run = self._running()
        if run is not None and run.wants_time:
            run.wait()

    async def alook(self) -> None:
        """The same as `look`, to be awaited."""
        run = self._running()
        if run is not None and run.wants_time:
            await anyio.to_thread.run_sync(run.wait, abandon_on_cancel=True)

    def ready(self) -> None:
        """Wait for the first synchronization; raise the error if it fails.

        Raises `ConfigurationError` for a control plane whose keys do not follow the pinned DID,
        `Unreachable` if there is no reply, another `ControlPlaneError` for an invalid reply,
        `SignerError` without the signing binary.
        """
        self.look()
        self._learner.check(self._wait)

    async def aready(self) -> None:
        """The same as `ready`, to be awaited."""
        await self.alook()
        self._learner.check(self._wait)

    def close(self, *, wait: bool = True) -> None:
        """End the thread. The state stays, and its age grows. Idempotent."""
        with self._starting:
            self._closed = True
            run = self._run
        if run is not None:
            run.stop()
            if wait:
                run.join()

    def after_fork(self) -> None:
        """Reset the state in a forked child, which does not have the parent's thread."""
        self._starting = threading.Lock()
        self._run = None

    def _running(self) -> _SyncThread | None:
        """Return this process's thread, started if there is none; None after `close`."""
        run = self._run
        if run is not None and run.lasts:
            return run
        with self._starting:
            if self._closed or (self._run is not None and self._run.lasts):
                return self._run
            run = self._run = _SyncThread(self._learner.learn, self._wait)
            # Ends the thread if this is collected without `close`; the thread does not refer to it.
            weakref.finalize(self, run.stop)
            return run


class _SyncState:
    """The state, and the coroutine that updates it. It survives a fork."""

    def __init__(self, endpoint: Endpoint, pinned: str | None, floors: Floors | None) -> None:
        self.url = endpoint.url
        self.max_depth = MAX_CHAIN_DEPTH
        self._http = AsyncHttp(endpoint)
        self._pinned = pinned
        self._floors = floors
        self._issuers: TrustedIssuers | None = None
        self._followed: RevocationFeed | None = None
        self._report: Callable[[], object] = lambda: None
        self._failure: Exception | None = None

    def issuers(self) -> list[str]:
        return [] if self._issuers is None else list(self._issuers)

    def server_time(self) -> float | None:
        return None if self._followed is None else self._followed.server_time()

    def seen(self, ids: Collection[str]) -> RevocationStatus:
        if self._followed is not None:
            return self._followed.status(ids)
        why = "the control plane has sent no usable reply"
        if isinstance(self._failure, ConfigurationError):
            why = "the control plane's keys do not follow the pinned issuer"
        elif not isinstance(self._failure, ControlPlaneError | SignerError | None):
            why = f"the stored position in their log cannot be read: {self._failure}"
        return RevocationStatus(frozenset(), NEVER, f"revocations are not known yet: {why}")

    def check(self, waited: float) -> None:
        """Raise the error after `waited` seconds, unless the log was read to its end once."""
        seen = self.seen(())
        if seen.age_seconds != NEVER:
            return
        failure = self._failure if self._followed is None else self._followed.failure
        if isinstance(failure, Unreachable):
            why = str(failure).rstrip(".")
        elif isinstance(failure, NomosError):
            raise failure
        elif failure is not None:
            raise InvalidResponse(f"{self.url}: {seen.error}")
        else:
            why = f"{self.url}: {seen.error}. Check that it is running and that this is its URL"
        end = "" if why.endswith("?") else "."
        raise Unreachable(
            f"{why}{end} There was no valid reply within {waited:g} s",
            advice="startup_timeout= sets a longer limit",
        ) from failure

    async def learn(self, report: Callable[[], object]) -> None:
        """Update the state until cancelled; `report` is called once there is a state."""
        self._report = report
        while self._followed is None:
            try:
                await self._begin(AsyncSigner(shared()))
            except NomosError as failure:
                if type(failure) is not type(self._failure):
                    log.warning("%s", failure)
                self._failure = failure
                if isinstance(failure, ConfigurationError):
                    report()
                await anyio.sleep(LONGEST_PAUSE * random.uniform(0.5, 1))  # noqa: S311
        await self._followed.run()

    async def _begin(self, signer: AsyncSigner) -> None:
        """Read the trust anchor and the keys, and verify them. Raises the error."""
        try:
            document = content(await self._http.send(Send("GET", "/.well-known/nomos", {})))
            start = find_trust_anchor(document, self._pinned)
            check = checking_async(signer)
            found = await keys.trusted_async(start.entries, start.tenant, start.did, check)
        except InvalidFeedReply as problem:
            raise InvalidResponse(f"{self.url}/.well-known/nomos: {problem}") from None
        except (NoTrustAnchor, keys.BrokenKeys) as problem:
            raise self._unfounded(problem) from None
        issuers = TrustedIssuers(start.did, start.tenant, time.time)
        floor = await self._floor(start.did)
        if keys_missing(start.entries, floor.keys) is None:
            # A log without the stored rows is not used: the right one could not continue it.
            issuers.follow(keys_of(start.entries, found.trusted))
        followed = self._following(signer, issuers, start, floor)
        # The process may fork between these lines; `_followed` is set last.
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
        """Return the feed to follow, with the stored floor."""
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
        self._report()  # replaced in a forked child

    def _unfounded(self, problem: Exception) -> Exception:
        why = str(problem)[:SHOWN]
        if self._pinned is None:
            return InvalidResponse(f"{self.url}/.well-known/nomos: {why}")
        return ConfigurationError(
            f"the keys of the control plane at {self.url} do not follow the pinned issuer: {why}. "
            "Check the DID and the URL",
            setting="trust_anchor",
        )


class _SyncThread:
    """A thread with an asyncio loop of its own, in one process, until `stop`."""

    def __init__(
        self, learn: Callable[[Callable[[], object]], Awaitable[None]], wait: float
    ) -> None:
        self._pid = os.getpid()
        self._learn = learn
        self._began = time.monotonic()
        self._until = self._began + wait
        self._report = threading.Event()
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
        """Whether no other thread is needed, or it is too early to start one."""
        return self.alive or time.monotonic() < self._began + LONGEST_PAUSE

    @property
    def wants_time(self) -> bool:
        """Whether there is no state yet, and a caller should wait for it."""
        return not self._report.is_set() and time.monotonic() < self._until

    def wait(self) -> None:
        """Wait until there is a state, or `startup_timeout` has passed."""
        self._report.wait(max(0.0, self._until - time.monotonic()))

    def stop(self) -> None:
        """Let the thread end. Takes no lock, because the garbage collector may call it."""
        self._stopped = True
        loop, task = self._loop, self._task
        if loop is not None and task is not None and self._pid == os.getpid():
            # The loop is closed if it has ended by itself.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)

    def join(self) -> None:
        """Wait for the thread's end, for a limited time."""
        if self.alive and self._thread is not threading.current_thread():
            self._thread.join(TIMEOUT)

    def _main(self) -> None:
        import asyncio  # takes 20 ms, so it is imported only by processes that follow

        try:
            asyncio.run(self._work())
        except Exception:
            # At interpreter shutdown a loop cannot start threads; that is not logged.
            if threading.main_thread().is_alive():
                log.exception("following the revocations failed; the next token restarts it")
        finally:
            self._report.set()

    async def _work(self) -> None:
        import asyncio

        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        if not self._stopped:  # `stop` sets this before it reads the loop
            with contextlib.suppress(asyncio.CancelledError):
                await self._learn(self._report.set)


def _seconds(wait: object) -> float:
    number = isinstance(wait, int | float) and not isinstance(wait, bool)
    if number and LEAST_WAIT <= float(str(wait)) <= MOST_WAIT:
        return float(str(wait))
    raise ConfigurationError(
        f"startup_timeout must be a number of seconds from {LEAST_WAIT:g} to {MOST_WAIT:g}, "
        f"not {wait!r:.40}",
        setting="startup_timeout",
    )


def _check_pinned(url: str, pinned: str | None) -> None:
    if pinned is not None and not is_did(pinned):
        raise ConfigurationError(
            "trust_anchor must be a did:key:z6Mk…, as in `issuers` of the control plane's "
            "/.well-known/nomos. Obtain it over a trusted connection",
            setting="trust_anchor",
        )
    if pinned is None and not (url.startswith("https:") or is_loopback(url)):
        raise ConfigurationError(
            "plain http cannot authenticate the issuer: use https, or pass the issuer that you "
            "know: trust_anchor=did:key:…",
            setting="trust_anchor",
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
