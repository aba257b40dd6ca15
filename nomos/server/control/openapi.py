"""The OpenAPI document: what the table of routes says, in the words of the standard."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.routing import BaseRoute

from nomos._core import reply_identity
from nomos.server.control.messages import ErrorReply

IDEMPOTENCY_KEY: Final[Mapping[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Kept for 24 hours: the same key and body get the same answer and one receipt.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
}
REPEAT_KEY: Final[Mapping[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "32 random bytes, base64url, as secret as an API key: the new API key is "
    "derived from it, so the same request with the same value is answered with the same API key.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"},
}
REQUEST_ID: Final[Mapping[str, Any]] = {
    "name": "x-request-id",
    "in": "header",
    "required": False,
    "description": "Sent back as it is, and kept with the receipt.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
}
CALL_ID: Final[Mapping[str, Any]] = {
    "name": reply_identity.HEADER,
    "in": "header",
    "required": False,
    "description": f"Repeated as `{reply_identity.MEMBER}` in the body of the reply.",
    "schema": {"type": "string", "pattern": f"^{reply_identity.FORM.pattern}$"},
}
REPLIES_ID: Final[Mapping[str, Any]] = {
    "x-request-id": {
        "description": "Quote this to the server's operator.",
        "schema": {"type": "string"},
    }
}
ALWAYS: Final = (405, 500)
WITH_ROLES: Final = (401, 403, 503)

_MEANING: Final[Mapping[int, str]] = {
    400: "The request is wrong; `fields` says where.",
    401: "The API key is missing or wrong, or what was sent in its place proves nothing.",
    403: "The app is disabled, or the API key has another role.",
    404: "There is no such thing, or it is not yours to see.",
    405: "The path does not take this method.",
    409: "It conflicts with what was done before.",
    413: "The body is too large.",
    429: "Too many; ask again after `Retry-After` seconds.",
    500: "The server failed.",
    503: "The server cannot answer at the moment. Nothing was decided.",
}


def query(name: str, kind: str, **schema: Any) -> dict[str, Any]:
    """A query parameter that may be left out."""
    return {"name": name, "in": "query", "required": False, "schema": {"type": kind, **schema}}


def in_path(name: str) -> dict[str, Any]:
    """A part of the path."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def operation_id(method: str, path: str) -> str:
    """`post_v1_authorize`."""
    plain = "".join(letter for letter in path if letter not in ".{}").replace("-", "_")
    words = plain.strip("/").split("/")
    return "_".join([method.lower(), *words])


def responses(
    reply: Any, refuses: Collection[int], *, roles: Collection[str] | None
) -> dict[int | str, dict[str, Any]]:
    """What a route answers with, the refusals that all routes share included."""
    statuses = {*refuses, *ALWAYS, *(WITH_ROLES if roles is not None else ())}
    answers: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorReply, "description": _MEANING[status], "headers": REPLIES_ID}
        for status in sorted(statuses)
    }
    if reply is not None:
        answers[200] = {"model": reply, "description": "The answer.", "headers": REPLIES_ID}
    return answers


def operation(
    accepts: type[BaseModel] | None,
    headers: Sequence[Mapping[str, Any]],
    *,
    roles: Collection[str] | None,
    holders: bool = False,
) -> dict[str, Any]:
    """What the framework cannot derive, because requests are read by our own hands."""
    described: dict[str, Any] = {"parameters": [*headers, REQUEST_ID, CALL_ID]}
    if roles is not None:
        described["security"] = [{"apiKey": []}, *([{"invocation": []}] if holders else ())]
        described["x-nomos-roles"] = sorted(roles)
    if accepts is not None:
        schema = _without_null(accepts.model_json_schema(by_alias=True))
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return described


def install(app: FastAPI, url: str, routes: Callable[[], Sequence[BaseRoute]]) -> None:
    """Make `app` serve the document, which is built once and when first asked for.

    `routes` returns what it describes.
    """

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description="Decides what agents may do, and signs what it allows.",
                routes=routes(),
                servers=[{"url": url}],
            )
            components = schema.setdefault("components", {})
            components["securitySchemes"] = {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`nomos_<app id>_<secret>`",
                },
                "invocation": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An invocation that an agent signed for this one request, on "
                    "the chain that its parent gave it, made out to the issuer of its root.",
                },
            }
            for model in components["schemas"].values():
                _without_null(model)
            for path in schema["paths"].values():
                for operation in path.values():
                    _without_defaults(operation)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _without_null(model: dict[str, Any]) -> dict[str, Any]:
    """Leave out defaults of null: what has no value is absent, here as on the wire."""
    for described in model["properties"].values():
        if described.get("default", "") is None:
            del described["default"]
    return model


def _without_defaults(operation: dict[str, Any]) -> None:
    """Leave out the 200 that the framework adds to a route that only ever refuses."""
    ok = operation["responses"].get("200")
    if ok is not None and "headers" not in ok:
        del operation["responses"]["200"]
