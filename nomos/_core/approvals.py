"""Questions put to people: seeing them, waiting for an answer, giving one.

    look      one approval as it is now
    wait      the same, until somebody has decided or time is up
    queue     those that wait for an answer
    decide    a person's yes or no

An agent waits and looks. Deciding takes an operator's API key, which the caller of the flow has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, get_args

from nomos._core import replies, requests, retry
from nomos._core.approval_bodies import ApprovalBody
from nomos._core.effects import Flow, HttpReply, Now, Pause, Send, perform
from nomos.errors import (
    ConfigurationError,
    ControlPlaneError,
    InvalidRequest,
    Unintelligible,
    Unreachable,
)
from nomos.models import ResponseModel
from nomos.outcomes import Approval, ApprovalState

ENVELOPE: Final = re.compile(r"env_[0-9A-Za-z_-]{1,64}")

HOLD: Final = 25
"""Seconds for which the server is asked to hold a question open."""

LOOK_SECONDS: Final = 1.0
"""Between the beginnings of two looks at least, for servers that hold nothing open."""

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
"""Seconds after a failure, before jitter. The pause doubles with each failure in a row."""

ROOM_SECONDS: Final = 1.0
"""Left for an answer to arrive, when the server is asked to hold a question nearly to the end."""

LAST_LOOK_SECONDS: Final = 0.5
"""For a look that begins as time runs out: it may end that much later."""

MAX_LISTED: Final = 200

QUEUES: Final = (*get_args(ApprovalState), "all")


@dataclass(frozen=True)
class Waiting:
    """One call of `wait_for_approval`: `jitter` in [0, 1) is what spreads many of them."""

    envelope_id: str
    timeout: float
    jitter: float


@dataclass(frozen=True)
class _PollFailure:
    """An answer that did not come: what raises if there is never one, and a wait asked for."""

    error: ControlPlaneError
    retry_after: float = 0.0


class _Queue(ResponseModel):
    approvals: tuple[ApprovalBody, ...]


def get_approval(envelope_id: str, pauses: Sequence[float]) -> Flow[Approval]:
    """Return an approval as it is now."""
    reply = yield from retry.send(_look(envelope_id), pauses)
    return _approval(reply, envelope_id)


def wait(call: Waiting) -> Flow[Approval]:
    """Return the approval once it is decided; raise `TimeoutError` if nobody does in time.

    The server holds each look open, so that the answer is here when it is there. Looks that
    fail are repeated until the time is up; the last look is at its very end.
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
    told = replies.parse(reply, _Queue, what="a list of approvals")
    return tuple(each.value() for each in told.approvals)


def decide(
    envelope_id: str,
    *,
    approve: bool,
    reason: str | None,
    pauses: Sequence[float],
    version: str | None = None,
) -> Flow[Approval]:
    """Answer a question, as the operator whose API key is used; return what became of it.

    The answer is to `version` of the question; without one the question is read first, and the
    answer is to what it says then.
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
        raise Unintelligible(
            f"the control plane does not say which version of {envelope_id} it shows, so no answer "
            "could name it: nothing was decided"
        )
    body["version"] = version
    path = f"/v1/approvals/{_checked(envelope_id)}/decide"
    reply = yield from retry.send(requests.post(path, body), pauses)
    return _approval(reply, envelope_id)


def checked_timeout(seconds: float) -> float:
    """Return a time to wait: 0 looks once, infinity waits for as long as it takes."""
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if number and seconds >= 0:  # which NaN is not
        return float(seconds)
    raise ConfigurationError(
        f"timeout must be 0 or more seconds to wait for a person, not {seconds!r}",
        setting="timeout",
    )


def longest(timeout: float, request: float) -> float:
    """Seconds that `wait` may take for everything; `request` is the bound of a single look."""
    seconds = checked_timeout(timeout)
    return seconds + LAST_LOOK_SECONDS if seconds > 0 else request


def _attempt(call: Waiting, *, left: float) -> Flow[Approval | _PollFailure]:
    """Look once; what may pass is returned, what will not is raised."""
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
    """Nobody decided in time, which only one who was told so may say."""
    if pending is None:
        assert trouble is not None, "every look ends in one of the two"
        return trouble.error
    where = f", at {pending.url}" if pending.url else ""
    sentence = (
        f"nobody has decided about {call.envelope_id} within {call.timeout:g} s. A person still "
        f"can until {pending.expires_at:%Y-%m-%d %H:%M:%S} UTC{where}"
    )
    if trouble is not None:
        sentence += f" (the last look failed: {trouble.error})"
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
