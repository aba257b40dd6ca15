"""The open connections of one listener, and which one is closed for a new one.

A connection on which a request is being answered is never closed for another. One may be closed
that is idle between requests, has not sent its whole request within a short time, or does not read
its reply: first those without a head, the one that waited longest first. So a client that opens
many silent connections closes its own by opening more.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Final, Literal, Protocol, get_args

from nomos.server.connections.limits import ConnectionLimits

Phase = Literal["idle", "head", "body", "unread", "served"]

SPARED_SECONDS: Final[Mapping[Phase, float]] = {
    "idle": 0.0,
    "head": 2.0,
    "body": 2.0,
    "unread": 2.0,
}
"""How long a connection is not closed in a phase, in seconds: its bytes may be in transit."""


class OpenConnection(Protocol):
    """The part of a connection that the table uses."""

    peer: str

    def drop(self) -> None:
        """Close at once."""
        ...

    def has_unread(self) -> bool:
        """Return whether bytes have arrived that this busy server has not read yet."""
        ...


class ConnectionTable:
    """Counts the connections of one listener. It belongs to one event loop."""

    def __init__(
        self, limits: ConnectionLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits
        self.on_room: Callable[[], None] = lambda: None
        self.on_scarce: Callable[[], None] = lambda: None
        self._clock = clock
        self._phases: dict[Phase, OrderedDict[OpenConnection, float]] = {
            phase: OrderedDict() for phase in get_args(Phase)
        }
        self._peers: Counter[str] = Counter()
        self._arriving = 0

    def __len__(self) -> int:
        return self._peers.total() + self._arriving

    def make_room(self) -> bool:
        """Reserve a place, closing another connection if necessary; False if none is free."""
        if len(self) >= self.limits.connections and not self.drop_one():
            return False
        self._arriving += 1
        return True

    def release(self) -> None:
        """Release a reserved place."""
        self._arriving -= 1

    def drop_one(self, peer: str | None = None) -> bool:
        """Close the least important connection, of `peer` if given; False if there is none."""
        held = next(self._closable(peer), None)
        if held is None:
            return False
        self._forget(held)
        held.drop()
        return True

    def add(self, held: OpenConnection) -> bool:
        """Count a new connection; False if its peer has too many that are being answered."""
        full = self._peers[held.peer] >= self.limits.connections * self.limits.share
        if full and not is_this_machine(held.peer) and not self.drop_one(held.peer):
            return False
        self._peers[held.peer] += 1
        self._phases["head"][held] = self._clock()
        return True

    def move(self, held: OpenConnection, phase: Phase) -> None:
        """Set the phase of a connection; it becomes the most recent in that phase."""
        for others in self._phases.values():
            if others.pop(held, None) is not None:
                self._phases[phase][held] = self._clock()
                break
        if phase == "idle":
            self.on_room()

    def remove(self, held: OpenConnection) -> None:
        """Remove a connection. Idempotent."""
        if self._forget(held):
            self.on_room()

    def _forget(self, held: OpenConnection) -> bool:
        for others in self._phases.values():
            if others.pop(held, None) is not None:
                self._peers[held.peer] -= 1
                if not self._peers[held.peer]:
                    del self._peers[held.peer]
                return True
        return False

    def _closable(self, peer: str | None) -> Iterator[OpenConnection]:
        now = self._clock()
        for phase, seconds in SPARED_SECONDS.items():
            for held, since in self._phases[phase].items():
                if now - since < seconds:
                    break
                # Input of a client that does not read does not mean that this server is busy.
                waits = phase == "unread" or not held.has_unread()
                if (peer is None or held.peer == peer) and waits:
                    yield held


def is_this_machine(peer: str) -> bool:
    """Return whether an address is loopback: all clients behind a proxy or in a swarm share it."""
    try:
        return ip_address(peer.partition("%")[0]).is_loopback
    except ValueError:
        return not peer
