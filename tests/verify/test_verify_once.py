"""Writes and approvals work once, and an unavailable store or view refuses."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from vectors.forge import HERE, NOW, RESEARCHER, SERVICE, child, cid, root, use
from verifiers import (
    LINKS,
    READ,
    RESOURCE,
    SYNC,
    TO_WRITE,
    TOKEN,
    WRITE,
    Store,
    VerifierKind,
    approved,
    in_child,
    replay,
    settings,
)

from nomos import Verifier
from nomos._io.signer import SignerConnection
from nomos.errors import BinaryNotFound, ConfigurationError, Denied, SignerCrashed
from nomos.verify import MemoryReplayStore, RevocationStatus


class Awaited(Store):
    """The same, awaited."""

    async def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> Any:
        return super().claim(issuer, audience, nonce, expires_at)


class Both(Store):
    """One that has a method of each kind."""

    async def aclaim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> Any:
        return super().claim(issuer, audience, nonce, expires_at)

    def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> Any:
        raise AssertionError("the other kind")


def test_a_read_claims_no_nonce(verifier_kind: VerifierKind) -> None:
    store = Store()
    assert verifier_kind.verify(TOKEN, replay=store)
    assert verifier_kind.verify(TOKEN, replay=store)
    assert store.claimed == []


@pytest.mark.parametrize(
    "reads", [..., [], None, True, "/github/issue/list", ["/github/issue"], ["/github/issue/read"]]
)
def test_a_command_that_the_issuer_does_not_mark_as_read_works_once(
    verifier_kind: VerifierKind, reads: Any
) -> None:
    """Whatever its name says: a command that ends in `list` may delete."""
    said = {name: value for name, value in {**HERE, "reads": reads}.items() if value is not ...}
    first = root(meta=said)
    token = use([first, child(first, meta={"reads": ["/github/issue/list"]})])
    store = replay()
    assert verifier_kind.verify(token, replay=store)
    assert verifier_kind.denied(token, replay=store).code == "replayed"
    assert verifier_kind.denied(token).code == "unavailable"


def test_a_command_with_another_name_than_a_read_works_once(verifier_kind: VerifierKind) -> None:
    first = root(meta={**HERE, "reads": [WRITE["command"]]})
    store = replay()
    token = use([first, child(first)], cmd=WRITE["command"])
    assert verifier_kind.verify(token, WRITE, replay=store)
    assert verifier_kind.denied(token, WRITE, replay=store).code == "replayed"


def test_a_write_claims_its_nonce_and_an_approval_its_delegation(
    verifier_kind: VerifierKind,
) -> None:
    store = Store()
    assert verifier_kind.verify(TO_WRITE, WRITE, replay=store)
    grant = approved()
    assert verifier_kind.verify(use([grant]), replay=store)
    assert store.claimed == [
        (RESEARCHER.did, SERVICE.did, "invocation-1", NOW + 60),
        # Other calls can be signed on the delegation for as long as it lives.
        ("approval", SERVICE.did, cid(grant), NOW + 300),
    ]


def test_an_approval_is_valid_for_one_call_with_any_nonce(
    verifier_kind: VerifierKind,
) -> None:
    store, grant = replay(), approved()
    assert verifier_kind.verify(use([grant]), replay=store).chain == (cid(grant),)
    denied = verifier_kind.denied(use([grant], nonce="invocation-2"), replay=store)
    assert denied.code == "approval_already_used"
    assert denied.fix is not None


def test_an_approved_write_is_claimed_as_an_approval_alone(verifier_kind: VerifierKind) -> None:
    pol = [["==", ".cmd", WRITE["command"]], ["==", ".resource", RESOURCE]]
    store = Store()
    token = use([approved(pol=pol)], cmd=WRITE["command"])
    assert verifier_kind.verify(token, WRITE, replay=store)
    assert [claim[0] for claim in store.claimed] == ["approval"]


def test_a_refused_call_claims_nothing(verifier_kind: VerifierKind) -> None:
    store = Store()
    assert verifier_kind.denied(TO_WRITE, READ, replay=store)
    assert verifier_kind.denied(TO_WRITE, WRITE, replay=store, revocations=[cid(LINKS[0])])
    assert store.claimed == []


@pytest.mark.parametrize("answer", [OSError("disk"), None, 1, "yes", object()])
def test_a_store_without_a_boolean_answer_is_unavailable(
    verifier_kind: VerifierKind, answer: Any
) -> None:
    denied = verifier_kind.denied(TO_WRITE, WRITE, replay=Store(answer))
    assert denied.code == "unavailable"
    assert denied.__cause__ is (answer if isinstance(answer, Exception) else None)


def test_a_store_may_refuse_with_its_own_denial(verifier_kind: VerifierKind) -> None:
    mine = Denied("no", code="replayed")
    assert verifier_kind.denied(TO_WRITE, WRITE, replay=Store(mine)) is mine


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", [Awaited, Both])
def test_an_async_verifier_awaits_an_async_store(kind: type[Store], backend: str) -> None:
    store = kind()
    verifier_kind = VerifierKind(backend)
    assert verifier_kind.verify(TO_WRITE, WRITE, replay=store)
    assert store.thread == threading.get_ident()
    assert verifier_kind.denied(TO_WRITE, WRITE, replay=kind(False)).code == "replayed"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_verifier_calls_sync_stores_in_a_thread(backend: str) -> None:
    store = Store()
    assert VerifierKind(backend).verify(TO_WRITE, WRITE, replay=store)
    assert store.thread not in (None, threading.get_ident())


class View:
    """A revocation store with scripted results."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def lookup(self, ids: Collection[str]) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class AwaitedView(View):
    async def lookup(self, ids: Collection[str]) -> Any:
        return super().lookup(ids)


