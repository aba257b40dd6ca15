"""Every attack on an invocation from the vectors, with `Verifier` and `AsyncVerifier`.

The table's codes and hops are the binary's. The call is the one that the attack asks for, or else
the one that it signed: a service that is asked for something else refuses all the more.
"""

from __future__ import annotations

import json
import re
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from vectors.forge import SERVICE
from verifiers import READ, SYNC, VerifierKind, key_file

from nomos._core.tokens import decode_unverified
from nomos.errors import Denied, InvalidRequest, InvalidResponse
from nomos.resources import GITHUB, canonical_resource
from nomos.verify import MemoryReplayStore, RevocationStatus, verify_receipt

FOLDER: Final = Path(__file__).parent.parent / "vectors"
COMMAND: Final = re.compile(r"/github/issue/[a-z]+")
ATTACKS: Final = sorted((FOLDER / "attacks").glob("*.json"))


class View:
    """What the table says is revoked, as of so many seconds ago."""

    def __init__(self, revoked: list[str], age: int) -> None:
        self.revoked, self.age = frozenset(revoked), age

    def lookup(self, ids: Any) -> RevocationStatus:
        return RevocationStatus(self.revoked & frozenset(ids), self.age)


def rows(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each question about an invocation, with its answer."""
    table = json.loads(path.read_text())
    for row in (*table["accepted"], *table["refused"]):
        ask = {**table["request"], **row["ask"]}
        if ask["op"] != "verify" or "invocation" not in ask or "requested" in ask:
            continue
        if not ask["trusted_issuers"]:
            continue  # no verifier can be built without trusted issuers
        token = ask["invocation"]
        if isinstance(token, int):
            token = table["tokens"][token]
        yield {**ask, "invocation": token}, row


def settings(ask: dict[str, Any]) -> dict[str, Any]:
    return {
        "trusted_issuers": ask["trusted_issuers"],
        "audience": ask["audience"],
        "max_depth": ask["max_depth"],
        "leeway": ask["leeway"],
        "allow_missing_prf": ask["allow_missing_prf"],
        "revocations": View(ask["revoked"], ask.get("revocations_age", 0)),
        "revocations_max_age": ask["revocations_max_age"],
        "clock": lambda: ask["now"],
        "replay": MemoryReplayStore(clock=lambda: ask["now"]),
    }


def call(ask: dict[str, Any]) -> dict[str, Any]:
    """The call of the question, or the one that was signed; a plain one if that is none."""
    if "call" in ask:
        given = ask["call"]
        return {"command": given["cmd"], "resource": given["resource"], "args": given["args"]}
    try:
        payload = decode_unverified(ask["invocation"])
        args = dict(payload["args"])
        command, resource = payload["cmd"], dict(args.pop("resource"))
    except (InvalidResponse, KeyError, TypeError, ValueError):
        return dict(READ)
    known = isinstance(command, str) and COMMAND.fullmatch(command)
    return {"command": command if known else READ["command"], "resource": resource, "args": args}


@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
def test_every_attack_is_refused_by_a_verifier(path: Path) -> None:
    wrong = []
    for ask, row in rows(path):
        answer = attempt(SYNC, ask)
        expected = row.get("refused") or {"code": "accepted"}
        if answer == {"code": "resource_mismatch"}:
            # The token is good, and the resource has a form that its provider does not know.
            with pytest.raises(InvalidRequest):
                canonical_resource(GITHUB, call(ask)["resource"])
            continue
        if answer != expected:
            wrong.append((row.get("mutation", row.get("name")), answer, expected))
    assert not wrong


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_async_verifier_gives_the_same_answers(backend: str) -> None:
    """One attack of each kind, for every call begins a new loop."""
    asked = [ask for path in ATTACKS for ask, _ in list(rows(path))[:12]]
    sync, verifier_kind = SYNC, VerifierKind(backend)
    assert [attempt(verifier_kind, ask) for ask in asked] == [attempt(sync, ask) for ask in asked]


DOTS: Final = "." * 20_000_000
"""A text that takes many times its size, if it is taken apart before it is measured."""


@pytest.fixture
def measured() -> Iterator[None]:
    """Refuse what a test takes beyond a megabyte."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("measured")
def test_an_overlong_token_is_not_split() -> None:
    with pytest.raises(InvalidResponse):
        decode_unverified(DOTS)
    with pytest.raises(InvalidResponse):
        decode_unverified(DOTS[:60_000] + "x")
    assert "cannot be read" in SYNC.explain(DOTS)
    with pytest.raises(Denied):
        verify_receipt(DOTS, issuers=[SERVICE.did])


@pytest.mark.usefixtures("measured")
def test_an_overlong_token_is_not_split_for_its_receipt(tmp_path: Path) -> None:
    denied = SYNC.denied(DOTS, receipt_key=key_file(tmp_path))
    assert denied.receipt_jwt is not None
    assert verify_receipt(denied.receipt_jwt, issuers=[SERVICE.did]).invocation is None


def test_there_are_more_than_1000_attacks_of_most_codes() -> None:
    codes = Counter(row.get("refused", {}).get("code") for path in ATTACKS for _, row in rows(path))
    assert sum(codes.values()) > 1000
    assert len(codes) > 10


def attempt(verifier_kind: VerifierKind, ask: dict[str, Any]) -> dict[str, Any]:
    try:
        verifier_kind.verify(ask["invocation"], call(ask), **settings(ask))
    except Denied as denied:
        hop = {} if denied.hop is None else {"hop": denied.hop}
        return {"code": denied.code, **hop}
    return {"code": "accepted"}
