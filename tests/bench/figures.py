"""Timing alternatives in turn, and printing what came out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def in_turn(rounds: int, *alternatives: Callable[[], object]) -> list[list[float]]:
    """Run each alternative once a round, so that noise falls on all of them; return seconds."""
    for alternative in alternatives:
        for _ in range(20):
            alternative()
    taken: list[list[float]] = [[] for _ in alternatives]
    for _ in range(rounds):
        for times, alternative in zip(taken, alternatives, strict=True):
            began = time.perf_counter()
            alternative()
            times.append(time.perf_counter() - began)
    return taken


def table(title: str, names: Sequence[str], taken: Sequence[Sequence[float]]) -> None:
    """Print p50 and p99 in microseconds, and each median as a multiple of the first."""
    first = statistics.median(taken[0])
    print(f"\n{title} ({len(taken[0])} rounds)")
    print(f"  {'':44}{'p50 µs':>10}{'p99 µs':>10}{'ratio':>8}")
    for name, times in zip(names, taken, strict=True):
        p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
        print(f"  {name:44}{p50 * 1e6:10.0f}{p99 * 1e6:10.0f}{p50 / first:8.2f}")
