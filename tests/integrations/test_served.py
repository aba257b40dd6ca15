"""`NomosMiddleware` behind uvicorn, with raw requests."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket
from ticketing import CLOSE, LIST, OPS, SEVEN, System

from nomos.integrations.starlette import NomosMiddleware, Rule, json_body

QUEUE = {"provider": "tickets", "queue": "{queue}"}


async def show(request: Request) -> JSONResponse:
    body = (await request.body()).decode()
    return JSONResponse({"by": request.state.nomos.agent, "body": body})


async def opened(request: Request) -> JSONResponse:
    return JSONResponse({"ok": True})


async def feed(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


@pytest.fixture(scope="module")
def port(system: System) -> Iterator[int]:
    """An application of Starlette behind the middleware, in a thread of this process."""
    rules = [
        Rule("GET", "/v1/queues/{queue}", LIST, QUEUE),
        Rule("WEBSOCKET", "/v1/queues/{queue}", LIST, QUEUE),
        Rule(
            "POST",
            "/v1/queues/{queue}/{number:int}",
            CLOSE,
            {**QUEUE, "number": "{number}"},
            json_body(max_bytes=100_000),
        ),
    ]
    inside = [
        Route("/queues/{queue}", show),
        WebSocketRoute("/queues/{queue}", feed),
        Route("/queues/{queue}/{number:int}", show, methods=["POST"]),
        Route("/admin", show),
    ]
    how: dict[str, Any] = {"rules": rules, "open_paths": ["/healthz"]}
    app = Starlette(
        routes=[Route("/healthz", opened), Mount("/v1", routes=inside)],
        middleware=[Middleware(NomosMiddleware, **how)],
    )
    app.state.nomos = system.async_verifier()
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)


def ask(port: int, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> Any:
    """Send one request byte by byte; return the status and the JSON of the answer."""
    lines = [f"{method} {target} HTTP/1.1", "host: service", "connection: close", *headers]
    if body:
        lines.append(f"content-length: {len(body)}")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        line.sendall(body)
        found = b""
        while chunk := line.recv(65536):
            found += chunk
            if found.startswith(b"HTTP/1.1 101"):
                return 101, None
    head, _, text = found.partition(b"\r\n\r\n")
    is_json = b"application/json" in head
    return int(head.split()[1]), json.loads(text) if is_json and text else None


def bearer(headers: dict[str, str]) -> str:
    return f"authorization: {headers['authorization']}"


@pytest.fixture(scope="module")
def token(system: System) -> str:
    return bearer(system.grant(LIST, OPS).require().headers())


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/queues/ops", 200),
        ("/v1/queues/ops?a=b", 200),
        ("/v1/queues/%6Fps", 200),
        ("/v1/queues/ops?/../admin", 200),
        ("http://elsewhere/v1/queues/ops", 400),
        ("/v1/queues/dev", 403),
        ("/v1/queues/ops/", 403),
        ("/V1/queues/ops", 403),
        ("/v1/admin", 403),
        ("/v1/healthz", 403),
        ("/v1", 403),
        ("/v1/queues/ops/../../admin", 400),
        ("/v1/queues/ops/%2e%2e/%2e%2e/admin", 400),
        ("/healthz/../v1/admin", 400),
        ("/healthz%2f..%2fv1%2fadmin", 400),
        ("//v1/admin", 400),
        ("/v1//admin", 400),
        ("/v1%2fadmin", 400),
        ("/v1%5cadmin", 400),
        ("/v1/queues/ops%00", 400),
        ("/v1/queues/ops%0a", 400),
        ("/v1/queues/%ff", 400),
        ("/healthz", 200),
        ("/healthz/", 403),
        ("/healthz%20", 403),
        ("/healthz;x", 403),
        ("/healthz%23", 403),
        ("/", 403),
        ("*", 403),
    ],
)
def test_a_path_is_routed_by_its_rule_or_refused(
    port: int, token: str, target: str, status: int
) -> None:
    assert ask(port, target, token)[0] == status
    if status == 200 and "healthz" not in target:
        assert ask(port, target)[0] == 401


def test_head_and_options(port: int, token: str) -> None:
    assert ask(port, "/v1/queues/ops", token, method="HEAD")[0] == 200
    assert ask(port, "/v1/queues/ops", method="HEAD")[0] == 401
    assert ask(port, "/v1/queues/ops", token, method="OPTIONS")[0] == 403
    assert ask(port, "*", token, method="OPTIONS")[0] == 403


def test_only_the_signed_body_is_accepted(port: int, system: System) -> None:
    body = json.dumps({"comment": "x" * 10_000}).encode()
    grant = system.grant(CLOSE, SEVEN, args=json.loads(body)).require()
    headers = (bearer(grant.headers()), "content-type: application/json")
    path = "/v1/queues/ops/7"
    longer = body.replace(b'"}', b'x"}')
    assert ask(port, path, *headers, method="POST", body=longer)[0] == 403
    status, answer = ask(port, path, *headers, method="POST", body=body)
    assert (status, answer) == (200, {"by": grant.agent, "body": body.decode()})
    assert ask(port, path, *headers, method="POST", body=body)[1]["error_code"] == "replayed"
    status, answer = ask(port, path, *headers, method="POST", body=b" " * 100_001)
    assert (status, answer["error_code"]) == (413, "too_large")


def test_a_chunked_body_is_read_in_full(port: int, system: System) -> None:
    grant = system.grant(CLOSE, SEVEN, args={"comment": "done"}).require()
    headers = [
        bearer(grant.headers()),
        "content-type: application/json",
        "transfer-encoding: chunked",
    ]
    # The second chunk would turn what was signed into something else.
    chunks = b'12\r\n{"comment":"done"}\r\n1\r\n \r\n0\r\n\r\n'
    lines = ["POST /v1/queues/ops/7 HTTP/1.1", "host: s", "connection: close", *headers]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + chunks)
        found = b""
        while chunk := line.recv(65536):
            found += chunk
    assert found.startswith(b"HTTP/1.1 200")
    assert found.endswith(b'"body":"{\\"comment\\":\\"done\\"} "}')


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/queues/ops", 101),
        ("/v1/queues/dev", 403),
        ("/v1/admin", 403),
        ("/v1/queues/a%2fb", 400),
    ],
)
def test_a_websocket_opens_with_its_token_alone(
    port: int, token: str, target: str, status: int
) -> None:
    pytest.importorskip("websockets", reason="uvicorn needs it to serve websockets")
    handshake = [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-version: 13",
        f"sec-websocket-key: {base64.b64encode(bytes(16)).decode()}",
    ]
    assert ask(port, target, *handshake, token)[0] == status
    without = 401 if target.startswith("/v1/queues/") and status != 400 else status
    assert ask(port, target, *handshake)[0] == without
