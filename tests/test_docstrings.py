"""`help()` on anything public is enough to use it: parameters, errors and results are described."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

import nomos
from nomos import errors
from nomos._approvals import Approvals, AsyncApprovals
from nomos._sealed import SealedRecord

MODULES: Final = (
    *(
        "nomos",
        "nomos.constraints",
        "nomos.errors",
        "nomos.guard",
        "nomos.approvals",
        "nomos.receipts",
    ),
    *("nomos.http_status", "nomos.verify", "nomos.webhooks"),
    *("nomos.integrations.fastapi", "nomos.integrations.starlette"),
)
ERRORS: Final = {name for name, kind in vars(errors).items() if inspect.isclass(kind)}
SAME_AS: Final = re.compile(
    r"See `([\w.]+)`|`(\w+)` for asyncio|the same as `(\w+)`|of `(Grant)`", re.IGNORECASE
)
"""How a docstring refers to that of the sync twin."""

CONSTRUCTED: Final = (
    "AuthGuard",
    "AsyncAuthGuard",
    "Verifier",
    "AsyncVerifier",
    "MemoryReplayStore",
)
CONSTRUCTED_TOO: Final = (
    "NomosMiddleware",
    "Rule",
    "RevocationStatus",
    "Capability",
    "PolicyProblem",
)
"""Classes that callers construct; results and errors are tested by their fields."""

RAISES: Final = {
    "AuthGuard.authorize": "InvalidRequest ControlPlaneError SignerError ChainError",
    "AuthGuard.wait_for_approval": "TimeoutError ControlPlaneError NotFound",
    "AuthGuard.headers": "AttenuationError ExpiredChain WrongAudience ConfigurationError",
    "AuthGuard.fork_child": "AttenuationError ChainError ConfigurationError SignerError",
    "AuthGuard.revoke": "InvalidRequest NotFound PermissionDenied",
    "AuthGuard.receipt": "NotFound",
    "AuthGuard.embedded": "InvalidPolicy ConfigurationError",
    "Grant.require": "StepUpRequired Denied",
    "Grant.headers": "Denied ExpiredChain ConfigurationError InvalidRequest SignerError",
    "Approvals.list": "InvalidRequest",
    "Approvals.get": "NotFound",
    "Approvals.decide": "Conflict NotFound",
    "Receipt.verify": "InvalidReceipt ConfigurationError SignerError",
    "Child.popen": "ConfigurationError",
    "Verifier.verify": "Denied SignerError ConfigurationError",
    "Verifier.explain": "ConfigurationError",
    "Verifier.from_control_plane": "ConfigurationError Unreachable ControlPlaneError",
    "verify_receipt": "Denied ConfigurationError SignerError",
    "requires": "NotAllowed ConfigurationError",
    "install": "ConfigurationError",
}
"""The errors of the main calls, which their docstrings must name."""


def names_of(module: Any) -> list[str]:
    """Return the names in `__all__`; without it, those that the module defines."""
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    return sorted(getattr(module, "__all__", own))


def public() -> dict[str, Any]:
    """Return the public classes and functions by name; one that has several names is here once."""
    found: dict[str, Any] = {}
    modules = map(importlib.import_module, MODULES)
    every = [getattr(module, name) for module in modules for name in names_of(module)]
    for value in [*every, Approvals, AsyncApprovals]:
        is_ours = getattr(value, "__module__", "").startswith("nomos")
        if is_ours and (inspect.isclass(value) or inspect.isfunction(value)):
            found.setdefault(value.__qualname__, value)
    return found


PUBLIC: Final = public()
CLASSES: Final = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that classes of ours define, bases first."""
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith("nomos"):
            continue
        for name, member in vars(base).items():
            function = getattr(member, "__func__", member)
            if not name.startswith("_") and (callable(function) or isinstance(member, property)):
                yield f"{kind.__name__}.{name}", function


