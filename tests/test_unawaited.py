"""A call without `await` is never an allow: its use raises, dropping it is logged."""

from __future__ import annotations

import ast
import asyncio
import collections.abc
import copy
import importlib
import inspect
import logging
import pickle
import pkgutil
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast
from unittest import mock

import anyio
import anyio.lowlevel
import pytest
import trio

import nomos
from nomos import AsyncAuthGuard, AsyncReceipt, AsyncVerifier, AuthGuard, Child, Verifier
from nomos._approvals import AsyncApprovals
from nomos._grant import AsyncGrant
from nomos._unawaited import Unawaited, UnawaitedError, must_be_awaited

QUESTION: dict[str, Any] = {"command": "/github/issue/list", "resource": {"provider": "github"}}
DID = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"


def guard() -> AsyncAuthGuard:
    return AsyncAuthGuard(control_plane_url="http://127.0.0.1:1", api_key="nomos_app_x", timeout=1)


def verifier() -> AsyncVerifier:
    return AsyncVerifier(trusted_issuers=[DID], audience=DID, revocations=())


class Door:
    """Stands for any public asynchronous class: `open` is what has to be awaited."""

    @must_be_awaited
    async def open(self, answer: Any = "allow") -> str:
        await anyio.lowlevel.checkpoint()
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)


@pytest.fixture(autouse=True)
def dropped(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.ERROR, logger="nomos")
    return lambda: [each.getMessage() for each in caplog.records if "dropped" in each.getMessage()]


