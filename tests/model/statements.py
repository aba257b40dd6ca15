"""Random values, and random statements of policy about them."""

from __future__ import annotations

import math
import struct
from random import Random
from typing import Any, Final

from model.canonical import canon
from model.pol import as_bytes, from_bytes, holds, is_number, is_statement, resolve, selector

NAMES: Final = (
    *("state", "to", "n", "a", "b", "x", "list", "map", "length", "_1", "10", "9", "", "/"),
    *("__proto__", "constructor", "\u00e9", "\ue000", "\U0001f600", "a.b", 'q"', "\\", "a b"),
)
TEXTS: Final = (
    *("", "a", "open", "ab*c", "a\\*b", "\\", "a@x.org", "b@y.org", "line\nline", "\u00e9\u0301"),
    *("\U0001f600x", "x\u2028", "\x7f\x1f", "*", "**", "aaaaab", "1", "null", "\ue000\U0001f600"),
)
NUMBERS: Final = (0, 1, 2, 3, -1, 10, 0.5, 1.5, -2.5, 1e21, 1e-7, 0.000001, 1e300, 2**53 - 1)
ODD: Final = '.[]"a0-:?_\\ b1'
ODD_SELECTORS: Final = (
    *("[0]", '["a"]', "[]", "a", "?", ".a:b", ".a*", ".a\0", ".\U0001f600", ".\u0660", ".a\u0301"),
    *("", ".", "..", ".?", ".a.", "a", ".a[", ".a]", ".[", ".[]", ".[]?", ".a??", ".a?b", ".a?.b"),
    *('.["a"]', '.a["a"]', '.a.["a"]', '.a."b"', ".'a'", '.["\\u0061"]', '.["\\x"]', '.["a]'),
    *(".[0]", ".a[0]", ".a.[0]", ".[-1]", ".[-0]", ".[00]", ".[01]", ".[+1]", ".[1.0]", ".[1e1]"),
    *(".[0:]", ".[:0]", ".[:]", ".[0:1]", ".[-2:-1]", ".[ 0 ]", ".[0:1:2]", ".[00:1]", ".[-0:1]"),
    *(".1", ".a1", ".a-b", ".\u00e9", ".a b", ". a", ".a ", " .a", ".$", ".__proto__", ".a[][]"),
    *(".a.[]", ".[].a", ".[]a", ".[0]a", ".[0].a", ".[0].[0]", '.[""]', '.["\n"]', ".[?]", "?."),
    *(".[9007199254740991]", ".[9007199254740992]", ".[99999999999999999999]", ".[-99999999999]"),
    *('.["\\ud83d\\ude00"]', '.["\\/"]', '.["\\n"]', ".A_z9", ".[1:99999999999999999999]", ".*"),
)


def value(random: Random, depth: int = 2) -> Any:
    """Any JSON, small."""
    if depth and random.random() < 0.4:
        names = random.sample(NAMES, random.randrange(4))
        held = [value(random, depth - 1) for _ in names]
        return held if random.random() < 0.5 else dict(zip(names, held, strict=True))
    return random.choices(
        (
            from_bytes(random.randbytes(random.randrange(4))),
            {"/": {"bytes": random.choice(("AAF", "A", "AAE=", "-_", "+/+/", "A A", "AA\n"))}},
            random.choice(NUMBERS),
            random_float(random),
            random.choice((None, True, False)),
            random.choice(TEXTS),
        ),
        (8, 2, 30, 5, 15, 40),
    )[0]


def random_float(random: Random) -> float:
    """Any double that is finite and has a literal of its own."""
    while True:
        number: float = struct.unpack("d", random.randbytes(8))[0]
        if math.isfinite(number) and not 2**53 <= abs(number) < 1e21:
            return number


def another(random: Random, it: Any) -> Any:
    """A value like this one, or quite another."""
    match it:
        case bool():
            return random.choice((not it, int(it), None))
        case int() | float() if random.random() < 0.8 and abs(it) < 2**50:
            return it + random.choice((-1, 1, 0.5))
        case str() if random.random() < 0.8:
            return random.choice((it + "x", it[1:], it.upper(), it[::-1], [it]))
        case list() if random.random() < 0.8:
            return random.choice(([*it, None], it[1:], it[::-1], [it]))
        case dict() if random.random() < 0.8:
            return (
                {**it, random.choice(NAMES): 1}
                if random.random() < 0.5
                else dict([*it.items()][1:])
            )
    return value(random)


def pattern(random: Random, text: str) -> str:
    """A pattern that this text fits, or nearly."""
    pieces = []
    for letter in text:
        chance = random.random()
        pieces.append(
            "*" if chance < 0.15 else "" if chance < 0.2 else "\\*" if letter == "*" else letter
        )
    return "".join(pieces) + random.choice(("", "", "*", "\\"))


