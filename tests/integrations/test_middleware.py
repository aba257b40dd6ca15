"""`NomosMiddleware`: rules, open paths, mounted applications and refusals."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import unquote
from uuid import UUID

import anyio
import pytest
from fake_verifier import TOKEN, Recording, client
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from ticketing import LIST, READ, System

from nomos.errors import ConfigurationError, Denied
from nomos.integrations.starlette import NomosMiddleware, Rule, json_body, query

pytestmark = pytest.mark.anyio

QUEUE: Final = {"provider": "tickets", "queue": "{queue}"}
RULES: Final = [
    Rule("GET", "/queues/{queue}", LIST, QUEUE, query(state=str)),
    Rule("GET", "/queues/{queue}/{number:int}", READ, {**QUEUE, "number": "{number}"}),
    Rule("POST", "/queues/{queue}", "/tickets/ticket/open", QUEUE, json_body()),
    Rule("GET", "/files/{path:path}", "/files/file/read", {"provider": "files", "path": "{path}"}),
    Rule("WEBSOCKET", "/queues/{queue}/feed", "/tickets/ticket/watch", QUEUE),
]
OPEN: Final = ["/healthz", "/static/{path:path}"]


async def seen(request: Request) -> Response:
    """Say what reached the application."""
    proven = getattr(request.state, "nomos", None)
    return JSONResponse(
        {
            "by": None if proven is None else proven.command,
            "params": request.path_params,
            "body": (await request.body()).decode(),
        }
    )


async def feed(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(socket.state.nomos.resource["queue"])
    await socket.close()


def application(verifier: Any = None, **how: Any) -> Starlette:
    return Starlette(
        routes=[
            Route("/healthz", seen),
            Route("/static/{path:path}", seen),
            Route("/queues/{queue}", seen, methods=["GET", "POST", "DELETE"]),
            Route("/queues/{queue}/{number:int}", seen),
            Route("/files/{path:path}", seen),
            Route("/admin", seen),
            WebSocketRoute("/queues/{queue}/feed", feed),
            WebSocketRoute("/admin/feed", feed),
        ],
        middleware=[
            Middleware(
                NomosMiddleware,
                **{"rules": RULES, "open_paths": OPEN, "verifier": verifier, **how},
            )
        ],
    )


async def call(app: Any, method: str, path: str, **more: Any) -> tuple[int, Any]:
    async with client(app) as http:
        answer = await http.request(method, path, **{"headers": TOKEN, **more})
    is_json = answer.headers.get("content-type") == "application/json"
    return answer.status_code, answer.json() if is_json else None


async def raw(
    app: Any, target: bytes, *, method: str = "GET", root_path: str = "", path: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Send a path as a server hands it on, which a client would make harmless."""
    raw_path, _, query_string = target.partition(b"?")
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path.decode("latin-1")) if path is None else path,
        "raw_path": raw_path,
        "query_string": query_string,
        "root_path": root_path,
        "headers": [(b"host", b"service"), (b"authorization", TOKEN["authorization"].encode())],
        "server": ("service", 80),
        "client": ("127.0.0.1", 1),
        "state": {},
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], headers, body


# Rules


async def test_a_rule_accepts_its_token_and_sets_the_caller() -> None:
    verifier = Recording()
    status, body = await call(application(verifier), "GET", "/queues/ops?state=open")
    assert (status, body["by"], body["params"]) == (200, LIST, {"queue": "ops"})
    assert verifier.asked == [
        (LIST, {"provider": "tickets", "queue": "ops"}, {"state": "open"}),
    ]


async def test_a_parameter_keeps_the_type_that_the_router_gives_it() -> None:
    verifier = Recording()
    await call(application(verifier), "GET", "/queues/ops/007")
    assert verifier.asked == [(READ, {"provider": "tickets", "queue": "ops", "number": 7}, None)]