METHODS: Final = {name: one for kind in CLASSES.values() for name, one in members(kind)}
CALLABLES: Final[dict[str, Callable[..., Any]]] = {
    **{name: one for name, one in PUBLIC.items() if inspect.isfunction(one)},
    **{name: one for name, one in METHODS.items() if inspect.isfunction(one)},
}


def text_of(name: str) -> str:
    """Return a docstring; `See AuthGuard.did` stands for that one's."""
    member = {**PUBLIC, **METHODS}[name]
    text = inspect.getdoc(member) or ""
    same = SAME_AS.search(text)
    twin = next(filter(None, same.groups())) if same else None
    return f"{text}\n{text_of(twin)}" if twin in {**PUBLIC, **METHODS} else text


def parameters(function: Callable[..., Any]) -> list[str]:
    given = inspect.signature(function).parameters.values()
    return [one.name for one in given if one.name not in ("self", "cls")]


def undescribed(names: list[str], text: str) -> list[str]:
    """Return the names that a text has neither as code nor at the start of a line of `Args:`."""
    return [
        name
        for name in names
        if not re.search(
            rf"`[^`\n]*\b{name}\b[^`\n]*`|^\s+(?:\w+, )*{name}(?:, \w+)*:", text, re.MULTILINE
        )
    ]


def is_record(kind: type) -> bool:
    return issubclass(kind, SealedRecord)


def fields(kind: type) -> list[str]:
    """Return the fields of a sealed record, those of its bases too."""
    every = [name for base in kind.__mro__ for name in inspect.get_annotations(base)]
    return [name for name in every if not name.startswith("_")]


def raised(function: Callable[..., Any]) -> set[str]:
    """Return the errors of ours that the function raises in its own body."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    called = [
        node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
    ]
    return {one.id for one in called if isinstance(one, ast.Name)} & ERRORS


def test_public_names_are_found() -> None:
    assert {"AuthGuard", "AsyncVerifier", "requires", "Rule", "at_most"} <= set(PUBLIC)
    assert {"AuthGuard.authorize", "AuthGuard.from_env", "Grant.require"} <= set(METHODS)
    assert set(nomos.__all__) - {"__version__"} <= {*dir(nomos)}
    assert undescribed(["a", "b", "c"], "takes `a=…`\n    b: a number\nand c") == ["c"]


@pytest.mark.parametrize("name", sorted({**PUBLIC, **METHODS}))
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert len(text_of(name).split()) > 2


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_every_parameter_is_described(name: str) -> None:
    assert undescribed(parameters(CALLABLES[name]), text_of(name)) == []


@pytest.mark.parametrize("name", [*CONSTRUCTED, *CONSTRUCTED_TOO])
def test_every_parameter_of_a_constructor_is_described(name: str) -> None:
    kind = CLASSES[name]
    text = f"{text_of(name)}\n{inspect.getdoc(kind.__init__) or ''}"
    assert parameters(kind)
    assert undescribed(parameters(kind), text) == []


@pytest.mark.parametrize("name", [name for name, kind in CLASSES.items() if is_record(kind)])
def test_every_field_of_a_result_is_described(name: str) -> None:
    assert undescribed(fields(CLASSES[name]), text_of(name)) == []


@pytest.mark.parametrize("name", sorted(ERRORS - {"NomosError"} & set(CLASSES)))
def test_every_attribute_of_an_error_is_described(name: str) -> None:
    kind = CLASSES[name]
    text = "\n".join(inspect.getdoc(base) or "" for base in kind.__mro__)
    given = [one for one in parameters(kind.__init__) if one not in ("message", "args", "kwargs")]
    assert undescribed(given, text) == []


@pytest.mark.parametrize("name", sorted(RAISES))
def test_the_errors_of_the_main_calls_are_named(name: str) -> None:
    assert [one for one in RAISES[name].split() if one not in text_of(name)] == []


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_the_errors_that_it_raises_are_named(name: str) -> None:
    assert {one for one in raised(CALLABLES[name]) if one not in text_of(name)} == set()
