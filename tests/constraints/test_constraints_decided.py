"""The calls that each constraint permits, as the binary decides."""

from __future__ import annotations

from typing import Any

import pytest
from constraints.deciding import delegation, passes

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
    not_,
    not_eq,
    one_of,
    some,
    under,
    url,
)

EXAMPLE = ".", "*@example.com"
API = url("u", host="api.example.com")
V1 = url("u", host="api.example.com", path_prefix="/v1")
ASKING = url("u", host="api.example.com", path_prefix="/v1", query=True)
PORT = url("u", host="api.example.com", port=8443, scheme="http")
TREE = under("p", "src/a")
STAR = under("p", "a*b")
ROOT = under("p", "/")
HOME = under("p", "/home/me")

TABLE: list[tuple[Constraint, list[Any], list[Any]]] = [
    (eq("a", "x"), ["x"], ["X", "x ", "", None, 1, True, ["x"], {"x": "x"}]),
    (eq("a", 1), [1, 1.0], [True, "1", 1.5, None, [1]]),
    (eq("a", True), [True], [1, "true", False]),
    (eq("a", None), [None], [0, "", False, []]),
    (eq("a", {"k": [1]}), [{"k": [1]}], [{"k": [1], "l": 2}, {"k": [True]}, {}]),
    (not_eq("a", "x"), ["y", 1, [], "X"], ["x", None]),
    (not_eq("a", None), [0, "", False], [None]),
    (not_eq("a", 1), [True, "1", 2], [1, 1.0, None]),
    (one_of("a", ["x", 1]), ["x", 1], ["y", True, "1", None, ["x"]]),
    (one_of("a", ["x"]), ["x"], ["y", None]),
    (between("a", 1, 50), [1, 50, 1.5], [0, 51, "5", True, None, 0.999, 50.001, [5]]),
    (between("a", 5, 5), [5], [4, 6]),
    (at_most("a", 50), [50, -(10**9), 0.1], [51, "1", False, None]),
    (at_least("a", 0.5), [0.5, 9], [0.4, "9", None]),
    (like("a", "*@example.com"), ["me@example.com", "@example.com"], ["me@example.com.evil", 5]),
    (like("a", "a*b*c"), ["abc", "a-b-c", "abbc"], ["ab", "acb", "Abc", None]),
    (like("a", "100\\*"), ["100*"], ["100", "1000"]),
    (like("a", "*"), ["", "x"], [1, None, ["x"]]),
    (~eq("a", 1), [2, "1"], [1, None]),
    (~not_eq("a", 1), [1], [2, None]),
    (~at_most("a", 5), [6, 5.1], [5, "9", None, True]),
    (~at_least("a", 5), [4], [5, "1"]),
    (~between("a", 1, 5), [0, 6], [1, 5, "9", None]),
    (~like("a", "*.exe"), ["a.txt", ""], ["a.exe", 5, None]),
    (~~like("a", "*.exe"), ["a.exe"], ["a.txt", 5, None]),
    (~one_of("a", [1, 2]), [3, "1"], [1, 2, None]),
    (not_(eq("a", 1) | eq("a", 2)), [3], [1, 2, None]),
    (at_least("a", 1) & at_most("a", 2), [1, 2], [0, 3]),
    (at_most("a", 1) | at_least("a", 9), [1, 9], [5, "1"]),
    (any_of(eq("a", 1)), [1], [2]),
    (all_of(eq("a", 1)), [1], [2]),
    (each("a", like(*EXAMPLE)), [["x@example.com"], []], [["x@example.com", "y@evil.com"], "x"]),
    (each("a", eq("n", 1)), [[{"n": 1}], {"k": {"n": 1}}], [[{}], [{"n": 2}], [1], None]),
    (each("a", not_eq("n", 1)), [[{"n": 2}], []], [[{}], [{"n": 1}], [{"n": None}]]),
    (each("a", each("b", eq(".", 1))), [[{"b": [1]}], [{"b": []}]], [[{"b": [2]}], [{}]]),
    (some("a", like(*EXAMPLE)), [["y", "x@example.com"]], [[], {}, ["y"], "x@example.com", None]),
    (some("a", eq("n", 1)), [[{}, {"n": 1}], {"k": {"n": 1}}], [[{}], [1], {}, {"n": 1}]),
    (some("a", some("b", eq(".", 1))), [[{"b": [2, 1]}]], [[{"b": []}], [{}], []]),
    (not_(each("a", like(*EXAMPLE))), [["y"], ["x@example.com", "y"]], [[], ["x@example.com"], 1]),
    (not_(some("a", like(*EXAMPLE))), [[], ["y"]], [["x@example.com"], "y", None]),
    (each("a", between(".", 1, 3) | eq(".", 9)), [[1, 9], []], [[4], ["1"]]),
    (eq("a.b", 1), [{"b": 1}], [{"b": 2}, {}, None, 1, [1]]),
    (not_eq("a.b", 1), [{"b": 2}], [{"b": 1}, {}, None, {"b": None}, 5]),
    (not_eq(".args.a?", 1), [2], [1, None]),
    (eq('.args["a"]', 1), [1], [2]),
    (eq(".args.a[0]", 1), [[1, 2]], [[2], [], "1"]),
    (~under("a", "x"), ["y", "x/../y", "xy"], ["x", "x/y", 5, None]),
    (from_pol([["==", ".args.a", 1]]), [1], [2]),
]