BROKEN = [
    OSError("down"),
    None,
    (),
    RevocationStatus(frozenset(), age_seconds=-1),
    RevocationStatus(frozenset(), age_seconds=None),  # type: ignore[arg-type]
    RevocationStatus(frozenset(), age_seconds=float("nan")),  # type: ignore[arg-type]
    RevocationStatus(None),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("answer", BROKEN, ids=repr)
@pytest.mark.parametrize("stale", ["refuse", "allow"])
def test_a_failing_view_refuses_every_token(
    verifier_kind: VerifierKind, answer: Any, stale: str
) -> None:
    denied = verifier_kind.denied(TOKEN, revocations=View(answer), on_stale_revocations=stale)
    assert denied.code == "revocations_stale"
    assert "cannot be looked up" in str(denied)


def test_a_view_from_the_future_names_the_clocks(verifier_kind: VerifierKind) -> None:
    denied = verifier_kind.denied(
        TOKEN, revocations=View(RevocationStatus(frozenset(), age_seconds=-5))
    )
    assert "the view is dated 5 s in the future; check the clocks" in str(denied)


def test_the_fault_of_a_token_is_reported_before_a_failing_view(
    verifier_kind: VerifierKind,
) -> None:
    assert verifier_kind.denied(use([*LINKS], exp=NOW), revocations=View(None)).code == "expired"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_verifier_awaits_a_view(backend: str) -> None:
    verifier_kind = VerifierKind(backend)
    assert verifier_kind.verify(TOKEN, revocations=AwaitedView(RevocationStatus(frozenset())))
    assert (
        verifier_kind.denied(
            TOKEN, revocations=AwaitedView(RevocationStatus(frozenset([cid(TOKEN)])))
        ).hop
        == 2
    )


def test_a_collection_is_read_at_each_verification(verifier_kind: VerifierKind) -> None:
    revoked: set[str] = set()
    verifier = verifier_kind.make(revocations=revoked)
    assert verifier_kind.ask(verifier, "verify", TOKEN, READ)
    revoked.add(cid(LINKS[0]))
    with pytest.raises(Denied) as denied:
        verifier_kind.ask(verifier, "verify", TOKEN, READ)
    assert (denied.value.code, denied.value.hop) == ("revoked", 0)


def test_revocations_that_were_not_looked_up_are_ignored(verifier_kind: VerifierKind) -> None:
    assert verifier_kind.verify(TOKEN, revocations=View(RevocationStatus(frozenset(["app_other"]))))


def test_without_a_binary_verification_raises(
    verifier_kind: VerifierKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOMOS_UCAN_BIN", str(tmp_path / "none"))
    with pytest.raises(BinaryNotFound):
        verifier_kind.verify(TOKEN)
    with pytest.raises(BinaryNotFound):
        verifier_kind.verify(TO_WRITE, WRITE, replay=replay())


def test_a_binary_that_crashes_allows_nothing(verifier_kind: VerifierKind, tmp_path: Path) -> None:
    wrong = tmp_path / "nomos-ucan"
    wrong.write_text("#!/bin/sh\nexit 0\n")
    wrong.chmod(0o755)
    verifier = verifier_kind.make()
    verifier._linked = SignerConnection(wrong)
    with pytest.raises(SignerCrashed):
        verifier_kind.ask(verifier, "verify", TOKEN, READ)
    assert "NOT KNOWN" in verifier_kind.ask(verifier, "explain", TOKEN, READ)


# In memory


def test_a_memory_store_accepts_each_nonce_once_across_threads() -> None:
    store = MemoryReplayStore()
    nonces = [f"n{number}" for number in range(200)] * 4
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda nonce: store.claim("i", "a", nonce, 2**40), nonces))
    assert (sum(won), len(store)) == (200, 200)


