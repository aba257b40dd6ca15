"""Which accounts count as one person."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from nomos.server.control.lines import Account, Accounts, asker, makers, outside, person

TREE = {
    "root": Account(None),
    "ada": Account("root", confirmed=True),
    "bob": Account("ada"),
    "cy": Account("bob"),
    "eve": Account("root"),
    "fay": Account("eve", confirmed=True),
    "other": Account(None),
}


def test_an_account_counts_as_the_nearest_that_is_known_to_be_a_person() -> None:
    counts = {each: person(TREE, each) for each in TREE}
    assert counts == {
        "root": "root",
        "ada": "ada",
        "bob": "ada",
        "cy": "ada",
        "eve": "root",
        "fay": "fay",
        "other": "other",
    }
    assert makers(TREE, "cy") == ("bob", "ada", "root")
    assert asker(TREE, None) is None
    assert asker(TREE, "cy") == "ada"


def test_nobody_within_the_line_is_outside_of_it() -> None:
    allowed = {
        (operator, ident) for operator in TREE for ident in TREE if outside(TREE, operator, ident)
    }
    assert ("ada", "eve") in allowed
    assert ("fay", "bob") in allowed
    assert ("other", "bob") in allowed
    for operator, ident in (
        *(("root", "bob"), ("ada", "bob"), ("cy", "bob"), ("bob", "bob"), ("bob", "ada")),
        *(("eve", "ada"), ("eve", "bob"), ("fay", "eve"), ("cy", "cy"), ("root", "eve")),
    ):
        assert (operator, ident) not in allowed, (operator, ident)


def test_a_line_that_leads_to_itself_or_to_nowhere_is_one_person() -> None:
    cycle = {"a": Account("b"), "b": Account("c"), "c": Account("a"), "in": Account("a")}
    assert {person(cycle, each) for each in cycle} == {"a"}
    assert person({"self": Account("self")}, "self") == "self"
    assert person({"lost": Account("gone")}, "lost") == "gone"
    assert person({}, "unknown") == "unknown"


NAMES = [f"a{number}" for number in range(8)]
ACCOUNTS = some.dictionaries(
    some.sampled_from(NAMES),
    some.builds(Account, some.none() | some.sampled_from(NAMES), some.booleans()),
)


@given(ACCOUNTS, some.sampled_from(NAMES), some.sampled_from(NAMES))
def test_laws_of_lines(accounts: Accounts, one: str, other: str) -> None:
    """Whatever the accounts are: it ends, persons stand for themselves, lines are not crossed."""
    stands_for = person(accounts, one)
    assert person(accounts, stands_for) == stands_for
    assert stands_for in (one, *makers(accounts, one))
    if outside(accounts, one, other):
        assert person(accounts, one) != person(accounts, other)
        assert one not in makers(accounts, other)
        assert other not in makers(accounts, one)
    assert not outside(accounts, one, one)
