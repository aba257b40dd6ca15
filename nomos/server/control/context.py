"""`Context`: everything external that the control plane uses, as one frozen value."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from nomos.models import MAX_CHAIN_DEPTH
from nomos.policy.bundle import Bundle
from nomos.resources import Catalog
from nomos.server.background.notifier import Notifier
from nomos.server.control.errors import ControlError
from nomos.server.control.feed_subscribers import FeedSubscribers
from nomos.server.control.limits import LoginThrottle, LongPollLimiter
from nomos.server.http.limits import SlidingWindowCounter
from nomos.server.http.quotas import BYTES_A_SECOND, QUESTIONS_A_SECOND, QuotaExceeded, Quotas
from nomos.server.policies.active import ActivePolicy
from nomos.server.signing.issuers import Issuers
from nomos.server.signing.keys import KeyFiles, SignerPort
from nomos.server.storage.store import Store


def rates_of_apps(earlier: Iterable[tuple[str, int, int]] = ()) -> SlidingWindowCounter:
    """Return a rate counter by app. The database bounds the number of apps."""
    return SlidingWindowCounter(earlier, most_keys=None, most_counted=None)


@dataclass(frozen=True)
class Context:
    """Everything external that the control plane uses.

    `issuers` has the DID that signs for each tenant, `key_log` the history of these keys; `clock`
    returns Unix time in seconds, `elapsed` a monotonic time in seconds.
    """

    signer: SignerPort
    store: Store
    keys: KeyFiles
    live: ActivePolicy
    catalog: Catalog
    issuers: Mapping[str, str]
    key_log: Issuers
    pdp_did: str
    clock: Callable[[], float]
    control_url: str
    pdp_url: str
    version: str
    max_chain_depth: int = MAX_CHAIN_DEPTH
    rates: SlidingWindowCounter = field(default_factory=rates_of_apps)
    faults: SlidingWindowCounter = field(default_factory=rates_of_apps)
    quotas: Quotas = field(default_factory=Quotas)
    notifier: Notifier = field(default_factory=Notifier)
    waiting: LongPollLimiter = field(default_factory=LongPollLimiter)
    elapsed: Callable[[], float] = time.monotonic
    attempts: LoginThrottle = field(default_factory=LoginThrottle)
    followers: FeedSubscribers = field(default_factory=FeedSubscribers)
    _turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = field(
        default_factory=WeakValueDictionary
    )

    @property
    def bundle(self) -> Bundle:
        """Return the policies that are active now; call it once for each decision."""
        return self.live.bundle

    def take_quota(self, app: str, size: int) -> None:
        """Count a request of `size` bytes whose records are kept. Raises ControlError (429)."""
        try:
            self.quotas.take(app, size, self.elapsed())
        except QuotaExceeded as quota:
            raise ControlError(
                "rate_limited",
                f"this app has exceeded its quota ({quota.what}): {QUESTIONS_A_SECOND} questions "
                f"and {BYTES_A_SECOND // 1024} KiB a second are sustainable. Nothing was decided",
                headers=quota.headers,
            ) from None

    def idempotency_lock(self, app: str, key: str | None) -> AbstractAsyncContextManager[None]:
        """Return the lock that a question with this idempotency key holds while it is answered."""
        if key is None:
            return nullcontext()
        return self._turns.setdefault((app, key), asyncio.Lock())
