"""The OpenAPI document, generated from the table of routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import TypeAdapter

from nomos._core import reply_identity
from nomos._core.http_rules import request_id
from nomos.server.control.messages import ErrorReply

if TYPE_CHECKING:
    from nomos.server.control.route import Route


def _header(name: str, description: str, **schema: Any) -> Mapping[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", **schema},
    }


IDEMPOTENCY_KEY: Final = _header(
    "Idempotency-Key",
    "Stored for 24 hours: the same key and body get the same answer and one receipt.",
    minLength=1,
    maxLength=256,
)
REPEAT_KEY: Final = _header(
    "Idempotency-Key",
    "32 random bytes, base64url, as secret as an API key: the new API key is derived from it, so "
    "the same request with the same value is answered with the same API key.",
    pattern="^[A-Za-z0-9_-]{43}$",
)
REQUEST_ID: Final = _header(
    "x-request-id",
    "Returned unchanged, and stored with the receipt.",
    pattern=f"^{request_id.PATTERN}$",
)
CALL_ID: Final = _header(
    reply_identity.HEADER,
    f"Repeated as `{reply_identity.MEMBER}` in the body of the reply.",
    pattern=f"^{reply_identity.FORM.pattern}$",
)
REPLIES_ID: Final[Mapping[str, Any]] = {
    "x-request-id": {
        "description": "Quote this to the server's operator.",
        "schema": {"type": "string"},
    }
}
ALWAYS: Final = (405, 500)
WITH_ROLES: Final = (401, 403, 503)
WITH_BODY: Final = (400, 413)

_MEANING: Final[Mapping[int, str]] = {
    400: "The request is invalid; `fields` names the members.",
    401: "Missing or invalid API key or invocation.",
    403: "The app is disabled, or the API key has another role.",
    404: "It does not exist, or the caller may not see it.",
    405: "The path does not accept this method.",
    409: "It conflicts with an earlier request.",
    413: "The body is too large.",
    429: "Too many requests; retry after `Retry-After` seconds.",
    500: "The server failed.",
    503: "The server cannot answer at the moment. Nothing was decided.",
}


SECURITY_SCHEMES: Final[Mapping[str, Any]] = {
    "apiKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "`nomos_<app id>_<secret>`",
    },
    "invocation": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An invocation that an agent signed for this one request, on the chain from "
        "its parent. Its audience is the issuer of the chain's root.",
    },
}

_ERROR: Final = "error"
_REFERENCE: Final = "#/components/schemas/{model}"


def operation_id(method: str, path: str) -> str:
    """Return an operation's id, such as `post_v1_authorize`."""
    plain = "".join(letter for letter in path if letter not in ".{}").replace("-", "_")
    words = plain.strip("/").split("/")
    return "_".join([method.lower(), *words])


def document(routes: Sequence[Route], *, version: str, url: str) -> dict[str, Any]:
    """Return the document of a table of routes."""
    documented = [route for route in routes if route.documented]
    replies, models = _schemas(documented)
    paths: dict[str, dict[str, Any]] = {}
    for route in documented:
        operation = _operation(route, replies)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Nomos control plane",
            "description": "Decides what agents may do, and signs what it allows.",
            "version": version,
        },
        "servers": [{"url": url}],
        "paths": paths,
        "components": {"schemas": models, "securitySchemes": SECURITY_SCHEMES},
    }


def _schemas(routes: Sequence[Route]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of each operation's reply, by its id, and the models they refer to."""
    kinds = {
        operation_id(route.method, route.path): route.reply
        for route in routes
        if route.reply is not None
    }
    kinds[_ERROR] = ErrorReply
    adapters: list[tuple[str, Literal["validation"], TypeAdapter[Any]]] = [
        (name, "validation", TypeAdapter(kind)) for name, kind in kinds.items()
    ]
    found, definitions = TypeAdapter.json_schemas(adapters, ref_template=_REFERENCE)
    models = {name: _without_null(model) for name, model in definitions["$defs"].items()}
    return {name: schema for (name, _), schema in found.items()}, models


def _operation(route: Route, replies: Mapping[str, Any]) -> dict[str, Any]:
    name = operation_id(route.method, route.path)
    described: dict[str, Any] = {
        "summary": route.summary,
        "operationId": name,
        "responses": _responses(route, name, replies),
        "parameters": _parameters(route),
    }
    if route.roles is not None:
        ways = ["apiKey"] if route.holder is None else ["apiKey", "invocation"]
        described["security"] = [{way: []} for way in ways]
        described["x-nomos-roles"] = sorted(route.roles)
    if route.accepts is not None:
        schema = _without_null(route.accepts.model_json_schema(by_alias=True))
        described["requestBody"] = {"required": True, "content": _json(schema)}
    return described


def _parameters(route: Route) -> list[Mapping[str, Any]]:
    """Return the parameters of a route in its path, headers and query."""
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in route.path_parameters
    ]
    query = () if route.query is None else route.query.documented()
    return [*in_path, *route.headers, *query, REQUEST_ID, CALL_ID]


def _statuses(route: Route) -> set[int]:
    """Return the statuses of errors that a route can answer with."""
    found = {*route.refuses, *ALWAYS}
    if route.roles is not None:
        found.update(WITH_ROLES)
    if route.path_parameters:
        found.add(404)
    if route.query is not None:
        found.add(400)
    if route.accepts is not None:
        found.update(WITH_BODY)
    return found


def _responses(route: Route, name: str, replies: Mapping[str, Any]) -> dict[str, Any]:
    """Return the responses of a route, with the errors that all routes share."""
    found: dict[str, Any] = {}
    if route.reply is not None:
        schema = replies[name]
        if "$ref" not in schema:
            schema = {**schema, "title": f"Response 200 {name.replace('_', ' ').title()}"}
        found["200"] = _response("The answer.", schema)
    for status in sorted(_statuses(route)):
        found[str(status)] = _response(_MEANING[status], replies[_ERROR])
    return found


def _response(description: str, schema: Any) -> dict[str, Any]:
    return {"description": description, "headers": REPLIES_ID, "content": _json(schema)}


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _without_null(model: dict[str, Any]) -> dict[str, Any]:
    """Remove defaults of null: a member without a value is absent, here as in JSON."""
    for described in model["properties"].values():
        if described.get("default", "") is None:
            del described["default"]
    return model