async def test_a_parameter_of_another_type_is_its_text() -> None:
    verifier = Recording()
    rule = Rule("GET", "/x/{id:uuid}", LIST, {"provider": "tickets", "id": "{id}", "at": "v-{id}"})
    app = NomosMiddleware(Starlette(), rules=[rule], verifier=verifier)
    ident = UUID(int=2**127 + 10)
    await call(app, "GET", f"/x/{str(ident).upper()}")
    ((_, resource, _),) = verifier.asked
    assert resource == {"provider": "tickets", "id": str(ident), "at": f"v-{ident}"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/static/a/b.css", 200),
        ("GET", "/static/", 200),
        ("GET", "/static", 403),
        ("GET", "/healthz/", 403),
        ("GET", "/HEALTHZ", 403),
        ("GET", "/admin", 403),
        ("GET", "/admin/", 403),
        ("GET", "/", 403),
        ("GET", "/nothing", 403),
        ("DELETE", "/queues/ops", 403),
        ("OPTIONS", "/queues/ops", 403),
        ("TRACE", "/queues/ops", 403),
        ("PUT", "/queues/ops", 403),
        ("get", "/queues/ops", 403),
        ("WEBSOCKET", "/queues/ops/feed", 403),
        ("WEBSOCKET", "/queues/ops", 403),
        ("GET", "/queues/ops/", 403),
        ("GET", "/queues/", 403),
        ("GET", "/queues/ops/x", 403),
        ("HEAD", "/queues/ops", 200),
        ("HEAD", "/healthz", 200),
    ],
)
async def test_a_request_without_a_rule_is_refused(method: str, path: str, status: int) -> None:
    verifier = Recording()
    found, headers, body = await raw(application(verifier), path.encode(), method=method)
    assert found == status
    if status == 403:
        assert b'"error_code":"forbidden"' in body
        assert verifier.asked == []
        assert headers["cache-control"] == "no-store"


async def test_head_needs_the_token_of_get() -> None:
    app = application(Recording(Denied("no", code="expired")))
    assert (await raw(app, b"/queues/ops", method="HEAD"))[0] == 401


async def test_the_first_matching_rule_applies() -> None:
    verifier = Recording()
    rules = [
        Rule("GET", "/queues/all", "/tickets/ticket/search", {"provider": "tickets"}),
        *RULES,
    ]
    await call(application(verifier, rules=rules), "GET", "/queues/all")
    assert [command for command, *_ in verifier.asked] == ["/tickets/ticket/search"]


async def test_an_open_path_ignores_tokens() -> None:
    app = application(Recording(Denied("no", code="expired")))
    status, body = await call(app, "GET", "/healthz")
    assert (status, body["by"]) == (200, None)


# Paths with more than one reading

UNCLEAR: Final = [
    b"/queues/a%2Fb",
    b"/queues/a%2fb",
    b"/queues%2Fops",
    b"/queues/a%5Cb",
    b"/queues/a\\b",
    b"//queues/ops",
    b"/queues//ops",
    b"/queues/ops//",
    b"/queues/../admin",
    b"/queues/%2e%2e/admin",
    b"/queues/%2E./admin",
    b"/queues/.",
    b"/queues/..",
    b"/queues/ops/..",
    b"/static/../admin",
    b"/static/%2e%2e/admin",
    b"/static/..%2fadmin",
    b"/static/..%5cadmin",
    b"/static/a/./b",
    b"/healthz%00",
    b"/healthz%0a",
    b"/healthz%0d%0a",
    b"/queues/ops%0a",
    b"/queues/ops/7%0a",
    b"/queues/%7f",
    b"/queues/%ff",
    b"/queues/%c0%ae%c0%ae",
    b"/queues/%ed%a0%80",
    b"/files/a/../../etc/passwd",
    b"/files//etc/passwd",
    b"/files/%2fetc/passwd",
    b"/files/a%00.txt",
]


@pytest.mark.parametrize("path", UNCLEAR)
async def test_an_ambiguous_path_is_refused(path: bytes) -> None:
    verifier = Recording()
    status, _, body = await raw(application(verifier), path)
    assert (status, b'"error_code":"invalid_request"' in body) == (400, True)
    assert verifier.asked == []


@pytest.mark.parametrize(
    ("path", "queue"),
    [
        (b"/queues/a%20b", "a b"),
        (b"/queues/a%252Fb", "a%2Fb"),
        (b"/queues/%C3%A9", "é"),
        (b"/queues/a..b", "a..b"),
        (b"/queues/...", "..."),
        (b"/queues/a;b=c", "a;b=c"),
        (b"/queues/%3Fadmin", "?admin"),
        (b"/queues/%23", "#"),
        (b"/queues/{queue}", "{queue}"),
    ],
)
async def test_unusual_names_are_equal_for_token_and_route(path: bytes, queue: str) -> None:
    verifier = Recording()
    status, _, body = await raw(application(verifier), path)
    assert status == 200
    assert JSONResponse({"queue": queue}).body in body
    assert verifier.asked[0][1]["queue"] == queue