USES: dict[str, Callable[[Any], object]] = {
    "truth": bool,
    "not": lambda call: not call,
    "if": lambda call: 1 if call else 2,
    "and": lambda call: call and True,
    "equal": lambda call: call == "allow",
    "equal, turned round": lambda call: "allow" == call,  # noqa: SIM300 - what is tested
    "equal to itself": lambda call: call == call,  # noqa: PLR0124 - what is tested
    "not equal": lambda call: call != "deny",
    "less": lambda call: call < 1,
    "more, turned round": lambda call: 1 < call,  # noqa: SIM300 - what is tested
    "at most": lambda call: call <= 1,
    "at least": lambda call: call >= 1,
    "in a list": lambda call: call in ["allow", "x"],
    "not in a set": lambda call: call not in {"revoked", "x"},
    "not in a dict": lambda call: call not in {"revoked": 1},
    "holds": lambda call: "x" in call,
    "length": len,
    "iteration": lambda call: [each for each in call],  # noqa: C416 - what is tested
    "iterator": iter,
    "unpacking": lambda call: [*call],
    "item": lambda call: call["authorization"],
    "first": lambda call: call[0],
    "call": lambda call: call(),
    "decision": lambda call: call.decision,
    "an attribute of the result, with a default": lambda call: getattr(call, "upper", None),
    "an attribute of nothing": lambda call: call.nothing_of_this,
    "text": str,
    "format": lambda call: f"{call}",
    "percent": lambda call: "Bearer %s" % call,  # noqa: UP031 - what is tested
    "number": int,
    "plus": lambda call: "x" + call,
    "merged": lambda call: {} | call,
    "hash": hash,
    "set": lambda call: {call},
    "key": lambda call: {call: 1},
    "with": lambda call: call.__enter__(),
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_every_use_as_a_value_raises_with_advice_to_await(
    use: Callable[[Any], object],
) -> None:
    call = Door().open()
    with pytest.raises(TypeError, match=r"Door\.open at .*test_unawaited\.py:\d+ .*await it"):
        use(call)
    call.close()


def test_entering_it_as_a_context_raises() -> None:
    async def main() -> None:
        call: Any = Door().open()
        with pytest.raises(TypeError, match="await it"):
            async with call:
                pass
        with pytest.raises(TypeError, match="await it"):
            async for _ in call:
                pass
        call.close()

    asyncio.run(main())


def test_probing_for_protocols_raises_an_attribute_error() -> None:
    call: Any = guard().authorize(**QUESTION)
    assert not hasattr(call, "model_dump")
    assert not hasattr(call, "_repr_html_")
    for name in ("decision", "degraded", "ucan", "require", "chain"):
        with pytest.raises(UnawaitedError):
            getattr(call, name, None)
    call.close()
    seen: Any = verifier().verify("x.y.z", **QUESTION)
    with pytest.raises(UnawaitedError):
        getattr(seen, "agent", None)
    seen.close()
    headers: Any = guard().headers(**QUESTION)
    with pytest.raises(UnawaitedError):
        headers.get("authorization")
    headers.close()
    proven: Any = object.__new__(AsyncReceipt).verify(DID)
    with pytest.raises(UnawaitedError):
        getattr(proven, "row", None)
    proven.close()


def methods(kind: type) -> set[str]:
    """The names of the public methods that are written as `async def`."""
    tree = ast.parse(Path(inspect.getfile(kind)).read_text())
    (body,) = (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == kind.__name__)
    return {
        node.name
        for node in body.body
        if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_")
    }


def public_classes() -> list[type]:
    modules = [nomos] + [
        importlib.import_module(f"nomos.{each.name}")
        for each in pkgutil.iter_modules(nomos.__path__)
        if each.name not in ("__main__", "cli", "server", "_bin")
    ]
    found = {
        one
        for module in modules
        for one in vars(module).values()
        if inspect.isclass(one)
        and one.__module__.startswith("nomos.")
        and not inspect.isabstract(one)
    }
    return sorted(found, key=lambda one: f"{one.__module__}.{one.__name__}")


INTERNAL = ("nomos._io.", "nomos.server.")

OPEN_TO_USERS = {"AsyncReplayStore", "AsyncRevocationStore"}
"""Protocols that users write classes for."""


def test_every_public_async_method_is_guarded() -> None:
    seen = set()
    for kind in public_classes():
        if kind.__name__ in OPEN_TO_USERS or kind.__module__.startswith(INTERNAL):
            continue
        for name in methods(kind):
            seen.add(f"{kind.__name__}.{name}")
            assert getattr(getattr(kind, name), "__wrapped__", None), f"{kind.__name__}.{name}"
    assert seen >= {
        *("AsyncAuthGuard.authorize", "AsyncAuthGuard.wait_for_approval", "AsyncAuthGuard.did"),
        *("AsyncAuthGuard.revoke", "AsyncAuthGuard.headers", "AsyncAuthGuard.fork_child"),
        *("AsyncAuthGuard.fork_children", "AsyncAuthGuard.receipt", "AsyncAuthGuard.close"),
        *("AsyncGrant.headers", "AsyncApprovals.list", "AsyncApprovals.get"),
        *("AsyncApprovals.decide", "AsyncReceipt.verify", "AsyncVerifier.verify"),
        *("AsyncVerifier.explain", "AsyncVerifier.close", "Child.open"),
    }


def test_a_subclass_that_overrides_a_method_is_guarded_too() -> None:
    class Logged(AsyncVerifier):
        async def verify(self, token: str, **call: Any) -> Any:
            return await super().verify(token, **call)

    own = Logged(trusted_issuers=[DID], audience=DID, revocations=())
    call: Any = own.verify("x.y.z", **QUESTION)
    with pytest.raises(TypeError, match="await it"):
        bool(call)
    call.close()
    with pytest.raises(nomos.Denied):
        asyncio.run(own.verify("x.y.z", **QUESTION))


def test_calls_made_by_hand_in_a_route_are_guarded() -> None:
    from starlette.requests import Request

    from nomos.integrations.fastapi import json_body, requires

    request = Request({"type": "http", "headers": [], "query_string": b"", "path": "/"})
    calls: list[Any] = [
        requires("/a/b", resource={"provider": "a"}, verifier=verifier())(request),
        json_body()(request),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="await it"):
            bool(call)
        call.close()


def test_a_dropped_call_is_logged_once_with_its_place(
    dropped: Callable[[], list[str]], recwarn: pytest.WarningsRecorder
) -> None:
    forgetful: Any = guard()
    forgetful.close()
    (line,) = dropped()
    place = f"{__file__}:{sys._getframe().f_lineno - 2}"
    assert f"AsyncAuthGuard.close at {place}" in line
    assert "`await close(…)`" in line
    assert "the call was not made" in line
    assert [each for each in recwarn if each.category is RuntimeWarning] == []


def test_an_awaited_closed_or_cancelled_call_is_not_logged(
    dropped: Callable[[], list[str]],
) -> None:
    async def main() -> None:
        assert await Door().open() == "allow"
        Door().open().close()
        task = asyncio.create_task(Door().open())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert dropped() == []


def test_calls_not_awaited_at_exit_are_logged() -> None:
    program = (
        "import nomos\n"
        "g = nomos.AsyncAuthGuard(control_plane_url='http://127.0.0.1:1', api_key='k')\n"
        "kept = g.did()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "AsyncAuthGuard.did at <string>:3 was not awaited" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unawaited_call_has_the_interface_of_a_coroutine() -> None:
    call: Any = Door().open()
    assert (call.__name__, call.__qualname__) == ("open", "Door.open")
    assert isinstance(call, collections.abc.Coroutine)
    assert isinstance(call, Awaitable)
    assert inspect.isawaitable(call)
    assert asyncio.iscoroutine(call)
    assert "unawaited Door.open(…)" in repr(call)
    call.close()
    assert asyncio.iscoroutinefunction(Door.open)
    assert asyncio.iscoroutinefunction(Door().open)
    assert inspect.iscoroutinefunction(Door.open) is (sys.version_info >= (3, 12))
    assert asyncio.run(Door().open()) == "allow"


def test_asyncio_runs_it_in_every_way() -> None:
    async def main() -> None:
        door = Door()
        assert list(await asyncio.gather(door.open(1), door.open(2), door.open(3))) == [
            "1",
            "2",
            "3",
        ]
        assert await asyncio.wait_for(door.open(), 5) == "allow"
        assert await asyncio.shield(door.open()) == "allow"
        assert await asyncio.ensure_future(door.open()) == "allow"
        assert {await each for each in asyncio.as_completed([door.open(1), door.open(2)])} == {
            "1",
            "2",
        }
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(door.open())
            assert "Door.open" in repr(task)
        assert task.result() == "allow"
        assert "Door.open" in repr(task)
        loop = asyncio.get_running_loop()
        aside = asyncio.run_coroutine_threadsafe
        future = await asyncio.to_thread(lambda: aside(door.open(), loop))
        assert await asyncio.wrap_future(future) == "allow"

    asyncio.run(main(), debug=True)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio_and_trio_run_it(backend: str) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Door().open)
        with anyio.fail_after(5):
            assert await Door().open() == "allow"

    anyio.run(main, backend=backend)
    assert anyio.run(Door().open, backend=backend) == "allow"


def test_trio_runs_it_and_explains_how_to_pass_it() -> None:
    assert trio.run(Door().open) == "allow"

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Door().open)

    trio.run(main)
    with pytest.raises(TypeError, match=r"expecting an async function"):
        trio.run(cast("Any", Door().open()))


