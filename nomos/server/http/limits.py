"""Rate limits over a sliding minute, and limits on concurrency.

Both count in this process, for one event loop.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

WINDOW: Final = 60  # the length of the window, in seconds
MAX_COUNTED: Final = 10_000
MAX_KEYS: Final = 10_000


class SlidingWindowCounter:
    """Counts per key over a sliding minute.

    `earlier` has the counts from before a restart: key, second, number. Beyond `most_keys` the
    key that was counted longest ago is dropped; of one key, more than `most_counted` are counted
    as that many. None means no limit, for keys or times that are limited elsewhere.

    Counts with times later than now are dropped: a clock was ahead then, and the right time is not
    known.
    """

    def __init__(
        self,
        earlier: Iterable[tuple[str, int, int]] = (),
        *,
        most_keys: int | None = MAX_KEYS,
        most_counted: int | None = MAX_COUNTED,
    ) -> None:
        self._seen: OrderedDict[str, _Times] = OrderedDict()
        self._most_keys = most_keys
        self._most_counted = most_counted
        for key, second, count in sorted(earlier):
            self._seen.setdefault(key, _Times()).add(second, count)

    def count(self, key: str, now: float) -> int:
        """Count `key`, and return how often it was counted in the minute before that."""
        times = self._seen.setdefault(key, _Times())
        self._seen.move_to_end(key)
        if self._most_keys is not None and len(self._seen) > self._most_keys:
            self._seen.popitem(last=False)
        times.forget_all_but(now)
        before = times.total
        times.add(now, 1)
        if self._most_counted is not None and times.total > self._most_counted:
            times.forget_oldest()
        return before

    def admits(self, key: str, now: float, most: int) -> bool:
        """Count `key` and return True if it was counted fewer than `most` times in the last minute.

        Otherwise return False, without counting: a caller that keeps trying is admitted after a
        minute at most.
        """
        if self._now(key, now).total >= most:
            return False
        self.count(key, now)
        return True

    def wait(self, key: str, now: float, most: int) -> float:
        """Return how many seconds there are until `key` was counted fewer than `most` times."""
        times = self._now(key, now)
        return 0.0 if times.total < most else times.oldest + WINDOW - now

    def __len__(self) -> int:
        return len(self._seen)

    def _now(self, key: str, now: float) -> _Times:
        """Return the times of a key, without adding the key."""
        times = self._seen.get(key) or _Times()
        times.forget_all_but(now)
        return times


class _Times:
    """Times, each with how often it was counted, oldest first; `total` is the sum."""

    def __init__(self) -> None:
        self._times: deque[tuple[float, int]] = deque()
        self.total = 0

    @property
    def oldest(self) -> float:
        return self._times[0][0]

    def add(self, at: float, count: int) -> None:
        self.total += count
        if self._times and self._times[-1][0] == at:
            count += self._times.pop()[1]
        self._times.append((at, count))

    def forget_all_but(self, now: float) -> None:
        """Drop all times that are not within the minute that ends now."""
        while self._times and self._times[-1][0] > now:
            self.total -= self._times.pop()[1]
        while self._times and self._times[0][0] <= now - WINDOW:
            self.total -= self._times.popleft()[1]

    def forget_oldest(self) -> None:
        at, count = self._times.popleft()
        self.total -= 1
        if count > 1:
            self._times.appendleft((at, count - 1))


class ConcurrencyGate:
    """Admits `most` at a time, and `of_one` for each holder."""

    def __init__(self, of_one: int) -> None:
        self._of_one = of_one
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """The number of places that are held now."""
        return self._held.total()

    @contextmanager
    def admit(self, holder: str, most: int) -> Iterator[bool]:
        """Hold a place within the context; False if `most` are held, or `of_one` by this holder."""
        room = self.held < most and self._held[holder] < self._of_one
        self._held[holder] += room
        try:
            yield room
        finally:
            self._held[holder] -= room
            if not self._held[holder]:
                del self._held[holder]
