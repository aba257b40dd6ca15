"""Delivery of the outbox's messages, at least once, to the configured webhook.

A message is due as soon as it is written. After each failure the wait doubles, from one second
to five minutes; after a day the message is given up. The receiver gets the stored bytes, signed
anew for each try (`nomos.webhooks`), and answers with a status from 200 to 299. Its body is not
read and no redirect is followed, so that it cannot make the server send requests elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from nomos._io.failures import reason
from nomos.server.background.notifier import MAX_WAIT_SECONDS, Notifier
from nomos.server.settings import Webhook
from nomos.server.storage.outbox import Message, Outbox
from nomos.webhooks import HEADER, sign

if TYPE_CHECKING:
    import httpx

TOPIC: Final = "outbox"
DELIVERY: Final = "Nomos-Delivery"

AT_ONCE: Final = 8
"""Messages in delivery at a time: a try that hangs occupies one of eight places."""

TRY_SECONDS: Final = 10.0
LEASE_SECONDS: Final = 30  # longer than one try and the storing of its result
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 300.0
GIVEN_UP_AFTER: Final = 24 * 3600
PRUNES_EVERY: Final = 3600.0

_CHANCE: Final = secrets.SystemRandom().random

log = logging.getLogger("nomos.server")


class Deliverer:
    """Sends messages from the outbox to the webhook. `run` is a background task."""

    def __init__(
        self,
        webhook: Webhook,
        outbox: Outbox,
        notifier: Notifier,
        clock: Callable[[], float],
        *,
        jitter: Callable[[], float] = _CHANCE,
    ) -> None:
        self._webhook = webhook
        self._outbox = outbox
        self._notifier = notifier
        self._clock = clock
        self._jitter = jitter

    async def run(self) -> None:
        """Deliver until cancelled."""
        from nomos._io.transports import server_transport

        async with AsyncExitStack() as open_:
            # No netrc, no cookies, no redirects, no retries: a bare transport.
            made = await asyncio.to_thread(
                server_transport, self._webhook.url, connections=AT_ONCE, kept=AT_ONCE
            )
            transport = await open_.enter_async_context(made)
            tries = await open_.enter_async_context(asyncio.TaskGroup())
            tries.create_task(self._tidy())
            under_way: set[asyncio.Task[None]] = set()
            while True:
                free = AT_ONCE - len(under_way)
                claimed = await self._outbox.due(free, LEASE_SECONDS) if free else ()
                for message in claimed:
                    task = tries.create_task(self._deliver(transport, message))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                if not claimed:
                    await self._notifier.wait(TOPIC, MAX_WAIT_SECONDS)

    async def _tidy(self) -> None:
        while True:
            await self._outbox.prune()
            await asyncio.sleep(PRUNES_EVERY)

    async def _deliver(self, transport: httpx.AsyncHTTPTransport, message: Message) -> None:
        failure = await self._try(transport, message)
        if failure is None:
            await self._outbox.delivered(message.id)
        else:
            again_at = self._again_at(message)
            await self._outbox.failed(message.id, failure, again_at)
            _log(message, failure, again_at)
        self._notifier.notify(TOPIC)

    async def _try(self, transport: httpx.AsyncHTTPTransport, message: Message) -> str | None:
        """Send a message once; return why it failed, without text of the receiver, or None."""
        import httpx

        try:
            async with asyncio.timeout(TRY_SECONDS):
                response = await transport.handle_async_request(self._request(message))
                await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            return f"no answer within {TRY_SECONDS:g} s"
        except httpx.HTTPError as error:
            return f"it cannot be reached ({reason(error)})"
        status = response.status_code
        if 200 <= status < 300:
            return None
        if 300 <= status < 400:
            return f"it answered {status}, a redirect, which is not followed"
        return f"it answered {status}"

    def _request(self, message: Message) -> httpx.Request:
        import httpx

        body = message.body.encode()
        timeout = httpx.Timeout(TRY_SECONDS)
        return httpx.Request(
            "POST",
            self._webhook.url,
            headers={
                "content-type": "application/json",
                "user-agent": "nomos-webhook",
                HEADER: sign(self._webhook.secret, body, int(self._clock())),
                DELIVERY: message.id,
            },
            content=body,
            extensions={"timeout": timeout.as_dict()},
        )

    def _again_at(self, message: Message) -> int | None:
        """Return the time of the next try; None to give up, never while the clock may be ahead."""
        now, steady = self._clock(), self._outbox.steady.now()
        if steady is not None and steady - message.created_at >= GIVEN_UP_AFTER:
            return None
        return math.ceil(now + pause(message.tries, self._jitter()))


def _log(message: Message, failure: str, again_at: int | None) -> None:
    """Log the first failure of a message, and the last."""
    if again_at is None:
        log.error(
            "webhook: %s (%s) is given up after %d tries: %s",
            *(message.id, message.event, message.tries, failure),
        )
    elif message.tries == 1:
        log.warning(
            "webhook: %s (%s) was not delivered: %s. Retries go on for a day",
            *(message.id, message.event, failure),
        )


def pause(tries: int, jitter: float) -> float:
    """Return the pause in seconds: doubled per failure, at most five minutes, half of it random."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(tries - 1, 16))
    return longest * (0.5 + jitter / 2)
