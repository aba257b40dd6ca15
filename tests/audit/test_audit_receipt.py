"""Verification of a single receipt, and every fault of one."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from audit.exports import Export, Json
from audit.tampering import middle, others, turned

from nomos._io.checkpoints import checking
from nomos.audit.receipt import check_receipt
from nomos.audit.record import Record
from nomos.errors import InvalidReceipt


@pytest.fixture(scope="module")
def replies(export: Export) -> list[Json]:
    """A reply of `GET /v1/receipts/{id}` for a row of each kind."""
    kinds: dict[str, Json] = {}
    for index in export.of("row"):
        line = export.json(index)
        seq, row_hash = line["row"]["seq"], line["hash"]
        kinds[line["row"]["kind"]] = {
            "row": line["row"],
            "hash": row_hash,
            "checkpoint": export.sign(export.issuer, seq, row_hash),
            "issuer": export.issuer,
            "keys": export.json(0)["keys"],
        }
    return list(kinds.values())


def check(export: Export, reply: Any, issuer: str | None = None) -> Record:
    return check_receipt(reply, issuer or export.first_issuer, checking(export.signer))


def code(export: Export, reply: Any, issuer: str | None = None) -> str:
    with pytest.raises(InvalidReceipt) as refused:
        check(export, reply, issuer)
    assert str(refused.value)
    return refused.value.code


def test_a_receipt_of_each_kind_is_verified_from_any_known_key(
    export: Export, replies: list[Json]
) -> None:
    assert len(replies) == 8
    for reply in replies:
        for issuer in (export.first_issuer, export.issuer):
            record = check(export, reply, issuer)
            assert record.id == reply["row"]["id"]
            assert record.kind == reply["row"]["kind"]
        assert check(export, json.loads(json.dumps(reply))) == record
        assert check(export, {**reply, "keys": []}, export.issuer) == record


def test_no_member_of_a_receipt_can_be_changed(export: Export, replies: list[Json]) -> None:
    count = 0
    for reply in replies:
        for name, value in reply["row"].items():
            for _, other in others(value):
                changed = {**reply, "row": {**reply["row"], name: other}}
                assert code(export, changed) in ("changed", "malformed", "unknown_version")
                count += 1
            missing = {key: item for key, item in reply["row"].items() if key != name}
            assert code(export, {**reply, "row": missing}) in (
                *("changed", "malformed", "unknown_version"),
            )
        assert code(export, {**reply, "hash": turned(reply["hash"])}) == "changed"
        assert code(export, {**reply, "row": {**reply["row"], "x": 1}}) == "changed"
    assert count > 100


def test_its_checkpoint_must_cover_exactly_its_row(export: Export, replies: list[Json]) -> None:
    reply, other = replies[0], replies[1]
    seq, row_hash = reply["row"]["seq"], reply["hash"]
    head, payload, signature = reply["checkpoint"].split(".")
    tokens = {
        other["checkpoint"]: "other_row",
        export.sign(export.issuer, seq, other["hash"]): "other_hash",
        export.sign(export.issuer, seq, row_hash, log="revocations"): "other_log",
        export.sign(export.issuer, seq, row_hash, tenant="other"): "other_tenant",
        export.sign(export.unrelated, seq, row_hash): "untrusted_issuer",
        f"{head}.{payload}.{middle(signature)}": "bad_signature",
        f"{head}.{payload}": "malformed_ucan",
        "x" * 5000: "malformed",
    }
    for token, expected in tokens.items():
        assert code(export, {**reply, "checkpoint": token}) == expected


def test_a_receipt_of_an_unknown_issuer_is_refused(export: Export, replies: list[Json]) -> None:
    reply = replies[0]
    assert code(export, reply, export.unrelated) == "unknown_issuer"
    assert code(export, reply, "did:key:nobody") == "unknown_issuer"
    # Without the key log the old key leads nowhere, and a key that is none is none.
    assert code(export, {**reply, "keys": []}) == "untrusted_issuer"
    assert code(export, {**reply, "keys": []}, "did:key:nobody") == "untrusted_issuer"
    # What an old key signs is nothing to who knows the new one.
    old = export.sign(export.first_issuer, reply["row"]["seq"], reply["hash"])
    assert check(export, {**reply, "checkpoint": old}).id == reply["row"]["id"]
    assert code(export, {**reply, "checkpoint": old}, export.issuer) == "untrusted_issuer"


def test_a_broken_key_log_is_reported(export: Export, replies: list[Json]) -> None:
    reply = copy.deepcopy(replies[0])
    reply["keys"][1]["row"]["at"] += 1
    assert code(export, reply) == "key_log"
    assert code(export, {**replies[0], "keys": "none"}) == "key_log"
    assert code(export, {**replies[0], "keys": [7]}) == "key_log"


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"row": {}, "hash": "", "checkpoint": ""},
        {"row": [], "hash": "", "checkpoint": ""},
        {"row": {"v": 1}, "hash": 1, "checkpoint": ""},
        {"row": {"v": 1, "seq": True, "tenant": "t"}, "hash": "", "checkpoint": ""},
        {"row": {"v": 1, "seq": 0, "tenant": "t"}, "hash": "", "checkpoint": ""},
        {"row": {"v": 1, "seq": 1, "tenant": "t"}, "hash": "", "checkpoint": ""},
        {
            "row": {"v": 1, "seq": 1, "tenant": "t", "id": "a", "kind": "b", "x": 1e400},
            "hash": "",
            "checkpoint": "",
        },
    ],
)
def test_text_that_is_no_receipt_is_reported_as_such(export: Export, reply: Json) -> None:
    assert code(export, reply) in ("malformed", "unknown_version")


def test_a_receipt_of_a_newer_version_is_not_verified(export: Export, replies: list[Json]) -> None:
    reply = replies[0]
    with pytest.raises(InvalidReceipt, match=r"another version.*reads 1.*newer nomos"):
        check(export, {**reply, "row": {**reply["row"], "v": 2}})


def test_a_version_that_cannot_be_printed_is_not_verified(
    export: Export, replies: list[Json]
) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for version in (deep, 10**5000, "\ud800"):
        changed = {**replies[0], "row": {**replies[0]["row"], "v": version}}
        assert code(export, changed) == "unknown_version"


@pytest.mark.parametrize("token", ["\ud800", "a.b.\udfff", "é.b.c"])
def test_a_token_that_is_not_ascii_is_malformed(
    export: Export, replies: list[Json], token: str
) -> None:
    assert code(export, {**replies[0], "checkpoint": token}) == "malformed_ucan"
    keys = [{**replies[0]["keys"][0], "checkpoint": token}, *replies[0]["keys"][1:]]
    assert code(export, {**replies[0], "keys": keys}) == "key_log"