@pytest.mark.parametrize("path", [b"/queues/ops/" + b"9" * 5000, b"/queues/ops/" + b"9" * 400])
async def test_an_overlong_number_in_a_path_is_refused_without_a_500(path: bytes) -> None:
    assert (await raw(application(Recording(Denied("x", code="revoked"))), path))[0] in (400, 401)


PIECES: Final = st.sampled_from(
    [
        *("/", "/", "/", "queues", "ops", "7", "files", "static", "admin", "healthz", "feed", "v1"),
        *("%2f", "%2F", "%5c", "\\", ".", "..", "%2e", "%00", "%0a", "%20", "%25", "%252e", "%ff"),
        *("é", ";", "~", "{queue}", "%", "%zz", ":", "@", "a", "api"),
    ]
)


@pytest.fixture(scope="module")
def mounted() -> tuple[Starlette, Recording, list[tuple[str, dict[str, Any]]]]:
    """An application with every kind of route, mounts included, that records the reached routes."""
    verifier = Recording()
    reached: list[tuple[str, dict[str, Any]]] = []

    def telling(name: str) -> Any:
        async def endpoint(request: Request) -> Response:
            reached.append((name, dict(request.path_params)))
            return PlainTextResponse(name)

        return endpoint

    templates = [
        ("/queues/{queue}", "/a/one"),
        ("/queues/{queue}/{number:int}", "/a/two"),
        ("/files/{path:path}", "/a/three"),
        ("/api/v1/{name}", "/a/four"),
        ("/api/{rest:path}", "/a/five"),
    ]
    rules = [
        Rule("GET", path, name, lambda r: {"provider": "x", "params": dict(r.path_params)})
        for path, name in templates
    ]
    inside = [
        Route("/v1/{name}", telling("/a/four")),
        Route("/{rest:path}", telling("/a/five")),
    ]
    routes = [
        *(Route(path, telling(name)) for path, name in templates[:3]),
        Route("/healthz", telling("open")),
        Route("/admin", telling("closed")),
        Mount("/api", routes=inside),
        Mount("/admin", routes=[Route("/{rest:path}", telling("closed"))]),
    ]
    middleware = [
        Middleware(NomosMiddleware, rules=rules, open_paths=["/healthz"], verifier=verifier)
    ]
    return Starlette(routes=routes, middleware=middleware), verifier, reached


@settings(max_examples=600, deadline=None)
@given(
    start=st.sampled_from(["", "queues/", "files/", "api/", "api/v1/", "admin/"]),
    pieces=st.lists(PIECES, min_size=1, max_size=10),
    root_path=st.sampled_from(["", "", "/v1", "/queues", "/api"]),
)
def test_no_path_reaches_a_route_with_another_routes_token(
    mounted: tuple[Starlette, Recording, list[tuple[str, dict[str, Any]]]],
    start: str,
    pieces: list[str],
    root_path: str,
) -> None:
    app, verifier, reached = mounted
    verifier.asked.clear()
    reached.clear()
    anyio.run(lambda: raw(app, f"/{start}{''.join(pieces)}".encode(), root_path=root_path))
    for name, params in reached:
        if name == "open":
            assert verifier.asked == []
        else:
            ((command, resource, _),) = verifier.asked
            assert command == name
            assert resource["params"].items() <= params.items()


async def test_a_path_outside_of_its_root_path_is_routed_by_its_rule(
    mounted: tuple[Starlette, Recording, list[tuple[str, dict[str, Any]]]],
) -> None:
    """The router alone would go to `/{rest:path}` here, for the mount takes nothing off."""
    app, verifier, reached = mounted
    for root_path in ("/queues", "/queues/", "/"):
        verifier.asked.clear()
        reached.clear()
        assert (await raw(app, b"/api/v1/ops", root_path=root_path))[0] == 200
        assert [name for name, _ in reached] == [verifier.asked[0][0]] == ["/a/four"]


# Mounts and root paths

ROOT_PATH_IS_GOING: Final = pytest.mark.filterwarnings(
    "ignore:The `root_path` parameter is deprecated"
)


