"""`requires` as a FastAPI dependency: accepted and refused calls."""

import logging
from collections.abc import Callable
from typing import Annotated, Any, Final
from urllib.parse import quote

import anyio
import anyio.lowlevel
import pytest
from fake_verifier import SERVICE, TOKEN, Recording, RecordingSync, client, verified
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, WebSocket
from pydantic import BaseModel
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from ticketing import CLOSE, LIST, OPS, SEVEN, System

from nomos.errors import ConfigurationError, Denied, SignerError
from nomos.integrations.fastapi import (
    NomosMiddleware,
    Rule,
    Verified,
    install,
    json_body,
    query,
    requires,
)

pytestmark = pytest.mark.anyio

QUEUE: Final = {"provider": "tickets", "queue": "{queue}"}
TICKET: Final = {**QUEUE, "number": "{number}"}


class Note(BaseModel):
    comment: str


def application(verifier: Any = None) -> FastAPI:
    """Two typical routes."""
    app = FastAPI()
    install(app, verifier)
    may_list = requires(LIST, resource=QUEUE, args=query(state=str, page=int, mine=bool))
    may_close = requires(CLOSE, resource=TICKET, args=json_body(max_bytes=200))

    @app.get("/queues/{queue}")
    async def listed(
        by: Annotated[Verified, Depends(may_list)], state: str | None = None
    ) -> dict[str, Any]:
        return {"agent": by.agent, "queue": by.resource["queue"], "state": state}

    @app.post("/queues/{queue}/{number:int}/close")
    async def close(
        by: Annotated[Verified, Depends(may_close)], number: int, note: Note
    ) -> dict[str, Any]:
        return {"number": number, "comment": note.comment, "command": by.command}

    return app


def one_route(verifier: Any, **how: Any) -> FastAPI:
    """One route behind `requires(LIST, **how)`, which fails the test if it is reached."""
    app = FastAPI()
    install(app, verifier)

    @app.get("/queues/{queue}", dependencies=[Depends(requires(LIST, **how))])
    async def reached(queue: str) -> None:
        pytest.fail(f"nothing may reach {queue}")

    return app


@pytest.mark.parametrize("verifier_method", ["verifier", "async_verifier"])
async def test_a_real_token_is_accepted_for_its_call_only(
    system: System, verifier_method: str
) -> None:
    async with client(application(getattr(system, verifier_method)())) as http:
        grant = system.grant(LIST, OPS).require()
        answer = await http.get("/queues/ops", headers=grant.headers())
        assert (answer.status_code, answer.json()["queue"]) == (200, "ops")
        answer = await http.get("/queues/dev", headers=grant.headers())
        assert (answer.status_code, answer.json()["error_code"]) == (403, "resource_mismatch")
        answer = await http.post(
            "/queues/ops/7/close", headers=grant.headers(), json={"comment": "done"}
        )
        assert answer.status_code == 403
        assert answer.headers["www-authenticate"].endswith(f'scope="{CLOSE}"')


@pytest.mark.parametrize("verifier_method", ["verifier", "async_verifier"])
async def test_signed_args_are_compared_and_a_write_works_once(
    system: System, verifier_method: str
) -> None:
    async with client(application(getattr(system, verifier_method)())) as http:
        grant = system.grant(CLOSE, SEVEN, args={"comment": "done"}).require()

        async def close(headers: dict[str, str], comment: str) -> tuple[int, Any]:
            answer = await http.post(
                "/queues/ops/7/close", headers=headers, json={"comment": comment}
            )
            return answer.status_code, answer.json().get("error_code")

        headers = grant.headers()
        assert await close(headers, "something else") == (403, "resource_mismatch")
        assert await close(headers, "done") == (200, None)
        assert await close(headers, "done") == (401, "replayed")
        assert await close(grant.headers(), "done") == (200, None)


async def test_one_of_many_concurrent_writes_with_one_token_succeeds(system: System) -> None:
    app = application(system.verifier())
    headers = system.grant(CLOSE, SEVEN, args={"comment": "done"}).require().headers()
    codes: list[int] = []

    async def close() -> None:
        answer = await http.post("/queues/ops/7/close", headers=headers, json={"comment": "done"})
        codes.append(answer.status_code)

    async with client(app) as http, anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(close)
    assert sorted(codes) == [200] + [401] * 7


