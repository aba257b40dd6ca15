"""Attacks on `pol`: calls that break each operator, signed or not, at each link."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from vectors.attack_base import LIST, RESOURCE, Attack, Good
from vectors.attack_places import RICH_USE, USE
from vectors.forge import Payload

ABOUT: Final = "Calls that break a policy, with each operator, at each link."

Statement = list[Any]
Condition = tuple[Statement, Payload, Payload]
"""A statement, arguments that keep it, and arguments that break it."""


def attacks() -> Iterator[Attack]:
    for turn, (name, condition) in enumerate(BROKEN.items()):
        length = 1 + turn % 3
        yield from _broken(name, condition, USE[length], turn // 3 % length)
    for turn, (name, (statement, wrong)) in enumerate(UNSIGNED.items()):
        yield from _unsigned(name, statement, wrong, USE[2], turn % 2)
    yield from _fixed()
    yield from _dropped()


def _with(good: Good, name: str, statement: Statement, args: Payload, hop: int) -> Good:
    """The same chain with one condition at one link, used with these arguments."""
    assert good.use is not None
    at = {**good.links[hop], "pol": [statement]}
    chain = (*good.links[:hop], at, *good.links[hop + 1 :])
    use = {**good.use, "args": {"resource": RESOURCE, **args}}
    return replace(good, name=f"{good.name} where {name} at hop {hop}", links=chain, use=use)


def _broken(name: str, condition: Condition, good: Good, hop: int) -> Iterator[Attack]:
    """The agent signs what a link does not allow; or the call is that, whatever was signed."""
    statement, right, wrong = condition
    kept = _with(good, name, statement, right, hop)
    broken = _with(good, name, statement, wrong, hop).request()
    yield kept.attack(f"broken: {name}", f"hop {hop}", "resource_out_of_scope", hop, broken)
    call = {"cmd": LIST, "resource": RESOURCE, "args": right}
    called = replace(kept, name=f"{kept.name}, called", asked={"call": call})
    other = called.request(call={**call, "args": wrong})
    last = len(good.links)
    yield called.attack(f"not called: {name}", "the call", "resource_mismatch", last, other)


def _unsigned(
    name: str, statement: Statement, wrong: Payload, good: Good, hop: int
) -> Iterator[Attack]:
    """The agent leaves an argument open, and the call fills it with what a link does not allow."""
    call = {"cmd": LIST, "resource": RESOURCE, "args": {}}
    open_ = _with(good, f"{name}, open", statement, {}, hop)
    open_ = replace(open_, asked={"call": call})
    request = open_.request(call={**call, "args": wrong})
    yield open_.attack(f"unsigned: {name}", f"hop {hop}", "resource_mismatch", hop, request)


def _fixed() -> Iterator[Attack]:
    """A link names the command or the resource, and nothing else is done with it."""
    for name, statement in {
        "another command": ["==", ".cmd", "/github/issue/read"],
        "the command above": ["==", ".cmd", "/github/issue"],
        "another owner": ["==", ".resource.owner", "evil"],
        "a part of the resource": ["==", ".resource", {"provider": "github", "owner": "acme"}],
        "the resource among the arguments": ["==", ".args.resource.owner", "acme"],
        "what every object has": ["==", ".args.constructor", None],
        "what a prototype has": ["==", ".args.__proto__", None],
        "a prototype that is empty": ["==", ".args.__proto__", {}],
        "a length that texts do not have": ["==", ".resource.owner.length", 4],
        "null for what is absent": ["==", ".args.none", None],
    }.items():
        for length in (1, 3):
            hop = length - 1
            at = {**USE[length].links[hop], "pol": [statement]}
            bad = replace(USE[length], links=(*USE[length].links[:hop], at))
            yield USE[length].attack(
                f"broken: {name}", f"hop {hop}", "resource_out_of_scope", hop, bad.request()
            )


def _dropped() -> Iterator[Attack]:
    """A child that says nothing of a condition is held to it by the link that does."""
    for length in (1, 2, 3, 8):
        good = RICH_USE[length]
        free = (good.links[0], *({**link, "pol": []} for link in good.links[1:]))
        dropped = replace(good, links=free, asked={})
        assert dropped.use is not None
        ways: dict[str, Payload] = {
            "another state": {"state": "closed", "page": 2},
            "no state": {"page": 2},
            "a later page": {"state": "open", "page": 10},
            "a page as text": {"state": "open", "page": "2"},
        }
        for name, args in ways.items():
            use = {**dropped.use, "args": {"resource": RESOURCE, **args}}
            yield good.attack(
                f"dropped by all below: {name}",
                "hop 0",
                "resource_out_of_scope",
                0,
                replace(dropped, use=use).request(),
            )


X: Final = ".args.x"
IS_A: Final = ["==", ".", "a"]
_MAP: Final = {"9": 2, "10": 1}
BROKEN: Final[dict[str, Condition]] = {
    name: (statement, {"x": right}, {"x": wrong})
    for name, statement, right, wrong in (
        ("== a text", ["==", X, "a"], "a", "A"),
        ("== a text, not its list", ["==", X, "a"], "a", ["a"]),
        ("== a text, not longer", ["==", X, "a"], "a", "ab"),
        ("== a text, not its look-alike", ["==", X, "a"], "a", "\u0430"),
        ("== a text, not decomposed", ["==", X, "\u00e9"], "\u00e9", "e\u0301"),
        ("== a number", ["==", X, 1], 1, "1"),
        ("== a number, not true", ["==", X, 1], 1, True),
        ("== false, not zero", ["==", X, False], False, 0),
        ("== null, not nothing", ["==", X, None], None, ""),
        ("== a list", ["==", X, [1, 2]], [1, 2], [2, 1]),
        ("== a list, not longer", ["==", X, [1]], [1], [1, 1]),
        ("== an object", ["==", X, {"a": 1}], {"a": 1}, {"a": 1, "b": 2}),
        ("!= a text", ["!=", X, "a"], "b", "a"),
        ("!= a list", ["!=", X, [1]], [2], [1]),
        ("<", ["<", X, 10], 9, 10),
        ("<, not as text", ["<", X, 10], 9, "9"),
        ("<=", ["<=", X, 10], 10, 11),
        ("<=, by a fraction", ["<=", X, 10], 10, 10.5),
        (">", [">", X, 10], 11, 10),
        (">=", [">=", X, 10], 10, 9),
        (">=, not null", [">=", X, 0], 0, None),
        ("like, at the end", ["like", X, "a*"], "ab", "ba"),
        ("like, at the beginning", ["like", X, "*a"], "ba", "ab"),
        ("like, in between", ["like", X, "a*b*c"], "a1b2c", "a1c2b"),
        ("like, a star of its own", ["like", X, "a\\*"], "a*", "ab"),
        ("like, not overlapping", ["like", X, "ab*ba"], "abba", "aba"),
        ("like, case", ["like", X, "A*"], "Ab", "ab"),
        ("like, not a list", ["like", X, "*"], "a", ["a"]),
        ("and, the first", ["and", [["==", X, "a"], ["like", X, "*"]]], "a", "b"),
        ("and, the last", ["and", [["like", X, "*"], ["==", X, "a"]]], "a", "b"),
        ("or", ["or", [["==", X, "a"], ["==", X, "b"]]], "b", "c"),
        ("or, within and", ["and", [["or", [["==", X, 1], ["==", X, 2]]]]], 2, 3),
        ("not", ["not", ["==", X, "a"]], "b", "a"),
        ("not, twice", ["not", ["not", ["==", X, "a"]]], "a", "b"),
        ("not of or", ["not", ["or", [["==", X, 1], ["==", X, 2]]]], 3, 2),
        ("all", ["all", X, IS_A], ["a", "a"], ["a", "b"]),
        ("all, of a map", ["all", X, IS_A], {"k": "a"}, {"k": "b"}),
        ("all, of no text", ["all", X, IS_A], ["a"], "a"),
        ("any", ["any", X, IS_A], ["b", "a"], ["b", "c"]),
        ("any, of a map", ["any", X, IS_A], {"k": "a"}, {"k": "b"}),
        ("any, of no text", ["any", X, IS_A], ["a"], "a"),
        ("all of any", ["all", X, ["any", ".", IS_A]], [["a"], ["b", "a"]], [["a"], ["b"]]),
        ("not any", ["not", ["any", X, IS_A]], ["b"], ["b", "a"]),
        ("a member", ["==", ".args.x.y", 1], {"y": 1}, {"y": 2}),
        ("a member that has to be there", ["==", ".args.x.y", 1], {"y": 1}, {"z": 1}),
        ("an element", ["==", ".args.x[0]", 1], [1, 2], [2, 1]),
        ("the last element", ["==", ".args.x[-1]", 1], [2, 1], [1, 2]),
        ("a slice", ["==", ".args.x[0:2]", [1, 2]], [1, 2, 3], [1, 3, 2]),
        ("a slice of a text", ["==", ".args.x[0:2]", "ab"], "abc", "acb"),
        ("each", ["==", ".args.x[].y", [1, 1]], [{"y": 1}, {"y": 1}], [{"y": 1}, {"y": 2}]),
        ("each, of a map in canonical order", ["==", ".args.x[]", [1, 2]], _MAP, {"10": 2, "9": 1}),
        ("a quoted member", ["==", '.args.x["a b"]', 1], {"a b": 1}, {"ab": 1}),
        ("an optional member", ["==", ".args.x.y?", None], {}, {"y": 1}),
    )
}

UNSIGNED: Final[dict[str, tuple[Statement, Payload]]] = {
    "not": (["not", ["==", X, "a"]], {"x": "a"}),
    "!=": (["!=", X, "a"], {"x": "a"}),
    "an optional argument": (["==", f"{X}?", None], {"x": 1}),
    "one of two, or none": (["or", [["==", f"{X}?", None], ["==", X, 1]]], {"x": 2}),
    "not like": (["not", ["like", X, "/etc/*"]], {"x": "/etc/passwd"}),
    "not above": (["not", [">", X, 10]], {"x": 11}),
    "not any": (["not", ["any", X, IS_A]], {"x": ["a"]}),
    "not all": (["not", ["all", X, IS_A]], {"x": ["a"]}),
    "nothing at all": (["==", ".args", {}], {"x": 1}),
    "and of nots": (["and", [["!=", X, 1], ["!=", X, 2]]], {"x": 2}),
}
"""Each holds while the argument is not there; the value breaks it."""
