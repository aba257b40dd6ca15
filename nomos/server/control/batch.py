"""Several questions in one request, each decided, recorded and answered separately."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from nomos._core.http_rules.errors import error_body
from nomos.errors import InvalidRequest
from nomos.server.control import messages
from nomos.server.control.authorize import authorize
from nomos.server.control.body import Still
from nomos.server.control.context import Context
from nomos.server.control.errors import ControlError, invalid
from nomos.server.control.messages import (
    AllowReply,
    DenyReply,
    ErrorReply,
    MessageModel,
    ReplyModel,
    StepUpReply,
)
from nomos.server.domain.accounts import ApiKey
from nomos.server.domain.authorization import Reply

MAX_QUESTIONS: Final = 100
MAX_KEY: Final = 252
"""The maximum length of a batch's `Idempotency-Key`: each question appends its index."""


class BatchRequest(MessageModel):
    """1 to 100 questions; each is what `POST /v1/authorize` takes."""

    requests: list[Any] = Field(
        min_length=1,
        max_length=MAX_QUESTIONS,
        description="Questions, each as `POST /v1/authorize` takes it.",
    )


class BatchReply(ReplyModel):
    """One result for each question, in their order: an answer or an error."""

    results: list[AllowReply | DenyReply | StepUpReply | ErrorReply]


async def authorize_batch(
    context: Context,
    caller: ApiKey,
    body: Mapping[str, Any],
    *,
    key: str | None,
    request_id: str,
    still: Still,
) -> Reply:
    """Answer each question of a batch, one after the other.

    A question that is invalid, or cannot be answered now, gets an error at its index: nothing of it
    is decided or recorded, and the others are answered. With an idempotency key, each question has
    that key with its index from 0 (`key#0`). Raises InvalidRequest if the body is not a batch.
    """
    if key is not None and len(key) > MAX_KEY:
        raise invalid("Idempotency-Key", f"a batch's has at most {MAX_KEY} characters")
    results = []
    for place, question in enumerate(messages.read(BatchRequest, body).requests):
        own = None if key is None else f"{key}#{place}"
        try:
            await still()
            if not isinstance(question, dict):
                raise InvalidRequest(f"requests.{place}: must be a JSON object")  # noqa: TRY301
            found = await authorize(context, caller, question, key=own, request_id=request_id)
        except InvalidRequest as wrong:
            error = ControlError("invalid_request", str(wrong), fields=wrong.fields)
            found = error_body(error, request_id)
        except ControlError as refused:
            found = error_body(refused, request_id)
        results.append(found)
    return {"results": results}
