"""What a refusal by a statement says: the statement in words, its place, and what there was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nomos._core.worded import MAX_WORDS, sentence, unmet
from nomos._wire import Refused
from nomos.constraints import Constraint, at_most, each, eq, like, one_of

PLAIN = "pol[1] of this link does not hold"


def refused(
    wanted: Constraint | str | None,
    found: str | None = None,
    *,
    field: str | None = "pol[1]",
    code: Any = "resource_out_of_scope",
) -> Refused:
    text = json.dumps(wanted.pol[0]) if isinstance(wanted, Constraint) else wanted
    return Refused(code=code, message=PLAIN, hop=0, field=field, wanted=text, found=found)


@pytest.mark.parametrize(
    ("wanted", "found", "told"),
    [
        (at_most("n", 10), "11", "n is at most 10 (pol[1]), and n is 11"),
        (at_most("n", 10), None, "n is at most 10 (pol[1]), and there is none"),
        (eq("user.name", "ann"), '"bob"', 'user.name is "ann" (pol[1]), and user.name is "bob"'),
        (eq(".cmd", "/a"), '"/b"', '.cmd is "/a" (pol[1]), and .cmd is "/b"'),
        (one_of("state", ["a", "b"]), None, 'state is one of "a", "b" (pol[1])'),
        (
            each("to", like(".", "*@x")),
            '["a@y"]',
            'each of to is like "*@x" (pol[1]), and to is ["a@y"]',
        ),
        (eq("n", "x\u202e"), '"\u202ey"', 'n is "x\\u202e" (pol[1]), and n is "\\u202ey"'),
    ],
)
def test_a_statement_is_told_in_words(wanted: Constraint, found: str | None, told: str) -> None:
    for code in ("resource_out_of_scope", "resource_mismatch"):
        said = refused(wanted, found, code=code)
        assert sentence(said) == f"this link holds only where {told}"
        of_the_call = unmet(said, tell_found=False)
        assert of_the_call == f"this link holds only where {told.partition(')')[0]})"


def test_a_statement_within_others_is_told_by_its_own_place() -> None:
    said = refused(at_most("n", 5), "6", field="pol[1][1][0]")
    assert sentence(said) == "this link holds only where n is at most 5 (pol[1][1][0]), and n is 6"


@pytest.mark.parametrize(
    "other",
    [
        refused(None),
        refused('["==", ".args.x", "' + "a" * 200 + "…"),
        refused('["xor", ".args.x", 1]'),
        refused("7"),
        refused("NaN"),
        refused("[" * 256),
        refused("[" * 100_000),
        refused(at_most("n", 1), field=None),
        refused(at_most("n", 1), field="pol"),
        refused(at_most("n", 1), field="args.n"),
        refused(at_most("n", 1), field="pol[1]\n"),
        refused(at_most("n", 1), code="malformed_ucan"),
    ],
)
def test_anything_else_keeps_its_message(other: Refused) -> None:
    assert sentence(other) == PLAIN
    assert unmet(other) is None


def test_words_are_no_longer_than_they_may_be() -> None:
    said = sentence(refused(eq("n", "\u202e" * 200), '"' + "\u202e" * 200 + '"'))
    assert said.count("…") == 2
    assert len(said) < 2 * MAX_WORDS + 60