async def test_bound_args_are_compared_by_a_route_without_args(
    system: System,
) -> None:
    app = one_route(system.verifier(), resource=QUEUE)
    headers = system.grant(LIST, OPS, args={"state": "open"}).require().headers()
    async with client(app) as http:
        answer = await http.get("/queues/ops", headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (403, "resource_mismatch")


# Where a call comes from


async def _resource(request: Request) -> dict[str, Any]:
    await anyio.lowlevel.checkpoint()
    return {"provider": "tickets", "queue": request.path_params["queue"].lower()}


SOURCES: Final[dict[str, Any]] = {
    "mapping": {"provider": "tickets", "queue": "{queue}"},
    "function": lambda request: {"provider": "tickets", "queue": request.path_params["queue"]},
    "async": _resource,
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("verifier", [Recording(), RecordingSync()], ids=["async", "sync"])
async def test_a_call_is_given_by_a_mapping_or_a_function(
    source: Any, verifier: Recording | RecordingSync
) -> None:
    verifier.asked.clear()
    app = FastAPI()

    @app.get("/queues/{queue}")
    async def listed(
        by: Annotated[Verified, Depends(requires(LIST, resource=source, verifier=verifier))],
    ) -> str:
        return str(by.resource["queue"])

    async with client(app) as http:
        answer = await http.get("/queues/ops", headers=TOKEN)
    assert answer.json() == "ops"
    assert verifier.asked == [(LIST, {"provider": "tickets", "queue": "ops"}, None)]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("7", 7), ("0", 0), ("-3", -3), ("9007199254740991", 2**53 - 1)),
        *(("007", None), ("+7", None), ("-0", None), ("1_0", None), (" 7", None), ("7.0", None)),
        *(("9007199254740992", None), ("x", None), ("\u0667", None), ("7\n", None)),
    ],
)
async def test_a_number_in_the_path_has_one_spelling(text: str, number: int | None) -> None:
    verifier = Recording()
    app = FastAPI()
    install(app, verifier)
    may = requires(LIST, resource={**OPS, "number": "{number:int}"})

    @app.get("/{number}", dependencies=[Depends(may)])
    async def read(number: int) -> int:
        return number

    async with client(app) as http:
        answer = await http.get(f"/{quote(text)}", headers=TOKEN)
    if number is None:
        # FastAPI itself answers 422 to what it takes for no number.
        assert answer.status_code in (400, 422)
        assert verifier.asked == []
    else:
        assert answer.json() == verifier.asked[0][1]["number"] == number


def raising(error: Exception) -> Callable[[Request], dict[str, Any]]:
    def source(request: Request) -> dict[str, Any]:
        raise error

    return source


