"""The state of a feed's follower accepts the issuer's own log only, in order and complete."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nomos._core import feed_state
from nomos._core.feed_state import MAX_ENTRIES, FeedProblem, FeedState, RevokedIds, advance
from nomos._protocol import Checkpoint
from nomos.audit.chain import GENESIS, ChainedRow, Head, chained, sealed

TENANT = "acme"
ISSUER = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


class Issuer:
    """An honest issuer's log, and what it signs."""

    def __init__(self, *ids: str) -> None:
        self.links: list[ChainedRow] = []
        for ident in ids:
            self.revoke(ident)

    def revoke(self, ident: str) -> None:
        row = {"id": ident, "kind": "cid", "at": 1000 + len(self.links)}
        self.links.append(chained(row, TENANT, self.head))

    @property
    def head(self) -> Head:
        return self.links[-1].head if self.links else Head()

    def heads(self) -> list[Head]:
        return [Head(), *(each.head for each in self.links)]

    def entries(self, since: int, to: int | None = None) -> list[dict[str, Any]]:
        return [{"row": json.loads(each.text), "hash": each.hash} for each in self.links[since:to]]

    def said(self, nonce: str, head: Head | None = None) -> Checkpoint:
        head = head or self.head
        return Checkpoint(
            iss=ISSUER,
            log="revocations",
            tenant=TENANT,
            seq=head.seq,
            head=head.hash,
            iat=1_800_000_000,
            nonce=nonce,
        )


def reply(entries: object, *, more: object = False, tenant: str = TENANT) -> dict[str, Any]:
    return {"tenant": tenant, "entries": entries, "more": more}


def followed(issuer: Issuer) -> FeedState:
    state = advance(FeedState(TENANT), reply(issuer.entries(0)), issuer.said("n"), "n")
    assert isinstance(state, FeedState)
    return state


# An honest feed


def test_an_empty_log_is_complete() -> None:
    state = advance(FeedState(TENANT), reply([]), Issuer().said("n"), "n")
    assert state == FeedState(TENANT, Head(0, GENESIS))


def test_new_rows_are_added() -> None:
    issuer = Issuer("a", "b")
    state = followed(issuer)
    assert (state.ids, state.head, state.complete) == (frozenset("ab"), issuer.head, True)
    issuer.revoke("c")
    after = advance(state, reply(issuer.entries(2)), issuer.said("m"), "m")
    assert isinstance(after, FeedState)
    assert (after.ids, after.head) == (frozenset("abc"), issuer.head)


def test_a_reply_without_rows_changes_nothing() -> None:
    issuer = Issuer("a")
    state = followed(issuer)
    assert advance(state, reply([]), issuer.said("m"), "m") == state


def test_rows_of_several_replies_count_once_the_signed_row_is_reached() -> None:
    issuer = Issuer(*"abcde")
    first = advance(
        FeedState(TENANT), reply(issuer.entries(0, 2), more=True), issuer.said("1"), "1"
    )
    assert isinstance(first, FeedState)
    assert (first.since, first.complete, first.ids, first.head) == (2, False, frozenset(), Head())
    issuer.revoke("f")
    second = advance(first, reply(issuer.entries(2, 4), more=True), issuer.said("2"), "2")
    assert isinstance(second, FeedState)
    assert (second.since, second.ids) == (4, frozenset())
    third = advance(second, reply(issuer.entries(4)), issuer.said("3"), "3")
    assert isinstance(third, FeedState)
    assert (third.head, third.ids, third.complete) == (issuer.head, frozenset("abcdef"), True)


def test_earlier_sets_do_not_change_when_rows_are_added() -> None:
    made, wanted = [RevokedIds()], [frozenset[str]()]
    for size in (3, 0, 1, 1, 40, 1, 2, 7, 1, 100, 1):
        more = [f"{size}-{len(made)}-{number % 30}" for number in range(size)]
        again = [*more, *list(wanted[-1])[:2]]
        made.append(made[-1].with_more(again))
        wanted.append(wanted[-1] | set(again))
    for ids, plain in zip(made, wanted, strict=True):
        assert set(ids) == plain
        assert len(ids) == len(plain) == len(list(ids))
        assert all(ident in ids for ident in plain)
        assert "x" not in ids
    assert repr(made[1]) == "Ids(3)"


