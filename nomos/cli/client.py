"""A client of a control plane, with an operator's API key.

The URL is `--control-url`, `NOMOS_CONTROL_URL`, or the address of `nomos dev`. `operator_key` says
where the key is read from. Errors are those of the guard; their advice names options of the
command line.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import quote, urlencode

import typer
from rich.text import Text

from nomos._core.effects import HttpReply, Send
from nomos._core.replies import raise_error
from nomos._core.reply_identity import MEMBER
from nomos._io.http import Endpoint, Http
from nomos._io.urls import checked_url
from nomos.cli import insecure_hosts, reply_checks
from nomos.cli.console import stderr
from nomos.cli.errors import reports_errors
from nomos.cli.operator_key import DEV_KEY_FILE, KEY, KEY_FILE, OperatorKey, find_key
from nomos.errors import (
    AuthenticationError,
    ControlPlaneError,
    InvalidResponse,
    PermissionDenied,
    ServerError,
    Unreachable,
)
from nomos.models import Secret

CONTROL_URL: Final = "NOMOS_CONTROL_URL"
DEV_URL: Final = "http://127.0.0.1:8788"

TIMEOUT: Final = 30.0  # seconds for a request; a long poll takes up to 25
RETRY_PAUSES: Final = (0.2, 1.0)  # seconds before each repetition of an idempotent request
MAX_LINE: Final = 4 * 1024 * 1024
_HINT: Final = re.compile(r" \([^()]*(?:control_plane_url|api_key)[^()]*\)$")
"""Advice in the guard's errors that names settings of the guard."""

ControlUrl = Annotated[
    str | None,
    typer.Option(help=f"URL of the control plane. Default: ${CONTROL_URL}, or {DEV_URL}."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        help="File (mode 0600) with an operator's API key. "
        f"Default: ${KEY_FILE}, ${KEY}, or {DEV_KEY_FILE}."
    ),
]


