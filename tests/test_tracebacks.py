"""Tracebacks with local variables show no key and no token."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nomos import (
    AsyncAuthGuard,
    AsyncVerifier,
    AuthGuard,
    Child,
    ConfigurationError,
    Verifier,
    fork_child,
    read_parent_chain_from_env,
    webhooks,
)
from nomos._core.fork_request import ForkedChild
from nomos._tracebacks import without_frames
from nomos.errors import Denied, NomosError
from nomos.verify import verify_receipt

KEY = "nomos_app_01abc_" + "S" * 40
TOKEN = ".".join(("eyJh" * 8, "eyJw" * 8, "c2ln" * 8))
DID = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
CALL: dict[str, Any] = {"command": "/github/issue/list", "resource": {"provider": "github"}}
LESS: dict[str, Any] = {"capabilities": [{"command": "/a", "resource": {"provider": "a"}}]}


def texts(value: object, depth: int = 5) -> Iterator[str]:
    """What a thorough tool shows of a value: its `repr`, its items, its attributes."""
    yield repr(value)
    inside: list[object] = []
    if isinstance(value, dict):
        inside = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inside = list(value)
    elif not callable(value) and not isinstance(value, type(sys)):
        inside = list(getattr(value, "__dict__", {}).values())
    for one in inside[:100] if depth else []:
        yield from texts(one, depth - 1)


def shown(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield what is in the frames of an error and of its causes, but for those of this test."""
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        left += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
        yield "message", str(one)
        yield from (("attribute", text) for text in texts(vars(one), 2))
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename != __file__:
                for name, value in frame.f_locals.items():
                    for text in texts(value):
                        yield f"{frame.f_code.co_name}:{name}", text


def leaks(error: BaseException, *secrets: str) -> list[str]:
    return [place for place, text in shown(error) if any(one in text for one in secrets)]


