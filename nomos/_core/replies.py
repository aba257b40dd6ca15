"""Replies of the control plane, parsed and validated, or turned into errors.

Every status and every body becomes a value or an error of `nomos.errors`. A reply that does not
exactly follow the protocol is `InvalidResponse`: nothing else is ever read as an allow.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, NoReturn, TypeVar, get_args

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from nomos._core import retry
from nomos._core.approval_bodies import ExplanationBody
from nomos._core.effects import HttpReply
from nomos._core.http_rules.strict_json import JsonFault, decode
from nomos._limits import MAX_LINKS
from nomos.errors import (
    AuthenticationError,
    Conflict,
    ControlPlaneError,
    InvalidRequest,
    InvalidResponse,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
)
from nomos.models import (
    Command,
    Decision,
    Did,
    Line,
    Moment,
    ResponseModel,
    VerificationCode,
    WebAddress,
)

M = TypeVar("M", bound=BaseModel)

MAX_SENTENCE = 500
MAX_COMMANDS = 1000

_ABOUT_TOKENS = frozenset({*get_args(VerificationCode), "replayed"})
_FOREIGN = frozenset({"malformed_ucan", "bad_signature", "untrusted_issuer", "audience_mismatch"})

_UNKNOWN = {
    "missing_api_key": "no API key was sent",
    "invalid_api_key": "the control plane does not accept this API key",
}
"""Messages about an API key, worded for the caller who passed it."""

# An API key or a token. A server may echo it, and no message may contain it.
_CREDENTIAL = re.compile(r"nomos_\w{8,}|(?<=Bearer )\S+|[\w-]{16,}\.[\w-]{16,}\.[\w-]{16,}")


class DecisionReply(ResponseModel):
    """The members of every decision."""

    decision: Decision
    receipt_id: Line
    server_time: Moment | None = None


class Allowed(DecisionReply):
    """An allow. `chain` ends in a delegation to the agent; `resource` and `args` are canonical.

    `commands` are those that a command prefix covers; it is empty for a single command.
    """

    decision: Literal["allow"]
    expires_at: Moment
    audience: Did
    chain: tuple[str, ...] = Field(min_length=1, max_length=MAX_LINKS, repr=False)
    resource: dict[str, Any]
    args: dict[str, Any] | None = None
    commands: tuple[Command, ...] = Field(default=(), max_length=MAX_COMMANDS)


class Denial(DecisionReply):
    """A deny."""

    decision: Literal["deny"]
    reason: Line
    explanation: ExplanationBody = Field(default_factory=ExplanationBody)


class StepUp(DecisionReply):
    """A person must decide, at `approval_url`."""

    decision: Literal["requires_step_up"]
    approval_envelope_id: Line
    approval_url: WebAddress | None = None
    expires_at: Moment | None = None
    reason: Line = "step_up_required"
    explanation: ExplanationBody = Field(default_factory=ExplanationBody)


_DECISION: TypeAdapter[Allowed | Denial | StepUp] = TypeAdapter(
    Annotated[Allowed | Denial | StepUp, Field(discriminator="decision")]
)


def decision(reply: HttpReply) -> Allowed | Denial | StepUp:
    """Read the reply to `POST /v1/authorize`; raise a `ControlPlaneError` for any other reply."""
    if reply.status != 200:
        raise_error(reply)
    body = _json(reply)
    try:
        return _DECISION.validate_python(body)
    except ValidationError as error:
        # An unreadable refusal is not an outage: `failure_mode="open"` must not allow the call.
        refused = isinstance(body, dict) and body.get("decision") in ("deny", "requires_step_up")
        kind = ControlPlaneError if refused else InvalidResponse
        raise kind(
            f"the control plane's reply is not a decision ({_invalid(error)}); nothing was allowed",
            status=reply.status,
            request_id=request_id(reply),
        ) from None


def parse(reply: HttpReply, kind: type[M], *, what: str) -> M:
    """Read another reply as a `kind`; raise a `ControlPlaneError` if it is not `what`."""
    if reply.status != 200:
        raise_error(reply)
    body = _json(reply)
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise InvalidResponse(
            f"the control plane's reply is not {what} ({_invalid(error)})",
            status=reply.status,
            request_id=request_id(reply),
        ) from None


def check_id(asked: str, returned: str) -> None:
    """Raise unless the reply is about the requested id: a proxy or cache may mix up replies."""
    if returned != asked:
        raise InvalidResponse(f"the control plane was asked for {asked} and returned another one")


def _invalid(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'reply'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)[:3]
    )


def raise_error(reply: HttpReply) -> NoReturn:
    """Raise the error for a reply other than 200."""
    body = _error_body(reply)
    sentence = _sentence(body.get("error")) or f"the control plane answered HTTP {reply.status}"
    facts: dict[str, Any] = {
        "status": reply.status,
        "code": _text(body.get("error_code")),
        "request_id": request_id(reply),
    }
    match reply.status:
        case 400 | 413 | 422:
            raise InvalidRequest(sentence, fields=_fields(body), **facts)
        case 401:
            known = _UNKNOWN.get(facts["code"] or "", sentence)
            raise AuthenticationError(f"{known} ({_hint(facts['code'])})", **facts)
        case 403:
            raise PermissionDenied(sentence, **facts)
        case 404:
            hint = "" if facts["code"] else " (is control_plane_url right?)"
            raise NotFound(sentence + hint, **facts)
        case 409:
            raise Conflict(sentence, **facts)
        case 429:
            raise RateLimited(sentence, retry_after=retry.retry_after(reply), **facts)
        case status if status >= 500:
            raise ServerError(sentence, **facts)
        case status if 300 <= status < 400:
            raise InvalidResponse(
                f"the control plane answered with a redirect (HTTP {status}), which is not "
                "followed: set control_plane_url to the URL of the control plane itself",
                **facts,
            )
        case status if status < 300:
            raise InvalidResponse(f"the control plane answered HTTP {status}, not 200", **facts)
    raise ControlPlaneError(sentence, **facts)


def _hint(code: str | None) -> str:
    if code == "missing_api_key":
        return "pass api_key= to the guard, or set NOMOS_API_KEY; `nomos dev` prints one"
    if code == "invalid_api_key":
        return "check api_key=, or NOMOS_API_KEY: it must be issued by this control plane"
    if code in _FOREIGN:
        return (
            f"{code}: check that control_plane_url is not the PDP's. If this process uses its "
            "parent's chain, check that this control plane issued it and that it is unmodified"
        )
    if code in _ABOUT_TOKENS:
        return f"{code}: this is about the parent's chain, which this process authenticates with"
    return "this is not a control plane's reply: check that control_plane_url is not the PDP's"


def _sentence(text: object) -> str:
    """Return text from another party for use in a message: one line, short, without credentials."""
    if not isinstance(text, str):
        return ""
    plain = "".join(letter if letter.isprintable() else " " for letter in text[: 2 * MAX_SENTENCE])
    hidden = _CREDENTIAL.sub("[hidden]", plain)
    return hidden if len(hidden) <= MAX_SENTENCE else hidden[:MAX_SENTENCE] + "…"


def request_id(reply: HttpReply) -> str | None:
    return _sentence(reply.headers.get("x-request-id")) or None


def _json(reply: HttpReply) -> Any:
    try:
        # Two parsers could read two different decisions (RFC 8259, section 4).
        return decode(reply.body)
    except JsonFault:
        kind = _sentence(reply.headers.get("content-type")) or "no content type"
        raise InvalidResponse(
            f"the control plane answered with {kind} where JSON was expected; check that "
            "control_plane_url is a control plane",
            status=reply.status,
            request_id=request_id(reply),
        ) from None


def _error_body(reply: HttpReply) -> dict[str, Any]:
    try:
        body = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _fields(body: dict[str, Any]) -> tuple[str, ...]:
    fields = body.get("fields")
    return tuple(map(_sentence, fields[:100])) if isinstance(fields, list) else ()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
