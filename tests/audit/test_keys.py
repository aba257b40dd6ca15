"""Following a key log from a known key to the newest."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from nomos._io.checkpoints import checking
from nomos._io.signer import Signer, SignerConnection
from nomos._protocol import Checkpoint, LoadKey, LoadKeyAnswer, Refused, SignCheckpoint, Signed
from nomos.audit.chain import Head, Log, chained, sealed
from nomos.audit.keys import (
    MAX_KEYS,
    BrokenKeys,
    IssuerKeyLog,
    UnknownIssuer,
    trusted,
    trusted_async,
)

Entry = dict[str, Any]
TENANT = "default"


@dataclass(frozen=True)
class Issuer:
    """Four keys of one issuer, an unrelated key, and the key log."""

    signer: Signer
    dids: tuple[str, ...]
    unrelated: str

    def sign(self, key: str, head: Head, *, log: Log = "keys", tenant: str = TENANT) -> str:
        payload = Checkpoint(
            iss=key, log=log, tenant=tenant, seq=head.seq, head=head.hash, iat=1_800_000_000
        )
        answer = self.signer.ask(SignCheckpoint(key=key, payload=payload))
        assert isinstance(answer, Signed)
        return answer.jwt

    def log(self, dids: Sequence[str] = (), *, by: dict[int, str] | None = None) -> list[Entry]:
        """The log of these keys; `by` names other signers of single rows, by their number."""
        dids = dids or self.dids
        entries: list[Entry] = []
        head = Head()
        for number, did in enumerate(dids, 1):
            placed = chained({"did": did, "at": 1_800_000_000_000 + number}, TENANT, head)
            head = placed.head
            signer = (by or {}).get(number, dids[max(number - 2, 0)])
            row = {"did": did, "at": 1_800_000_000_000 + number, "v": 1, "tenant": TENANT}
            row |= {"seq": number, "prev_hash": entries[-1]["hash"] if entries else "0" * 64}
            entries.append({"row": row, "hash": placed.hash, "checkpoint": self.sign(signer, head)})
        return entries

    def follow(self, entries: object, known: str) -> IssuerKeyLog:
        return trusted(entries, TENANT, known, checking(self.signer))


@pytest.fixture(scope="module")
def issuer(binary: Path) -> Iterator[Issuer]:
    connection = SignerConnection(binary)
    signer = Signer(connection)

    def load(number: int) -> str:
        answer = signer.ask(LoadKey(seed=f"{number:064x}"))
        assert isinstance(answer, LoadKeyAnswer)
        return answer.key

    yield Issuer(signer, tuple(map(load, range(101, 105))), load(199))
    connection.close()


def test_every_key_proves_its_successors(issuer: Issuer) -> None:
    entries = issuer.log()
    for at, did in enumerate(issuer.dids):
        assert issuer.follow(entries, did) == IssuerKeyLog(issuer.dids[at:], issuer.dids[:at])


def test_without_a_log_only_the_known_key_is_accepted(issuer: Issuer) -> None:
    assert issuer.follow([], issuer.unrelated) == IssuerKeyLog((issuer.unrelated,))


def test_another_issuers_log_is_unknown_and_not_broken(issuer: Issuer) -> None:
    with pytest.raises(UnknownIssuer, match=f"{issuer.unrelated} is not one of them"):
        issuer.follow(issuer.log(), issuer.unrelated)


def test_a_key_without_its_predecessors_signature_is_refused(issuer: Issuer) -> None:
    """Not by signing for it, nor by letting it sign for itself or for the key after it."""
    dids = (*issuer.dids, issuer.unrelated)
    for forger in (issuer.unrelated, issuer.dids[0]):
        with pytest.raises(BrokenKeys, match=f"row 5 .* not signed by {issuer.dids[-1]}"):
            issuer.follow(issuer.log(dids, by={5: forger}), issuer.dids[0])
    before = (issuer.unrelated, *issuer.dids)
    found = issuer.follow(issuer.log(before), issuer.dids[0])
    assert issuer.unrelated not in found.trusted, (
        "anyone can name a well known key as its successor"
    )


def test_the_first_key_signs_for_itself(issuer: Issuer) -> None:
    with pytest.raises(BrokenKeys, match=r"row 1 .* not signed by"):
        issuer.follow(issuer.log(by={1: issuer.unrelated}), issuer.dids[1])


def test_a_repeated_key_is_refused(issuer: Issuer) -> None:
    first, second, *_ = issuer.dids
    with pytest.raises(BrokenKeys, match=r"row 3 .* names a key that an earlier row names"):
        issuer.follow(issuer.log((first, second, first)), first)


@pytest.mark.parametrize(
    ("log", "tenant", "row"), [("audit", TENANT, 2), ("keys", "other", 2), ("keys", TENANT, 1)]
)
def test_a_valid_signature_over_another_row_is_refused(
    issuer: Issuer, log: Log, tenant: str, row: int
) -> None:
    entries = issuer.log()
    head = Head(row, entries[row - 1]["hash"])
    entries[1]["checkpoint"] = issuer.sign(issuer.dids[0], head, log=log, tenant=tenant)
    with pytest.raises(BrokenKeys, match=r"row 2 .* checkpoint of another row"):
        issuer.follow(entries, issuer.dids[0])


MEMBERS = {"did": "x", "at": 1, "v": 2, "tenant": "other", "seq": 9, "prev_hash": "ab" * 32}


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("digest", ["as it was", "that fits"])
def test_a_changed_row_is_found(issuer: Issuer, member: str, digest: str) -> None:
    entries = issuer.log()
    row = entries[2]["row"]
    row[member] = MEMBERS[member]
    if digest == "that fits":
        entries[2]["hash"] = sealed(row, 3).hash
    with pytest.raises(BrokenKeys, match="row 3 of the key log"):
        issuer.follow(entries, issuer.dids[0])


def _without(number: int) -> Callable[[list[Entry]], object]:
    return lambda entries: [each for at, each in enumerate(entries, 1) if at != number]


WRONG: dict[str, Callable[[list[Entry]], object]] = {
    "no first row": _without(1),
    "no second row": _without(2),
    "two rows swapped": lambda e: [e[0], e[2], e[1], e[3]],
    "a row twice": lambda e: [e[0], e[0], *e[1:]],
    "not a list": lambda e: {"keys": e},
    "longer than anyone reads": lambda e: e * (MAX_KEYS // 4 + 1),
    "an entry that is none": lambda e: [*e, None],
    "an entry without a row": lambda e: [{**e[0], "row": None}],
    "a row without a key": lambda e: [{**e[0], "row": {"at": 1}}],
    "a key that is no text": lambda e: [{**e[0], "row": {**e[0]["row"], "did": 7}}],
    "no checkpoint": lambda e: [{**e[0], "checkpoint": None}],
    "a checkpoint without end": lambda e: [{**e[0], "checkpoint": "a" * 5000}],
    "a checkpoint that is none": lambda e: [{**e[0], "checkpoint": "a.b.c"}],
    "a row that cannot be hashed": lambda e: [{**e[0], "row": {**e[0]["row"], "at": float("nan")}}],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_malformed_key_log_is_refused(issuer: Issuer, name: str) -> None:
    entries = WRONG[name](copy.deepcopy(issuer.log()))
    with pytest.raises(BrokenKeys, match="key log"):
        issuer.follow(entries, issuer.dids[0])


def test_a_shorter_log_is_valid(issuer: Issuer) -> None:
    """Who cuts the end off hides new keys, and cannot bring in others."""
    assert issuer.follow(issuer.log()[:2], issuer.dids[0]).trusted == issuer.dids[:2]


def test_the_async_walk_gives_the_same_keys(issuer: Issuer) -> None:
    check = checking(issuer.signer)

    async def awaited(token: str, issuers: Sequence[str]) -> Checkpoint | Refused:
        await anyio.lowlevel.checkpoint()
        return check(token, issuers)

    def follow(entries: object, known: str) -> IssuerKeyLog:
        return anyio.run(trusted_async, entries, TENANT, known, awaited)

    entries = issuer.log()
    assert follow(entries, issuer.dids[1]) == issuer.follow(entries, issuer.dids[1])
    assert follow([], issuer.unrelated) == IssuerKeyLog((issuer.unrelated,))
    with pytest.raises(BrokenKeys, match="row 1 of the key log"):
        follow(entries[1:], issuer.dids[1])
