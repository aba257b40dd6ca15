"""Which accounts count as one person."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from nomos.server.domain.account_lines import Account, Accounts, behind, makers, outside, persons

TREE = {
    "root": Account(None, 1),
    "ada": Account("root", 2, confirmed_at=5),
    "bob": Account("ada", 6),
    "cy": Account("bob", 7),
    "early": Account("ada", 4),
    "later": Account("early", 8),
    "eve": Account("root", 2),
    "fay": Account("eve", 3, confirmed_at=5),
    "other": Account(None, 1),
}


def test_an_account_counts_as_its_nearest_confirmed_ancestor() -> None:
    counts = {each: persons(TREE, each) for each in TREE}
    assert counts == {
        "root": ("root",),
        "ada": ("ada",),
        "bob": ("ada",),
        "cy": ("ada",),
        "early": ("ada", "root"),
        "later": ("ada", "root"),
        "eve": ("root",),
        "fay": ("fay",),
        "other": ("other",),
    }
    assert makers(TREE, "cy") == ("bob", "ada", "root")


def test_the_registering_accounts_are_responsible_until_confirmation() -> None:
    assert {each: behind(TREE, each) for each in TREE} == {
        "root": ("root",),
        "ada": ("ada",),
        "bob": ("bob", "ada"),
        "cy": ("cy", "bob", "ada"),
        "early": ("early", "ada", "root"),
        "later": ("later", "early", "ada", "root"),
        "eve": ("eve", "root"),
        "fay": ("fay",),
        "other": ("other",),
    }
    assert behind({"a": Account("b"), "b": Account("a")}, "a") == ("a", "b")
    assert behind({"lost": Account("gone")}, "lost") == ("lost", "gone")


def test_an_account_registered_in_the_second_of_confirmation_counts_as_both() -> None:
    tree = {**TREE, "bob": Account("ada", 5)}
    assert persons(tree, "bob") == ("ada", "root")
    assert persons({**tree, "bob": Account("ada", 5, confirmed_at=9)}, "bob") == ("bob",)


def test_no_account_of_a_line_is_outside_of_it() -> None:
    allowed = {
        (operator, ident) for operator in TREE for ident in TREE if outside(TREE, operator, ident)
    }
    assert ("ada", "eve") in allowed
    assert ("fay", "bob") in allowed
    assert ("other", "bob") in allowed
    for operator, ident in (
        *(("root", "bob"), ("ada", "bob"), ("cy", "bob"), ("bob", "bob"), ("bob", "ada")),
        *(("eve", "ada"), ("eve", "bob"), ("fay", "eve"), ("cy", "cy"), ("root", "eve")),
        *(("early", "eve"), ("later", "fay"), ("early", "bob")),
    ):
        assert (operator, ident) not in allowed, (operator, ident)


def test_a_cyclic_or_broken_line_is_one_person() -> None:
    cycle = {"a": Account("b"), "b": Account("c"), "c": Account("a"), "in": Account("a")}
    assert {persons(cycle, each) for each in cycle} == {("a",)}
    into = {"a": Account("b"), "b": Account("c"), "c": Account("b")}
    assert {persons(into, each) for each in into} == {("b",)}
    assert persons({"self": Account("self")}, "self") == ("self",)
    assert persons({"lost": Account("gone")}, "lost") == ("gone",)
    assert persons({}, "unknown") == ("unknown",)


NAMES = [f"a{number}" for number in range(8)]
ACCOUNTS = some.dictionaries(
    some.sampled_from(NAMES),
    some.builds(
        Account,
        some.none() | some.sampled_from(NAMES),
        some.integers(0, 9),
        some.none() | some.integers(0, 9),
    ),
)


@given(ACCOUNTS, some.sampled_from(NAMES), some.sampled_from(NAMES))
def test_random_lines_keep_their_invariants(accounts: Accounts, one: str, other: str) -> None:
    """Whatever the accounts are: it ends, persons stand for themselves, lines are not crossed."""
    stand_for = persons(accounts, one)
    assert persons(accounts, stand_for[0])[0] == stand_for[0]
    assert set(stand_for) <= {one, *makers(accounts, one)}
    if outside(accounts, one, other):
        assert set(stand_for).isdisjoint(persons(accounts, other))
        assert one not in makers(accounts, other)
        assert other not in makers(accounts, one)
    assert not outside(accounts, one, one)