class Operator:
    """A client of one control plane, and a context manager. `find` makes one from the settings."""

    def __init__(self, url: str, key: OperatorKey, *, timeout: float = TIMEOUT) -> None:
        self.url = url
        self._key = key
        self._timeout = timeout
        endpoint = Endpoint(
            url, api_key=key.secret, timeout=timeout, allow_insecure=insecure_hosts.hosts()
        )
        self._http = Http(endpoint)

    @classmethod
    def find(
        cls,
        control_url: str | None = None,
        key_file: Path | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        timeout: float = TIMEOUT,
    ) -> Self:
        """Return the client that options and environment name. Raises `ConfigurationError`."""
        setting = "--control-url" if control_url else CONTROL_URL
        url = control_url or environ.get(CONTROL_URL) or DEV_URL
        url = checked_url(url, setting=setting, allow_insecure=insecure_hosts.hosts())
        return cls(url, find_key(url, key_file, environ), timeout=timeout)

    def get(
        self, path: str, /, *, about: Mapping[str, object] | None = None, **query: object
    ) -> Any:
        """GET a path, without queries that are None; return its JSON. `about` is as for `post`."""
        found = self._exchange("GET", _with_query(path, query))
        reply_checks.check(found, about)
        _report_damaged(found)
        return found

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        /,
        *,
        about: Mapping[str, object] | None = None,
        look: str | None = None,
        repeat: bool = False,
        key: str | None = None,
    ) -> Any:
        """POST a JSON object (by default an empty one) and return the reply's JSON.

        `about` gives members that the reply must have: they identify what was requested.
        `look` is a command that shows whether the request took effect; it is part of the error
        when no reply arrives. With `repeat` the request is then sent again, at most twice, with
        one idempotency key. `key` is that key; by default it is random.
        """
        content, key = json.dumps(body or {}).encode(), key or new_key()
        try:
            found = self._posted(path, content, key, repeat=repeat)
            reply_checks.check(found, about)
        except (Unreachable, ServerError, InvalidResponse) as lost:
            if look is not None and getattr(lost, "sent", True):
                lost.args = (f"{str(lost).rstrip('.')}. `{look}` shows whether it took effect.",)
            raise
        return found

    def _posted(self, path: str, content: bytes, key: str, *, repeat: bool) -> Any:
        for pause in RETRY_PAUSES if repeat else ():
            try:
                return self._exchange("POST", path, content, key)
            except (Unreachable, ServerError):
                time.sleep(pause)
        return self._exchange("POST", path, content, key if repeat else None)

    def lines(self, path: str, /, **query: object) -> Iterator[bytes]:
        """Yield a reply's lines as they arrive; callers must detect an incomplete last one."""
        send = Send("GET", _with_query(path, query), {"accept": "application/x-ndjson"})
        with _option_names(), self._http.stream(send) as (reply, pieces):
            if reply.status != 200:
                self._raise(reply)
            rest = b""
            for piece in pieces:
                *whole, rest = (rest + piece).split(b"\n")
                yield from whole
                if len(rest) > MAX_LINE:
                    raise InvalidResponse(
                        f"the control plane sent a line longer than {MAX_LINE} bytes"
                    )
            if rest:
                yield rest

    @property
    def app(self) -> str:
        """The id of the app that the API key belongs to, as the key states it."""
        return self._key.secret.reveal().removeprefix("nomos_").rpartition("_")[0]

    def with_key(self, text: str) -> Operator:
        """Return a client of the same control plane with another API key."""
        return Operator(self.url, OperatorKey(Secret(text), "the rotation"), timeout=self._timeout)

    def close(self) -> None:
        """Close the connection. It may be called more than once."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exchange(
        self, method: str, path: str, body: bytes = b"", idempotency_key: str | None = None
    ) -> Any:
        headers = {"accept": "application/json"}
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        if body:
            headers["content-type"] = "application/json"
        with _option_names():
            reply = self._http.send(Send(method, path, headers, body))
        if reply.status != 200:
            self._raise(reply)
        try:
            found = json.loads(reply.body)
        except (ValueError, RecursionError):
            raise InvalidResponse(
                f"the reply of {self.url} is not JSON. Check that it is the URL of a control plane",
                status=reply.status,
            ) from None
        if isinstance(found, dict):
            found.pop(MEMBER, None)  # already checked; not part of the content
        return found

    def _raise(self, reply: HttpReply) -> None:
        """Raise the error that a reply represents, with advice for an operator."""
        try:
            raise_error(reply)
        except ControlPlaneError as error:
            error.args = (f"{_HINT.sub('', str(error))}{self._advice(error)}",)
            raise

    def _advice(self, error: ControlPlaneError) -> str:
        if isinstance(error, AuthenticationError):
            return (
                f". The key was read from {self._key.where}. Check that it belongs to {self.url}; "
                "`nomos dev` writes its own to .nomos/operator-api-key, for --key-file"
            )
        if isinstance(error, PermissionDenied) and "API key with the role" in str(error):
            return f". The key was read from {self._key.where}"
        if error.code is None:
            return f". Check that {self.url} is the URL of a control plane"
        return ""


def with_operator(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command that needs a client of the control plane; report its errors.

    The client is its first argument. The options `--control-url` and `--key-file`, which the client
    is made from, are added after the command's own.
    """

    @functools.wraps(command)
    def run(*args: Any, control_url: str | None, key_file: Path | None, **kwargs: Any) -> None:
        with Operator.find(control_url, key_file) as operator:
            command(operator, *args, **kwargs)

    signature = inspect.signature(command, eval_str=True)
    _, *own = signature.parameters.values()
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in (("control_url", ControlUrl), ("key_file", KeyFile))
    ]
    run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    return reports_errors(run)


@contextmanager
def _option_names() -> Iterator[None]:
    """Replace the name of the guard's argument in errors by the option of the command line."""
    try:
        yield
    except Unreachable as error:
        error.args = (str(error).replace("control_plane_url", "--control-url"),)
        raise


def _report_damaged(found: object) -> None:
    """Report rows that a listing left out because they are damaged."""
    damaged = found.get("damaged") if isinstance(found, dict) else None
    if isinstance(damaged, list) and damaged:
        names = ", ".join(map(_damaged_name, damaged))
        stderr.print(Text.assemble(("damaged: ", "bold red"), f"{names} cannot be read"))


def _damaged_name(damaged: object) -> str:
    return f"row {damaged.get('seq')}" if isinstance(damaged, dict) else str(damaged)


def new_key() -> str:
    """Return a random idempotency key. A control plane may derive an API key from it."""
    return secrets.token_urlsafe(32)


def part(text: str) -> str:
    """Return an identifier, percent-encoded as one segment of a path."""
    return quote(text, safe="")


def _with_query(path: str, query: Mapping[str, object]) -> str:
    given = {name: str(value) for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path
