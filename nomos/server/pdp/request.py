"""Parses an HTTP request into one call: command, resource and arguments.

A token's claims are compared with the parsed call, so a request must have only one reading.
Parameters come from the query (GET, DELETE) or from a JSON object in the body (the rest), never
from both; each at most once, each declared by the command's table, each of its declared type.
Everything else is rejected, not ignored: a parameter that is dropped here could still matter to a
later reader of the request.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nomos._core.http_rules import strict_json
from nomos._core.http_rules.query import QueryFault, parameters, whole_number
from nomos._core.http_rules.strict_json import DUPLICATE, JsonFault
from nomos._protocol import Call
from nomos.errors import InvalidRequest
from nomos.models import MAX_ARGS_BYTES
from nomos.resources import CommandSpec, Provider, canonical_args, canonical_resource
from nomos.server.http.body import BodyFault, read_bounded
from nomos.server.pdp.statuses import PdpError, invalid, shown

IN_QUERY: Final = ("GET", "DELETE")


@dataclass(frozen=True)
class Rebuilt:
    """One concrete call.

    `call` is what tokens and policy see, where a long argument stands as its digest; `values` are
    the same arguments with the text itself, for the handler.
    """

    provider: Provider
    command: CommandSpec
    call: Call
    values: Mapping[str, Any]


def rebuild(
    provider: Provider,
    command: CommandSpec,
    *,
    query: bytes = b"",
    body: bytes = b"",
    content_type: str | None = None,
) -> Rebuilt:
    """Return the call of a request. Raises InvalidRequest naming the field at fault."""
    if command.method in IN_QUERY:
        if body:
            raise _invalid(f"{command.method} has no body: put parameters in the query", "body")
        given = _from_query(query, provider, command)
    else:
        if query:
            raise _invalid(
                f"{command.method} has no query: put parameters in the JSON body", "query"
            )
        given = _from_body(body, content_type, provider, command)

    fields, values = _split_parameters(given, command)
    _check_digested(command, values)
    resource = canonical_resource(provider, {"provider": provider.name, **fields}, command)
    args = canonical_args(command, values, complete=True)
    texts = {name: values[name] for name in values if command.args[name].digest is not None}
    call = Call(cmd=command.name, resource=resource, args=args)
    return Rebuilt(provider, command, call, args | texts)


async def read_body(chunks: AsyncIterator[bytes], most: int, seconds: float) -> bytes:
    """Return a request's whole body. Raises PdpError as soon as it exceeds `most` bytes."""
    try:
        return await read_bounded(chunks, most, seconds)
    except BodyFault as fault:
        if fault.fault == "late":
            raise invalid("the body did not arrive in time", "body") from None
        if not most:
            raise invalid("this call has no body: put parameters in the query", "body") from None
        message = f"the body is larger than {most} bytes"
        raise PdpError("too_large", message, fields=("body",)) from None


def recorded_args(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as a receipt keeps them: in full, or by digest where they are long."""
    text = json.dumps(args, sort_keys=True, separators=(",", ":"))
    if len(text) <= MAX_ARGS_BYTES:
        return dict(args)
    return {"sha256": hashlib.sha256(text.encode("ascii")).hexdigest(), "bytes": len(text)}


def _split_parameters(
    given: Mapping[str, Any], command: CommandSpec
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters as resource fields and arguments. Raises InvalidRequest for others."""
    of_resource = {*command.resource, *command.optional}
    undeclared = [name for name in given if name not in of_resource and name not in command.args]
    if undeclared:
        takes = ", ".join([*command.resource, *command.optional, *command.args])
        raise _invalid(
            f"{command.name} has no parameter {shown(undeclared[0])}; it takes: {takes or 'none'}",
            *undeclared,
        )
    fields = {name: value for name, value in given.items() if name in of_resource}
    return fields, {name: value for name, value in given.items() if name not in of_resource}


def _check_digested(command: CommandSpec, values: Mapping[str, Any]) -> None:
    """Reject a digest in place of a text: tokens may have digests, calls must have the text."""
    for name, value in values.items():
        if command.args[name].digest is not None and not isinstance(value, str):
            raise _invalid(f"{name} must be text", f"args.{name}")


def _from_query(query: bytes, provider: Provider, command: CommandSpec) -> dict[str, Any]:
    try:
        given = parameters(query)
    except QueryFault as fault:
        name = "the query" if fault.name is None else shown(fault.name)
        raise _invalid(f"{name} {fault.reason}", fault.name or "query") from None
    return {name: _typed(text, *_declared(name, provider, command)) for name, text in given.items()}


def _declared(name: str, provider: Provider, command: CommandSpec) -> tuple[str, str]:
    """Return the type of a parameter and the path that errors name it by."""
    if name in command.resource or name in command.optional:
        return provider.fields[name].type, f"resource.{name}"
    return command.args[name].type if name in command.args else "string", f"args.{name}"


def _typed(text: str, type_: str, path: str) -> Any:
    """Return a query value as its declared type; each value has one spelling."""
    match type_:
        case "integer":
            number = whole_number(text)
            if number is None:
                raise _invalid(f"{shown(path)} must be a whole number", path)
            return number
        case "boolean":
            if text not in ("true", "false"):
                raise _invalid(f"{shown(path)} must be true or false", path)
            return text == "true"
        case "strings":
            return text.split(",") if text else []
        case _:
            return text


def _from_body(
    body: bytes, content_type: str | None, provider: Provider, command: CommandSpec
) -> dict[str, Any]:
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise _invalid("send a JSON object with content-type: application/json", "content-type")
    try:
        return strict_json.parse(body)
    except JsonFault as fault:
        fields = fault.fields or ("body",)
        if fault.path and fault.reason != DUPLICATE:
            declared = _declared(fault.path[0], provider, command)[1]
            fields = (".".join((declared, *fault.path[1:])),)
        raise _invalid(str(fault), *fields) from None


def _invalid(message: str, *fields: str) -> InvalidRequest:
    return InvalidRequest(message, fields=fields)