def test_awaiting_twice_raises() -> None:
    async def main() -> None:
        call = Door().open()
        assert await call == "allow"
        with pytest.raises(RuntimeError, match="already awaited"):
            await call

    asyncio.run(main())


def test_errors_and_cancellation_come_through_as_from_any_coroutine() -> None:
    async def main() -> None:
        with pytest.raises(KeyError) as caught:
            await Door().open(KeyError("x"))
        frames = [each.name for each in traceback.extract_tb(caught.value.__traceback__)]
        assert frames == ["main", "open"]
        task = asyncio.create_task(Door().open(KeyError("y")))
        with pytest.raises(KeyError) as caught:
            await task
        assert [each.name for each in traceback.extract_tb(caught.value.__traceback__)] == [
            "main",
            "open",
        ]
        with anyio.move_on_after(0) as scope:
            await Door().open()
        assert scope.cancelled_caught

    asyncio.run(main())
    with pytest.raises(ValueError, match="thrown"):
        cast("Any", Door()).open().throw(ValueError("thrown"))


def test_a_wrong_argument_is_refused_at_the_call_and_not_logged(
    dropped: Callable[[], list[str]],
) -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        cast("Any", guard()).did(what=1)
    assert dropped() == []


def test_mocks_of_the_guards_are_awaited() -> None:
    for made in (mock.create_autospec(AsyncAuthGuard), mock.AsyncMock(spec=AsyncAuthGuard)):
        made.did.return_value = DID

        async def main(made: Any = made) -> str:
            return str(await made.did())

        assert asyncio.run(main()) == DID


def test_the_wrong_kind_of_with_raises_with_the_right_one() -> None:
    asynchronous: Any
    for asynchronous in (guard(), verifier()):
        with (
            pytest.raises(TypeError, match="asynchronous: write `async with`"),
            asynchronous,
        ):
            pass
    sync = (
        AuthGuard(control_plane_url="http://127.0.0.1:1", api_key="k"),
        Verifier(trusted_issuers=[DID], audience=DID, revocations=()),
    )

    async def enter(one: Any) -> None:
        async with one:
            pass

    for synchronous in sync:
        with pytest.raises(TypeError, match="asynchronous context manager"):
            asyncio.run(enter(synchronous))


def test_a_child_is_opened_by_await_alone() -> None:
    call: Any = object.__new__(Child).open(["true"])
    assert isinstance(call, Unawaited)
    with pytest.raises(UnawaitedError):
        call.pid  # noqa: B018 - what is tested
    call.close()


def test_names_of_results_are_known_for_every_guarded_method() -> None:
    for kind in (AsyncAuthGuard, AsyncGrant, AsyncApprovals, AsyncReceipt, AsyncVerifier, Child):
        for name in methods(kind):
            call = Unawaited(Door().open(), getattr(kind, name).__wrapped__, ("x", 1), kind)
            assert not hasattr(call, "certainly_not_there")
            call.close()


def test_an_incomplete_object_raises_without_recursion() -> None:
    with pytest.raises(AttributeError):
        object.__new__(Unawaited).anything  # noqa: B018 - what is tested
