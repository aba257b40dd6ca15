"""One agent that uses many tokens does not block those of others."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from vectors.forge import (
    DELEGATION,
    HERE,
    ISSUER,
    RESEARCHER,
    UNRELATED,
    delegation,
    sign,
    use,
)
from verifiers import WRITE, replay, settings

from nomos import AsyncVerifier, Verifier
from nomos._core.effects import perform
from nomos._core.shares import APPROVAL, FEWEST_SHARED
from nomos._core.verification import ClaimNonce
from nomos._io.replay import MemoryReplayStore
from nomos.server.storage import shares
from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.replay import SqlReplayStore

NOW = 1_800_000_000


class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


def test_an_agent_may_use_a_fifth_and_an_app_two_fifths() -> None:
    clock = Clock()
    store = MemoryReplayStore(limit=FEWEST_SHARED, clock=clock)
    used = 0

    def use(issuer: str, family: str | None) -> None:
        nonlocal used
        used += 1
        assert store.claim(issuer, "service", f"{used}", int(clock.now) + 60, family=family)

    for _ in range(FEWEST_SHARED // 5):
        use("flooder", "app")
    with pytest.raises(OverflowError, match="200 uses of one agent"):
        use("flooder", "app")
    for number in range(FEWEST_SHARED // 5):
        use(f"fork {number}", "app")
    with pytest.raises(OverflowError, match="400 uses of one app"):
        use("one more fork", "app")
    use("other", "another app")
    use(APPROVAL, "another app")
    use("without a family", None)
    assert not store.claim("flooder", "service", "1", NOW + 60, family="app")
    clock.now += 300
    use("later", "app")
    assert len(store) == 1
    assert sum(store._held.values()) == 2


def test_a_small_store_is_not_divided_into_shares() -> None:
    store = MemoryReplayStore(limit=3, clock=Clock())
    assert [store.claim("a", "b", f"{n}", NOW + 60) for n in range(3)] == [True] * 3


def test_approvals_do_not_share_an_agents_limit() -> None:
    store = MemoryReplayStore(limit=FEWEST_SHARED, clock=Clock())
    for number in range(FEWEST_SHARED // 2):
        assert store.claim(APPROVAL, "b", f"{number}", NOW + 60, family=f"app {number}")


def test_a_stored_replay_store_has_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    with SqlReplayStore(tmp_path / "used.db", clock) as store:
        store._shares = shares.NonceShares(10)
        for number in range(10):
            assert store.claim("flooder", "service", f"{number}", NOW + 60)
        for number in range(3):
            with pytest.raises(StorageUnavailable, match="others are not affected"):
                store.claim("flooder", "service", f"more {number}", NOW + 60)
        assert store.claim("other", "service", "1", NOW + 60)
        for number in range(15):
            assert store.claim(APPROVAL, "service", f"{number}", NOW + 60)
        clock.now += 200
        assert store.claim("flooder", "service", "later", int(clock.now) + 60)


def test_an_app_with_many_children_is_limited_in_a_stored_one(tmp_path: Path) -> None:
    clock, ends = Clock(), NOW + 60
    with SqlReplayStore(tmp_path / "used.db", clock) as store:
        store._shares = shares.NonceShares(FEWEST_SHARED)
        for number in range(FEWEST_SHARED * 2 // 5):
            assert store.claim(f"child {number}", "service", "n", ends, family="app")
        with pytest.raises(StorageUnavailable, match="this app, with all its agents, has used 400"):
            store.claim("one more child", "service", "n", ends, family="app")
        with pytest.raises(StorageUnavailable, match="this app"):
            store.claim(APPROVAL, "service", "n", ends, family="app")
        assert store.claim("agent", "service", "n", ends, family="another app")
        assert store.claim(APPROVAL, "service", "n", ends, family="another app")
        store._shares = shares.NonceShares(FEWEST_SHARED)  # as after a restart
        with pytest.raises(StorageUnavailable, match="this app"):
            store.claim("one more child", "service", "n", ends, family="app")
        clock.now += 200
        assert store.claim("one more child", "service", "n", int(clock.now) + 60, family="app")


def test_the_number_of_cached_counts_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "MOST_COUNTED", 3)
    with SqlReplayStore(tmp_path / "used.db", Clock()) as store:
        for number in range(10):
            assert store.claim(f"agent {number}", "service", "n", NOW + 60, family=f"app {number}")
        counted = store._shares._counted
        assert len(counted["agent"]._left) == len(counted["app"]._left) == 3


def test_an_issuer_does_not_use_another_apps_share() -> None:
    """Both may be trusted, and what one of them writes as an app's id is its own affair."""
    store = replay()
    known = settings(trusted_issuers=[ISSUER.did, UNRELATED.did], replay=store)
    verifier = Verifier(**known)
    for issuer in (ISSUER, UNRELATED):
        meta = {**HERE, "app_id": "app"}
        link = delegation(issuer, RESEARCHER, meta=meta, cmd="/github/issue/create")
        chain = [sign(DELEGATION, link, issuer)]
        nonce = f"one of {issuer.did}"
        token = use(chain, cmd="/github/issue/create", sub=issuer.did, nonce=nonce)
        verifier.verify(token, **WRITE)
    held = {holder.name for holder in store._held if holder.what == "app"}
    assert held == {f"{ISSUER.did} app", f"{UNRELATED.did} app"}


def test_several_processes_exceed_a_share_only_slightly(tmp_path: Path) -> None:
    """Each but one by a 32nd of it: they count for themselves, and not at each use."""
    stores = [SqlReplayStore(tmp_path / "used.db", Clock()) for _ in range(8)]
    used, share = 0, FEWEST_SHARED * 2 // 5
    for store in stores:
        store._shares = shares.NonceShares(FEWEST_SHARED)
    for number in range(2 * FEWEST_SHARED):
        with suppress(StorageUnavailable):
            stores[number % 8].claim(f"fork {number}", "service", "n", NOW + 60, family="app")
            used += 1
    for store in stores:
        store.close()
    assert share <= used <= share + 7 * (share // 32 + 1)


class Own:
    """A store of a service's own, which knows of no families."""

    def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> bool:
        return (issuer, nonce, expires_at) == ("a", "n", 1)


class Shared(Own):
    shares = True

    def claim(  # type: ignore[override]
        self, issuer: str, audience: str, nonce: str, expires_at: int, *, family: str | None
    ) -> bool:
        return family == "app"


@pytest.mark.parametrize("store", [Own(), Shared()])
def test_only_a_store_with_shares_gets_the_app(store: Any) -> None:
    import anyio

    use = ClaimNonce("a", "b", "n", 1, "app")
    given = settings(replay=store)
    assert Verifier(**given)._run(perform(use)) is True
    assert anyio.run(AsyncVerifier(**given)._run, perform(use)) is True


def test_a_clock_that_was_ahead_refuses_only_the_span_that_it_dropped() -> None:
    now = 1_000_000.0
    store = MemoryReplayStore(clock=lambda: now)
    assert store.claim("a", "s", "1", int(now) + 60)
    now += 86_400
    assert store.claim("a", "s", "2", int(now) + 60)
    now -= 86_400
    with pytest.raises(OverflowError, match="check the clocks"):
        store.claim("a", "s", "1", int(now) + 60)
    assert store.claim("a", "s", "3", int(now) + 61)
