"""Messages about failed statements: wording, position and found value."""

from __future__ import annotations

from typing import Any

import pytest

from nomos._core.policy_messages import (
    MAX_WORDS,
    expected_value,
    failed_statement,
    message,
    needs_signed_args,
)
from nomos._protocol import Refused
from nomos.constraints import (
    Constraint,
    at_most,
    between,
    each,
    eq,
    like,
    not_,
    not_eq,
    one_of,
    some,
    under,
    url,
)

PLAIN = "pol[1] of this link does not hold"


def refused(
    asked: Constraint | list[Any] | None,
    found: str | None = None,
    *,
    field: str | None = "pol[1]",
    code: Any = "resource_mismatch",
) -> Refused:
    statement = asked.pol[0] if isinstance(asked, Constraint) else asked
    return Refused(
        code=code,
        message=PLAIN,
        hop=0,
        field=field,
        wanted="[…",
        found=found,
        statement=statement,
    )


WORDINGS: list[tuple[Constraint, str | None, str, str]] = [
    (at_most("n", 10), "11", "n is at most 10", "n is 11"),
    (at_most("n", 10), None, "n is at most 10", "there is none"),
    (between("n", 1, 9), "11", "n is between 1 and 9", "n is 11"),
    (eq("user.name", "ann"), '"bob"', 'user.name is "ann"', 'user.name is "bob"'),
    (not_eq("n", 1), "1", "n is not 1", "n is 1"),
    (not_(like("s", "a*")), '"ab"', 's is not like "a*"', 's is "ab"'),
    (eq(".cmd", "/a"), '"/b"', '.cmd is "/a"', '.cmd is "/b"'),
    (one_of("state", ["a", "b"]), '"c"', 'state is one of "a", "b"', 'state is "c"'),
    (under("path", "src"), '"src/../x"', 'path is under "src"', 'path is "src/../x"'),
    (under("path", "/"), '"/.."', 'path is under "/"', 'path is "/.."'),
    (
        url("hook", host="api.example.com", path_prefix="/v1"),
        '"https://api.example.com/v2"',
        'hook is a URL under "https://api.example.com/v1"',
        'hook is "https://api.example.com/v2"',
    ),
    (each("to", like(".", "*@x")), '["a@y"]', 'each of to is like "*@x"', 'to is ["a@y"]'),
    (some("to", like(".", "*@x")), "[]", 'some of to is like "*@x"', "to is []"),
    (eq("n", "x\u202e"), '"\u202ey"', 'n is "x\\u202e"', 'n is "\\u202ey"'),
    (at_most("m", 1) | at_most("n", 1), None, "m is at most 1 or n is at most 1", ""),
]


@pytest.mark.parametrize(("asked", "found", "wording", "there"), WORDINGS)
def test_a_failed_statement_is_described_in_words(
    asked: Constraint, found: str | None, wording: str, there: str
) -> None:
    said = refused(asked, found)
    only = f"this link holds only where {wording} (pol[1])"
    if wording.startswith("m is"):
        only = f"this link holds only where ({wording}) (pol[1])"
    whole = f"{only}, and {there}" if there else only
    assert message(said) == whole
    assert failed_statement(said, tell_found=False) == (only if found is not None else whole)
    assert expected_value(said) == only.removeprefix("this link holds only where ").removesuffix(
        " (pol[1])"
    )
    assert not needs_signed_args(said)


def test_a_call_without_signed_args_is_described_as_such() -> None:
    said = refused(under("path", "src"), code="resource_out_of_scope")
    wording = 'this link holds only where path is under "src" (pol[1]), and the token signs none'
    assert message(said) == failed_statement(said, tell_found=False) == wording
    assert needs_signed_args(said)
    assert not needs_signed_args(refused(eq(".resource.a", 1), code="resource_out_of_scope"))
    assert not needs_signed_args(refused(eq("a", 1), "2", code="resource_out_of_scope"))


def test_a_nested_statement_is_named_by_its_position() -> None:
    said = refused(at_most("n", 5), "6", field="pol[1][1][0]")
    assert message(said) == "this link holds only where n is at most 5 (pol[1][1][0]), and n is 6"


@pytest.mark.parametrize(
    "other",
    [
        refused(None),
        refused([]),
        refused(["xor", ".args.x", 1]),
        refused(["==", ".args.x", "x" * 9000]),
        refused(at_most("n", 1), field=None),
        refused(at_most("n", 1), field="pol"),
        refused(at_most("n", 1), field="args.n"),
        refused(at_most("n", 1), field="pol[1]\n"),
        refused(at_most("n", 1), code="malformed_ucan"),
    ],
)
def test_other_refusals_keep_their_message(other: Refused) -> None:
    assert message(other) == PLAIN
    assert failed_statement(other) is None
    assert expected_value(other) == "[…"
    assert not needs_signed_args(other)


def test_the_wording_is_bounded_in_length() -> None:
    said = message(refused(eq("n", "\u202e" * 200), '"' + "\u202e" * 200 + '"'))
    assert said.count("…") == 2
    assert len(said) < 2 * MAX_WORDS + 60