CASES = [
    pytest.param(constraint, value, good, id=f"{number}-{'yes' if good else 'no'}-{at}")
    for number, (constraint, yes, no) in enumerate(TABLE)
    for good, values in ((True, yes), (False, no))
    for at, value in enumerate(values)
]


@pytest.mark.parametrize(("constraint", "value", "good"), CASES)
def test_the_binary_evaluates_constraints_as_listed(
    constraint: Constraint, value: Any, *, good: bool
) -> None:
    assert passes(delegation(constraint.pol), {"a": value}) is good


@pytest.mark.parametrize(
    "constraint", [row[0] for row in TABLE if row[0] != eq("a", None)] + [TREE, API, ASKING]
)
def test_a_missing_argument_satisfies_no_constraint(constraint: Constraint) -> None:
    assert not passes(delegation(constraint.pol), {})
    assert not passes(delegation(constraint.pol), {"b": {"a": 1}})


def test_null_differs_from_a_missing_argument() -> None:
    assert not passes(delegation(eq("a", None).pol), {})


PATHS: list[tuple[Constraint, list[Any], list[Any]]] = [
    (
        TREE,
        [
            *("src/a", "src/a/b", "src/a/b/c.txt", "src/a/.hidden", "src/a/b.c", "src/a/b..c"),
            # A pattern cannot say "a backslash, and then anything"; the guide says what to do.
            *("src/a/\\b", "src/a/b\\\\c"),
        ],
        [
            *("src", "src/", "src/ab", "src/a.txt", "src/a-b/c", "SRC/a", "/src/a", "./src/a"),
            *("src/a/", "src/a/b/", "src/a//b", "src/a/./b", "src/a/.", "src/a/b/."),
            *("src/a/..", "src/a/../b", "src/a/b/../../../etc", "src/a/...", "src/a/..;/x"),
            *("src/a\\..\\b", "src/a/b\\..\\c", "src/a/b\\.\\c", "src/a/b\\", "src/a/b\\/c"),
            *("src/a/%2e%2e/b", "src/a%2f..", "src/a/%", "src/a/b\0", "src/a\0/b", "src/a/\0"),
            *("x/src/a", "src/a\\b", "src/a\n", "", None, 5, ["src/a"], {"src/a": 1}),
            *("src/a/.\n./.\n./secret", "src/a/.\t./b", "src/a/.\r./b", "src/a/b\nc"),
            *("src/a/\\", "src/a/b\\\\", "src/a/\\..", "src/a\\\\..\\b", "src/a\\\\b"),
        ],
    ),
    (STAR, ["a*b", "a*b/c"], ["axb", "a*bc", "aXXb/c", "a*b/../c"]),
    (ROOT, ["/", "/etc", "/a/b"], ["etc", "//etc", "/../etc", "/a/", "", "/.", "\\", "/.\n./etc"]),
    (HOME, ["/home/me", "/home/me/x"], ["/home/meme", "/home/me/../you", "/home", "~"]),
    (under("p", "src/a/"), ["src/a/b"], ["src/ab", "src/a/"]),
]