FAILING: Final[dict[str, tuple[Any, int, str | None]]] = {
    "a number that is none": (lambda r: {"n": int(r.path_params["queue"])}, 400, "invalid_request"),
    "a header that is missing": (lambda r: {"h": r.headers["x-h"]}, 400, "invalid_request"),
    "a model that does not fit": (lambda _: Note.model_validate({}), 400, "invalid_request"),
    "not unicode": (lambda _: {"x": b"\xff".decode()}, 400, "invalid_request"),
    "its own answer": (raising(HTTPException(404, "no such queue")), 404, None),
    "a mistake": (raising(RuntimeError("hunter2")), 500, "internal"),
    "another mistake": (lambda r: r.nothing, 500, "internal"),
    "division": (lambda _: 1 // 0, 500, "internal"),
    "nothing": (lambda _: None, 500, "internal"),
    "a list": (lambda _: [("provider", "tickets")], 500, "internal"),
    "text": (lambda _: "tickets", 500, "internal"),
    "a parameter that the path has not": (
        {"provider": "tickets", "queue": "{nothing}"},
        500,
        "internal",
    ),
    "a value of no JSON": (lambda _: {"x": object()}, 400, "invalid_request"),
    "not a number": (lambda _: {"x": float("nan")}, 400, "invalid_request"),
    "a name of no JSON": (lambda _: {("a",): 1}, 400, "invalid_request"),
    "a denial of its own": (raising(Denied("no", code="policy_denied")), 500, "internal"),
    "too deep": (lambda _: _nested(5000), 400, "invalid_request"),
}


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("which", ["resource", "args"])
@pytest.mark.parametrize(("source", "status", "code"), FAILING.values(), ids=FAILING)
async def test_a_function_that_fails_is_never_an_allow(
    which: str, source: Any, status: int, code: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    verifier = Recording()
    app = one_route(verifier, **{"resource": QUEUE, which: source})
    async with client(app) as http:
        answer = await http.get("/queues/ops", headers=TOKEN)
    assert (answer.status_code, answer.json().get("error_code")) == (status, code)
    assert verifier.asked == []
    assert "hunter2" not in answer.text
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert bool(logged) == (status == 500)
    assert "aaa.bbb.ccc" not in caplog.text


VERIFIERS: Final[dict[str, tuple[object, int, str]]] = {
    "denies": (Denied("no", code="revoked"), 401, "revoked"),
    "cannot tell": (Denied("no", code="unavailable"), 503, "unavailable"),
    "has a stale view": (Denied("no", code="revocations_stale"), 503, "revocations_stale"),
    "has no binary": (SignerError("did:key:zSecret"), 503, "unavailable"),
    "fails": (RuntimeError("did:key:zSecret"), 500, "internal"),
    "says yes in another way": (True, 500, "internal"),
    "says nothing": (0, 500, "internal"),
    "gives a mapping": ({"agent": "a"}, 500, "internal"),
}


@pytest.mark.parametrize("kind", [Recording, RecordingSync])
@pytest.mark.parametrize(("says", "status", "code"), VERIFIERS.values(), ids=VERIFIERS)
async def test_anything_but_a_verification_is_a_refusal(
    kind: type[Recording], says: object, status: int, code: str
) -> None:
    async with client(one_route(kind(says), resource=QUEUE)) as http:
        answer = await http.get("/queues/ops", headers={**TOKEN, "x-request-id": "r-7"})
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "r-7"
    assert answer.headers["cache-control"] == "no-store"
    assert ("retry-after" in answer.headers) == (status == 503)
    assert "zSecret" not in answer.text


@pytest.mark.parametrize("says", [RuntimeError("x"), SignerError("x"), True])
async def test_the_log_has_the_request_id_of_the_answer(
    says: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "nomos.integrations")
    async with client(one_route(Recording(says), resource=QUEUE)) as http:
        answer = await http.get("/queues/ops", headers=TOKEN)
    (record,) = [each for each in caplog.records if each.name.startswith("nomos.integrations")]
    assert f"(request {answer.json()['request_id']})" in record.getMessage()
    assert record.levelno == logging.ERROR


async def test_a_route_may_demand_signed_arguments(system: System) -> None:
    app = FastAPI()
    install(app, system.verifier())
    args = query(state=str)
    loose, bound = (
        requires(LIST, resource=QUEUE, args=args, require_signed_args=each)
        for each in (False, True)
    )

    @app.get("/loose/{queue}")
    async def any_state(by: Annotated[Verified, Depends(loose)]) -> dict[str, Any]:
        return by.args

    @app.get("/both/{queue}", dependencies=[Depends(loose)])
    async def one_state(by: Annotated[Verified, Depends(bound)]) -> dict[str, Any]:
        return by.args

    rules = [Rule("GET", "/{any}/{queue}", LIST, QUEUE, args, require_signed_args=True)]
    behind = FastAPI()
    behind.add_middleware(NomosMiddleware, rules=rules, verifier=system.verifier())
    behind.mount("/", app)
    grant = system.grant(LIST, OPS).require()
    signed, unsigned = grant.headers(args={"state": "open"}), grant.headers()
    params = {"state": "open"}
    async with client(app) as http, client(behind) as guarded:
        answer = await http.get("/loose/ops", headers=unsigned, params=params)
        assert (answer.status_code, answer.json()) == (200, {})
        for way, path in ((http, "/both/ops"), (guarded, "/loose/ops")):
            answer = await way.get(path, headers=unsigned, params=params)
            assert (answer.status_code, answer.json()["error_code"]) == (403, "resource_mismatch")
            assert answer.json()["field"] == "args.state"
            assert "grant.headers(args=…)" in answer.json()["fix"]
            answer = await way.get(path, headers=signed, params=params)
            assert (answer.status_code, answer.json()) == (200, params)


@pytest.mark.parametrize(
    "how", [{"require_signed_args": True}, {"require_signed_args": "yes", "args": {}}]
)
def test_require_signed_args_needs_args_and_a_boolean(how: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        requires(LIST, resource=QUEUE, **how)
    assert wrong.value.setting == "require_signed_args"


@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        ("?page=1&page=2", "args.page", "more than once"),
        ("?page=007", "args.page", "a whole number"),
        ("?mine=yes", "args.mine", "true or false"),
        ("?other=1", "args.other", "is not a parameter"),
        ("?aaa.bbb%0Accc=1", "args", "is not a parameter"),
        (f"?{'x' * 33}=1", "args", "is not a parameter"),
    ],
)
async def test_a_400_names_the_parameter_at_fault(asked: str, field: str, words: str) -> None:
    async with client(application(Recording())) as http:
        answer = await http.get(f"/queues/ops{asked}", headers=TOKEN)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert words in answer.json()["error"]


async def test_a_400_names_the_field_of_a_body_or_a_path() -> None:
    app = one_route(Recording(), resource={**QUEUE, "number": "{queue:int}"})
    async with client(application(Recording())) as http, client(app) as paths:
        body, kind = b'{"comment": "a", "comment": "b"}', {"content-type": "application/json"}
        twice = await http.post("/queues/ops/7/close", headers={**TOKEN, **kind}, content=body)
        spelt = await paths.get("/queues/007", headers=TOKEN)
    assert (twice.status_code, twice.json()["field"]) == (400, "args.comment")
    assert (spelt.status_code, spelt.json()["field"]) == (400, "resource.number")


@pytest.mark.parametrize("left", [None, "yes", 42, Recording], ids=repr)
async def test_without_a_verifier_every_request_is_refused(
    left: object, caplog: pytest.LogCaptureFixture
) -> None:
    app = one_route(None, resource=QUEUE)
    if left is not None:
        app.state.nomos = left
    async with client(app) as http:
        answer = await http.get("/queues/ops", headers=TOKEN)
    assert (answer.status_code, answer.json()["error_code"]) == (500, "internal")
    assert "set app.state.nomos" in caplog.text


async def test_without_install_a_refusal_is_in_the_detail_member() -> None:
    app = FastAPI()
    app.state.nomos = Recording(Denied("no", code="expired"))

    @app.get("/", dependencies=[Depends(requires(LIST, resource=OPS))])
    async def reached() -> None:
        pytest.fail("nothing may reach this")

    async with client(app) as http:
        answer = await http.get("/", headers=TOKEN)
    assert (answer.status_code, answer.json()["detail"]["error_code"]) == (401, "expired")
    assert answer.headers["www-authenticate"].startswith('Bearer error="invalid_token"')


async def test_install_after_the_start_is_a_configuration_error() -> None:
    app = application(Recording())
    async with client(app) as http:
        await http.get("/queues/ops", headers=TOKEN)
    with pytest.raises(ConfigurationError, match="before the application starts"):
        install(app)


# One token, one use


async def test_a_call_required_three_times_is_verified_once() -> None:
    verifier = Recording()
    may: dict[str, Any] = {"resource": SEVEN, "args": {"comment": "x"}}
    app = FastAPI()
    app.add_middleware(NomosMiddleware, rules=[Rule("POST", "/close", CLOSE, **may)])
    install(app, verifier)
    router = APIRouter(dependencies=[Depends(requires(CLOSE, **may))])

    @router.post("/close")
    async def close(
        request: Request, by: Annotated[Verified, Depends(requires(CLOSE, **may))]
    ) -> bool:
        return request.state.nomos is by

    app.include_router(router)
    async with client(app) as http:
        answer = await http.post("/close", headers=TOKEN)
        assert answer.json() is True
        assert len(verifier.asked) == 1
        await http.post("/close", headers=TOKEN)
        assert len(verifier.asked) == 2


@pytest.mark.parametrize("other", [{"number": True}, {"number": 1.0}, {"number": "1"}, {}])
async def test_another_call_in_one_request_is_verified_too(other: dict[str, Any]) -> None:
    verifier = Recording()
    app = FastAPI()
    install(app, verifier)
    both = [{**OPS, "number": 1}, {**OPS, **other}]

    @app.get("/", dependencies=[Depends(requires(LIST, resource=each)) for each in both])
    async def reached() -> None:
        pass

    async with client(app) as http:
        assert (await http.get("/", headers=TOKEN)).status_code == 200
    assert [resource for _, resource, _ in verifier.asked] == both


# Bodies and queries


BODIES: Final[dict[str, tuple[bytes, str, int]]] = {
    "a name twice": (b'{"comment": "done", "comment": "x"}', "application/json", 400),
    "a name twice, inside": (b'{"comment": "a", "x": {"a": 1, "a": 2}}', "application/json", 400),
    "not a number": (b'{"comment": "done", "x": NaN}', "application/json", 400),
    "text": (b'"done"', "application/json", 400),
    "a list": (b"[]", "application/json", 400),
    "a form": (b"comment=done", "application/x-www-form-urlencoded", 400),
    "another type": (b'{"comment": "done"}', "text/plain", 400),
    "too long": (b'{"comment": "' + b"x" * 200 + b'"}', "application/json", 413),
}


@pytest.mark.parametrize(("body", "kind", "status"), BODIES.values(), ids=BODIES)
async def test_an_ambiguous_body_is_refused(body: bytes, kind: str, status: int) -> None:
    verifier = Recording()
    async with client(application(verifier)) as http:
        answer = await http.post(
            "/queues/ops/7/close", content=body, headers={**TOKEN, "content-type": kind}
        )
    # FastAPI itself answers 422 to some of these, and it does so before or after we look.
    assert answer.status_code in (status, 422)
    assert verifier.asked == [] or answer.status_code == 422


# httpx leaves its own generator to trio when an application answers without reading to the end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("body", "kind", "status"), BODIES.values(), ids=BODIES)
async def test_an_ambiguous_body_is_refused_for_a_route_that_reads_it_itself(
    body: bytes, kind: str, status: int
) -> None:
    verifier = Recording()
    app = FastAPI()
    install(app, verifier)
    may = requires(CLOSE, resource=SEVEN, args=json_body(max_bytes=200))

    @app.post("/", dependencies=[Depends(may)])
    async def close(request: Request) -> Any:
        return await request.json()

    async with client(app) as http:
        answer = await http.post("/", content=body, headers={**TOKEN, "content-type": kind})
        assert answer.status_code == status
        assert verifier.asked == []
        answer = await http.post("/", json={"comment": "done"}, headers=TOKEN)
    assert answer.json() == {"comment": "done"}
    assert verifier.asked == [(CLOSE, SEVEN, {"comment": "done"})]


QUERIES: Final[dict[str, tuple[str, dict[str, Any] | None]]] = {
    "none": ("", {}),
    "each": (
        "state=a%20b&page=-3&mine=true",
        {"state": "a b", "page": -3, "mine": True},
    ),
    "empty text": ("state=", {"state": ""}),
    "twice": ("state=open&state=closed", None),
    "twice, escaped": ("state=open&%73tate=closed", None),
    "unknown": ("state=open&admin=1", None),
    "no value": ("state", None),
    "not unicode": ("state=%ff", None),
    "leading zero": ("page=007", None),
    "plus": ("page=%2B7", None),
    "other digits": ("page=%D9%A7", None),
    "too long a number": ("page=" + "9" * 17, None),
    "capital": ("mine=True", None),
    "one for true": ("mine=1", None),
    "too many": ("&".join(f"x{n}=1" for n in range(100)), None),
}


@pytest.mark.parametrize(("text", "args"), QUERIES.values(), ids=QUERIES)
async def test_an_ambiguous_query_is_refused(text: str, args: dict[str, Any] | None) -> None:
    verifier = Recording()
    async with client(application(verifier)) as http:
        answer = await http.get(f"/queues/ops?{text}", headers=TOKEN)
    assert answer.status_code == (400 if args is None else 200)
    assert [asked for *_, asked in verifier.asked] == ([] if args is None else [args])


VALUES: Final[dict[str, tuple[bytes, int]]] = {
    "lone surrogate": (rb'{"comment": "\ud800"}', 400),
    "beyond what is exact": (b'{"comment": 9007199254740993}', 400),
    "too large a number": (b'{"comment": 1e400}', 400),
    "a number of many digits": (b'{"comment": ' + b"9" * 5000 + b"}", 400),
    "deep": (b'{"comment": ' + b"[" * 40 + b"]" * 40 + b"}", 400),
    "very deep": (b'{"comment": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "a name that is not NFC": ('{"comment": "x", "e\u0301": 1}'.encode(), 400),
    "a resource among the args": (b'{"comment": "x", "resource": {"queue": "ops"}}', 403),
    "prototype": (b'{"comment": "x", "__proto__": {"a": 1}}', 403),
    "empty": (b"{}", 403),
    "a byte order mark": (b'\xef\xbb\xbf{"comment": "x"}', 400),
}


@pytest.mark.parametrize(("body", "status"), VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("verifier_method", ["verifier", "async_verifier"])
async def test_a_body_with_values_that_no_token_can_have_is_refused_by_a_real_verifier(
    system: System, verifier_method: str, body: bytes, status: int
) -> None:
    app = FastAPI()
    install(app, getattr(system, verifier_method)())
    may = requires(CLOSE, resource=SEVEN, args=json_body())

    @app.post("/", dependencies=[Depends(may)])
    async def close() -> None:
        pytest.fail("nothing may reach this")

    headers = system.grant(CLOSE, SEVEN, args={"comment": "x"}).require().headers()
    async with client(app) as http:
        answer = await http.post(
            "/", content=body, headers={**headers, "content-type": "application/json"}
        )
    assert answer.status_code == status, answer.text


# What can be no call is refused before there is a request


WRONG: Final[dict[str, dict[str, Any]]] = {
    "command": {"command": "github/issue/list"},
    "command with a capital": {"command": "/GitHub"},
    "command with an end": {"command": "/github/"},
    "resource": {"resource": None},
    "resource as text": {"resource": "github"},
    "args": {"args": "x"},
    "two parameters": {"resource": {"x": "{a}-{b}"}},
    "a brace": {"resource": {"x": "{a"}},
    "another type": {"resource": {"x": "{a:float}"}},
    "a number among text": {"resource": {"x": "v{a:int}"}},
    "a name": {"resource": {1: "x"}},
    "verifier": {"verifier": "x"},
}


@pytest.mark.parametrize("how", WRONG.values(), ids=WRONG)
def test_an_invalid_call_is_a_configuration_error(how: dict[str, Any]) -> None:
    right: dict[str, Any] = {"command": LIST, "resource": OPS}
    requires(**right)
    with pytest.raises(ConfigurationError):
        requires(**{**right, **how})


def test_a_type_of_the_query_and_a_verifier_are_checked() -> None:
    with pytest.raises(ConfigurationError):
        query(page=float)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        install(FastAPI(), "verifier")  # type: ignore[arg-type]


# Websockets and documentation


def sockets(verifier: Any) -> TestClient:
    app = FastAPI()
    install(app, verifier)
    may = requires(LIST, resource=QUEUE)

    @app.websocket("/queues/{queue}")
    async def feed(socket: WebSocket, by: Annotated[Verified, Depends(may)]) -> None:
        await socket.accept()
        await socket.send_text(str(by.resource["queue"]))
        await socket.close()

    return TestClient(app)


def test_a_websocket_opens_with_a_token() -> None:
    with sockets(Recording()).websocket_connect("/queues/ops", headers=TOKEN) as socket:
        assert socket.receive_text() == "ops"


@pytest.mark.parametrize("headers", [{}, TOKEN], ids=["no token", "refused token"])
def test_a_websocket_does_not_open_otherwise(headers: dict[str, str]) -> None:
    http = sockets(Recording(Denied("no", code="expired")))
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        http.websocket_connect("/queues/ops", headers=headers),
    ):
        pytest.fail("it may not open")
    assert closed.value.code == 1008


def test_the_documentation_of_the_api_shows_a_bearer_token() -> None:
    schema = application().openapi()
    assert schema["components"]["securitySchemes"]["nomos"]["scheme"] == "bearer"
    assert schema["paths"]["/queues/{queue}"]["get"]["security"] == [{"nomos": []}]


def test_a_recording_verifier_gives_what_a_real_one_gives() -> None:
    assert verified(LIST, OPS, None).command == LIST
    assert Recording().audience == SERVICE
