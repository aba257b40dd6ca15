"""Sealed values are made only by the code that checked them."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, cast

import pydantic
import pytest
from fastapi import APIRouter, Cookie, Depends, FastAPI, Header, Query
from fastapi.testclient import TestClient
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel, ConfigDict, TypeAdapter

import nomos
from nomos import (
    Approval,
    AsyncGrant,
    AsyncReceipt,
    Chain,
    Child,
    ConfigurationError,
    Explanation,
    Grant,
    ParentChain,
    Receipt,
    Revocation,
    Verified,
    Vote,
)
from nomos._sealed import Sealed, SealedRecord, changed, make
from nomos.integrations.fastapi import requires
from nomos.models import chain_of
from nomos.verify import VerificationReceipt, Verifier
from nomos.webhooks import Event

DID = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
FORGED: dict[str, Any] = {
    "agent": "did:key:boss",
    "root": "x",
    "chain": [],
    "depth": 0,
    "command": "/t/a/close",
    "resource": {},
    "args": {},
    "expires_at": "2030-01-01T00:00:00Z",
    "cid": "x",
    "nonce": "x",
}
RECORDS: list[type[SealedRecord]] = [
    *(Verified, Grant, AsyncGrant, Receipt, AsyncReceipt, Approval, Vote, Revocation),
    *(Explanation, ParentChain, Chain, VerificationReceipt, Event),
]
KINDS: list[type[Sealed]] = [*RECORDS, Child]

may = requires(
    "/t/a/close",
    resource={"provider": "t", "queue": "{queue}"},
    verifier=Verifier(trusted_issuers=[DID], audience=DID, revocations=()),
)


def sample(kind: type[SealedRecord]) -> SealedRecord:
    known = {"row": {"id": "evt_1"}, "_links": ("a.b.c",), "chains": ()}
    return make(kind, **{name: known.get(name) for name in kind._members})


def verified(**changes: Any) -> Verified:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    return make(Verified, **(FORGED | {"expires_at": moment, "chain": ()} | changes))


def test_every_public_value_is_sealed_or_named_here() -> None:
    open_to_users = {
        *("Capability", "MemoryReplayStore", "AuthGuard", "AsyncAuthGuard", "Verifier"),
        *("AsyncVerifier", "FailOpenWarning", "PolicyProblem"),
    }
    classes = {
        name: one
        for name in nomos.__all__
        if inspect.isclass(one := getattr(nomos, name)) and not issubclass(one, nomos.NomosError)
    }
    unsealed = {name for name, one in classes.items() if not issubclass(one, Sealed)}
    assert unsealed == open_to_users
    assert {one for one in classes.values() if issubclass(one, Sealed)} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_no_sealed_value_can_be_constructed(kind: Any) -> None:
    for arguments in ({}, FORGED):
        with pytest.raises(TypeError, match=f"a {kind.__name__} is proof of a check.*comes from"):
            kind(**arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_pydantic_refuses_sealed_values_everywhere(kind: Any) -> None:
    class Mine(kind):  # type: ignore[misc]
        extra: str = ""

    places: list[Callable[[], object]] = [
        lambda: TypeAdapter(kind),
        lambda: TypeAdapter(kind | None),
        lambda: TypeAdapter(list[kind]),
        lambda: TypeAdapter(dict[str, kind]),
        lambda: TypeAdapter(Annotated[kind, "anything"]),
        lambda: TypeAdapter(Mine),
        lambda: TypeAdapter(pydantic.SkipValidation[kind]),
        lambda: TypeAdapter(pydantic.InstanceOf[kind]),
        lambda: type("M", (BaseModel, kind), {}),
        lambda: pydantic.create_model("M", __base__=(kind, BaseModel)),
        lambda: pydantic.create_model("M", by=(kind, ...)),
        lambda: pydantic.create_model(
            "M", __config__=ConfigDict(arbitrary_types_allowed=True), by=(kind | None, None)
        ),
        lambda: pydantic.validate_call(_takes(kind)),
        lambda: TypeAdapter(dataclasses.make_dataclass("D", [("by", kind)])),
    ]
    for place in places:
        with pytest.raises(ConfigurationError, match=f"a {kind.__name__}|a Mine|a M "):
            place()


def _takes(kind: Any) -> Callable[..., None]:
    def route(by: Any) -> None: ...

    route.__annotations__["by"] = kind
    return route


@pytest.mark.parametrize("kind", RECORDS)
def test_sealed_values_cannot_be_pickled_forged_or_taken_apart(
    kind: type[SealedRecord],
) -> None:
    one = sample(kind)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=f"a {kind.__name__} cannot be pickled or stored: "):
            pickle.dumps(one, protocol)
        with pytest.raises(TypeError):
            pickle.loads(forged_pickle(kind, protocol))
    assert copy.copy(one) is one
    assert copy.deepcopy({"state": [one]})["state"][0] is one
    assert not dataclasses.is_dataclass(one)
    for taken in (
        lambda: dataclasses.replace(cast("Any", one), agent="x"),
        lambda: dataclasses.asdict(cast("Any", one)),
        lambda: json.dumps(one),
    ):
        with pytest.raises(TypeError):
            taken()
    with pytest.raises(AttributeError, match="frozen"):
        one.agent = "did:key:boss"
    with pytest.raises(AttributeError, match="frozen"):
        del one.agent  # type: ignore[attr-defined]


def forged_pickle(kind: type, protocol: int) -> bytes:
    """What `pickle` would write for an object of `kind` if the class did not refuse."""
    named = f"c{kind.__module__}\n{kind.__name__}\n".encode()
    if protocol < 2:  # copyreg._reconstructor, which passes by the class's own __new__
        made = b"ccopyreg\n_reconstructor\n(" + named + b"cbuiltins\nobject\nNtR"
    else:
        made = b"\x80\x02" + named + b")\x81"
    return made + pickle.dumps(FORGED, 2)[2:-1] + b"b."


@pytest.mark.parametrize("kind", KINDS)
def test_an_incomplete_sealed_value_has_a_repr(kind: type) -> None:
    assert repr(object.__new__(kind)).startswith(kind.__name__)


def test_storing_a_grant_in_a_graphs_state_has_advice() -> None:
    grant = sample(Grant)
    # Its serializer drops the reason that an object gives, so that comes as a warning.
    with (
        pytest.warns(UserWarning, match=r"Store its `receipt_id`.*authorize again"),
        pytest.raises(TypeError, match="Grant"),
    ):
        JsonPlusSerializer().dumps_typed({"grant": grant})
    with (
        pytest.warns(UserWarning, match="Store its `receipt_id`"),
        pytest.raises(TypeError, match="Store its `receipt_id`"),
    ):
        JsonPlusSerializer(pickle_fallback=True).dumps_typed(grant)


def test_equality_goes_by_the_members_and_by_the_class() -> None:
    one = verified()
    assert one == verified()
    assert one == changed(one, receipt_jwt="a receipt")
    assert one != verified(agent=DID)
    assert sample(Grant) != sample(AsyncGrant)
    assert "receipt_jwt" not in repr(changed(one, receipt_jwt="a receipt"))
    assert len({chain_of(["a.b.c"]), chain_of(["a.b.c"])}) == 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)
    with pytest.raises(TypeError, match=r"unknown \['unused'\], missing \['agent'"):
        make(Verified, unused=1)


def test_a_chain_travels_as_a_list_of_strings() -> None:
    chain = chain_of(["a.b.c", "d.e.f"])
    assert json.loads(json.dumps(list(chain))) == ["a.b.c", "d.e.f"]
    assert chain_of(json.loads(json.dumps(list(chain)))) == chain


PLACES: dict[str, Any] = {
    "plain": Verified,
    "optional": Verified | None,
    "several": list[Verified],
    "query": Annotated[Verified, Query()],
    "header": Annotated[Verified, Header()],
    "cookie": Annotated[Verified, Cookie()],
    "a bare Depends": Annotated[Verified, Depends()],
    "the class as a dependency": Annotated[Verified, Depends(Verified)],
    "another value": Grant,
}


@pytest.mark.parametrize("how", ["get", "post", "websocket"])
@pytest.mark.parametrize("kind", PLACES.values(), ids=PLACES)
def test_a_route_that_forgets_its_dependency_is_refused_when_it_is_declared(
    kind: Any, how: str
) -> None:
    for router in (FastAPI(), APIRouter()):
        with pytest.raises(ConfigurationError) as refused:
            getattr(router, how)("/q/{queue}")(_takes(kind))
        if kind is not Grant:
            assert "Annotated[Verified, Depends(requires(...))]" in str(refused.value)


def test_requires_that_is_not_called_is_refused_when_the_route_is_declared() -> None:
    for uncalled in (Annotated[Verified, Depends(requires)], Annotated[str, Depends(requires)]):
        with pytest.raises(ConfigurationError, match=r"write `Depends\(requires\(\"/github/issue"):
            FastAPI().get("/q/{queue}")(_takes(uncalled))


def test_a_response_or_a_body_with_one_inside_is_refused_when_it_is_declared() -> None:
    app = FastAPI()

    def who() -> Any: ...

    with pytest.raises(ConfigurationError, match="build responses from its fields"):
        app.get("/", response_model=Verified)(who)
    with pytest.raises(ConfigurationError, match="Depends"):

        class Body(BaseModel):
            by: Verified


@pytest.mark.parametrize("how", ["in Annotated", "as a default", "by Depends", "for the route"])
def test_requires_is_a_dependency_by_itself(how: str) -> None:
    app = FastAPI()
    route = _takes(Verified)
    declared: dict[str, Any] = {}
    match how:
        case "in Annotated":
            route.__annotations__["by"] = Annotated[Verified, may]
        case "as a default":
            route.__defaults__ = (may,)
        case "by Depends":
            route.__annotations__["by"] = Annotated[Verified, Depends(may)]
        case _:
            route = lambda: None  # noqa: E731 - a route without parameters
            declared = {"dependencies": [may]}
    app.post("/q/{queue}/close", **declared)(route)
    answer = TestClient(app).post("/q/ops/close", json=FORGED)
    assert (answer.status_code, answer.json()["detail"]["error_code"]) == (401, "malformed_ucan")
    assert app.openapi()["paths"]["/q/{queue}/close"]["post"]["security"] == [{"nomos": []}]
    assert repr(may) == "requires('/t/a/close')"


def test_requires_is_a_dependency_of_a_websocket_too() -> None:
    from fastapi import WebSocket
    from starlette.websockets import WebSocketDisconnect

    app = FastAPI()

    @app.websocket("/q/{queue}")
    async def listen(socket: WebSocket, by: Annotated[Verified, may]) -> None:
        await socket.accept()

    with (
        pytest.raises(WebSocketDisconnect) as closed,
        TestClient(app).websocket_connect("/q/ops"),
    ):
        pass
    assert closed.value.code == 1008