def path(random: Random, it: Any, steps: int | None = None) -> str:
    """A selector that leads somewhere in `it`, usually."""
    text = "."
    for _ in range(random.randrange(1, 4) if steps is None else steps):
        step, it = way(random, it)
        text = step if text == "." and step.startswith(".") else text + step
        text += random.choice(("", "", "", "", "?", "??") if random.random() < 0.5 else ("",))
    return text


def way(random: Random, it: Any) -> tuple[str, Any]:
    """One step, and an example of what is there."""
    if isinstance(it, dict) and it and as_bytes(it) is None:
        if random.random() < 0.15:
            return "[]", random.choice([*it.values()])
        name = random.choice([*it]) if random.random() < 0.93 else random.choice(NAMES)
        return member(random, name), it.get(name)
    data = as_bytes(it)
    sequence = it if data is None else data
    if isinstance(sequence, list | str | bytes):
        chance = random.random()
        if chance < 0.3:
            return "[]", random.choice(sequence) if isinstance(
                sequence, list
            ) and sequence else None
        size = len(sequence)
        if chance < 0.65:
            at = random.randint(-size - 1, size)
            return f"[{at}]", sequence[at] if -size <= at < size else None
        start, end = (random.choice(("", random.randint(-size - 1, size + 1))) for _ in "ab")
        return (f"[{start}:{end}]" if (start, end) != ("", "") else "[0:]"), it
    return member(random, random.choice(NAMES)), None


def member(random: Random, name: str) -> str:
    dotted = selector(f".{name}") == ((name, False),)
    return f".{name}" if dotted and random.random() < 0.8 else f"[{canon(name)}]"


def statement(random: Random, subject: Any, depth: int = 2) -> list[Any]:
    """A statement about `subject`, which mostly holds."""
    made = anything(random, subject, depth)
    for _ in range(4):
        if holds(made, subject) or random.random() < 0.01:
            break
        made = ["not", made] if random.random() < 0.2 else anything(random, subject, depth)
    return made


def anything(random: Random, subject: Any, depth: int) -> list[Any]:
    kind = random.random()
    if depth and kind < 0.2:
        parts = [anything(random, subject, depth - 1) for _ in range(random.randrange(4))]
        return [random.choice(("and", "or")), parts]
    if depth and kind < 0.26:
        return ["not", anything(random, subject, depth - 1)]
    where = path(random, subject)
    found = looked_up(where, subject)
    if depth and (kind < 0.45 or (isinstance(found, list | dict) and kind < 0.7)):
        held = [*found.values()] if isinstance(found, dict) else found
        one = random.choice(held) if isinstance(held, list) and held else found
        return [random.choice(("all", "any")), where, anything(random, one, depth - 1)]
    if kind > 0.96 or (isinstance(found, str) and kind < 0.85):
        return ["like", where, pattern(random, found) if isinstance(found, str) else "*"]
    if kind > 0.9 or (is_number(found) and kind < 0.85):
        near = found if random.random() < 0.5 else another(random, found)
        literal = near if is_number(near) else random.choice((-1, 0, 1, 2))
        return [random.choice(("<", "<=", ">", ">=")), where, literal]
    equal = found if random.random() < 0.7 else another(random, found)
    return [random.choice(("==", "==", "!=")), where, equal]


def looked_up(where: str, subject: Any) -> Any:
    try:
        return resolve(selector(where) or (), subject)
    except LookupError:
        return None


def malformed(random: Random, good: list[Any]) -> Any:
    """A statement that may be none: odd selectors, odd shapes."""
    odd = (
        random.choice(ODD_SELECTORS)
        if random.random() < 0.5
        else "." + "".join(random.choice(ODD) for _ in range(random.randrange(6)))
    )
    shapes: list[Any] = [
        *([["==", odd, 1]] * 12),
        ["all", odd, ["==", odd, 1]],
        [*good, 1],
        good[:-1],
        [good],
        {"0": good},
        None,
        ["in", ".a", 1],
        ["every", ".a", good],
        ["not", ".a", good],
        ["<", ".a", "1"],
        ["<", ".a", True],
        ["<", ".a", None],
        ["like", ".a", 1],
        ["like", odd, "*"],
        ["==", 1, 1],
        ["==", None, 1],
        ["and", good],
        ["or", {}],
        ["not", []],
        ["not", [good]],
        ["any", ".a", [good]],
        ["any", good, ".a"],
        ["or", [["and", [good, ["==", odd, 1]]]]],
    ]
    made = random.choice(shapes)
    return made if random.random() < 0.9 or not is_statement(made) else ["not", made]
