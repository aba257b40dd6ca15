"""`RequiredCall`: the call that a request needs a token for, and its verification.

Every failure raises CallRefused. Invalid data of the caller is a 400. A mistake in this service's
own code, or a verifier that fails, is a 500; its details are only in the log.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio.to_thread
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection

from nomos._core.http_rules import request_id as request_ids
from nomos._core.http_rules.query import whole_number
from nomos.capabilities import MAX_COMMAND
from nomos.errors import ConfigurationError, Denied, SignerError
from nomos.integrations import _refusals
from nomos.integrations._refusals import CallRefused, bearer, field_of, refusal
from nomos.integrations._rule_checks import PARAMETER, check_possible
from nomos.invisible_text import is_invisible
from nomos.models import Command, Secret
from nomos.verify import AsyncVerifier, Verified, Verifier

log = logging.getLogger(__name__)

AnyVerifier = Verifier | AsyncVerifier
Source = Mapping[str, Any] | Callable[[Any], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]
"""The resource or the args of a call: a mapping, or a sync or async function of the request that
returns one. In a mapping, `"{owner}"` is replaced by the path parameter of that name, and
`"{number:int}"` by one that is a whole number."""

VERIFIED_CALLS: Final = "nomos.proven"
"""The key of the verified calls in a request's scope. A request claims a token only once."""

REQUEST_ID: Final = "nomos.request_id"
"""The key of a request's id in its scope."""

_COMMAND: Final[TypeAdapter[str]] = TypeAdapter(Command)


@dataclass(frozen=True)
class VerifiedCall:
    """A verified call of a request, with its token and its verifier."""

    verifier: AnyVerifier = field(repr=False)
    token: Secret
    call: str = field(repr=False)
    verified: Verified