def test_a_long_log_is_seldom_copied() -> None:
    """Neither when it is read in pages nor when one more is revoked is all of it copied."""
    ids, parts = RevokedIds(), 0
    copied = 0
    for page in range(200):
        before = {id(part) for part in ids._parts}
        ids = ids.with_more(f"{page}-{number}" for number in range(10))
        copied += sum(len(part) for part in ids._parts if id(part) not in before)
        parts = max(parts, len(ids._parts))
    assert len(ids) == 2000
    assert copied < 2000 * 12  # all of it every time would be 201,000
    assert parts <= 12
    for number in range(100):
        before = {id(part) for part in ids._parts}
        ids = ids.with_more([f"one {number}"])
        copied += sum(len(part) for part in ids._parts if id(part) not in before)
    assert copied < 2000 * 14


def test_pages_read_ahead_are_joined_without_being_copied_each_time() -> None:
    issuer = Issuer(*(f"i{number}" for number in range(64)))
    state, largest = FeedState(TENANT), 0
    for at in range(0, 64, 2):
        content = reply(issuer.entries(at, at + 2), more=at + 2 < 64)
        before = {id(part) for part in state.ahead.ids._parts} if state.ahead else set()
        after = advance(state, content, issuer.said("n"), "n")
        assert isinstance(after, FeedState)
        state = after
        if state.ahead is not None:
            fresh = [part for part in state.ahead.ids._parts if id(part) not in before]
            largest += sum(map(len, fresh))
    assert (state.complete, len(state.ids)) == (True, 64)
    assert largest < 64 * 7  # copied as a whole for each page it would be 992


# Every way of being wrong


def edited(change: Callable[[dict[str, Any]], None], at: int = 1) -> list[dict[str, Any]]:
    """Rows of which one was changed, and given the hash that it then has."""
    entries = Issuer(*"abc").entries(0)
    change(entries[at]["row"])
    entries[at]["hash"] = sealed(entries[at]["row"], at + 1).hash
    return entries


HONEST = Issuer(*"abc")