HOSTILE_URLS = [
    "https://api.example.com.evil.com/",
    "https://api.example.com.",
    "https://api.example.com./",
    "https://api.example.com@evil.com",
    "https://api.example.com@evil.com/",
    "https://api.example.com:443@evil.com/",
    "https://api.example.com:x@evil.com/",
    "https://api.example.com\\@evil.com",
    "https://api.example.com\\.evil.com/",
    "https://api.example.com\\evil.com",
    "https://api.example.com%2eevil.com/",
    "https://api.example.com%00.evil.com/",
    "https://api.example.com\0.evil.com/",
    "https://api.example.com\t.evil.com/",
    "https://api.example.com\n/",
    "https://api.example.com /",
    "https://api.example.com#@evil.com/",
    "https://api.example.com?@evil.com/",
    "https://api.example.com:8443/",
    "https://api.example.com:443/",
    "https://api.example.com:/",
    "https://evil.com/https://api.example.com/",
    "https://evil.com#https://api.example.com/",
    "https://evil.com\\@api.example.com/",
    "https://me@api.example.com/",
    "https://me:pass@api.example.com/",
    "https://:@api.example.com/",
    "https://API.example.com/",
    "HTTPS://api.example.com/",
    "http://api.example.com/",
    "https:/api.example.com/",
    "https:api.example.com/",
    "https:\\\\api.example.com/",
    "https:///api.example.com/",
    "//api.example.com/",
    "api.example.com/",
    " https://api.example.com/",
    "\thttps://api.example.com/",
    "https\n://api.example.com/",
    "https://api.exam\tple.com/",
    "javascript:https://api.example.com/",
    "https://xapi.example.com/",
    "https://api.example.co",
    "https://api.example.community/",
    "https://api。example.com/",
    "https://\u0430pi.example.com/",
    "https://127.0.0.1/",
    "",
    5,
    None,
    ["https://api.example.com/"],
]

