"""Limits of one listener: the number of connections and their deadlines."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

MOST_CONNECTIONS: Final = 4096
MOST_DESCRIPTORS: Final = 16_384
"""The soft limit of open files for processes that `nomos` starts, if the hard limit allows it."""

LISTENERS: Final = 2
"""Listeners that share the descriptors of a process: the control plane's and the PDP's."""


@dataclass(frozen=True)
class ConnectionLimits:
    """Bounds of one listener's connections; times are in seconds.

    `connections` is the most at a time; of these, one peer that is not this machine may hold
    `share`. `head` is for the first byte of a connection until the end of a request's head,
    `body` for its body, which must arrive at `rate` bytes a second at least. `idle` is for a
    connection between requests, longer than clients keep one. `write` is for a client that does
    not read its reply, or reads it at less than `rate`.
    """

    connections: int = MOST_CONNECTIONS
    share: float = 0.75
    head: float = 10.0
    body: float = 30.0
    rate: int = 1024
    idle: float = 75.0
    write: float = 20.0

    @classmethod
    def of_this_process(cls) -> ConnectionLimits:
        """Return limits that leave descriptors for the other listener and for files."""
        return cls(connections=share_of(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))


def share_of(descriptors: int) -> int:
    """Return how many connections one listener may hold where a process has `descriptors`."""
    if descriptors == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    rest = max(descriptors - 256, descriptors // 2)
    return max(8, min(MOST_CONNECTIONS, rest // LISTENERS))


def raise_descriptor_limit() -> None:
    """Raise this process's soft limit of open files. Only for processes that `nomos` starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MOST_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a system may refuse even its own hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
