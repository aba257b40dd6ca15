"""Flows for approvals: read one, wait for its decision, list them, decide.

    get_approval    one approval as it is now
    wait            the same, until it is decided or the time is up
    queue           the newest approvals in one state
    decide          an operator's vote

An agent reads and waits. `decide` needs an operator's API key, which the caller of the flow has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, get_args

from nomos._core import replies, requests, retry
from nomos._core.approval_bodies import ApprovalBody
from nomos._core.effects import Flow, HttpReply, Now, Pause, Send, perform
from nomos._times import in_words
from nomos.approvals import Approval, ApprovalState
from nomos.errors import (
    ConfigurationError,
    ControlPlaneError,
    InvalidRequest,
    InvalidResponse,
    Unreachable,
)
from nomos.models import ResponseModel

ENVELOPE: Final = re.compile(r"env_[0-9A-Za-z_-]{1,64}")

HOLD: Final = 25  # seconds for which the server is asked to hold a request open
LOOK_SECONDS: Final = 1.0
"""The least time between the beginnings of two requests, for servers that hold nothing open."""

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
"""Seconds after a failure, before jitter. The pause doubles with each failure in a row."""

ROOM_SECONDS: Final = 1.0
"""Time left for the reply to arrive, when the server holds a request open until nearly the end."""

LAST_LOOK_SECONDS: Final = 0.5
"""Time for a request that begins as the timeout expires: the wait may end this much later."""

MAX_LISTED: Final = 200

QUEUES: Final = (*get_args(ApprovalState), "all")


@dataclass(frozen=True)
class Waiting:
    """One call of `wait_for_approval`; `jitter` in [0, 1) spreads the requests of many callers."""

    envelope_id: str
    timeout: float
    jitter: float


@dataclass(frozen=True)
class _PollFailure:
    """A failed request: its error, and the pause that the server asked for in seconds."""

    error: ControlPlaneError
    retry_after: float = 0.0


class _Queue(ResponseModel):
    approvals: tuple[ApprovalBody, ...]


def get_approval(envelope_id: str, pauses: Sequence[float]) -> Flow[Approval]:
    """Return an approval as it is now."""
    reply = yield from retry.send(_look(envelope_id), pauses)
    return _approval(reply, envelope_id)


def wait(call: Waiting) -> Flow[Approval]:
    """Return the approval once it is decided; raise `TimeoutError` if it is not decided in time.

    The server holds each request open, so that a decision is reported at once. Failed requests are
    repeated until the time is up; the last request is made at its very end.
    """
    pending: Approval | None = None
    failures = 0
    now = yield from perform(Now())
    end = now + checked_timeout(call.timeout)
    while True:
        began = now
        found = yield from _attempt(call, left=end - began)
        if isinstance(found, Approval):
            if found.state != "pending":
                return found
            pending, failures = found, 0
        else:
            failures += 1
        now = yield from perform(Now())
        if now >= end:
            break
        pause, left = _pause(call, found, failures, took=now - began), end - now
        if pause > 0:
            yield from perform(Pause(min(pause, left)))
            now = yield from perform(Now())
        if isinstance(found, _PollFailure) and found.retry_after > left:
            break
    trouble = found if isinstance(found, _PollFailure) else None
    raise _wait_timeout(call, pending, trouble) from (trouble.error if trouble else None)


def queue(state: str, limit: int, pauses: Sequence[float]) -> Flow[tuple[Approval, ...]]:
    """Return the newest approvals in a state."""
    if state not in QUEUES:
        raise InvalidRequest(f"state must be one of {', '.join(QUEUES)}", fields=("state",))
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LISTED:
        message = f"limit must be a whole number from 1 to {MAX_LISTED}"
        raise InvalidRequest(message, fields=("limit",))
    path = f"/v1/approvals?state={state}&limit={limit}"
    reply = yield from retry.send(requests.get(path), pauses)
    listed = replies.parse(reply, _Queue, what="a list of approvals")
    return tuple(each.value() for each in listed.approvals)


def decide(
    envelope_id: str,
    *,
    approve: bool,
    reason: str | None,
    pauses: Sequence[float],
    version: str | None = None,
) -> Flow[Approval]:
    """Vote on an approval, as the operator whose API key is used; return the changed approval.

    The vote is for `version` of the question; without it the approval is read first, and the vote
    is for the version that was read.
    """
    if not isinstance(approve, bool):
        raise InvalidRequest("approve must be True or False", fields=("approve",))
    if not (version is None or isinstance(version, str)):
        raise InvalidRequest("version must be that of an approval, a str", fields=("version",))
    body = {"approve": approve, **requests.reason(reason)}
    if version is None:
        shown = yield from get_approval(envelope_id, pauses)
        version = shown.version
    if version is None:
        raise InvalidResponse(
            f"the control plane returned {envelope_id} without a version, which a vote has to "
            "name: nothing was decided"
        )
    body["version"] = version
    path = f"/v1/approvals/{_checked(envelope_id)}/decide"
    reply = yield from retry.send(requests.post(path, body), pauses)
    return _approval(reply, envelope_id)


def checked_timeout(seconds: float) -> float:
    """Return a time to wait in seconds: 0 for one request, infinity to wait without a limit."""
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if number and seconds >= 0:  # which NaN is not
        return float(seconds)
    raise ConfigurationError(
        f"timeout must be 0 or more seconds to wait for a person, not {seconds!r}",
        setting="timeout",
    )


def longest(timeout: float, request: float) -> float:
    """Return how many seconds `wait` may take; `request` is the limit of a single request."""
    seconds = checked_timeout(timeout)
    return seconds + LAST_LOOK_SECONDS if seconds > 0 else request


def _attempt(call: Waiting, *, left: float) -> Flow[Approval | _PollFailure]:
    """Make one request; a temporary failure is returned, a permanent one is raised."""
    hold = int(min(HOLD, max(left - ROOM_SECONDS, 0)))
    within = max(left, LAST_LOOK_SECONDS) if call.timeout > 0 else None
    try:
        reply = yield from perform(_look(call.envelope_id, hold, within))
    except Unreachable as error:
        return _PollFailure(error)
    if reply.status not in retry.WORTH_REPEATING:
        return _approval(reply, call.envelope_id)
    try:
        replies.raise_error(reply)
    except ControlPlaneError as error:
        return _PollFailure(error, retry.retry_after(reply) or 0.0)


def _pause(call: Waiting, found: Approval | _PollFailure, failures: int, *, took: float) -> float:
    spread = 1 + call.jitter
    if isinstance(found, _PollFailure):
        backoff = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10)) * spread
        return max(backoff, found.retry_after)
    return LOOK_SECONDS * spread - took


def _wait_timeout(
    call: Waiting, pending: Approval | None, trouble: _PollFailure | None
) -> Exception:
    """Return a timed-out wait's error: a `TimeoutError` if the approval was seen as pending."""
    if pending is None:
        assert trouble is not None, "every request returns an approval or a failure"
        return trouble.error
    where = f", at {pending.url}" if pending.url else ""
    sentence = (
        f"{call.envelope_id} was not decided within {call.timeout:g} s. A person can still decide "
        f"until {in_words(pending.expires_at)}{where}"
    )
    if trouble is not None:
        sentence += f" (the last request failed: {trouble.error})"
    return TimeoutError(sentence)


def _look(envelope_id: str, hold: int = 0, within: float | None = None) -> Send:
    path = f"/v1/approvals/{_checked(envelope_id)}"
    path = f"{path}?wait={hold}" if hold else path
    return replace(requests.get(path, patience=hold), within=within)


def _checked(envelope_id: object) -> str:
    if isinstance(envelope_id, str) and ENVELOPE.fullmatch(envelope_id):
        return envelope_id
    raise InvalidRequest(
        "envelope_id must be the approval_envelope_id of a grant that requires a step-up, "
        "such as env_01jb…",
        fields=("envelope_id",),
    )


def _approval(reply: HttpReply, envelope_id: str) -> Approval:
    approval = replies.parse(reply, ApprovalBody, what="an approval").value()
    replies.check_id(envelope_id, approval.id)
    return approval