URLS: list[tuple[Constraint, list[Any], list[Any]]] = [
    (
        API,
        [
            *("https://api.example.com", "https://api.example.com/", "https://api.example.com/a/b"),
            *("https://api.example.com/@scope/x", "https://api.example.com/.well-known/x"),
            *(
                "https://api.example.com/a/",
                "https://api.example.com/a:8080",
                "https://api.example.com/a..b",
            ),
        ],
        [
            *HOSTILE_URLS,
            *(
                "https://api.example.com/?a=1",
                "https://api.example.com/#x",
                "https://api.example.com//x",
            ),
            *(
                "https://api.example.com/a?b",
                "https://api.example.com/a b",
                "https://api.example.com/%61",
            ),
        ],
    ),
    (
        V1,
        [f"https://api.example.com/v1{end}" for end in ("", "/", "/x", "/x/", "/x.json", "/@me")],
        [
            *HOSTILE_URLS,
            *("https://api.example.com", "https://api.example.com/", "https://api.example.com/v2"),
            *(
                f"https://api.example.com/v1{end}"
                for end in (
                    *("x", "0/x", ".x", "/..", "/../v2", "/x/../../v2", "/./../v2", "/.", "/x/./y"),
                    *(
                        "//x",
                        "//evil.com/",
                        "/x//y",
                        "/%2e%2e/v2",
                        "/%2E%2E/v2",
                        "/..%2f",
                        "/..;/v2",
                    ),
                    *("\\..\\v2", "/\\../v2", "/x\\..\\y", "/\\.", "/x\\", "/\\/x", "\\/evil.com"),
                    *(
                        "/.\t./v2",
                        "/.\n./v2",
                        "/.\r./v2",
                        "/. ./v2",
                        "/x\0",
                        "?x=1",
                        "#",
                        "/x#/../v2",
                    ),
                    *("/x?y", "@evil.com", ":443/", "/../../../v2", "/...", "\u2025/v2"),
                )
            ),
        ],
    ),
    (
        ASKING,
        [
            f"https://api.example.com/v1{end}"
            for end in (
                *("", "/", "?a=1", "/x?a=1", "/x?a=%2e%2e/", "/x?next=https://x.org/../y", "?"),
                *("/x?a=1&b=?", "?@evil.com", "/x?a=//b"),
            )
        ],
        [
            *HOSTILE_URLS,
            *(
                f"https://api.example.com/v1{end}"
                for end in (
                    *("/..?a", "/../v2?a=1", "/%2e%2e/v2?a", "/x%?a", "//x?a", "/.?a", "/x/./y?a"),
                    *(
                        "/x\\?a",
                        "\\..?a",
                        "/x?a#b",
                        "/x?a b",
                        "x?a",
                        "/x?a\n",
                        "/.\t./?a",
                        "/x\\.?a",
                    ),
                )
            ),
            *(
                "https://api.example.com?/v1/x",
                "https://api.example.com/?/v1/",
                "https://evil.com/?x",
            ),
        ],
    ),
    (
        PORT,
        ["http://api.example.com:8443", "http://api.example.com:8443/x"],
        [
            *(
                "http://api.example.com/x",
                "http://api.example.com:84430/",
                "http://api.example.com:844",
            ),
            *("https://api.example.com:8443/", "http://api.example.com:8443@evil.com/"),
            *("http://api.example.com:08443/", "http://api.example.com:8443.evil.com/"),
        ],
    ),
    (
        url("u", host="api.example.com", path_prefix="/a*b"),
        ["https://api.example.com/a*b/c"],
        ["https://api.example.com/axb/c"],
    ),
    (url("u", host="8.8.8.8"), ["https://8.8.8.8/x"], ["https://8.8.8.88/x", "https://08.8.8.8/"]),
    (
        url("u", host="2001:4860:4860::8888"),
        ["https://[2001:4860:4860::8888]/x"],
        ["https://2001:4860:4860::8888/x", "https://[2001:4860:4860::8888].evil.com/"],
    ),
    (
        url("u", host="localhost", scheme="http", port=8080, allow_private=True),
        ["http://localhost:8080/x"],
        ["http://localhost/x", "http://localhost:80/x"],
    ),
]

TEXTS = [
    pytest.param(constraint, name, value, good, id=f"{name}{number}-{'yes' if good else 'no'}-{at}")
    for name, table in (("p", PATHS), ("u", URLS))
    for number, (constraint, yes, no) in enumerate(table)
    for good, values in ((True, yes), (False, no))
    for at, value in enumerate(values)
]


@pytest.mark.parametrize(("constraint", "name", "value", "good"), TEXTS)
def test_paths_and_urls(constraint: Constraint, name: str, value: Any, *, good: bool) -> None:
    assert passes(delegation(constraint.pol), {name: value}) is good, value


def test_a_selector_reaches_the_resource() -> None:
    owner = delegation((eq(".resource.owner", "acme") & eq(".cmd", "/mail/send")).pol)
    assert passes(owner, {})
    assert not passes(owner, {}, {"provider": "mail", "owner": "evil"})
    another = delegation(not_eq(".resource.owner", "acme").pol)
    assert passes(another, {}, {"provider": "mail", "owner": "other"})
    assert not passes(another, {})
    assert not passes(another, {}, {"provider": "mail"})


def test_more_than_400_cases_are_listed() -> None:
    assert len(CASES) + len(TEXTS) > 400