class Faulty(BaseHTTPRequestHandler):
    """A control plane that fails as its path's first part says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        how = self.path.split("/")[1]
        self.close_connection = True
        if how == "hang":
            threading.Event().wait(1.5)
        elif how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01" + b"\0" * 7)
            self.connection.close()
        elif how == "garbage":
            self.wfile.write(b"no HTTP\r\n\r\n")
        else:
            status, length = (401, 50) if how == "401" else (200, 1000)
            body = f'{{"error": "no: {self.headers["authorization"]}"}}'.encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body) if length == 50 else length))
            self.end_headers()
            self.wfile.write(body)

    do_GET = do_POST  # noqa: N815 - as the base class calls it


@pytest.fixture(scope="module")
def faulty() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


SAID = {
    "unreachable": "cannot be reached: Connection refused",
    "401": "this is not a control plane's reply",
    "hang": "did not answer within 0.5 s",
    "reset": "gave no reply: Connection reset by peer",
    "cut": "gave no reply: peer closed connection",
    "garbage": "gave no reply: its reply is not HTTP",
}
"""What an error says of each fault."""


@pytest.mark.parametrize("fault", SAID)
@pytest.mark.parametrize("kind", [AuthGuard, AsyncAuthGuard])
def test_a_request_that_fails_shows_no_key(faulty: str, fault: str, kind: type[Any]) -> None:
    url = "http://127.0.0.1:1" if fault == "unreachable" else f"{faulty}/{fault}"
    # Time enough for the same fault twice, except where it is the time.
    guard = kind(control_plane_url=url, api_key=KEY, timeout=0.5 if fault == "hang" else 6)
    seed = guard._standing.seed.reveal()

    async def asked() -> None:
        async with guard:
            await guard.authorize(**CALL)

    call = (lambda: guard.authorize(**CALL)) if kind is AuthGuard else lambda: asyncio.run(asked())
    with pytest.raises(NomosError) as failed:
        call()
    if kind is AuthGuard:
        guard.close()
    assert leaks(failed.value, KEY, seed) == []
    assert SAID[fault] in str(failed.value)
    lines = [each.name for each in traceback.extract_tb(failed.value.__traceback__)]
    assert "test_a_request_that_fails_shows_no_key" in lines  # the user's own frames stay


def test_a_call_that_is_cancelled_shows_no_key(faulty: str) -> None:
    guard = AsyncAuthGuard(control_plane_url=f"{faulty}/hang", api_key=KEY, timeout=5)

    async def asked() -> None:
        async with guard:
            await asyncio.wait_for(guard.authorize(**CALL), 0.3)

    with pytest.raises(TimeoutError) as failed:
        asyncio.run(asked())
    assert leaks(failed.value, KEY) == []


@pytest.mark.parametrize("binary", ["nowhere", "ends", "echoes"])
@pytest.mark.parametrize("kind", [AuthGuard, AsyncAuthGuard])
def test_a_signer_that_fails_shows_no_seed(
    kind: type[Any], binary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "signer"
    if binary != "nowhere":
        file.write_text("#!/bin/sh\n" + ("exit 0\n" if binary == "ends" else "exec cat\n"))
        file.chmod(0o755)
    monkeypatch.setenv("NOMOS_UCAN_BIN", str(file))
    guard = kind(control_plane_url="http://127.0.0.1:1", api_key=KEY)
    seed = guard._standing.seed.reveal()

    async def did() -> str:
        return str(await guard.did())

    with pytest.raises(NomosError) as failed:
        guard.did() if kind is AuthGuard else asyncio.run(did())
    assert leaks(failed.value, KEY, seed) == []


URL = "http://127.0.0.1:1"
CHAIN = "NOMOS_PARENT_UCAN_CHAIN"


def verifier(kind: type[Any] = Verifier) -> Any:
    return kind(trusted_issuers=[DID], audience=DID, revocations=())


async def averified() -> None:
    await verifier(AsyncVerifier).verify(TOKEN, **CALL)


async def aforked() -> None:
    await AsyncAuthGuard(control_plane_url=URL, api_key=KEY).fork_child(
        parent_chain=[TOKEN], **LESS
    )


async def arevoked() -> None:
    await AsyncAuthGuard(control_plane_url=URL, api_key=KEY, timeout=1).revoke([TOKEN])


MISTAKES: dict[str, Callable[[], object]] = {
    "timeout": lambda: AuthGuard(control_plane_url=URL, api_key=KEY, timeout=-1),
    "two words": lambda: AuthGuard(control_plane_url=URL, api_key=f"{KEY} x"),
    "bytes": lambda: AsyncAuthGuard(control_plane_url=URL, api_key=KEY.encode()),  # type: ignore[arg-type]
    "url": lambda: AuthGuard(control_plane_url="nowhere", api_key=KEY),
    "environment": lambda: AuthGuard.from_env({"NOMOS_API_KEY": KEY}),
    "wrong url": lambda: AuthGuard.from_env({"NOMOS_API_KEY": KEY, "NOMOS_CONTROL_URL": "x"}),
    "chain in a guard": lambda: AuthGuard(control_plane_url=URL, parent=[TOKEN, TOKEN]),
    "chain": lambda: read_parent_chain_from_env({"NOMOS_API_KEY": KEY, CHAIN: f'["{TOKEN}"'}),
    "fork": lambda: fork_child(parent_chain=[TOKEN], **LESS),
    "guard's fork": lambda: AuthGuard(control_plane_url=URL, api_key=KEY).fork_child(
        parent_chain=[TOKEN], **LESS
    ),
    "awaited fork": lambda: asyncio.run(aforked()),
    "revoke": lambda: AuthGuard(control_plane_url=URL, api_key=KEY, timeout=1).revoke([TOKEN]),
    "awaited revoke": lambda: asyncio.run(arevoked()),
    "verify": lambda: verifier().verify(TOKEN, **CALL),
    "awaited verify": lambda: asyncio.run(averified()),
    "verify what": lambda: verifier().verify(TOKEN, command="x", resource={}),
    "record": lambda: verify_receipt(TOKEN, issuers=[DID]),
    "follow": lambda: Verifier.from_control_plane(
        URL, audience=DID, api_key=KEY, startup_timeout=0.3
    ),
    "follow whom": lambda: Verifier.from_control_plane(URL, audience="x", api_key=KEY),
    "webhook": lambda: webhooks.verify({}, b"", KEY),
    "forged webhook": lambda: webhooks.verify({"nomos-signature": f"t=1,v1={'0' * 64}"}, b"", KEY),
    "short secret": lambda: webhooks.verify({}, b"", KEY[:28]),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_shows_no_key_and_no_token(mistake: Callable[[], object]) -> None:
    with pytest.raises(NomosError) as failed:
        mistake()
    assert leaks(failed.value, KEY, KEY[:28], TOKEN) == []


def test_a_child_that_cannot_be_started_shows_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    from nomos._sealed import make
    from nomos.models import ParentChain, chain_of

    monkeypatch.setenv("NOMOS_API_KEY", KEY)
    parent = make(ParentChain, chains=(chain_of([TOKEN]),))
    forked = object.__new__(ForkedChild)
    for name, value in {"parent": parent, "seed": None, "capabilities": (), "agent": DID}.items():
        object.__setattr__(forked, name, value)
    child = Child._of(forked)
    with pytest.raises(OSError, match="nowhere") as failed:
        child.popen(["/nowhere"], env=dict(os.environ))
    assert leaks(failed.value, KEY, TOKEN) == []

    async def opened() -> None:
        await child.open(["/nowhere"])

    with pytest.raises(OSError, match="nowhere") as failed:
        asyncio.run(opened())
    assert leaks(failed.value, KEY, TOKEN) == []


def test_an_object_whose_constructor_raised_has_a_repr() -> None:
    for kind in (AuthGuard, AsyncAuthGuard, Verifier, AsyncVerifier):
        assert repr(object.__new__(kind)) == f"{kind.__name__}()"


def test_a_users_own_errors_and_frames_are_unchanged() -> None:
    def callback(problem: Exception) -> None:
        raise problem

    @without_frames
    def calls(problem: Exception) -> None:
        callback(problem)

    with pytest.raises(KeyError) as unexpected:
        calls(KeyError("a mistake in the package"))
    names = [each.name for each in traceback.extract_tb(unexpected.value.__traceback__)]
    assert names[1:] == ["call", "calls", "callback"]
    try:
        callback(RuntimeError("handled by the caller"))
    except RuntimeError as handled:
        before = handled.__traceback__
        with pytest.raises(Denied) as failed:
            calls(Denied("no", code="policy_denied"))
        kept = (failed.value.__context__ is handled, handled.__traceback__ is before)
    assert kept == (True, True)
    names = [each.name for each in traceback.extract_tb(failed.value.__traceback__)]
    assert names[-1] == "callback"


def test_groups_of_errors_lose_the_frames_too() -> None:
    @without_frames
    def grouped() -> None:
        secret = KEY
        try:
            with contextlib.suppress(KeyError):
                AuthGuard(control_plane_url="x", api_key=secret)
        except ConfigurationError as error:
            raise BaseExceptionGroup("several", [error, KeyboardInterrupt()]) from None

    with pytest.raises(BaseExceptionGroup) as failed:
        grouped()
    assert leaks(failed.value, KEY) == []


@pytest.mark.parametrize(
    ("call", "method", "problem"),
    [
        (lambda kind: kind.from_env(failure_mode="open"), "from_env", "unexpected keyword"),
        (lambda kind: kind.from_env({}, environ={}), "from_env", "multiple values"),
        (lambda kind: kind.embedded(), "embedded", "missing 1 required"),
        (lambda kind: kind(mode="open"), "__init__", "unexpected keyword"),
    ],
)
@pytest.mark.parametrize("kind", [AuthGuard, AsyncAuthGuard])
def test_an_error_about_arguments_names_the_class_that_was_called(
    kind: type[Any], call: Callable[[type[Any]], object], method: str, problem: str
) -> None:
    with pytest.raises(TypeError, match=rf"^{kind.__name__}\.{method}\(\) .*{problem}"):
        call(kind)


@pytest.mark.parametrize("kind", [Verifier, AsyncVerifier])
@pytest.mark.parametrize("option", ["depth", "trusted_issuers"])
def test_an_unknown_option_of_a_verifier_is_named_with_the_method(
    kind: type[Any], option: str
) -> None:
    with pytest.raises(TypeError, match=rf"^{kind.__name__}\.from_control_plane\(\) .*'{option}'$"):
        kind.from_control_plane("http://127.0.0.1:1", audience=DID, **{option: 1})


def test_a_type_error_inside_of_a_method_keeps_its_message() -> None:
    class Base:
        @without_frames
        def method(self) -> None:
            raise TypeError("Base.method is unchanged")

    class Derived(Base):
        pass

    with pytest.raises(TypeError, match=r"^Base\.method is unchanged$"):
        Derived().method()