def test_one_write_by_many_threads_is_accepted_once() -> None:
    with Verifier(**settings(replay=replay())) as verifier:

        def attempt(_: int) -> str:
            try:
                verifier.verify(TO_WRITE, **WRITE)
            except Denied as denied:
                return denied.code
            return "done"

        with ThreadPoolExecutor(8) as threads:
            ended = Counter(threads.map(attempt, range(40)))
    assert ended == {"done": 1, "replayed": 39}


def test_nonces_are_separate_per_issuer_and_audience() -> None:
    store = replay()
    assert store.claim("i", "a", "n", NOW)
    assert store.claim("i", "b", "n", NOW)
    assert store.claim("j", "a", "n", NOW)
    assert not store.claim("i", "a", "n", NOW + 1)


def test_a_memory_store_drops_expired_nonces_only() -> None:
    now = [1000.0]
    store = MemoryReplayStore(limit=2, clock=lambda: now[0])
    assert store.claim("i", "a", "first", 1000)
    assert store.claim("i", "a", "second", 2000)
    with pytest.raises(OverflowError, match="2 uses"):
        store.claim("i", "a", "third", 2000)
    assert not store.claim("i", "a", "first", 1000)
    now[0] = 1121
    assert store.claim("i", "a", "third", 2000)
    assert (len(store), repr(store)) == (2, "MemoryReplayStore(2 of 2)")
    with pytest.raises(OverflowError, match="clocks"):
        store.claim("i", "a", "first", 1000)
    # What was forgotten stays forgotten, though the clock goes back.
    now[0] = 1000
    with pytest.raises(OverflowError, match="clocks"):
        store.claim("i", "a", "first", 1000)


def test_a_full_memory_store_refuses(verifier_kind: VerifierKind) -> None:
    store = MemoryReplayStore(limit=1, clock=lambda: NOW)
    assert verifier_kind.verify(TO_WRITE, WRITE, replay=store)
    other = use([*LINKS], cmd=WRITE["command"], nonce="invocation-2")
    assert verifier_kind.denied(other, WRITE, replay=store).code == "unavailable"


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "9"])
def test_a_memory_store_has_a_limit(limit: Any) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        MemoryReplayStore(limit=limit)
    assert wrong.value.setting == "limit"


# Across fork()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_verifier_works_on_both_sides_of_a_fork() -> None:
    with Verifier(**settings()) as verifier:
        assert verifier.verify(TOKEN, **READ)
        assert in_child(lambda: verifier.verify(TOKEN, **READ).agent) == RESEARCHER.did
        assert verifier.verify(TOKEN, **READ)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_memory_store_refuses_to_work_after_a_fork() -> None:
    store = replay()
    verifier = Verifier(**settings(replay=store))
    assert "unavailable" in in_child(lambda: SYNC.denied(TO_WRITE, WRITE, replay=store).code)
    assert "forked" in in_child(lambda: str(store.claim("i", "a", "n", NOW)))
    assert verifier.verify(TO_WRITE, **WRITE)