WRONG: Mapping[str, tuple[dict[str, Any], str]] = {
    "no entries": ({"tenant": TENANT}, "not a list"),
    "entries that are no list": (reply({"0": {}}), "not a list"),
    "too many": (reply(HONEST.entries(0) * MAX_ENTRIES), "not a list"),
    "a row that is none": (reply(["x"]), "there is no row"),
    "a row of nothing": (reply([{"row": None, "hash": "x"}]), "there is no row"),
    "another tenant's": (reply(HONEST.entries(0), tenant="evil"), "another tenant's"),
    "the first left out": (reply(HONEST.entries(1)), "unexpected seq"),
    "one in between left out": (
        reply([*HONEST.entries(0, 1), *HONEST.entries(2)]),
        "where row 2 should be is a row with an unexpected seq",
    ),
    "the last left out": (reply(HONEST.entries(0, 2)), "row 3 is missing"),
    "the last left out, with more to come, for ever": (reply([], more=True), "row 1 is missing"),
    "all left out": (reply([]), "row 1 is missing"),
    "one twice": (
        reply([*HONEST.entries(0, 1), *HONEST.entries(0, 1)]),
        "unexpected seq",
    ),
    "reordered": (reply(HONEST.entries(0)[::-1]), "unexpected seq"),
    "one too many": (
        reply(Issuer(*"abcd").entries(0)),
        "beyond row 3",
    ),
    "a row changed": (reply(edited(lambda row: row.update(id="x"))), "unexpected prev_hash"),
    "the last row changed": (
        reply(edited(lambda row: row.update(id="x"), at=2)),
        "row 3 is not the one that the issuer signed",
    ),
    "the whole log rewritten": (reply(Issuer(*"abx").entries(0)), "not the one that the issuer"),
    "a hash that does not fit": (
        reply([{**HONEST.entries(0)[0], "hash": "0" * 64}, *HONEST.entries(1)]),
        "does not match its hash",
    ),
    "no hash": (reply([{"row": HONEST.entries(0)[0]["row"]}]), "does not match its hash"),
    "a row of another tenant": (
        reply(edited(lambda row: row.update(tenant="evil"), at=0)),
        "unexpected tenant",
    ),
    "a row of another version": (reply(edited(lambda row: row.update(v=2), at=0)), "unexpected v"),
    "a number that is true": (
        reply(edited(lambda row: row.update(seq=True), at=0)),
        "unexpected seq",
    ),
    "a row that revokes nothing": (
        reply(edited(lambda row: row.pop("id"), at=0)),
        "revokes nothing",
    ),
    "a row that revokes a number": (
        reply(edited(lambda row: row.update(id=7), at=0)),
        "revokes nothing",
    ),
    "an id without end": (
        reply(edited(lambda row: row.update(id="x" * 129), at=0)),
        "revokes nothing",
    ),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_faulty_reply_is_a_problem_with_a_sentence(name: str) -> None:
    content, sentence = WRONG[name]
    problem = advance(FeedState(TENANT), content, HONEST.said("n"), "n")
    assert isinstance(problem, FeedProblem)
    assert sentence in problem.text


def test_a_row_without_a_canonical_form_is_a_problem() -> None:
    entries = Issuer("a").entries(0)
    entries[0]["row"]["at"] = float("nan")
    problem = advance(FeedState(TENANT), reply(entries), HONEST.said("n"), "n")
    assert isinstance(problem, FeedProblem)
    assert "cannot be hashed" in problem.text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"log": "audit"}, "another log"),
        ({"log": "keys"}, "another log"),
        ({"tenant": "evil"}, "another tenant's"),
        ({"nonce": "other"}, "not made for this request"),
        ({"nonce": None}, "not made for this request"),
        ({"seq": 2, "head": HONEST.links[1].hash}, "rolled back: it ends at row 2"),
        ({"seq": 0, "head": GENESIS}, "rolled back: it ends at row 0"),
        ({"head": "f" * 64}, "rewritten: row 3"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_log_is_a_problem(change: dict[str, Any], sentence: str) -> None:
    said = HONEST.said("n").model_copy(update=change)
    problem = advance(followed(HONEST), reply([]), said, "n")
    assert isinstance(problem, FeedProblem)
    assert sentence in problem.text


def test_unproven_rows_are_dropped_after_a_mismatch() -> None:
    issuer, forged = Issuer(*"abcd"), Issuer(*"abxy")
    state = advance(
        FeedState(TENANT), reply(forged.entries(0, 3), more=True), issuer.said("1"), "1"
    )
    assert isinstance(state, FeedState)
    problem = advance(state, reply(issuer.entries(3)), issuer.said("2"), "2")
    assert isinstance(problem, FeedProblem)
    assert state.proven() == FeedState(TENANT)
    again = advance(state.proven(), reply(issuer.entries(0)), issuer.said("3"), "3")
    assert isinstance(again, FeedState)
    assert again.ids == set("abcd")


# No sequence of replies


class Between(RuleBasedStateMachine):
    """A party that carries the feed and can do anything but sign.

    It sees all that was ever signed, has the issuer sign for any nonce that it was given, and
    puts together replies of real rows, rows of its own making, and the ends of logs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.issuer = Issuer()
        self.forged = Issuer("f1", "f2", "f3", "f4", "f5", "f6")
        self.signed: list[Checkpoint] = []
        self.state = FeedState(TENANT)
        self.asked = 0
        self.known: list[tuple[Head, AbstractSet[str]]] = [(Head(), frozenset())]

    def ask(self) -> str:
        """The follower's next question, which the issuer answers as it should."""
        self.asked += 1
        nonce = f"n{self.asked}"
        self.signed.append(self.issuer.said(nonce))
        return nonce

    def take(self, content: dict[str, Any], said: Checkpoint, nonce: str) -> bool:
        outcome = advance(self.state, content, said, nonce)
        if isinstance(outcome, FeedProblem):
            self.state = self.state.proven()
            return False
        self.state = outcome
        if outcome.complete:
            assert outcome.head == self.issuer.head, "an old answer passed for a new one"
            self.known.append((outcome.head, outcome.ids))
        return True

    @rule(count=st.integers(1, 4))
    def revoke(self, count: int) -> None:
        for _ in range(count):
            self.issuer.revoke(f"id{len(self.issuer.links)}")

    @rule(page=st.integers(1, 5))
    def answer_honestly(self, page: int) -> None:
        nonce = self.ask()
        since = self.state.since
        entries = self.issuer.entries(since, since + page)
        more = since + len(entries) < len(self.issuer.links)
        honest_so_far = self.state.ahead is None or self.state.ahead.head in self.issuer.heads()
        assert self.take(reply(entries, more=more), self.signed[-1], nonce) or not honest_so_far

    @precondition(lambda self: self.signed)
    @rule(data=st.data(), more=st.booleans(), fresh=st.booleans())
    def answer_with_anything(self, data: st.DataObject, *, more: bool, fresh: bool) -> None:
        nonce = self.ask()
        said = self.signed[-1] if fresh else data.draw(st.sampled_from(self.signed))
        rows = [*self.issuer.entries(0), *self.forged.entries(0), *self.grafted()]
        entries = data.draw(st.lists(st.sampled_from(rows), max_size=6))
        self.take(reply(entries, more=more), said, nonce)

    @precondition(lambda self: self.signed)
    @rule(data=st.data(), more=st.booleans())
    def answer_with_the_truth_cut_short(self, data: st.DataObject, *, more: bool) -> None:
        """A run of real rows, from anywhere to anywhere, with rows of its own after them."""
        nonce = self.ask()
        since = data.draw(st.integers(0, len(self.issuer.links)))
        to = data.draw(st.integers(since, len(self.issuer.links)))
        tail = self.grafted() if data.draw(st.booleans()) else []
        said = data.draw(st.sampled_from([self.signed[-1], *self.signed]))
        self.take(reply([*self.issuer.entries(since, to), *tail], more=more), said, nonce)

    @rule(data=st.data())
    def answer_with_another_end(self, data: st.DataObject) -> None:
        """Real rows, and then as many of its own as there should be."""
        nonce = self.ask()
        since, end = self.state.since, len(self.issuer.links)
        to = data.draw(st.integers(since, max(since, end)))
        entries = self.issuer.entries(since, to)
        after = self.issuer.heads()[to]
        while after.seq < end:
            made = chained({"id": "made up", "kind": "cid", "at": 1}, TENANT, after)
            entries.append({"row": json.loads(made.text), "hash": made.hash})
            after = made.head
        self.take(reply(entries), self.signed[-1], nonce)

    def grafted(self) -> list[dict[str, Any]]:
        """Rows of its own that follow where the follower is."""
        after = self.state.head if self.state.ahead is None else self.state.ahead.head
        rows = []
        for number in range(2):
            made = chained({"id": f"g{number}", "kind": "cid", "at": 1}, TENANT, after)
            rows.append({"row": json.loads(made.text), "hash": made.hash})
            after = made.head
        return rows

    @invariant()
    def nothing_is_forgotten_and_nothing_made_up(self) -> None:
        (_, before), (head, ids) = self.known[-2:] if len(self.known) > 1 else self.known * 2
        assert (self.state.head, self.state.ids) == (head, ids)
        assert before <= ids
        assert head in self.issuer.heads()
        assert ids == {json.loads(each.text)["id"] for each in self.issuer.links[: head.seq]}

    @invariant()
    def the_head_never_goes_back(self) -> None:
        numbers = [head.seq for head, _ in self.known]
        assert numbers == sorted(numbers)


TestBetween = Between.TestCase
TestBetween.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_a_known_row_may_not_change() -> None:
    known, other = Head(3, "a" * 64), Head(3, "b" * 64)
    assert feed_state._changed({"hash": other.hash}, other, floor=known) == (
        "it was rewritten: row 3 is not the one that is known"
    )
    assert feed_state._changed({"hash": known.hash}, known, floor=known) is None
    assert feed_state._changed({"hash": other.hash}, known, floor=known) is not None


def test_a_key_log_must_extend_the_known_one() -> None:
    entries = [{"hash": "a"}, {"hash": "b"}]
    assert feed_state.keys_missing(entries, Head()) is None
    assert feed_state.keys_missing(entries, Head(2, "b")) is None
    assert feed_state.keys_missing(entries, Head(1, "a")) is None
    assert "rolled back" in (feed_state.keys_missing(entries, Head(3, "c")) or "")
    assert "rewritten" in (feed_state.keys_missing(entries, Head(1, "x")) or "")
