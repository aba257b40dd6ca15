"""Settings of a verifier, valid and invalid."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from vectors.forge import ISSUER, SERVICE
from verifiers import READ, TOKEN, VerifierKind, settings

from nomos import AsyncVerifier, Verifier
from nomos.errors import ConfigurationError
from nomos.verify import MemoryReplayStore


class Awaited:
    async def lookup(self, ids: Any) -> Any: ...

    async def claim(self, *use: Any) -> Any: ...


WRONG: dict[str, list[Any]] = {
    "trusted_issuers": [[], (), ISSUER.did, None, ["did:key:z6Mk"], [1], [ISSUER.did, ""]],
    "audience": [None, "", "did:web:example.com", "x" + SERVICE.did, SERVICE.did + "\n", 7],
    "max_depth": [0, 33, True, "8", 8.0, None],
    "leeway": [-1, 61, True, 1.5, None],
    "revocations_max_age": [-1, 86_401, False, 5.0],
    "on_stale_revocations": ["ALLOW", None, True, ""],
    "revocations": [None, "app_1", b"x", [1], 7, object()],
    "replay": [object(), (), "memory"],
    "allow_missing_prf": [1, None, "no"],
    "clock": [None, 1_700_000_000],
}


@pytest.mark.parametrize(
    ("setting", "value"),
    [(setting, value) for setting, values in WRONG.items() for value in values],
)
def test_an_invalid_setting_is_named(verifier_kind: VerifierKind, setting: str, value: Any) -> None:
    if (setting, value) == ("replay", None):
        return
    with pytest.raises(ConfigurationError) as wrong:
        verifier_kind.make(**{setting: value})
    assert wrong.value.setting == setting


@pytest.mark.parametrize("setting", ["revocations", "replay"])
def test_async_settings_are_refused_by_the_sync_verifier(setting: str) -> None:
    with pytest.raises(ConfigurationError, match="AsyncVerifier") as wrong:
        Verifier(**settings(**{setting: Awaited()}))
    assert wrong.value.setting == setting
    AsyncVerifier(**settings(**{setting: Awaited()}))


def test_a_class_in_place_of_a_replay_store_is_named(verifier_kind: VerifierKind) -> None:
    with pytest.raises(ConfigurationError, match=r"is the class .*: make one, as in replay=Mem"):
        verifier_kind.make(replay=MemoryReplayStore)
    assert verifier_kind.verify(TOKEN, replay=MemoryReplayStore())


def test_revocations_is_a_required_setting(verifier_kind: VerifierKind) -> None:
    with pytest.raises(ConfigurationError, match="does not check revocation"):
        verifier_kind.make(revocations=...)
    assert verifier_kind.verify(TOKEN, revocations=())
    assert verifier_kind.verify(TOKEN, revocations=frozenset())


CALLS: dict[str, list[Any]] = {
    "command": ["", "github", "/Github", "/github/", "/a//b", "/a\n", None, 7, "/" + "a" * 256],
    "resource": [None, "github", []],
    "args": ["x", [], 1],
}


@pytest.mark.parametrize(
    ("part", "value"), [(part, value) for part, values in CALLS.items() for value in values]
)
def test_an_invalid_call_is_the_callers_error(
    verifier_kind: VerifierKind, part: str, value: Any
) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        verifier_kind.verify(TOKEN, {**READ, part: value})
    assert wrong.value.setting == part


def test_explain_of_a_call_needs_command_and_resource(verifier_kind: VerifierKind) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        verifier_kind.explain(TOKEN, {"resource": {}})
    assert wrong.value.setting == "command"
    with pytest.raises(ConfigurationError) as wrong:
        verifier_kind.explain(TOKEN, {"command": "/a"})
    assert wrong.value.setting == "resource"


@pytest.mark.parametrize("now", [-1, float("nan"), float("inf"), 1e15])
def test_a_clock_without_a_valid_time_allows_nothing(
    verifier_kind: VerifierKind, now: float
) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        verifier_kind.verify(TOKEN, clock=lambda: now)
    assert wrong.value.setting == "clock"


def test_a_closed_verifier_allows_nothing_and_closes_again() -> None:
    with Verifier(**settings()) as verifier:
        assert verifier.verify(TOKEN, **READ)
    verifier.close()
    with pytest.raises(ConfigurationError, match="closed"):
        verifier.verify(TOKEN, **READ)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_closed_async_verifier_allows_nothing_and_closes_again(backend: str) -> None:
    async def use() -> None:
        async with AsyncVerifier(**settings()) as verifier:
            assert await verifier.verify(TOKEN, **READ)
        await verifier.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await verifier.verify(TOKEN, **READ)

    anyio.run(use, backend=backend)


def test_a_verifier_shows_its_audience(verifier_kind: VerifierKind) -> None:
    verifier = verifier_kind.make(replay=MemoryReplayStore())
    assert verifier.audience == SERVICE.did
    assert repr(verifier) == f"{type(verifier).__name__}(audience={SERVICE.did!r})"


def test_an_unknown_effect_is_a_type_error(verifier_kind: VerifierKind) -> None:
    from nomos._core.effects import Pause, perform

    with pytest.raises(TypeError, match="which this runtime does not perform"):
        verifier_kind.ask(verifier_kind.make(), "_run", perform(Pause(1.0)), {})
