"""The scope of a chain by its text, and the choice among several chains."""

from __future__ import annotations

from typing import Any

import pytest
from vectors.forge import PLANNER, child, root

from nomos._core.scope import (
    chain_audience,
    covers,
    effective_capability,
    permits,
    within,
)
from nomos.errors import MalformedChain
from nomos.models import Capability, Chain, chain_of

ACME = {"provider": "github", "owner": "acme"}
APP = ACME | {"repo": "app"}


def constraint(resource: dict[str, Any]) -> dict[str, Any]:
    return {"resource_constraint": resource}


@pytest.mark.parametrize(
    ("command", "ancestor", "expected"),
    [
        ("/github", "/github", True),
        ("/github/issue/list", "/github", True),
        ("/github/issue/list", "/github/issue", True),
        ("/github/issues", "/github/issue", False),
        ("/github", "/github/issue", False),
        ("/gitlab", "/github", False),
    ],
)
def test_a_command_covers_the_commands_under_it(
    command: str, ancestor: str, *, expected: bool
) -> None:
    assert within(command, ancestor) is expected


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ({}, APP, True),
        (ACME, APP, True),
        (APP, ACME, False),
        (APP, APP, True),
        (ACME, APP | {"owner": "other"}, False),
        ({"n": 1}, {"n": True}, False),
        ({"n": True}, {"n": True}, True),
        ({"n": 1}, {"n": 1.0}, True),
        ({"n": 1}, {"n": "1"}, False),
        ({"n": [1, {"a": True}]}, {"n": [1, {"a": 1}]}, False),
        ({"n": [1, {"a": 1}]}, {"n": [1, {"a": 1}]}, True),
        ({"n": None}, {}, False),
        ({"path": "src"}, {"path": "src/a"}, True),
        ({"path": "src"}, {"path": "src"}, True),
        ({"path": "src"}, {"path": "srcs"}, False),
        ({"path": "src/a"}, {"path": "src"}, False),
        ({"path": ""}, {"path": "a"}, True),
        ({"path": ""}, {"path": ""}, True),
        ({"path": "a"}, {"path": ""}, False),
        ({"path": ""}, {}, False),
        ({"path": "a"}, {"path": "a/../b"}, False),
        ({"path": "a"}, {"path": "a//b"}, False),
        ({"path": "a"}, {"path": "a/b\\c"}, False),
        ({"path": "a"}, {"path": 1}, False),
        ({"path": 1}, {"path": 1}, False),
    ],
)
def test_a_resource_covers_those_with_all_of_its_fields(
    outer: dict[str, Any], inner: dict[str, Any], *, expected: bool
) -> None:
    assert covers(outer, inner) is expected


def test_a_chain_has_the_last_command_and_resource_and_all_statements() -> None:
    first = root(
        cmd="/github", pol=[["==", ".args.a", 1]], meta=constraint(ACME) | {"receipt_id": "evt_1"}
    )
    second = child(first, cmd="/github/issue", pol=[["==", ".args.b", 2]])
    assert effective_capability([first, second]) == Capability(
        "/github/issue", ACME, (["==", ".args.a", 1], ["==", ".args.b", 2])
    )
    third = child(first, cmd="/github/issue", meta=constraint(APP))
    assert effective_capability(chain_of([first, third])).resource == APP
    assert chain_audience([first]) == PLANNER.did


@pytest.mark.parametrize("links", [[], ["a.b.c"], ["no token"], ["a.W10.c"]])
def test_text_that_is_no_delegation_is_malformed(links: list[str]) -> None:
    with pytest.raises(MalformedChain) as error:
        effective_capability(links)
    assert error.value.code == "malformed_ucan"
    assert not any(link in str(error.value) for link in links)


def test_only_statements_about_the_command_are_considered() -> None:
    either = ["or", [["==", ".cmd", "/github/issue/list"], ["==", ".cmd", "/github/issue/read"]]]
    held = Capability("/github", ACME, (either, ["==", ".args.state", "open"]))
    assert permits(held, "/github/issue/list", APP)
    assert permits(held, "/github/issue", APP)
    assert permits(held, "/github", APP)
    assert not permits(held, "/github/repo", APP)
    assert not permits(held, "/github/issue/list", {"provider": "github"})
    assert not permits(Capability("/github", {}, (["==", ".cmd", 1],)), "/github", {})
    mixed = ["or", [["==", ".cmd", "/github/a"], ["==", ".args.b", 1]]]
    assert permits(Capability("/github", {}, (mixed,)), "/github/c", {})
    assert permits(Capability("/github", {}, (["or", []],)), "/github/c", {})


def test_the_chains_that_cover_a_call_are_found_by_their_text() -> None:
    issues = chain_of([root(cmd="/github/issue", meta=constraint(APP))])
    everything = chain_of([root(cmd="/github", meta=constraint(ACME))])

    def covering(command: str, resource: dict[str, str]) -> list[Chain]:
        held = (issues, everything)
        return [one for one in held if permits(effective_capability(one), command, resource)]

    assert covering("/github/issue/list", APP) == [issues, everything]
    assert covering("/github/repo", APP) == [everything]
    assert covering("/github/repo", {"provider": "github"}) == []
