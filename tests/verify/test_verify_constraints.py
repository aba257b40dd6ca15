"""Required signed arguments, and refusals by constraints in words."""

from __future__ import annotations

from typing import Any

import pytest
from vectors.forge import child, root, use
from verifiers import LINKS, READ, RESOURCE, Store, settings

from nomos import AsyncVerifier, ConfigurationError, Denied, Verified, Verifier
from nomos.constraints import at_most

pytestmark = pytest.mark.anyio

HELD = root(pol=at_most("n", 10).pol)
KINDS = pytest.mark.parametrize("kind", [Verifier, AsyncVerifier])


async def asked(
    kind: type[Verifier | AsyncVerifier], token: str, call: dict[str, Any], **changes: Any
) -> Verified:
    verifier = kind(**settings(**changes))
    found = verifier.verify(token, **call)
    return found if isinstance(found, Verified) else await found


@KINDS
@pytest.mark.parametrize(
    ("args", "words", "found"), [({"n": 11}, "n is 11", "11"), ({}, "the token signs none", None)]
)
async def test_a_failed_constraint_is_described_in_words(
    kind: type[Verifier], args: dict[str, Any], words: str, found: str | None
) -> None:
    token = use([HELD, child(HELD)], args={"resource": RESOURCE, **args})
    with pytest.raises(Denied) as refused:
        await asked(kind, token, {**READ, "args": args})
    denied = refused.value
    assert str(denied).startswith(
        f"this link holds only where n is at most 10 (pol[0]), and {words} (hop 0): "
    )
    assert (denied.field, denied.wanted) == ("pol[0]", "n is at most 10")
    assert denied.found == found
    assert denied.fix is not None
    assert ("headers(args=" in denied.fix) == (found is None)


OPEN = use([*LINKS], args={"resource": RESOURCE})
PART = use([*LINKS], args={"resource": RESOURCE, "n": 1})
ALL = use([*LINKS], args={"resource": RESOURCE, "n": 1, "state": "open"})


@KINDS
async def test_a_service_may_require_that_every_argument_is_signed(kind: type[Verifier]) -> None:
    call = {**READ, "args": {"n": 1, "state": "open"}}
    for token in (OPEN, PART, ALL):
        assert (await asked(kind, token, call)).depth == 2
    for token, field in ((OPEN, "args.n"), (PART, "args.state")):
        with pytest.raises(Denied, match="each argument signed") as refused:
            await asked(kind, token, {**call, "require_signed_args": True})
        denied = refused.value
        assert (denied.code, denied.field, denied.hop) == ("resource_mismatch", field, 2)
        assert denied.fix is not None
        assert "grant.headers(args=…)" in denied.fix
    proven = await asked(kind, ALL, {**call, "require_signed_args": True})
    assert proven.args == call["args"]
    assert (await asked(kind, OPEN, {**READ, "require_signed_args": True})).args == {}


async def test_a_token_that_leaves_an_argument_open_is_not_used_up() -> None:
    store = Store()
    token = use([*LINKS], cmd="/github/issue/create", args={"resource": RESOURCE})
    call = {"command": "/github/issue/create", "resource": RESOURCE, "args": {"title": "x"}}
    with pytest.raises(Denied, match="each argument signed"):
        await asked(Verifier, token, {**call, "require_signed_args": True}, replay=store)
    assert store.claimed == []
    await asked(Verifier, token, call, replay=store)
    assert len(store.claimed) == 1


@KINDS
async def test_require_signed_args_is_a_boolean(kind: type[Verifier]) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        await asked(kind, ALL, {**READ, "require_signed_args": ("n",)})
    assert wrong.value.setting == "require_signed_args"
