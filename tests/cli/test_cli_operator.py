"""The source of the operator's key, and the handling of replies."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nomos._io.urls import is_loopback
from nomos.cli import client as client_module
from nomos.cli.client import Operator, part
from nomos.cli.operator_key import find_key
from nomos.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidResponse,
    NomosError,
    NotFound,
    Unreachable,
)

KEY = f"nomos_app_{'0' * 26}_{'a' * 52}"
OTHER = f"nomos_app_{'1' * 26}_{'b' * 52}"
HERE = "http://127.0.0.1:8788"


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def reply(
    handler: BaseHTTPRequestHandler, *pieces: bytes, status: int = 200, length: int | None = None
) -> None:
    """Answer with the pieces; an object names its request, as a control plane's does."""
    if len(pieces) == 1 and pieces[0].startswith(b"{"):
        call_id = {"callId": handler.headers["nomos-call-id"]}
        pieces = (json.dumps(json.loads(pieces[0]) | call_id).encode(),)
    handler.send_response(status)
    size = sum(map(len, pieces)) if length is None else length
    handler.send_header("content-length", str(size))
    handler.end_headers()
    for piece in pieces:
        handler.wfile.write(piece)
        handler.wfile.flush()


def lines(handler: BaseHTTPRequestHandler, *pieces: bytes, length: int | None = None) -> None:
    first = json.dumps({"callId": handler.headers["nomos-call-id"]}).encode()
    reply(handler, first, b"\n", *pieces, length=length)


def client(url: str) -> Operator:
    return Operator.find(url, environ={"NOMOS_OPERATOR_KEY": KEY}, timeout=5)


def kept(folder: Path, name: str, text: str = KEY, mode: int = 0o600) -> Path:
    file = folder / name
    file.touch(mode)
    file.write_text(f"{text}\n")
    return file


def test_the_key_comes_from_option_file_variable_or_nomos_dev_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".nomos").mkdir()
    kept(tmp_path / ".nomos", "operator-api-key")
    named, given = kept(tmp_path, "named", OTHER), kept(tmp_path, "given")
    from_variable = {"NOMOS_OPERATOR_KEY": OTHER}
    from_file = {"NOMOS_OPERATOR_KEY_FILE": str(named)}
    assert find_key(HERE, given, {**from_variable, **from_file}).where == str(given)
    assert find_key(HERE, None, from_file).secret.reveal() == OTHER
    assert find_key(HERE, None, from_variable).where == "NOMOS_OPERATOR_KEY"
    assert find_key(HERE, None, {}).secret.reveal() == KEY
    with pytest.raises(ConfigurationError, match="no operator API key was found"):
        find_key("https://nomos.example.com", None, {})


@pytest.mark.parametrize(
    ("mode", "text", "message"),
    [
        (0o644, KEY, "chmod 600"),
        (0o620, KEY, "chmod 600"),
        (0o600, "", "does not hold an API key .*it is empty"),
        (0o600, "two words", "does not hold an API key"),
        (0o600, "ключ", "does not hold an API key"),
    ],
)
def test_a_file_that_others_can_read_or_that_holds_no_key_is_refused(
    tmp_path: Path, mode: int, text: str, message: str
) -> None:
    file = kept(tmp_path, "key", text)
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match=message) as refused:
        find_key(HERE, file, {})
    assert refused.value.setting == "--key-file"
    assert KEY not in str(refused.value)


def test_a_missing_key_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(ConfigurationError, match=str(path)):
            find_key(HERE, path, {})


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:1", True),
        ("http://localhost", True),
        ("http://[::1]:1", True),
        ("http://127.0.0.1.example.com", False),
        ("https://10.0.0.1", False),
    ],
)
def test_names_of_this_machine_are_recognized(url: str, here: bool) -> None:  # noqa: FBT001
    assert is_loopback(url) is here


def test_split_lines_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda h: lines(h, b'{"a":', b"1}\n", b"\n{}", b"\nhalf")) as url:
        assert list(client(url).lines("/x", since=1, until=None)) == [
            b'{"a":1}',
            b"",
            b"{}",
            b"half",
        ]
    monkeypatch.setattr(client_module, "MAX_LINE", 10)
    with (
        serving(lambda h: lines(h, b"x" * 11)) as url,
        pytest.raises(InvalidResponse, match="a line longer than 10"),
    ):
        list(client(url).lines("/x"))


def test_an_incomplete_reply_is_an_error() -> None:
    with (
        serving(lambda h: lines(h, b"one\n", length=100)) as url,
        pytest.raises(Unreachable, match="--control-url"),
    ):
        list(client(url).lines("/x"))


def test_a_stream_that_is_refused_raises_the_refusal() -> None:
    body = b'{"error": "there is nothing here", "error_code": "not_found", "request_id": "r"}'
    with serving(lambda h: reply(h, body, status=404)) as url:
        with pytest.raises(NotFound) as refused:
            list(client(url).lines("/x"))
        assert str(refused.value) == "there is nothing here"
        with pytest.raises(NotFound):
            client(url).get("/x")


def test_errors_name_the_source_of_the_key_without_the_key() -> None:
    body = b'{"error": "no", "error_code": "invalid_api_key", "request_id": "r"}'
    with serving(lambda h: reply(h, body, status=401)) as url:
        with pytest.raises(AuthenticationError, match="NOMOS_OPERATOR_KEY") as refused:
            client(url).post("/x", {"a": 1})
        assert KEY not in str(refused.value)
        assert KEY not in repr(client(url)._key)


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (404, b"<html>"), (302, b"")])
def test_a_url_of_another_server_is_reported(status: int, body: bytes) -> None:
    with (
        serving(lambda h: reply(h, body, status=status)) as url,
        pytest.raises(NomosError, match="the URL of a control plane"),
    ):
        client(url).get("/x")


def test_an_id_is_escaped_to_one_path_segment() -> None:
    asked = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        reply(handler, b"{}")

    with serving(answer) as url, client(url) as one:
        one.get(f"/v1/approvals/{part('../keys?a=b#c')}", wait=0, state=None)
    assert asked == ["/v1/approvals/..%2Fkeys%3Fa%3Db%23c?wait=0"]
