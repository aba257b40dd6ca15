"""What to send, for each operation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from nomos._core.effects import Send
from nomos.errors import InvalidRequest
from nomos.models import Question

JSON_HEADERS = {"content-type": "application/json", "accept": "application/json"}


def question(**fields: Any) -> Question:
    """Check the shape of a question before it goes anywhere; raises `InvalidRequest`."""
    try:
        return Question.model_validate(fields)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        paths = tuple(".".join(str(part) for part in problem["loc"]) for problem in problems)
        sentence = "; ".join(
            f"{path}: {problem['msg']}" for path, problem in zip(paths, problems, strict=True)
        )
        raise InvalidRequest(f"the question cannot be asked: {sentence}", fields=paths) from None


def authorize(question: Question, *, agent_did: str, idempotency_key: str) -> Send:
    """Build `POST /v1/authorize`; raises `InvalidRequest` for what JSON cannot carry."""
    body: dict[str, Any] = {
        "command": question.command,
        "resource": dict(question.resource),
        "ttlSeconds": question.ttl_seconds,
        "agentDid": agent_did,
    }
    optional = {
        "args": question.args,
        "audience": question.audience,
        "purpose": question.purpose,
        "context": question.context,
        "cosignerEnvelopeId": question.cosigner_envelope_id,
    }
    body |= {name: value for name, value in optional.items() if value is not None}
    headers = JSON_HEADERS | {"idempotency-key": idempotency_key}
    return Send("POST", "/v1/authorize", headers, encode(body))


def encode(body: Mapping[str, Any]) -> bytes:
    """Return JSON as bytes; what JSON cannot carry exactly is refused, not changed."""
    try:
        text = json.dumps(body, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the question cannot be sent as JSON: {error}") from error


def idempotency_key(call_id: str, agent_did: str, envelope_id: str | None) -> str:
    """Return the key under which all tries of one call count as one."""
    return f"{call_id}:{agent_did}:{envelope_id or '-'}"