async def test_a_mounted_application_has_rules_of_its_own_paths() -> None:
    verifier = Recording()
    app = Starlette(routes=[Mount("/v1", app=application(verifier)), Route("/v1x", seen)])
    status, body = await call(app, "GET", "/v1/queues/ops")
    assert (status, body["by"]) == (200, LIST)
    assert (await call(app, "GET", "/v1/healthz"))[0] == 200
    assert (await call(app, "GET", "/v1/admin"))[0] == 403
    assert (await call(app, "GET", "/v1/v1/queues/ops"))[0] == 403


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
async def test_rules_of_the_outer_application_cover_what_is_mounted(kind: type[Starlette]) -> None:
    verifier = Recording()
    inner = kind()
    inner.add_route("/queues/{queue}", seen)
    inner.add_route("/secret", seen)
    rules = [Rule("GET", "/v1/queues/{queue}", LIST, QUEUE)]
    app = Starlette(
        routes=[Mount("/v1", app=inner)],
        middleware=[Middleware(NomosMiddleware, rules=rules, verifier=verifier)],
    )
    assert (await call(app, "GET", "/v1/queues/ops"))[0] == 200
    assert (await call(app, "GET", "/v1/secret"))[0] == 403
    assert (await call(app, "GET", "/queues/ops"))[0] == 403


@ROOT_PATH_IS_GOING
async def test_a_root_path_is_removed_as_the_router_removes_it() -> None:
    verifier = Recording()
    app = FastAPI(root_path="/api")
    app.add_route("/queues/{queue}", seen)
    app.add_route("/secret", seen)
    app.add_middleware(NomosMiddleware, rules=[RULES[0]], open_paths=["/api"], verifier=verifier)
    for path in ("/queues/ops", "/api/queues/ops"):
        assert (await call(app, "GET", path))[0] == 200
    for path in ("/secret", "/api/secret", "/api/api/queues/ops", "/apiqueues/ops"):
        assert (await call(app, "GET", path))[0] == 403
    assert len(verifier.asked) == 2


@ROOT_PATH_IS_GOING
def test_an_application_that_removes_a_root_path_later_is_refused() -> None:
    inside = FastAPI(root_path="/api")
    for app in (inside, GZipMiddleware(inside), GZipMiddleware(GZipMiddleware(inside))):
        with pytest.raises(ConfigurationError, match="root_path"):
            NomosMiddleware(app, rules=RULES)


# Bodies


@pytest.mark.parametrize("chunks", [1, 2, 5])
async def test_a_body_that_a_rule_read_reaches_the_application(chunks: int) -> None:
    verifier = Recording()
    text = b'{"title": "it is broken", "n": [1, 2]}'
    size = -(-len(text) // chunks)

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(text), size):
            yield text[start : start + size]

    headers = {**TOKEN, "content-type": "application/json"}
    status, body = await call(
        application(verifier), "POST", "/queues/ops", content=parts(), headers=headers
    )
    assert (status, body["body"]) == (200, text.decode())
    assert verifier.asked[0][2] == {"title": "it is broken", "n": [1, 2]}


@ROOT_PATH_IS_GOING
async def test_a_mounted_application_with_a_root_path_is_refused() -> None:
    rules = [Rule("GET", "/v1/users/{queue}", LIST, QUEUE)]
    how: dict[str, Any] = {"rules": rules, "verifier": Recording()}
    deep = Starlette(routes=[Mount("/users", app=FastAPI(root_path="/api"))])
    app = Starlette(routes=[Route("/", seen), Mount("/v1", app=deep)])
    with pytest.raises(ConfigurationError, match="cannot be mounted"):
        NomosMiddleware(app, **how)
    app.add_middleware(NomosMiddleware, **how)
    with pytest.raises(ConfigurationError, match="cannot be mounted"):
        await call(app, "GET", "/v1/users/1")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_body_over_the_limit_is_refused_whatever_a_rules_function_reads() -> None:
    reached = 0

    async def members(request: Request) -> dict[str, Any]:
        for _ in range(3):
            with suppress(Exception):
                return dict(await request.json())
        return {}

    async def show(request: Request) -> Response:
        nonlocal reached
        reached += 1
        return JSONResponse(await request.json())

    rule = Rule("POST", "/x", "/t/queue/send", {"provider": "t"}, args=members)
    middleware = Middleware(NomosMiddleware, rules=[rule], verifier=Recording(), max_body=100)
    app = Starlette(routes=[Route("/x", show, methods=["POST"])], middleware=[middleware])

    async def parts(length: int) -> AsyncIterator[bytes]:
        for part in (b'{"amount": 1000000', b" " * length, b"}"):
            yield part

    assert (await call(app, "POST", "/x", content=parts(40)))[0] == 200
    status, body = await call(app, "POST", "/x", content=parts(101))
    assert (status, body["error_code"], reached) == (413, "too_large", 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    asked = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal asked
        for _ in range(1000):
            asked += 1
            yield b" " * 1024

    app = application(Recording(), max_body=4096)
    headers = {**TOKEN, "content-type": "application/json"}
    status, body = await call(app, "POST", "/queues/ops", content=parts(), headers=headers)
    assert (status, body["error_code"]) == (413, "too_large")
    assert asked <= 6


async def test_an_endless_body_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nomos.integrations._bodies.BODY_SECONDS", 0.05)
    scope = _scope("/queues/ops", "POST", [(b"content-type", b"application/json")])
    sent: list[Message] = []

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    with anyio.fail_after(5):
        await application(Recording())(scope, receive, send)
    assert sent[0]["status"] == 400


async def test_a_caller_that_disconnects_gets_no_reply() -> None:
    scope = _scope("/queues/ops", "POST", [(b"content-type", b"application/json")])

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pytest.fail("nobody listens")

    await application(Recording())(scope, receive, send)


def _scope(path: str, method: str, headers: list[tuple[bytes, bytes]]) -> Scope:
    token = (b"authorization", TOKEN["authorization"].encode())
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [token, *headers],
        "state": {},
    }


