"""Bodies of requests without a valid token: what they cost, and when they are read."""

from __future__ import annotations

import threading
from typing import Any, Final

import pytest
from fake_verifier import TOKEN, Recording, client
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Scope
from ticketing import CLOSE, LIST, SEVEN

from nomos._core.call import MAX_CALL
from nomos.integrations import _bodies
from nomos.integrations.starlette import NomosMiddleware, Rule, json_body

pytestmark = pytest.mark.anyio

JSON: Final = {**TOKEN, "content-type": "application/json"}


async def reached(request: Request) -> Response:
    return PlainTextResponse(request.url.path)


def application(verifier: Any, rules: list[Rule], open_paths: tuple[str, ...] = ()) -> Starlette:
    return Starlette(
        routes=[
            Route("/", reached, methods=["POST"]),
            Route("/admin/{action}", reached),
            Route("/{tenant}/healthz", reached),
        ],
        middleware=[
            Middleware(NomosMiddleware, rules=rules, open_paths=open_paths, verifier=verifier)
        ],
    )


def to_close() -> list[Rule]:
    return [Rule("POST", "/", CLOSE, SEVEN, json_body())]


def body_of(size: int) -> bytes:
    return b'{"a":"' + b"x" * (size - 8) + b'"}'


# httpx leaves its own generator to trio when an application answers without reading to the end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_body_over_the_limit_of_a_call_is_refused() -> None:
    assert _bodies.MAX_BODY == MAX_CALL
    verifier = Recording()
    async with client(application(verifier, to_close())) as http:
        answer = await http.post("/", content=body_of(MAX_CALL + 1), headers=JSON)
        assert (answer.status_code, answer.json()["error_code"]) == (413, "too_large")
        assert verifier.asked == []
        answer = await http.post("/", content=body_of(MAX_CALL), headers=JSON)
        assert answer.status_code == 200
    assert len(verifier.asked) == 1


@pytest.mark.parametrize(("size", "aside"), [(64 * 1024, False), (64 * 1024 + 1, True)])
async def test_a_long_body_is_parsed_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, size: int, *, aside: bool
) -> None:
    threads: list[int] = []
    parse = _bodies._parse_object

    def noted(body: bytes, limit: int) -> dict[str, Any]:
        threads.append(threading.get_ident())
        return parse(body, limit)

    monkeypatch.setattr(_bodies, "_parse_object", noted)
    verifier = Recording()
    async with client(application(verifier, to_close())) as http:
        answer = await http.post("/", content=body_of(size), headers=JSON)
        assert answer.status_code == 200
        twice = b'{"a":1,"a":"' + b"x" * size + b'"}'
        answer = await http.post("/", content=twice, headers=JSON)
        assert (answer.status_code, answer.json()["field"]) == (400, "args.a")
    assert [each != threading.get_ident() for each in threads] == [aside, True]
    assert [len(args["a"]) for *_, args in verifier.asked if args] == [size - 8]


BEARERS: Final[dict[str, list[str]]] = {
    "none": [],
    "two": [TOKEN["authorization"]] * 2,
    "another scheme": ["Basic YTpi"],
    "two segments": ["Bearer a.b"],
    "four segments": ["Bearer a.b.c.d"],
    "too long": ["Bearer a.b." + "c" * 70_000],
}


@pytest.mark.parametrize("given", BEARERS.values(), ids=BEARERS)
async def test_without_a_well_formed_token_no_body_is_read(given: list[str]) -> None:
    sent: list[Message] = []
    headers = [(b"content-type", b"application/json")]
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [*headers, *((b"authorization", each.encode()) for each in given)],
    }

    async def receive() -> Message:
        pytest.fail("the body was asked for")

    async def send(message: Message) -> None:
        sent.append(message)

    await application(Recording(), to_close())(scope, receive, send)
    assert sent[0]["status"] == 401


async def test_a_rule_comes_before_every_open_path() -> None:
    verifier = Recording()
    resource = {"provider": "tickets", "action": "{action}"}
    app = application(
        verifier, [Rule("GET", "/admin/{action}", LIST, resource)], ("/{tenant}/healthz",)
    )
    async with client(app) as http:
        assert (await http.get("/acme/healthz")).status_code == 200
        assert (await http.get("/admin/healthz")).status_code == 401
        assert verifier.asked == []
        assert (await http.get("/admin/healthz", headers=TOKEN)).status_code == 200
    assert [resource for _, resource, _ in verifier.asked] == [
        {"provider": "tickets", "action": "healthz"}
    ]
