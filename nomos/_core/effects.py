"""Effects: what a flow yields to have I/O performed for it.

A flow is a generator. It yields an effect and is sent the effect's result, or the error is thrown
into it. It opens no socket, starts no process and reads no clock, so one flow serves `AuthGuard`
and `AsyncAuthGuard`, and tests can perform its effects by hand. A flow never yields inside
`finally`, because a cancelled caller closes it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from nomos._protocol import Answer, Refused, Request
from nomos.models import Chain

T = TypeVar("T")


class Effect(Generic[T]):
    """An action that a driver performs; `T` is the type of its result."""


@dataclass(frozen=True)
class HttpReply:
    """An HTTP response. `at` is when it arrived, in Unix seconds by this machine's clock."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    at: float


@dataclass(frozen=True)
class ChildCredential:
    """What a child without an API key signs to authenticate: its chain and the call.

    Without a `command`, it signs the request itself.
    """

    chain: Chain
    command: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Send(Effect[HttpReply]):
    """Send one request to the control plane; the driver adds the caller's credentials.

    `extra_timeout` is for requests that the server holds open: the reply may take that many seconds
    longer. `within` limits this one request, in seconds, below the usual limit. `claim` is for
    callers that have a chain and no API key; without it they sign the request itself, by any of
    their chains. Raises `Unreachable` into the flow if no reply arrives in time.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)
    extra_timeout: float = 0.0
    within: float | None = None
    claim: ChildCredential | None = field(default=None, repr=False)
    public: bool = False
    """Whether the request needs no authentication, so that no token has to be signed for it."""


@dataclass(frozen=True)
class Sign(Effect[Answer | Refused]):
    """Ask the signing binary. Raises `SignerError` into the flow if it gives no answer."""

    request: Request = field(repr=False)


class OutOfTime(Exception):
    """Raised into a flow by a `Pause` after which the caller's timeout would have expired."""


@dataclass(frozen=True)
class Pause(Effect[None]):
    """Wait for some seconds. Raises `OutOfTime` into the flow if the timeout is too short."""

    seconds: float


@dataclass(frozen=True)
class Now(Effect[float]):
    """Read a monotonic clock, in seconds. Only differences between readings are meaningful."""


Flow: TypeAlias = Generator[Effect[Any], Any, T]


def perform(effect: Effect[T]) -> Flow[T]:
    """Yield one effect and return its result with its type."""
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
