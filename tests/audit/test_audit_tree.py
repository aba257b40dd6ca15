"""Trees of records: parents, children and outcomes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from nomos.audit.record import Record
from nomos.audit.tree import build_tree


def record(ident: str, parent: str | None = None) -> Record:
    return Record(id=ident, tenant="t", kind="decision", at=0, parent=parent)


def shape(records: list[Record]) -> list[tuple[str, list[str]]]:
    return [
        (node.record.id, [child.record.id for child in node.children])
        for root in build_tree(records)
        for node in root.walk()
    ]


def test_a_question_leads_to_an_approval_an_allow_a_call_and_its_outcome() -> None:
    chain = [
        record("question"),
        record("approval", "question"),
        record("allow", "approval"),
        record("call", "allow"),
        record("call_end", "call"),
    ]
    assert shape(chain) == [
        ("question", ["approval"]),
        ("approval", ["allow"]),
        ("allow", ["call"]),
        ("call", ["call_end"]),
        ("call_end", []),
    ]


def test_an_outcome_belongs_to_its_intent_without_saying_so() -> None:
    assert shape([record("call"), record("call_end")]) == [("call", ["call_end"]), ("call_end", [])]


def test_children_keep_their_order_and_trees_stay_apart() -> None:
    records = [record("a"), record("b"), record("c", "a"), record("d", "b"), record("e", "a")]
    assert shape(records) == [("a", ["c", "e"]), ("c", []), ("e", []), ("b", ["d"]), ("d", [])]


def test_a_missing_or_later_parent_is_ignored() -> None:
    assert shape([record("a", "gone"), record("b", "c"), record("c", "b")]) == [
        ("a", []),
        ("b", ["c"]),
        ("c", []),
    ]
    assert shape([record("a", "a")]) == [("a", [])]


@given(some.lists(some.tuples(some.integers(0, 8), some.none() | some.integers(0, 8))))
def test_every_record_is_in_exactly_one_tree(given_: list[tuple[int, int | None]]) -> None:
    records = [
        record(str(ident), None if parent is None else str(parent)) for ident, parent in given_
    ]
    found = [node.record.id for root in build_tree(records) for node in root.walk()]
    assert sorted(found) == sorted(each.id for each in records)
