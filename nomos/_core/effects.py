"""The vocabulary in which a flow asks the outside world for something.

A flow is a generator: it yields an effect and is sent the effect's result, or thrown the
error that came instead. It opens no socket, starts no process and reads no clock, so one flow
serves `AuthGuard` and `AsyncAuthGuard`, and a test can play the outside world by hand.
A flow never yields inside `finally`: a cancelled caller closes it there and then.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from nomos._protocol import Answer, Refused, Request
from nomos.models import Chain

T = TypeVar("T")


class Effect(Generic[T]):
    """Something a driver performs; `T` is what the flow gets back."""


@dataclass(frozen=True)
class HttpReply:
    """An HTTP answer. `at` is when it arrived, in Unix seconds by this machine's clock."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    at: float


@dataclass(frozen=True)
class ChildCredential:
    """What a child without an API key signs to be heard: by which chain, and for which call.

    Without a `command`, it claims the request itself.
    """

    chain: Chain
    command: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Send(Effect[HttpReply]):
    """Send one request to the control plane; the driver adds the caller's credentials.

    `extra_timeout` is for questions that the server holds open: so many seconds longer than usual
    may the answer take. `within` bounds this one request, in seconds, below the usual bound.
    `claim` is for callers that have a chain and no API key; without it they claim the request
    itself, by any chain. Raises `Unreachable` into the flow when nothing answers in time.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)
    extra_timeout: float = 0.0
    within: float | None = None
    claim: ChildCredential | None = field(default=None, repr=False)
    public: bool = False
    """Whether anyone may ask this, so that no token has to be signed for it."""


@dataclass(frozen=True)
class Sign(Effect[Answer | Refused]):
    """Ask the signing binary. Raises `SignerError` into the flow when it gives no answer."""

    request: Request = field(repr=False)


class OutOfTime(Exception):
    """Raised into a flow by a `Pause` that would leave the caller's timeout no time after it."""


@dataclass(frozen=True)
class Pause(Effect[None]):
    """Do nothing for a while. Raises `OutOfTime` into the flow where there is no time for it."""

    seconds: float


@dataclass(frozen=True)
class Now(Effect[float]):
    """Read a clock that never goes back, in seconds. Only differences of its readings mean much."""


Flow: TypeAlias = Generator[Effect[Any], Any, T]


def perform(effect: Effect[T]) -> Flow[T]:
    """Yield one effect and return its result with its type intact."""
    result: T = yield effect
    return result


def rewritten(
    flow: Flow[T], kind: type[Effect[Any]], change: Callable[[Any], Flow[Effect[Any]]]
) -> Flow[T]:
    """Return `flow` with each effect of one kind replaced by what `change` makes of it.

    `change` may have effects of its own, which are yielded as they are. What it raises is thrown
    into `flow`, as if the effect had raised it.
    """
    try:
        effect = next(flow)
        while True:
            try:
                if isinstance(effect, kind):
                    effect = yield from change(effect)
                result = yield effect
            except Exception as error:  # noqa: BLE001 - the flow decides what it means
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        flow.close()
