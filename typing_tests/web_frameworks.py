"""`nomos.integrations`: FastAPI and Starlette."""

from collections.abc import Mapping
from typing import Annotated, Any, assert_type

from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request

from nomos import AsyncVerifier, Verified, Verifier
from nomos.integrations import starlette
from nomos.integrations.fastapi import NomosMiddleware, Rule, install, json_body, query, requires

REPOSITORY = {"provider": "github", "owner": "{owner}", "repo": "{repo}"}


def named(request: Request) -> Mapping[str, Any]:
    return {"provider": "github", "owner": request.path_params["owner"]}


async def read(request: Request) -> Mapping[str, Any]:
    return {"title": (await request.json())["title"]}


app = FastAPI()
may_list = requires("/github/issue/list", resource=REPOSITORY, args=query(state=str, page=int))
may_create = requires("/github/issue/create", resource=named, args=read, require_signed_args=True)
may_close = requires("/github/issue/close", resource=REPOSITORY, args=json_body(max_bytes=1024))


@app.get("/repos/{owner}/{repo}/issues")
def issues(by: Annotated[Verified, Depends(may_list)]) -> str:
    assert_type(by, Verified)
    return by.agent


@app.post("/repos/{owner}/{repo}/issues")
def create(by: Annotated[Verified, may_create]) -> str:
    assert_type(by, Verified)
    return by.agent


def served(verifier: Verifier, awaited: AsyncVerifier) -> None:
    install(app)
    install(app, verifier)
    install(app, awaited)
    rule = Rule(
        "GET", "/repos/{owner}/{repo}/issues", command="/github/issue/list", resource=REPOSITORY
    )
    app.add_middleware(NomosMiddleware, rules=[rule], open_paths=["/healthz"], verifier=awaited)
    Starlette(middleware=[Middleware(starlette.NomosMiddleware, rules=[rule], max_body=1024)])
