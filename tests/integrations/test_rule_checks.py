"""Rules that no token can satisfy are refused when they are built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

from nomos.errors import ConfigurationError
from nomos.integrations.fastapi import NomosMiddleware, Rule, requires

READ, ISSUES = "/notes/note/read", "/github/issue/list"
NOTES = {"provider": "notes"}
REPO = {"provider": "github", "owner": "{owner}", "repo": "{repo}"}

IMPOSSIBLE: dict[str, tuple[str, Any, Any, str, str]] = {
    "empty": (READ, {}, None, "resource", 'add "provider": "notes"'),
    "no provider": (READ, {"note": "7"}, None, "resource", 'add "provider": "notes"'),
    "a word like it": (READ, {"provder": "notes"}, None, "resource", "instead of 'provder'"),
    "another provider": (READ, {"provider": "note"}, None, "resource", "must be 'notes', the"),
    "a provider of no text": (READ, {"provider": 7}, None, "resource", "must be 'notes'"),
    "a prefix": ("/notes", NOTES, None, "command", "/notes is a prefix"),
    "an unknown field": (ISSUES, REPO | {"rep": "x"}, None, "resource", "did you mean repo"),
    "an unknown field of a path": (ISSUES, REPO | {"issue": "{n}"}, None, "resource", "issue"),
    "an empty field": (ISSUES, REPO | {"repo": ""}, None, "resource", "must not be empty"),
    "a field of another type": (ISSUES, REPO | {"issue_number": "7"}, None, "resource", "whole"),
    "a path that leads up": (
        *("/filesystem/file/read", {"provider": "filesystem", "path": "../x"}, None),
        *("resource", "must not contain"),
    ),
    "a value of no JSON": (READ, NOTES | {"x": {1}}, None, "resource", "not JSON"),
    "an argument of no JSON": (READ, NOTES, {"x": float("nan")}, "args", "not JSON"),
    "an argument that is the resource": (READ, NOTES, {"resource": 1}, "args", "resource="),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
@pytest.mark.parametrize(
    "build",
    [
        lambda command, resource, args: requires(command, resource=resource, args=args),
        lambda *call: Rule("GET", "/{owner}/{repo}/{n}", *call),
    ],
    ids=["requires", "Rule"],
)
def test_a_call_that_no_token_can_have_is_refused(what: str, build: Callable[..., object]) -> None:
    command, resource, args, setting, sentence = IMPOSSIBLE[what]
    with pytest.raises(ConfigurationError, match=sentence) as wrong:
        build(command, resource, args)
    assert wrong.value.setting == setting


def test_a_call_that_depends_on_the_request_is_accepted() -> None:
    assert requires(ISSUES, resource=REPO | {"issue_number": "{n:int}", "ref": "main"})
    assert requires(READ, resource={"provider": "{whose}"})
    assert requires(READ, resource=lambda _: {}, args=lambda _: {"resource": 1})


@pytest.mark.parametrize("path", ["//notes", "/notes//7", "/notes/../x", "/notes/./x", "/a\\b"])
def test_an_impossible_path_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="matches no request"):
        Rule("GET", path, READ, NOTES)


def under(*rules: tuple[str, str]) -> NomosMiddleware:
    found = [Rule(method, path, READ, NOTES) for method, path in rules]
    return NomosMiddleware(FastAPI(), rules=found)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("GET", "/notes/{id}"), ("GET", "/notes/new")),
        (("GET", "/notes/{id}"), ("GET", "/notes/{number:int}")),
        (("GET", "/{rest:path}"), ("GET", "/notes/{id}")),
        (("GET", "/notes"), ("HEAD", "/notes")),
    ],
)
def test_an_unreachable_rule_is_refused(first: tuple[str, str], second: tuple[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="never reached: the earlier rule for GET"):
        under(first, second)
    assert under(second, first)


@pytest.mark.parametrize("narrow", ["/files/{p}", "/files/{p}/{q}", "/files/{a}/{b:path}"])
def test_a_path_of_several_segments_is_reached_after_one_of_fewer(narrow: str) -> None:
    first, second = ("GET", narrow), ("GET", "/files/{p:path}")
    assert under(first, second)
    with pytest.raises(ConfigurationError, match="never reached: the earlier rule for GET"):
        under(second, first)


def test_rules_without_a_common_request_are_accepted() -> None:
    assert under(("GET", "/notes/{n:int}"), ("GET", "/notes/{id}"), ("PUT", "/notes/{id}"))