@dataclass(frozen=True)
class RequiredCall:
    """The call that a request needs a token for. Raises ConfigurationError if impossible."""

    command: str
    resource: Source
    args: Source | None = None
    verifier: AnyVerifier | None = None
    require_signed_args: bool = False

    def __post_init__(self) -> None:
        try:
            _COMMAND.validate_python(self.command, strict=True)
        except ValidationError:
            raise ConfigurationError(
                f"{self.command!r} is not a command: pass a path such as /github/issue/list, of "
                f"at most {MAX_COMMAND} characters",
                setting="command",
            ) from None
        for name, source in (("resource", self.resource), ("args", self.args)):
            if source is None and name == "args":
                continue
            if not isinstance(source, Mapping) and not callable(source):
                raise ConfigurationError(
                    f"{name} must be a mapping, or a function of the request", setting=name
                )
            if isinstance(source, Mapping):
                check_template(source, name)
        check_possible(self.command, self.resource, self.args)
        check_verifier(self.verifier)
        if self.require_signed_args not in (True, False):
            raise ConfigurationError(
                "require_signed_args must be True or False", setting="require_signed_args"
            )
        if self.require_signed_args and self.args is None:
            raise ConfigurationError(
                "require_signed_args=True requires signed arguments: pass them as args=",
                setting="require_signed_args",
            )

    async def verify(
        self, connection: HTTPConnection, other: AnyVerifier | None = None
    ) -> Verified:
        """Return what the request's token proves. Raises CallRefused if it does not allow the call.

        The verifier is the first of this call's own, `other`, and `app.state.nomos`.
        """
        request_id = request_id_of(connection.scope)
        verifier = self.verifier or other or self._app_verifier(connection)
        # A `Secret`, since error reports may contain local variables.
        token = Secret(
            bearer(
                connection.headers.getlist("authorization"),
                connection.scope.get("query_string", b""),
            )
        )
        resource = await _read_source(self.resource, connection, "resource")
        args = None if self.args is None else await _read_source(self.args, connection, "args")
        call = self._text(resource, args)
        proofs: list[VerifiedCall] = connection.scope.setdefault(VERIFIED_CALLS, [])
        for proof in proofs:
            # An application may make further requests with the scope of this one.
            proven = (proof.token.reveal(), proof.call)
            same = proof.verifier is verifier and proven == (token.reveal(), call)
            if same and not (
                self.require_signed_args and (args or {}).keys() - proof.verified.args.keys()
            ):
                return proof.verified
        verified = await self._verify_token(verifier, token, resource, args, request_id)
        proofs.append(VerifiedCall(verifier, token, call, verified))
        return verified

    def _text(self, resource: Mapping[str, Any], args: Mapping[str, Any] | None) -> str:
        """Return a call as JSON text, since as Python values `1` and `True` are equal."""
        try:
            return json.dumps([self.command, resource, args], sort_keys=True, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise CallRefused(
                "invalid_request", "this call has a value that no token can contain"
            ) from None

    def _app_verifier(self, connection: HTTPConnection) -> AnyVerifier:
        app = connection.scope.get("app")
        verifier = getattr(getattr(app, "state", None), "nomos", None)
        if isinstance(verifier, AnyVerifier):
            return verifier
        log.error(
            "no verifier is set, so %s was rejected (request %s): set app.state.nomos, on the app "
            "that has the route, to a nomos Verifier or AsyncVerifier",
            self.command,
            request_id_of(connection.scope),
        )
        raise internal()

    async def _verify_token(
        self,
        verifier: AnyVerifier,
        token: Secret,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None,
        request_id: str,
    ) -> Verified:
        try:
            verified: object = await self._call_verifier(verifier, token, resource, args)
        except Denied as denied:
            self._log(denied, request_id)
            raise refusal(denied, self.command, _audience(verifier)) from None
        except SignerError:
            log.exception("the verifier could not verify (request %s)", request_id)
            raise CallRefused(
                "unavailable", "the token cannot be verified now; the call was not made"
            ) from None
        except Exception:
            log.exception("the verifier failed (request %s)", request_id)
            raise internal() from None
        if not isinstance(verified, Verified):
            kind = type(verified).__name__
            log.error("the verifier returned %s, not a Verified (request %s)", kind, request_id)
            raise internal()
        return verified

    def _log(self, denied: Denied, request_id: str) -> None:
        """Log a rejected request, as an error if this service is the cause."""
        failure = denied.__cause__
        ours = failure is not None or denied.code == "unavailable"
        log.log(
            logging.ERROR if ours else logging.INFO,
            "%s was rejected (request %s): %s: %s",
            self.command,
            request_id,
            denied.code,
            on_one_line(str(denied)),
            exc_info=failure,
        )

    async def _call_verifier(
        self,
        verifier: AnyVerifier,
        token: Secret,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None,
    ) -> Verified:
        call: dict[str, Any] = {"command": self.command, "resource": resource, "args": args}
        if isinstance(verifier, AsyncVerifier):
            return await verifier.verify(
                token.reveal(), **call, require_signed_args=self.require_signed_args
            )
        return await anyio.to_thread.run_sync(
            lambda: verifier.verify(
                token.reveal(), **call, require_signed_args=self.require_signed_args
            )
        )


def check_template(source: Mapping[str, Any], setting: str) -> None:
    """Raise ConfigurationError unless each value has at most one path parameter.

    With two, calls would be ambiguous: `"{a}-{b}"` is one text for `x`, `y-z` and for `x-y`, `z`.
    """
    for name, value in source.items():
        if not isinstance(name, str):
            raise ConfigurationError(f"the names in {setting} must be text", setting=setting)
        if not isinstance(value, str):
            continue
        found = list(PARAMETER.finditer(value))
        rest = PARAMETER.sub("", value)
        if "{" in rest or "}" in rest or len(found) > 1 or (rest and found and found[0][2]):
            raise ConfigurationError(
                f"{setting}.{name} may have one path parameter, as in '{{owner}}'; use a function "
                "of the request for anything else",
                setting=setting,
            )


def path_params(value: object) -> list[str]:
    """Return the path parameters in a template's value."""
    return [name for name, _ in PARAMETER.findall(value)] if isinstance(value, str) else []


def check_verifier(verifier: object) -> None:
    """Raise ConfigurationError at once for an object that is not a verifier."""
    if verifier is not None and not isinstance(verifier, AnyVerifier):
        raise ConfigurationError(
            "verifier must be a nomos Verifier or AsyncVerifier", setting="verifier"
        )


def request_id_of(scope: MutableMapping[str, Any]) -> str:
    """Return the request's id, for its response and the log: the caller's own, or a new one."""
    known: str | None = scope.get(REQUEST_ID)
    if known is None:
        sent = Headers(scope=scope).getlist(request_ids.HEADER)
        known = scope[REQUEST_ID] = _refusals.request_id(sent)
    return known


def on_one_line(text: str) -> str:
    """Escape characters that would break a line of the log or be invisible in it."""
    return "".join(
        f"\\u{ord(letter):04x}" if letter in "\n\t" or is_invisible(letter) else letter
        for letter in text
    )


def internal() -> CallRefused:
    """Return the error for a mistake of this service; the log has the details."""
    return CallRefused(
        "internal", "this service failed; its log has the details under this request id"
    )


async def _read_source(source: Source, connection: HTTPConnection, what: str) -> dict[str, Any]:
    """Return the mapping of a source for one request. Raises CallRefused."""
    try:
        given = (
            _template(source, connection.path_params, what)
            if isinstance(source, Mapping)
            else source(connection)
        )
        if inspect.isawaitable(given):
            given = await given
    except (CallRefused, HTTPException, ClientDisconnect):
        raise
    except (ValueError, KeyError):
        request_id = request_id_of(connection.scope)
        log.debug("%s= cannot be read from request %s", what, request_id, exc_info=True)
        raise CallRefused(
            "invalid_request",
            f"the {what} of this call cannot be read from the request",
            field=what,
        ) from None
    except Exception:
        log.exception("%s= failed (request %s)", what, request_id_of(connection.scope))
        raise internal() from None
    if not isinstance(given, Mapping):
        kind, request_id = type(given).__name__, request_id_of(connection.scope)
        log.error("%s= returned %s, not a mapping (request %s)", what, kind, request_id)
        raise internal()
    return dict(given)


def _template(source: Mapping[str, Any], params: Mapping[str, Any], what: str) -> dict[str, Any]:
    return {name: _value(value, params, field_of(what, name)) for name, value in source.items()}


def _value(value: Any, params: Mapping[str, Any], field: str) -> Any:
    """Return a value with its parameter filled in.

    A value that consists of a parameter has that parameter's type, as `"{number:int}"` has.
    """
    place = PARAMETER.search(value) if isinstance(value, str) else None
    if place is None:
        return value
    name, is_whole = place.groups()
    if name not in params:
        raise RuntimeError(f"the path has no parameter {name!r}")
    given = params[name]
    if is_whole and not isinstance(given, int):
        # A number has one spelling here; FastAPI also accepts `007` for 7.
        number = whole_number(str(given))
        if number is None:
            raise CallRefused(
                "invalid_request",
                "a path parameter must be a whole number, without sign or leading zeros",
                field=field,
            )
        return number
    if place[0] == value and isinstance(given, int | float | str):
        return given
    return value.replace(place[0], str(given))


def _audience(verifier: AnyVerifier) -> str | None:
    audience = getattr(verifier, "audience", None)
    return audience if isinstance(audience, str) else None
