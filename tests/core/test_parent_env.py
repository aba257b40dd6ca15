"""Chains as environment variables and back, and every malformed variable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import pytest
from hypothesis import given as holds_for
from hypothesis import settings
from hypothesis import strategies as st
from long_runs import times

from nomos._core import parent_env
from nomos._core.parent_env import (
    CHAIN,
    CHAIN_FILE,
    DEPTH,
    KEY_FD,
    KEY_HANDOVER,
    RECEIPT,
    SWARM,
    SWARM_VARIABLES,
)
from nomos._limits import MAX_TOKEN
from nomos._sealed import make
from nomos.errors import ChainTooDeep, ConfigurationError, Denied, MalformedChain, NomosError
from nomos.models import NO_CHAIN, GrantBase, ParentChain, chain_of

TOKEN = "eyJh.eyJw.c2ln"

words = st.text("abcXYZ019_-", min_size=1, max_size=40)
tokens = st.builds(".".join, st.tuples(words, words, words))
chains = st.lists(tokens, min_size=1, max_size=8).map(chain_of)
names = st.none() | st.text("abcXYZ019._:-", min_size=1, max_size=64)
parents = st.builds(
    make,
    st.just(ParentChain),
    chains=st.lists(chains, min_size=1, max_size=6).map(tuple),
    parent_receipt_id=names,
    swarm_id=names,
    max_depth=st.integers(min_value=8, max_value=32),
)


def no_file(path: str) -> NoReturn:
    raise AssertionError(f"{path} was to be read")


def from_env(environ: Mapping[str, str]) -> ParentChain:
    return parent_env.from_env(environ, no_file)


@holds_for(parents)
@settings(max_examples=times(1000, short=150))
def test_variables_are_read_back_equal(parent: ParentChain) -> None:
    assert from_env(parent_env.to_env(parent)) == parent
    named = parent_env.to_env(parent, file="/f")
    assert CHAIN not in named
    assert parent_env.from_env(named, {"/f": parent_env.chain_text(parent)}.__getitem__) == parent


def test_a_root_sets_no_variables_and_no_variables_make_a_root() -> None:
    assert parent_env.to_env(make(ParentChain)) == {}
    assert from_env({}) == make(ParentChain)
    assert not from_env({"PATH": "/bin", DEPTH: "3"})
    assert from_env({DEPTH: "3"}).max_depth == 3


def test_one_chain_is_an_array_and_several_are_an_array_of_arrays() -> None:
    one, two = chain_of(["a.b.c", "d.e.f"]), chain_of(["g.h.i"])
    assert parent_env.to_env(make(ParentChain, chains=(one,)))[CHAIN] == '["a.b.c","d.e.f"]'
    both = make(ParentChain, chains=(one, two))
    assert parent_env.to_env(both)[CHAIN] == '[["a.b.c","d.e.f"],["g.h.i"]]'
    assert from_env({CHAIN: '[["a.b.c"]]'}) == make(ParentChain, chains=(chain_of(["a.b.c"]),))


def test_whitespace_between_tokens_is_accepted() -> None:
    assert from_env({CHAIN: ' ["a.b.c", "d.e.f"]\n'}).chain == chain_of(["a.b.c", "d.e.f"])
    assert from_env({CHAIN: json.dumps([["a.b.c"], ["d.e.f"]], indent=1)}).chains == (
        chain_of(["a.b.c"]),
        chain_of(["d.e.f"]),
    )


@pytest.mark.parametrize("variable", SWARM_VARIABLES)
@pytest.mark.parametrize("value", ["", "x"])
def test_a_variable_of_a_child_without_a_usable_chain_raises(variable: str, value: str) -> None:
    with pytest.raises(NomosError, match=variable):
        parent_env.from_env({variable: value}, {"": "", "x": ""}.__getitem__)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("[]", "JSON array"),
        ("[[]]", "empty chain"),
        ('["a.b.c"', "cannot be read"),
        ("a.b.c", "cannot be read"),
        ("a.b.c,d.e.f", "cannot be read"),
        ('"a.b.c"', "JSON array"),
        ('{"chain": ["a.b.c"]}', "JSON array"),
        ("null", "JSON array"),
        ("[null]", "link 0 is not a token"),
        ("[1]", "link 0 is not a token"),
        ('["a.b.c", ""]', "link 1 is not a token"),
        ('["a.b"]', "link 0 is not a token"),
        ('["a.b.c.d"]', "link 0 is not a token"),
        ('["a.b.c "]', "link 0 is not a token"),
        ('["a.b.c\\n"]', "link 0 is not a token"),
        ('["a.b.ü"]', "link 0 is not a token"),
        ('[["a.b.c"], "d.e.f"]', "mixture"),
        ('["a.b.c", ["d.e.f"]]', "link 1 is not a token"),
        ('[["a.b.c"], []]', "empty chain"),
        ("[" * 100_000, "cannot be read"),
        ("[NaN]", "link 0 is not a token"),
        ('["a.b.' + "c" * MAX_TOKEN + '"]', "link 0 is not a token"),
        (json.dumps([[TOKEN]] * (parent_env.MAX_CHAINS + 1)), "the limit is 64"),
        (" " * (parent_env.MAX_TEXT + 1), "at most"),
    ],
)
def test_a_value_that_is_not_chains_is_malformed_and_not_repeated(value: str, why: str) -> None:
    with pytest.raises(MalformedChain, match=why) as error:
        from_env({CHAIN: value})
    assert error.value.code == "malformed_ucan"
    assert CHAIN in str(error.value)
    assert len(str(error.value)) < 300


def test_a_chain_has_a_limit_and_the_message_names_it() -> None:
    three = json.dumps([TOKEN] * 3)
    assert len(from_env({CHAIN: three, DEPTH: "3"}).chain) == 3
    with pytest.raises(ChainTooDeep, match=f"3 links, and {DEPTH} allows 2") as error:
        from_env({CHAIN: three, DEPTH: "2"})
    assert (error.value.code, error.value.hop) == ("chain_too_deep", 2)
    with pytest.raises(ChainTooDeep, match="33 links; no chain has more than 32"):
        from_env({CHAIN: json.dumps([TOKEN] * 33), DEPTH: "32"})


@pytest.mark.parametrize("depth", ["0", "33", "-1", "08", "8.0", "eight", " 8", "٨"])
def test_an_invalid_limit_raises(depth: str) -> None:
    with pytest.raises(ConfigurationError, match=DEPTH) as error:
        from_env({DEPTH: depth})
    assert error.value.setting == DEPTH


@pytest.mark.parametrize("variable", [RECEIPT, SWARM])
@pytest.mark.parametrize("value", ["", " ", "a b", "ü", "x" * 129, "a\nb"])
def test_an_invalid_name_raises(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable) as error:
        from_env({CHAIN: json.dumps([TOKEN]), variable: value})
    assert error.value.setting == variable


def test_two_variables_for_one_setting_are_refused_even_if_equal() -> None:
    with pytest.raises(ConfigurationError, match=f"{CHAIN} and {CHAIN_FILE} are both set"):
        from_env({CHAIN: json.dumps([TOKEN]), CHAIN_FILE: "/f"})


def test_a_key_without_a_chain_names_the_missing_variables() -> None:
    with pytest.raises(ConfigurationError, match=f"neither {CHAIN} nor {CHAIN_FILE}") as error:
        from_env({KEY_FD: "7", SWARM: "s"})
    assert error.value.setting == SWARM
    with pytest.raises(ConfigurationError, match=KEY_HANDOVER):
        from_env({KEY_HANDOVER: "/k"})


def test_chains_too_large_for_a_variable_need_a_file() -> None:
    large = make(
        ParentChain, chains=tuple(chain_of([f"{'a' * 3000}.b.{'c' * 400}"]) for _ in range(62))
    )
    assert parent_env.needs_file(parent_env.chain_text(large))
    assert len(parent_env.chain_text(large)) > 200 * 1024
    with pytest.raises(ConfigurationError, match="pass them in a file"):
        parent_env.to_env(large)
    environ = parent_env.to_env(large, file="/some/where")
    assert environ[CHAIN_FILE] == "/some/where"
    assert sum(map(len, environ.values())) < 100
    read = parent_env.from_env(environ, {"/some/where": parent_env.chain_text(large)}.__getitem__)
    assert read == large


def test_chains_that_cannot_be_read_back_are_not_written() -> None:
    huge = make(ParentChain, chains=tuple(chain_of([f"{'a' * 60_000}.b.c"]) for _ in range(20)))
    wrong: list[tuple[ParentChain, type[NomosError]]] = [
        (huge, MalformedChain),
        (make(ParentChain, chains=(NO_CHAIN,)), MalformedChain),
        (make(ParentChain, chains=(chain_of(["a.b"]),)), MalformedChain),
        (make(ParentChain, chains=(chain_of([TOKEN] * 9),)), ChainTooDeep),
        (make(ParentChain, chains=(chain_of([TOKEN]),), max_depth=33), ConfigurationError),
        (make(ParentChain, chains=(chain_of([TOKEN]),), max_depth=0), ConfigurationError),
        (
            make(ParentChain, chains=(chain_of([TOKEN]),), parent_receipt_id="a b"),
            ConfigurationError,
        ),
        (make(ParentChain, swarm_id="a"), ConfigurationError),
    ]
    for parent, error in wrong:
        with pytest.raises(error):
            parent_env.to_env(parent, file="/f")


def test_the_largest_chains_are_read_back() -> None:
    link = f"{'a' * 16_000}.b.{'c' * 300}"
    largest = make(ParentChain, chains=tuple(chain_of([link]) for _ in range(64)))
    text = parent_env.chain_text(largest)
    assert len(text) > 1_000_000
    assert parent_env.from_env(parent_env.to_env(largest, file="/f"), lambda _: text) == largest


def allowed(**changes: Any) -> GrantBase:
    values: dict[str, Any] = {"decision": "allow", "chain": chain_of([TOKEN])} | changes
    return make(GrantBase, command="/a", resource={"provider": "a"}, **values)


@pytest.mark.parametrize(
    "whatever",
    [
        chain_of([TOKEN]),
        [TOKEN],
        (TOKEN,),
        [chain_of([TOKEN])],
        ([TOKEN],),
        make(ParentChain, chains=(chain_of([TOKEN]),)),
        allowed(),
    ],
)
def test_a_chain_may_come_in_any_of_these_forms(whatever: object) -> None:
    assert parent_env.as_parent_chain(whatever).chains == (chain_of([TOKEN]),)


@pytest.mark.parametrize(
    "nothing",
    [
        NO_CHAIN,
        [],
        (),
        [[]],
        make(ParentChain),
        make(ParentChain, chains=(NO_CHAIN,)),
        allowed(chain=NO_CHAIN),
    ],
)
def test_without_a_chain_the_error_says_to_authorize_first(nothing: object) -> None:
    with pytest.raises(
        ConfigurationError, match=r"this process is a root: authorize first and pass grant\.chain"
    ) as error:
        parent_env.as_parent_chain(nothing)
    assert error.value.setting == "parent_chain"


@pytest.mark.parametrize("wrong", [None, "a.b.c", b"a.b.c", 7, {TOKEN}, [7], [TOKEN, [TOKEN]]])
def test_a_value_that_is_no_chain_is_refused_by_its_setting(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="parent must be a chain"):
        parent_env.as_parent_chain(wrong, setting="parent")


def test_a_grant_that_does_not_allow_has_no_chain() -> None:
    with pytest.raises(Denied):
        parent_env.as_parent_chain(allowed(decision="deny"))
