"""The OpenAPI document, health and the list of issuers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from server.control.route_table import ROUTES

from nomos.server.control.errors import STATUS_BY_CODE
from nomos.server.control.messages import AuthorizeRequest, WellKnown

if TYPE_CHECKING:
    from server.control.conftest import Plane

pytestmark = pytest.mark.anyio

DOCUMENTED = [route for route in ROUTES if route.documented]


async def document(plane: Plane) -> dict[str, Any]:
    reply = await plane.client.get("/openapi.json", headers={"authorization": ""})
    assert reply.status_code == 200
    read: dict[str, Any] = reply.json()
    return read


async def test_every_route_is_documented_and_no_other(standing: Plane) -> None:
    paths = (await document(standing))["paths"]
    documented = {
        (method.upper(), path) for path, operations in paths.items() for method in operations
    }
    assert documented == {(route.method, route.path) for route in DOCUMENTED}


async def test_only_routes_of_the_table_are_served(standing: Plane) -> None:
    edge: Any = standing.system.control
    served = {(method, route.path) for route in edge.app.routes for method in route.methods}
    document = {("GET", "/openapi.json"), ("HEAD", "/openapi.json")}
    assert served - document == {(route.method, route.path) for route in ROUTES}


async def test_every_reply_of_a_route_is_documented(standing: Plane) -> None:
    paths = (await document(standing))["paths"]
    for route in DOCUMENTED:
        operation = paths[route.path][route.method.lower()]
        statuses = set(operation["responses"])
        assert {"405", "500"} <= statuses
        assert ("200" in statuses) == (route.reply is not None)
        assert ({"401", "403", "503"} <= statuses) == (route.roles is not None)
        assert operation.get("x-nomos-roles") == (sorted(route.roles) if route.roles else None)
        assert operation.get("security") == (
            None
            if route.roles is None
            else [{"apiKey": []}]
            if route.holder is None
            else [{"apiKey": []}, {"invocation": []}]
        )
        assert "422" not in statuses
    authorize = paths["/v1/authorize"]["post"]["responses"]
    assert set(authorize) == {"200", *(str(code) for code in sorted(_of_authorize()))}


def _of_authorize() -> set[int]:
    return {status for code, status in STATUS_BY_CODE.items() if code != "not_found"}


async def test_every_parameter_in_a_path_is_documented(standing: Plane) -> None:
    paths = (await document(standing))["paths"]
    for route in DOCUMENTED:
        parameters = paths[route.path][route.method.lower()]["parameters"]
        in_path = [each["name"] for each in parameters if each["in"] == "path"]
        assert "".join(f"{{{name}}}" for name in in_path) == "".join(
            re.findall(r"\{[^}]*\}", route.path)
        )
        assert all(each["required"] for each in parameters if each["in"] == "path")


async def test_references_resolve(standing: Plane) -> None:
    schema = await document(standing)

    def references(node: object) -> set[str]:
        match node:
            case dict():
                found = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
                return found.union(*(references(value) for value in node.values()))
            case list():
                return set().union(*(references(value) for value in node))
        return set()

    found = references(schema)
    assert len(found) >= 5
    for reference in found:
        node: Any = schema
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


async def test_the_question_is_documented_as_it_is_read(standing: Plane) -> None:
    operation = (await document(standing))["paths"]["/v1/authorize"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    aliases = {field.alias for field in AuthorizeRequest.model_fields.values()}
    assert set(schema["properties"]) == aliases
    assert schema["required"] == ["command", "resource"]
    assert schema["additionalProperties"] is False
    for name, described in schema["properties"].items():
        assert described.get("type") in ("string", "integer", "object", "array"), name
        assert described["description"] or name == "ttlSeconds"
        assert described.get("default", "") is not None
    headers = {parameter["name"] for parameter in operation["parameters"]}
    assert headers == {"Idempotency-Key", "x-request-id", "nomos-call-id"}


async def test_the_document_has_the_security_scheme_it_refers_to(standing: Plane) -> None:
    schema = await document(standing)
    assert schema["openapi"].startswith("3.1")
    for scheme in schema["components"]["securitySchemes"].values():
        assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert set(schema["components"]["securitySchemes"]) == {"apiKey", "invocation"}


async def test_health_needs_no_key(standing: Plane) -> None:
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        reply = await standing.client.get(path, headers={"authorization": "nonsense"})
        assert (reply.status_code, reply.json()) == (200, {"status": status})


async def test_the_issuers_are_public(standing: Plane) -> None:
    reply = await standing.client.get("/.well-known/nomos", headers={"authorization": ""})
    known = reply.json()
    assert WellKnown.model_validate(known)
    system = standing.system
    assert known["issuers"] == [{"did": system.issuer_did, "state": "active"}]
    [service] = known["services"]
    assert service == {
        "name": "pdp",
        "did": system.pdp_did,
        "url": "http://127.0.0.1:8787",
        "state": "active",
    }
    assert known["limits"]["ttlSeconds"] == 3600
    assert known["apiVersion"] == 1
