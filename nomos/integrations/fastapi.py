"""`requires` and `install`: token verification in FastAPI, `pip install "nomos[fastapi]"`.

    app = FastAPI()
    install(app, AsyncVerifier(trusted_issuers=[...], audience="did:key:..."))

    @app.get("/repos/{owner}/{repo}/issues")
    async def issues(owner: str, repo: str, by: Annotated[Verified, Depends(requires(
        "/github/issue/list",
        resource={"provider": "github", "owner": "{owner}", "repo": "{repo}"},
    ))]) -> ...

A request without a token for exactly that call is rejected before the route runs. `NomosMiddleware`
does the same for a whole application from a list of `Rule`, and rejects requests without a rule.
"""

from typing import Annotated, NoReturn

from nomos._unawaited import must_be_awaited
from nomos.errors import ConfigurationError

try:
    from fastapi import FastAPI, HTTPException, Request, WebSocketException
    from fastapi.openapi.models import HTTPBearer
    from fastapi.params import Depends
    from fastapi.requests import HTTPConnection
    from fastapi.responses import JSONResponse, Response
    from fastapi.security.base import SecurityBase

    from nomos.integrations import _refusals
    from nomos.integrations._bodies import json_body, query
    from nomos.integrations._middleware import POLICY_VIOLATION, NomosMiddleware
    from nomos.integrations._paths import Rule
    from nomos.integrations._proof import (
        AnyVerifier,
        RequiredCall,
        Source,
        check_verifier,
        request_id_of,
    )
except ModuleNotFoundError as missing:
    raise ConfigurationError(
        f'this needs {missing.name}, which is not installed: pip install "nomos[fastapi]"',
        setting="fastapi",
    ) from missing

from nomos.verify import Verified

__all__ = [
    "NomosMiddleware",
    "NotAllowed",
    "Rule",
    "Verified",
    "install",
    "json_body",
    "query",
    "requires",
]


class NotAllowed(HTTPException):
    """The request has no token that allows it; `detail` is the JSON object of the response."""


class Requires(SecurityBase, Depends):
    """The result of `requires`: a dependency, directly or as `Depends(requires(...))`.

    FastAPI's documentation shows it as a bearer token.
    """

    _needed: RequiredCall

    def __init__(self, needed: RequiredCall) -> None:
        # FastAPI's class is frozen, and calls the object in `dependency`.
        for name, value in {
            "model": HTTPBearer(bearerFormat="UCAN", description="The token of a grant"),
            "scheme_name": "nomos",
            "_needed": needed,
        }.items():
            object.__setattr__(self, name, value)
        Depends.__init__(self, dependency=self)

    def __repr__(self) -> str:
        return f"requires({self._needed.command!r})"

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @must_be_awaited
    async def __call__(self, connection: HTTPConnection) -> Verified:
        try:
            return await self._needed.verify(connection)
        except _refusals.CallRefused as refusal:
            if connection.scope["type"] == "websocket":
                raise WebSocketException(POLICY_VIOLATION, refusal.code) from None
            request_id = request_id_of(connection.scope)
            raise NotAllowed(
                refusal.status,
                _refusals.body(refusal, request_id),
                _refusals.headers(refusal, request_id),
            ) from None


class _OfACall:
    """Marks a parameter of `requires`, which FastAPI inspects if `requires` is not called."""

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> NoReturn:
        raise ConfigurationError(
            "`requires` is a dependency once it is called: write "
            '`Depends(requires("/github/issue/list", resource={...}))`',
            setting="requires",
        )


def requires(
    command: Annotated[str, _OfACall()],
    *,
    resource: Source,
    args: Source | None = None,
    verifier: AnyVerifier | None = None,
    require_signed_args: bool = False,
) -> Requires:
    """Return a dependency that requires a token for this call, and returns its `Verified`.

    Args:
        command: the command of the call, such as `/github/issue/list`.
        resource: the resource of the call.
        args: every parameter that the route acts on, since a token may be bound to them:
            `query(...)` and `json_body()` read them from a request. None accepts only tokens that
            are bound to no arguments.
        verifier: a `Verifier` or `AsyncVerifier`. By default `app.state.nomos` of the application
            that has the route.
        require_signed_args: whether a token must sign each of the `args`; one that does not is
            rejected as `resource_mismatch`.

    `resource` and `args` are mappings, or sync or async functions of the request that return one.
    In a mapping, `"{owner}"` is replaced by the path parameter of that name, and `"{number:int}"`
    by one that is a whole number. An exception of a function never allows the request: ValueError
    and KeyError are answered with 400, an HTTPException as it is, any other exception with 500.

    A rejected request raises `NotAllowed` with the status of its code
    (`nomos.http_status.STATUS_BY_REASON`), and for 401 and 403 a challenge (RFC 6750, section 3). A
    websocket is closed with code 1008.

    Raises `ConfigurationError` for a call that no token can allow.
    """
    return Requires(RequiredCall(command, resource, args, verifier, require_signed_args))


def install(app: FastAPI, verifier: AnyVerifier | None = None) -> None:
    """Set `app.state.nomos`, and answer rejected tokens with `{"error", "error_code", …}`.

    Leave `verifier` out if it is made later, in a lifespan. Without `install`, the same object is
    inside FastAPI's own `{"detail": …}`. Raises `ConfigurationError` for an invalid verifier, and
    for an application that has started, which ignores new handlers.
    """
    check_verifier(verifier)
    if app.middleware_stack is not None:
        raise ConfigurationError(
            "call install(app) before the application starts; set app.state.nomos in its lifespan",
            setting="app",
        )
    if verifier is not None:
        app.state.nomos = verifier
    app.add_exception_handler(NotAllowed, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotAllowed)
    return JSONResponse(error.detail, error.status_code, error.headers)
