"""Attacks on `pol`: malformed statements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vectors.attack_base import Attack
from vectors.attack_places import CHAIN, RICH_CHAIN, USE, Place, everywhere
from vectors.making import saying

ABOUT: Final = (
    "Policy statements that are none: an operator not known, an operand missing or wrong."
)


def attacks() -> Iterator[Attack]:
    malformed = {f"pol: {name}": saying(pol=pol) for name, pol in MALFORMED.items()}
    yield from everywhere(malformed, "malformed_ucan", at=links)


def links(turn: int) -> Iterator[Place]:
    yield CHAIN[1], 0
    if turn % 2 == 0:
        good = (CHAIN[2], RICH_CHAIN[3], CHAIN[8], USE[2])[turn // 2 % 4]
        yield good, turn // 8 % len(good.links)


X: Final = ".args.x"
IS_A: Final = ["==", ".", "a"]

MALFORMED: Final[dict[str, Any]] = {
    "an unknown operator": [["in", X, [1]]],
    "an operator of another version": [["every", X, ["==", ".", 1]]],
    "an operator in upper case": [["LIKE", X, "a"]],
    "an operator and a space": [["== ", X, "a"]],
    "=": [["=", X, 1]],
    "===": [["===", X, 1]],
    "an unknown operator within": [["and", [["or", [["nand", []]]]]]],
    "an unknown operator within all": [["all", X, ["some", ".", 1]]],
    "an unknown operator within not": [["not", ["none"]]],
    "an operator that every object has": [["constructor", []]],
    "an operator of the prototype": [["__proto__", X, 1]],
    "an operator that is a list": [[["=="], X, 1]],
    "an operator that is an object": [[{}, X, 1]],
    "an operator that is null": [[None, X, 1]],
    "a statement that is an object": [{"==": [X, 1]}],
    "a statement that is a text": ["=="],
    "a statement that is null": [None],
    "a statement that is true": [True],
    "a statement that is empty": [[]],
    "a wrong one after a right one": [["==", X, 1], ["?", X, 1]],
    "statements one level too deep": [[["==", X, 1]]],
    "a statement without its list": ["==", X, 1],
    "== of one": [["==", X]],
    "== of three": [["==", X, 1, 2]],
    "!= of one": [["!=", X]],
    "< a text": [["<", X, "1"]],
    "<= null": [["<=", X, None]],
    "> a list": [[">", X, [1]]],
    ">= true": [[">=", X, True]],
    "like a number": [["like", X, 1]],
    "like a list": [["like", X, ["*"]]],
    "and of a statement instead of a list": [["and", ["==", X, 1]]],
    "and of nothing": [["and"]],
    "or of two": [["or", [], []]],
    "or of an object": [["or", {}]],
    "not of two": [["not", IS_A, IS_A]],
    "not of nothing": [["not"]],
    "not of a list of statements": [["not", [IS_A]]],
    "all of a list of statements": [["all", X, [IS_A]]],
    "any without a statement": [["any", X]],
    "a selector that is a number": [["==", 1, 1]],
    "a selector that is null": [["==", None, 1]],
    "a selector that is empty": [["==", "", 1]],
    "a selector without a dot": [["==", "a", 1]],
    "a selector with two dots": [["==", "..a", 1]],
    "a selector that ends in a dot": [["==", ".a.", 1]],
    "a selector with a space": [["==", ".a b", 1]],
    "a selector with a NUL": [["==", ".a\0", 1]],
    "a selector with a star": [["==", ".*", 1]],
    "a selector with an open bracket": [["==", ".a[0", 1]],
    "a selector with a bad escape": [["==", '.["\\x"]', 1]],
    "a selector with a fraction": [["==", ".a[0.5]", 1]],
    "a selector with a filter": [["==", ".a[?(@.b)]", 1]],
    "a slice without an end or a start": [["==", ".a[:]", 1]],
    "a slice with a step": [["==", ".a[0:4:2]", 1]],
    "a selector with an index beyond all": [["==", f".a[{10**16}]", 1]],
}
