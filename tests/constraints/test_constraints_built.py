"""Constraints: construction, combination, wording and errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from constraints.deciding import vacuous

from nomos import constraints as c
from nomos._pol.wording import about, there
from nomos.constraints import (
    Constraint,
    all_of,
    any_of,
    at_least,
    at_most,
    between,
    each,
    eq,
    from_pol,
    like,
    listed,
    not_,
    not_eq,
    one_of,
    some,
    under,
    url,
)
from nomos.errors import ConfigurationError

HOST = "api.example.com"


def refused(build: Callable[[], object]) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        build()
    assert str(caught.value).isascii()
    return caught.value


STANDARD: list[tuple[Constraint, list[Any]]] = [
    (eq("state", "open"), [["==", ".args.state", "open"]]),
    (eq("n", 9.0), [["==", ".args.n", 9]]),
    (eq(".cmd", "/a"), [["==", ".cmd", "/a"]]),
    (
        not_eq("state", "x"),
        [["and", [["!=", ".args.state?", None], ["!=", ".args.state", "x"]]]],
    ),
    (
        not_eq("a.b", "x"),
        [["and", [["!=", ".args.a?.b?", None], ["!=", ".args.a.b", "x"]]]],
    ),
    (not_eq("a", None), [["!=", ".args.a?", None]]),
    (
        not_eq(".resource.owner", "x"),
        [["and", [["!=", ".resource?.owner?", None], ["!=", ".resource.owner", "x"]]]],
    ),
    (one_of("a", [1, 2]), [["or", [["==", ".args.a", 1], ["==", ".args.a", 2]]]]),
    (one_of("a", (1, 1.0)), [["==", ".args.a", 1]]),
    (between("a", 1, 2), [["and", [[">=", ".args.a", 1], ["<=", ".args.a", 2]]]]),
    (at_most("a", -0.0), [["<=", ".args.a", 0]]),
    (at_least("a", 0.5), [[">=", ".args.a", 0.5]]),
    (like("to", "*@x"), [["like", ".args.to", "*@x"]]),
    (each("to", like(".", "*@x")), [["all", ".args.to", ["like", ".", "*@x"]]]),
    (each("to", eq("name", 1)), [["all", ".args.to", ["==", ".name", 1]]]),
    (each("to", eq(".name", 1)), [["all", ".args.to", ["==", ".name", 1]]]),
    (each("to", eq(".args.a[]", [1])), [["all", ".args.to", ["==", ".a[]", [1]]]]),
    (each("to", not_(~eq("a.b", 1))), [["all", ".args.to", ["==", ".a.b", 1]]]),
    (each("to", eq("a.b", 1)), [["all", ".args.to", ["==", ".a.b", 1]]]),
    (
        each("a", each("b", eq("args.c", 1))),
        [["all", ".args.a", ["all", ".b", ["==", ".args.c", 1]]]],
    ),
    (
        some("to", eq(".", 1)),
        [
            [
                "and",
                [
                    ["!=", ".args.to", []],
                    ["!=", ".args.to", {}],
                    ["any", ".args.to", ["==", ".", 1]],
                ],
            ]
        ],
    ),
    (eq("a", 1) & eq("b", 2), [["==", ".args.a", 1], ["==", ".args.b", 2]]),
    (
        any_of(eq("a", 1) & eq("b", 2), eq("c", 3)),
        [["or", [["and", [["==", ".args.a", 1], ["==", ".args.b", 2]]], ["==", ".args.c", 3]]]],
    ),
    (~at_most("a", 5), [[">", ".args.a", 5]]),
    (~like("a", "x"), [["and", [["like", ".args.a", "*"], ["not", ["like", ".args.a", "x"]]]]]),
    (eq('.args["a b"]', 1) & eq("b", 1), [["==", '.args["a b"]', 1], ["==", ".args.b", 1]]),
    (each("a", eq('.args["a b"]', 1)), [["all", ".args.a", ["==", '.["a b"]', 1]]]),
    (
        not_eq('.args["é"][0][1:]', 1) & eq("b", 1),
        [
            ["and", [["!=", '.args["é"]?[0]?[1:]?', None], ["!=", '.args["é"][0][1:]', 1]]],
            ["==", ".args.b", 1],
        ],
    ),
]


@pytest.mark.parametrize(("built", "pol"), STANDARD)
def test_each_builder_compiles_to_standard_pol(built: Constraint, pol: list[Any]) -> None:
    assert built.pol == pol
    assert from_pol(pol) == built
    assert vacuous(built.pol) is None


WORDS: list[tuple[Constraint, str]] = [
    (eq("state", "open"), 'state is "open"'),
    (eq("user.name", True), "user.name is true"),
    (not_eq("state", "x"), 'state is not "x"'),
    (not_eq("state", None), "state is given"),
    (one_of("n", [1, "1"]), 'n is one of 1, "1"'),
    (between("amount", 1, 50), "amount is between 1 and 50"),
    (at_most("n", 5), "n is at most 5"),
    (at_least("n", 5), "n is at least 5"),
    (~at_most("n", 5), "n is more than 5"),
    (~at_least("n", 5), "n is less than 5"),
    (like("to", "*@example.com"), 'to is like "*@example.com"'),
    (like("to", "*"), "to is text"),
    (~like("to", "*.exe"), 'to is not like "*.exe"'),
    (under("path", "src/a/"), 'path is under "src/a"'),
    (under("path", "/"), 'path is under "/"'),
    (under("path", "a*b"), 'path is under "a*b"'),
    (url("u", host=HOST), 'u is a URL under "https://api.example.com"'),
    (
        url("u", host="1.1.1.1", port=8443, scheme="http", path_prefix="/v1/", query=True),
        'u is a URL under "http://1.1.1.1:8443/v1", with any query',
    ),
    (url("u", host="::1", allow_private=True), 'u is a URL under "https://[::1]"'),
    (each("to", like(".", "*@example.com")), 'each of to is like "*@example.com"'),
    (each("to", eq("name", 1)), "each of to: name is 1"),
    (each("to", eq(".", 1) | eq(".", "x")), 'each of to is one of 1, "x"'),
    (each("to", eq(".", 1) & eq("n", 2)), "each of to: (it is 1 and n is 2)"),
    (each("a", each("b", eq(".", 1))), "each of a: each of b is 1"),
    (some("to", under(".", "a")), 'some of to is under "a"'),
    (each("to", eq(".it", 1)), "each of to: .it is 1"),
    (each("to", eq(".it.x", 1)), "each of to: .it.x is 1"),
    (each("to", eq(".it[0]", 1)), "each of to: .it[0] is 1"),
    (each("to", eq(".[0]", 1)), "each of to: [0] is 1"),
    (each("to", each(".it", eq(".", 1))), "each of to: each of .it is 1"),
    (each("to", each(".", eq(".", 1))), "each of to: each of it is 1"),
    (each("to", eq('.["it"]', 1)), 'each of to: .["it"] is 1'),
    (each("to", eq("its", 1)), "each of to: its is 1"),
    (eq("it", 1), "it is 1"),
    (
        each("to", eq("role", "staff") | eq("active", True)),
        'each of to: (role is "staff" or active is true)',
    ),
    (
        each("to", eq("role", "staff")) | eq("active", True),
        '((each of to: role is "staff") or active is true)',
    ),
    (eq("n", 1) & each("to", eq(".", 1)), "n is 1 and (each of to is 1)"),
    (
        each("a", some("b", eq(".", 1)) & eq("c", 2)),
        "each of a: ((some of b is 1) and c is 2)",
    ),
    (eq("each", 1) & eq("some", 2), "each is 1 and some is 2"),
    (eq("a", "x\u02ba or b is \uff02y"), 'a is "x\\u02ba or b is \\uff02y"'),
    (eq("a", "\u201cx\u201d \u00ab\u2033\u275d"), 'a is "\\u201cx\\u201d \\u00ab\\u2033\\u275d"'),
    (eq("a", "\u2066\u202d\x07\x85"), 'a is "\\u2066\\u202d\\u0007\\u0085"'),
    (eq("a", "don't é"), 'a is "don\'t é"'),
    (eq(".args.a\u02bab", 1), ".args.a\\u02bab is 1"),
    (eq("a", 1) & eq("b", 2), "a is 1 and b is 2"),
    (eq("a", 1) | eq("b", 2) & eq("c", 3), "(a is 1 or (b is 2 and c is 3))"),
    (eq(".resource.owner", "acme"), '.resource.owner is "acme"'),
    (eq(".args.n?", 1), ".args.n? is 1"),
    (eq('.args["a b"]', 1), '.args["a b"] is 1'),
    (eq(".args.é", 1), ".args.é is 1"),
    (eq(".args.to[0]", 1), "to[0] is 1"),
    (eq(".args.to[1:]", "x"), '.args.to[1:] is "x"'),
    (eq("a", 'x" or b is "y'), 'a is "x\\" or b is \\"y"'),
    (eq("a", "x\u202ey\u200b\n"), 'a is "x\\u202ey\\u200b\\n"'),
    (eq("a", {"k": [None]}), 'a is {"k": [null]}'),
    (from_pol([]), "anything"),
    (from_pol([["and", []]]), "anything"),
    (from_pol([["or", []]]), "anything"),
    (from_pol([["not", ["==", ".args.a", 1]]]), "not (a is 1)"),
    (from_pol([["!=", ".args.a", 1]]), "a differs from 1"),
    (from_pol([["any", ".args.a", ["==", ".", 1]]]), "(some of a is 1, or there is none)"),
    (from_pol([["<", ".args.a", 1], [">", ".", 2]]), "a is less than 1 and . is more than 2"),
    (
        from_pol([["and", [["like", ".args.a", "src*"], ["like", ".args.a", "*x"]]]]),
        '(a is like "src*" and a is like "*x")',
    ),
    (
        from_pol([["and", [["like", ".args.a", "../*"], ["like", ".args.a", "*x"]]]]),
        '(a is like "../*" and a is like "*x")',
    ),
    (
        from_pol([["and", [["like", ".args.a", "http://localhost:80/*"]]]]),
        '(a is like "http://localhost:80/*")',
    ),
    (
        from_pol([["and", [["like", ".args.a", "http://x.org/*"]]]]),
        '(a is like "http://x.org/*")',
    ),
]


@pytest.mark.parametrize(("built", "words"), WORDS)
def test_each_constraint_reads_as_a_sentence(built: Constraint, words: str) -> None:
    assert str(built) == words
    assert repr(built) == f"Constraint({words})"


def test_found_values_are_escaped() -> None:
    assert there(".args.a", '"x\u02ba"') == 'a is "x\\u02ba"'
    assert there(".", "1") == ". is 1"


@pytest.mark.parametrize(
    ("statement", "path"),
    [
        (["==", ".args.a?", 1], ".args.a?"),
        (["any", ".args.a[]", ["==", ".b", 1]], ".args.a[]"),
        (["not", ["==", ".args.a?", 1]], ".args.a"),
        (["and", [["!=", ".args.a?", None], ["!=", '.args["a"]', 1]]], ".args.a"),
        (["or", [["==", ".args.a", 1], ["all", ".args.a", ["==", ".b", 1]]]], ".args.a"),
        (["or", [["==", ".args.a", 1], ["==", ".args.b", 1]]], None),
        (["or", [["==", ".args.a", 1], ["and", []]]], None),
        (["not", ["or", []]], None),
    ],
)
def test_the_only_path_of_a_statement_is_found(statement: list[Any], path: str | None) -> None:
    assert about(statement) == path


WRONG: list[tuple[Callable[[], object], str, str]] = [
    (lambda: eq("", 1), "path", "name of an argument"),
    (lambda: eq(5, 1), "path", "name of an argument"),  # type: ignore[arg-type]
    (lambda: eq("a b", 1), "a b", '.args["a b"]'),
    (lambda: eq("a..b", 1), "a..b", "not an argument's name"),
    (lambda: eq("é", 1), "é", "not an argument's name"),
    (lambda: eq("resource.owner", 1), "resource.owner", ".resource.owner"),
    (lambda: eq(".args..x", 1), ".args..x", "not a selector"),
    (lambda: eq('.args["\\x"]', 1), '.args["\\x"]', "not a selector"),
    (lambda: eq("a" * 300, 1), "a" * 32, "256"),
    (lambda: eq("a", math.nan), "a", "NaN"),
    (lambda: eq("a", 2**53), "a", "2^53"),
    (lambda: eq("a", float(2**53)), "a", "2^53"),
    (lambda: eq("a", b"x"), "a", "plain JSON"),
    (lambda: eq("a", "\ud800"), "a", "surrogate"),
    (lambda: eq("a", {1: 2}), "a", "plain JSON"),
    (lambda: eq("a", {"e\u0301": 2}), "a", "normalisation"),
    (lambda: eq("a", "x" * 1025), "a", "1024"),
    (lambda: eq("a", ["x" * 1000] * 9), "a", "8192"),
    (lambda: eq("a", [[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]), "a", "levels"),
    (lambda: one_of("a", []), "a", "at least one choice"),
    (lambda: one_of("a", "open"), "a", "list"),
    (lambda: one_of("a", 5), "a", "list"),  # type: ignore[arg-type]
    (lambda: between("a", 2, 1), "a", "lower number"),
    (lambda: between("a", True, 2), "a", "true or false"),
    (lambda: at_most("a", "5"), "a", "text"),  # type: ignore[arg-type]
    (lambda: at_least("a", None), "a", "null"),  # type: ignore[arg-type]
    (lambda: at_least("a", object()), "a", "this"),  # type: ignore[arg-type]
    (lambda: at_most("a", math.inf), "a", "infinities"),
    (lambda: at_most("a", -(2**53)), "a", "2^53"),
    (lambda: like("a", 5), "a", "text"),  # type: ignore[arg-type]
    (lambda: not_eq(".args.to[]", 5), ".args.to[]", "each or some"),
    (lambda: not_(eq(".args.to[].x", 5)), ".args.to[].x", "each or some"),
    (lambda: not_(from_pol([])), "not_", "always-true"),
    (lambda: not_(from_pol([["or", []]])), "not_", "always-true"),
    (all_of, "all_of", "constraint"),
    (any_of, "any_of", "constraint"),
    (lambda: any_of(eq("a", 1), True), "any_of", "constraints"),  # type: ignore[arg-type]
    (lambda: each("a", "x"), "a", "constraints"),  # type: ignore[arg-type]
    (lambda: some("a", None), "a", "constraints"),  # type: ignore[arg-type]
    (lambda: not_("x"), "not_", "constraints"),  # type: ignore[arg-type]
    *(
        (lambda prefix=prefix: under("p", prefix), "p", "must have a path prefix")
        for prefix in (
            "",
            "..",
            "a/../b",
            "./a",
            "a//b",
            "a/.",
            "a%2e",
            "a\\b",
            "a\0",
            "//",
            "a\n",
            5,
        )
    ),
    *(
        (lambda host=host: url("u", host=host), "u", "must have")
        for host in (
            *("", 5, "API.example.com", "api.example.com.", ".example.com", "a..b", "-a.com"),
            *("*.example.com", "example.com:443", "me@example.com", "example.com/", "exa mple.com"),
            *(
                "bücher.example",
                "api。example.com",
                "a_b.com",
                "x" * 64 + ".com",
                "a." * 130 + "com",
            ),
            *("127.1", "0177.0.0.1", "0x7f.0.0.1", "2130706433", "0x7f000001", "017700000001"),
            *("127.0.0.01", "1.2.3.4.5", "8.8.8", "[::1", "::1]", "[::1%eth0]", "0:0:0:0:0:0:0:1"),
            *("2001:4860:4860:0::8888", "[2001:4860:4860::8888]:80", "::FFFF:1.2.3.4", "1.2.3.256"),
        )
    ),
    *(
        (lambda host=host: url("u", host=host), "u", "allow_private")
        for host in (
            *("127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0"),
            *("192.0.0.8", "192.88.99.1", "3fff::1", "64:ff9b::a00:1", "100::1", "5f00::1"),
            *("100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
            *(
                "::1",
                "::",
                "[::1]",
                "fe80::1",
                "fc00::1",
                "ff02::1",
                "2001:db8::1",
                "2002:7f00:1::",
            ),
            *("64:ff9b::7f00:1", "::7f00:1", "2001::1", "fec0::1"),
            *("localhost", "x.localhost", "printer.local", "metadata.google.internal", "intranet"),
            *("nas.home.arpa", "x.lan", "db.corp", "kubernetes.default.svc"),
        )
    ),
    (lambda: url("u", host=HOST, scheme="ftp"), "u", "https or http"),
    (lambda: url("u", host=HOST, scheme=["https"]), "u", "scheme"),  # type: ignore[arg-type]
    (lambda: url("u", host=HOST, port=0), "u", "65535"),
    (lambda: url("u", host=HOST, port=70000), "u", "65535"),
    (lambda: url("u", host=HOST, port=True), "u", "65535"),
    (lambda: url("u", host=HOST, port="80"), "u", "65535"),  # type: ignore[arg-type]
    (lambda: url("u", host=HOST, port=443), "u", "left out"),
    (lambda: url("u", host=HOST, port=80, scheme="http"), "u", "left out"),
    (lambda: url("u", host=HOST, query=1), "u", "query"),  # type: ignore[arg-type]
    (lambda: url("u", host="10.0.0.1", allow_private="false"), "u", "True or False"),  # type: ignore[arg-type]
    (lambda: url("u", host=HOST, path_prefix=None), "u", "slash"),  # type: ignore[arg-type]
    *(
        (lambda prefix=prefix: url("u", host=HOST, path_prefix=prefix), "u", "must")
        for prefix in ("", "v1", "/v1?x", "/v1#x", "/a b", "/a/../b", "//v1", "/%61", "/\\x", "/é")
    ),
]


@pytest.mark.parametrize(("build", "setting", "words"), WRONG)
def test_errors_name_the_path(build: Callable[[], object], setting: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build()
    assert caught.value.setting == setting
    assert words in str(caught.value)


NO_POLICY: list[tuple[Any, str, str]] = [
    ({}, "pol", "list of statements"),
    ("x", "pol", "list of statements"),
    ([1], "pol[0]", "not a statement"),
    ([[]], "pol[0]", "not a statement"),
    ([["xor", ".a", 1]], "pol[0]", "not one of"),
    ([[["=="], ".a", 1]], "pol[0]", "not one of"),
    ([["==", ".a"]], "pol[0]", "operand"),
    ([["==", 1, 1]], "pol[0]", "operand"),
    ([["==", "a", 1]], "pol[0]", "selector"),
    ([["==", ".a" * 200, 1]], "pol[0]", "selector"),
    ([["<", ".a", "1"]], "pol[0]", "number"),
    ([["<", ".a", True]], "pol[0]", "number"),
    ([["like", ".a", 1]], "pol[0]", "pattern"),
    ([["and", 1]], "pol[0]", "statements"),
    ([["or"]], "pol[0]", "statements"),
    ([["not"]], "pol[0]", "statement"),
    ([["not", 1, 2]], "pol[0]", "statement"),
    (
        [["==", ".a", 1], ["not", ["all", ".a", ["and", [["==", ".a", 1], 5]]]]],
        "pol[1][1][2][1][1]",
        "",
    ),
    ([["==", ".a", 1]] * 101, "pol", "100"),
    ([["==", ".a", "x" * 1000]] * 9, "pol", "8192"),
    ([["==", ".a", math.nan]], "pol", "NaN"),
    ([["==", ".a", "x" * 1025]], "pol", "1024"),
]


@pytest.mark.parametrize(("pol", "setting", "words"), NO_POLICY)
def test_invalid_pol_is_refused_with_its_position(pol: Any, setting: str, words: str) -> None:
    error = refused(lambda: from_pol(pol))
    assert error.setting == setting
    assert words in str(error)


def test_a_constraint_is_a_value() -> None:
    one = eq("a", 1)
    assert {one, eq(".args.a", 1), eq("a", 1.0)} == {one}
    assert one != eq("a", True)
    assert one.__eq__(5) is NotImplemented
    one.pol.append("x")
    assert one.pol == [["==", ".args.a", 1]]
    with pytest.raises(AttributeError):
        one.pol = []  # type: ignore[misc]


def test_python_and_or_not_raise() -> None:
    for wrong in (
        lambda: eq("a", 1) and eq("b", 2),
        lambda: eq("a", 1) & 1,
        lambda: eq("a", 1) | None,
        lambda: not eq("a", 1),
    ):
        with pytest.raises(TypeError):
            wrong()


def test_double_negation_cancels() -> None:
    for one in (eq("a", 1), not_eq("a", 1), like("a", "*x"), at_most("a", 1), one_of("a", [1, 2])):
        assert ~~one == one
    assert not_(from_pol([["not", ["==", ".args.a", 1]]])) == eq("a", 1)
    assert ~~some("a", eq(".", 1)) == some("a", eq(".", 1))


def test_the_negation_of_a_vacuous_constraint_is_not_vacuous() -> None:
    open_ = from_pol([["any", ".args.a", ["==", ".", 1]]])
    other = each("a", not_eq(".", 1)).pol[0]
    filled: list[Any] = [["!=", ".args.a", []], ["!=", ".args.a", {}]]
    assert (~open_).pol == [["and", [*filled, other]]]
    half = from_pol([["and", [filled[0], open_.pol[0]]]])
    assert (~half).pol == [["or", [["==", ".args.a", []], ["and", [*filled, other]]]]]
    assert ~from_pol([*filled, open_.pol[0]]) == from_pol([other])


def test_several_are_listed_as_one_policy() -> None:
    assert listed(eq("a", 1)) == [["==", ".args.a", 1]]
    assert listed([eq("a", 1), eq("b", 1) & eq("c", 1)])[1:] == (eq("b", 1) & eq("c", 1)).pol
    assert listed(()) == []
    assert refused(lambda: listed("x")).setting == "constraints"
    assert refused(lambda: listed([eq("a", 1), 5], "x")).setting == "x[1]"
    assert listed(from_pol([["or", []]])) == [["or", []]]
    assert "100" in str(refused(lambda: listed([eq("a", n) for n in range(101)])))


def test_all_lists_existing_names() -> None:
    assert set(c.__all__) >= {"Constraint", "from_pol", "url"}
    assert all(hasattr(c, name) for name in c.__all__)