# Failures


def _raise(error: Exception) -> Any:
    def source(_: Request) -> dict[str, Any]:
        raise error

    return source


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("hunter2"), 400),
        (KeyError("hunter2"), 400),
        (RuntimeError("hunter2"), 500),
        (HTTPException(404, "no such queue"), 404),
        (HTTPException(302, "elsewhere", {"location": "/"}), 400),
    ],
)
async def test_a_failing_function_refuses_the_request(error: Exception, status: int) -> None:
    app = application(Recording(), rules=[Rule("GET", "/queues/{queue}", LIST, _raise(error))])
    found, body = await call(app, "GET", "/queues/ops")
    assert found == status
    assert "hunter2" not in str(body)


async def test_an_unexpected_error_is_a_500_without_details(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("hunter2")

    app = application(Recording())
    monkeypatch.setattr("nomos.integrations._paths.RuleTable.required_call", broken)
    status, body = await call(app, "GET", "/queues/ops")
    assert (status, body["error_code"]) == (500, "internal")
    assert "hunter2" not in str(body)
    assert "hunter2" in caplog.text


async def test_a_failure_of_the_application_is_not_caught() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    app = NomosMiddleware(failing, rules=RULES, verifier=Recording())
    with pytest.raises(ZeroDivisionError):
        await call(app, "GET", "/queues/ops")


async def test_the_verifier_may_be_that_of_the_application() -> None:
    app = application()
    assert (await call(app, "GET", "/queues/ops"))[0] == 500
    app.state.nomos = Recording()
    assert (await call(app, "GET", "/queues/ops"))[0] == 200


async def test_a_verified_caller_is_not_shared_with_other_requests() -> None:
    """A server may give one and the same `state` to all of its requests."""
    state: dict[str, Any] = {}
    seen: list[Any] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["state"].get("nomos"))
        await PlainTextResponse("")(scope, receive, send)

    app = NomosMiddleware(inner, rules=RULES, open_paths=OPEN, verifier=Recording())

    async def shared(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": state}, receive, send)

    async with client(shared) as http:
        await http.get("/queues/ops", headers=TOKEN)
        await http.get("/healthz", headers=TOKEN)
    assert [proven is None for proven in seen] == [False, True]
    assert state == {}


async def test_a_verified_caller_is_not_reused_for_another_token() -> None:
    """An application may send requests of its own, with what is in the scope of one that came."""
    verifier = Recording()
    app = NomosMiddleware(PlainTextResponse(""), rules=RULES, verifier=verifier)

    async def batch(scope: Scope, receive: Receive, send: Send) -> None:
        for token in (b"a.b.c", b"x.y.z", TOKEN["authorization"].encode().split()[1]):
            headers = [(b"authorization", b"Bearer " + token)]
            await app({**scope, "headers": headers}, receive, send_nothing)
        await PlainTextResponse("")(scope, receive, send)

    async def send_nothing(message: Message) -> None:
        pass

    async with client(NomosMiddleware(batch, rules=RULES, verifier=verifier)) as http:
        assert (await http.get("/queues/ops", headers=TOKEN)).status_code == 200
    assert len(verifier.asked) == len({"a.b.c", "x.y.z", TOKEN["authorization"].split()[1]})


# Websockets, lifespan, and what is none of them


def test_a_websocket_opens_with_the_token_of_its_rule() -> None:
    http = TestClient(application(Recording()))
    with http.websocket_connect("/queues/ops/feed", headers=TOKEN) as socket:
        assert socket.receive_text() == "ops"


@pytest.mark.parametrize(
    ("path", "headers", "answer"),
    [
        ("/queues/ops/feed", {}, None),
        ("/queues/ops/feed", TOKEN, Denied("no", code="expired")),
        ("/queues/ops", TOKEN, None),
        ("/admin/feed", TOKEN, None),
        ("/queues/a%2Fb/feed", TOKEN, None),
    ],
)
async def test_a_websocket_does_not_open_otherwise(
    path: str, headers: dict[str, str], answer: Any
) -> None:
    app = application(Recording(answer))
    kinds: list[tuple[dict[str, Any], str]] = [
        ({}, "websocket.close"),
        ({"websocket.http.response": {}}, "start"),
    ]
    for extensions, first in kinds:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        scope = {
            **_scope(unquote(path), "GET", []),
            "type": "websocket",
            "raw_path": path.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "extensions": extensions,
        }
        await app(scope, receive, send)
        assert sent[0]["type"].endswith(first)
        if extensions:
            assert sent[0]["status"] in (400, 401, 403)
        else:
            assert sent[0]["code"] == 1008


def test_a_websocket_of_an_open_path_is_open() -> None:
    app = application(Recording(), open_paths=["/admin/feed"])
    with (
        pytest.raises(AttributeError),
        TestClient(app).websocket_connect("/admin/feed") as socket,
    ):
        socket.receive_text()


def test_a_client_sees_the_refusal_of_a_websocket() -> None:
    http = TestClient(application(Recording()))
    with pytest.raises(WebSocketDisconnect), http.websocket_connect("/queues/ops/feed"):
        pytest.fail("it may not open")


def test_lifespan_events_are_passed_on() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        events.append("up")
        yield
        events.append("down")

    app = Starlette(
        lifespan=lifespan, middleware=[Middleware(NomosMiddleware, rules=[], verifier=None)]
    )
    with TestClient(app):
        assert events == ["up"]
    assert events == ["up", "down"]


@pytest.mark.parametrize("kind", ["http3", "lifespan2", "", "mqtt"])
async def test_a_connection_of_an_unknown_type_is_refused(kind: str) -> None:
    async def inner(*_: object) -> None:
        pytest.fail("nothing may reach this")

    app = NomosMiddleware(inner, rules=RULES, open_paths=OPEN, verifier=Recording())
    with pytest.raises(RuntimeError, match="unknown scope type"):
        await app({**_scope("/healthz", "GET", []), "type": kind}, None, None)  # type: ignore[arg-type]


# What can be no rule is refused before there is a request


@pytest.mark.parametrize(
    "how",
    [
        {"method": "get"},
        {"method": ""},
        {"method": "GET,POST"},
        {"path": "queues"},
        {"path": ""},
        {"path": "/{x}/{x}"},
        {"path": "/{x:nothing}"},
        {"command": "tickets"},
        {"resource": {"queue": "{other}"}},
        {"resource": {"queue": "{queue}-{queue}"}},
        {"args": {"x": "{other}"}},
        {"args": 7},
    ],
)
def test_an_invalid_rule_is_a_configuration_error(how: dict[str, Any]) -> None:
    right: dict[str, Any] = {
        "method": "GET",
        "path": "/queues/{queue}",
        "command": LIST,
        "resource": QUEUE,
    }
    Rule(**right)
    with pytest.raises(ConfigurationError):
        Rule(**{**right, **how})


@pytest.mark.parametrize(
    "how",
    [
        {"rules": [RULES[0], RULES[0]]},
        {"rules": [("GET", "/", LIST)]},
        {"open_paths": "/healthz"},
        {"open_paths": ["healthz"]},
        {"open_paths": ["/{path:path}"]},
        {"open_paths": ["/queues/{any}"]},
        {"open_paths": ["/queues/{queue}"]},
        {"verifier": "x"},
    ],
)
def test_an_invalid_middleware_is_a_configuration_error(how: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        NomosMiddleware(Starlette(), **{"rules": RULES, **how})


async def test_a_real_token_is_accepted_by_a_rule(system: System) -> None:
    app = application(system.async_verifier())
    grant = system.grant(LIST, {"provider": "tickets", "queue": "ops"}).require()
    assert (await call(app, "GET", "/queues/ops", headers=grant.headers()))[0] == 200
    assert (await call(app, "GET", "/queues/dev", headers=grant.headers()))[0] == 403
    assert (await call(app, "GET", "/queues/ops", headers={}))[0] == 401
