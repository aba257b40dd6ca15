"""Random constraints and policies for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from nomos import constraints as c
from nomos.errors import ConfigurationError

names = st.sampled_from(["a", "b", "a.b", "user.name", ".args.a", ".resource.owner", ".cmd"])
arguments = st.sampled_from(["a", "b", "a.b"])
inner_names = st.sampled_from([".", "n", "a.b", ".x.y"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda one: abs(one) < 2**53),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
members = st.sampled_from(["k", "sha256", "/"])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(members, inner, max_size=2)
    ),
    max_leaves=4,
)
numbers = st.integers(-5, 5) | st.sampled_from([0.5, -0.0, 1e3, 2.5])
globs = st.text("ab*\\./", max_size=6)
prefixes = st.sampled_from(["src", "src/a", "/", "/home/me", "a*b", "x.y/z"])
hosts = st.sampled_from(["api.example.com", "8.8.8.8", "xn--bcher-kva.example"])


def bounds(path: st.SearchStrategy[str]) -> st.SearchStrategy[c.Constraint]:
    pairs = st.tuples(numbers, numbers).map(sorted)
    return st.builds(lambda where, pair: c.between(where, *pair), path, pairs)


def atoms(path: st.SearchStrategy[str]) -> st.SearchStrategy[c.Constraint]:
    return st.one_of(
        st.builds(c.eq, path, values),
        st.builds(c.not_eq, path, values),
        st.builds(c.one_of, path, st.lists(values, min_size=1, max_size=3)),
        bounds(path),
        st.builds(c.at_most, path, numbers),
        st.builds(c.at_least, path, numbers),
        st.builds(c.like, path, globs),
        st.builds(c.under, path, prefixes),
        st.builds(
            c.url,
            path,
            host=hosts,
            scheme=st.sampled_from(["http", "https"]),
            port=st.none() | st.just(8443),
            path_prefix=st.sampled_from(["/", "/v1", "/v1/*/x"]),
            query=st.booleans(),
        ),
    )


@st.composite
def grown(
    draw: st.DrawFn,
    atom: st.SearchStrategy[c.Constraint],
    path: st.SearchStrategy[str],
    depth: int = 2,
) -> c.Constraint:
    """A constraint of others; one that is too much is what it was made of instead."""
    kind = draw(st.sampled_from(["is", "and", "or", "not", "each", "some"]))
    if depth == 0 or kind == "is":
        return draw(atom)
    inside = path if kind in ("and", "or", "not") or draw(st.booleans()) else inner_names
    one = draw(grown(atom if inside is path else atoms(inner_names), inside, depth - 1))
    try:
        match kind:
            case "and":
                return one & draw(grown(atom, path, depth - 1))
            case "or":
                return one | draw(grown(atom, path, depth - 1))
            case "not":
                return ~one
        return (c.each if kind == "each" else c.some)(draw(path), one)
    except ConfigurationError:
        return one


constraints = grown(atoms(names), names)
of_arguments = grown(atoms(arguments), arguments)

selectors = st.sampled_from(
    [
        ".args.a",
        ".args.a?",
        ".args?.a?",
        ".args.a.b",
        ".args.a?.b?",
        ".cmd",
        ".",
        ".args",
        ".x",
        ".?",
    ]
)
operands: st.SearchStrategy[Any] = st.sampled_from([None, [], {}, "x", 1, True])


def _wrapped(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, max_size=4)).map(list),
        st.tuples(st.just("not"), inner).map(list),
        st.tuples(st.sampled_from(["all", "any"]), selectors, inner).map(list),
    )


statements = st.recursive(
    st.one_of(
        st.tuples(st.sampled_from(["==", "!="]), selectors, operands).map(list),
        st.tuples(st.just("!="), selectors, st.sampled_from([None, [], {}])).map(list),
        st.tuples(st.sampled_from(["<", ">="]), selectors, st.just(1)).map(list),
        st.tuples(st.just("like"), selectors, st.just("*")).map(list),
    ),
    _wrapped,
    max_leaves=6,
)
policies: st.SearchStrategy[list[Any]] = st.lists(statements, max_size=4)
"""Well-formed policies, many of which may hold over nothing."""

_marks = st.tuples(*[st.sampled_from(["", "?"])] * 4)
_several = st.builds(
    lambda form, marks: form.format(*marks),
    st.sampled_from(
        [".args.a{0}[]{1}.b{2}", ".args.a{0}[]{1}", ".args.a{0}.b{1}[]{2}[]{3}", ".args.a{0}"]
    ),
    _marks,
)
_about_several = st.one_of(
    st.tuples(st.sampled_from(["==", "!="]), _several, operands).map(list),
    st.tuples(st.just("like"), _several, st.just("*")).map(list),
    st.tuples(st.sampled_from(["all", "any"]), _several, st.just(["==", ".", None])).map(list),
)
iterating: st.SearchStrategy[list[Any]] = st.lists(
    st.one_of(_about_several, _about_several.map(lambda one: ["not", one])),
    min_size=1,
    max_size=4,
)
"""The same, about paths with `[]`."""

odd_selectors = st.one_of(
    selectors,
    st.text('.[]?:-"\\ab01é$_ ', max_size=8),
    st.sampled_from([".[]", ".[:]", ".[1:]", ".[-1]", '.["a b"]', ".a..b", ".à", ".a\u0301", "."]),
)
odd = st.recursive(
    st.one_of(operands, odd_selectors, st.sampled_from(["==", "like", "and", "not", "xor"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(st.sampled_from(["==", "<", "like", "all", "any"]), odd_selectors, inner).map(
            list
        ),
        st.tuples(st.sampled_from(["and", "or", "not"]), inner).map(list),
    ),
    max_leaves=5,
)
