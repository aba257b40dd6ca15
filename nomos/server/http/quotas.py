"""Quotas per app: how many requests it may send, and how many bytes of them are stored.

Both are token buckets that begin full: a burst passes, a continuous load is slowed down to what the
disk can take, and other apps are not affected.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Literal

QUESTIONS: Final = 10_000
QUESTIONS_A_SECOND: Final = 100
BYTES: Final = 64 * 1024 * 1024
BYTES_A_SECOND: Final = 256 * 1024
OF_EACH: Final = 4096
"""Bytes that a question takes besides its own size: records, the answer, indexes."""

MOST_APPS: Final = 10_000
"""The number of apps remembered; then the one that asked longest ago is dropped and begins full."""


@dataclass
class _Left:
    questions: float
    size: float
    at: float


class QuotaExceeded(Exception):
    """The app has too little quota of `what`; after `wait` seconds it has enough."""

    def __init__(self, what: Literal["questions", "bytes"], wait: int) -> None:
        super().__init__(what)
        self.what = what
        self.wait = wait

    @property
    def headers(self) -> dict[str, str]:
        """The header that says when to try again."""
        return {"retry-after": str(self.wait)}


class Quotas:
    """The remaining quota of each app, in this process; `kept` bytes are added to each request."""

    def __init__(
        self, questions: float = QUESTIONS, size: int = BYTES, *, kept: int = OF_EACH
    ) -> None:
        self._questions = questions
        self._size = size
        self._kept = kept
        self._left: OrderedDict[str, _Left] = OrderedDict()

    def take(self, app: str, size: int, now: float) -> None:
        """Count a request of `size` bytes at `now` (monotonic seconds). Raises QuotaExceeded."""
        left = self._left.pop(app, None) or _Left(self._questions, self._size, now)
        passed = max(0.0, now - left.at)
        left.questions = min(self._questions, left.questions + passed * QUESTIONS_A_SECOND)
        left.size = min(self._size, left.size + passed * BYTES_A_SECOND)
        left.at = now
        self._left[app] = left
        if len(self._left) > MOST_APPS:
            self._left.popitem(last=False)
        wanted = min(size + self._kept, self._size)
        wait = max((1 - left.questions) / QUESTIONS_A_SECOND, (wanted - left.size) / BYTES_A_SECOND)
        if wait > 0:
            what: Literal["questions", "bytes"] = "questions" if left.questions < 1 else "bytes"
            raise QuotaExceeded(what, max(1, math.ceil(wait)))
        left.questions -= 1
        left.size -= wanted
