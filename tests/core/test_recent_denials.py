"""Denials are remembered by command and resource, also in an outage."""

from __future__ import annotations

from typing import Any

import pytest

from nomos._core import recent_denials, requests
from nomos._core.recent_denials import LEAST_SECONDS, MAX_REFUSALS, RecentDenials
from nomos.models import Question

READ, GET = "/github/issue/list", "/github/issue/get"
REPO = {"provider": "github", "owner": "acme", "repo": "app"}
FILE = {"provider": "filesystem", "path": "a/b"}
LOOK = "/filesystem/file/read"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def asked(command: str = READ, resource: Any = None, **more: Any) -> Question:
    given = REPO if resource is None else resource
    return requests.question(command=command, resource=given, **more)


@pytest.mark.parametrize(
    "question",
    [
        asked(),
        asked(args={"state": "open"}),
        asked(purpose="another"),
        asked(context={"x": 1}),
        asked(ttl_seconds=1),
        asked(resource=REPO | {"owner": "ACME"}),
        asked(resource={"provider": "github"}),
        asked(resource=REPO | {"issue_number": 7}),
        asked("/github/issue"),
        asked("/github/issue/list/all"),
    ],
)
def test_a_denial_applies_whatever_else_the_question_has(question: Question) -> None:
    refusals = RecentDenials(Clock())
    refusals.remember(asked(args={"state": "closed"}), "policy_denied")
    against = refusals.against(question)
    assert against is not None
    assert "policy_denied" in against


@pytest.mark.parametrize(
    "question",
    [
        asked(GET),
        asked("/github/issue/lists"),
        asked(resource=REPO | {"repo": "other"}),
        asked(resource=REPO | {"provider": "gitlab"}),
    ],
)
def test_a_question_that_does_not_overlap_is_not_affected(question: Question) -> None:
    refusals = RecentDenials(Clock())
    refusals.remember(asked(), "policy_denied")
    assert refusals.against(question) is None


@pytest.mark.parametrize(
    ("path", "stands"),
    [
        ("a/b", True),
        ("/a/b", True),
        ("a/b/c", True),
        ("a", True),
        ("", True),
        (".", True),
        ("a//b", True),
        ("a/./b/", True),
        (".//a/b", True),
        ("c/../a/b", True),
        ("../a/b", True),
        ("a\\b", True),
        ("%61%252Fb", True),
        (" a/b\n", True),
        ("a/bc", False),
        ("a//bc", False),
        ("c", False),
    ],
)
def test_a_path_overlaps_with_its_ancestors_and_descendants(path: str, stands: bool) -> None:  # noqa: FBT001
    refusals = RecentDenials(Clock())
    refusals.remember(asked(LOOK, FILE), "no")
    question = asked(LOOK, FILE | {"path": path})
    assert (refusals.against(question) is not None) is stands


@pytest.mark.parametrize("number", ["7", " 7", 7.0, [7], None, {"n": 7}])
def test_a_value_of_another_type_does_not_evade_a_denial(number: Any) -> None:
    """A server would not take it, and an outage must not, either."""
    issue = REPO | {"issue_number": 7}
    refusals = RecentDenials(Clock())
    refusals.remember(asked("/github/issue/read", issue), "no")
    assert refusals.against(asked("/github/issue/read", issue | {"issue_number": number}))
    assert not refusals.against(asked("/github/issue/read", issue | {"issue_number": 8}))
    assert not refusals.against(asked("/github/issue/read", issue | {"issue_number": 7.5}))


def test_spellings_that_a_server_may_treat_as_equal_are_equal() -> None:
    refusals = RecentDenials(Clock())
    refusals.remember(
        asked("/notes/get", {"provider": "notes", "book": "\u00c9t\u00e9", "n": 1}), "no"
    )
    for book in ("\u00e9t\u00e9", "E\u0301te\u0301", "/\u00c9T\u00c9", "./\u00e9t\u00e9"):
        assert refusals.against(asked("/notes/get", {"provider": "notes", "book": book, "n": 1}))
    assert not refusals.against(asked("/notes/get", {"provider": "notes", "book": "x", "n": 1}))
    assert not refusals.against(asked("/notes/get", {"provider": "notes", "n": True}))


def test_a_denial_ends_after_its_time_and_not_before_15_minutes() -> None:
    clock = Clock()
    refusals = RecentDenials(clock)
    refusals.remember(asked(ttl_seconds=1), "no")
    refusals.remember(asked(GET, ttl_seconds=3600), "no")
    clock.now += LEAST_SECONDS - 1
    assert refusals.against(asked())
    clock.now += 1
    assert not refusals.against(asked())
    assert refusals.against(asked(GET))
    clock.now += 3600 - LEAST_SECONDS
    assert not refusals.against(asked(GET))


def test_an_allow_of_the_same_question_ends_the_denial() -> None:
    refusals = RecentDenials(Clock())
    refusals.remember(asked(args={"a": 1}, purpose="p"), "no")
    for other in (asked(), asked(args={"a": 2}, purpose="p"), asked(args={"a": 1}, purpose="q")):
        refusals.forget(other)
        assert refusals.against(asked())
    refusals.forget(asked(args={"a": 1}, purpose="p"))
    assert not refusals.against(asked())


def test_a_rejected_caller_is_refused_everything_until_the_next_decision() -> None:
    clock = Clock()
    refusals = RecentDenials(clock)
    refusals.remember_all("the key is wrong")
    assert refusals.against(asked(LOOK, FILE)) == "the key is wrong"
    refusals.answered()
    assert refusals.against(asked(LOOK, FILE)) is None
    refusals.remember_all("the key is wrong")
    clock.now += LEAST_SECONDS
    assert refusals.against(asked(LOOK, FILE)) is None


def test_a_denied_approval_is_a_denial_of_its_call() -> None:
    refusals = RecentDenials(Clock())
    refusals.remember_call(READ, REPO, "approval env_1 is denied")
    against = refusals.against(asked(args={"a": 1}))
    assert against is not None
    assert "env_1" in against


def test_beyond_the_limit_of_denials_every_question_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert MAX_REFUSALS == 1024
    monkeypatch.setattr(recent_denials, "MAX_REFUSALS", 2)
    clock = Clock()
    refusals = RecentDenials(clock)
    for number in (1, 2, 2):
        refusals.remember(asked(args={"n": number}), "no")
    assert refusals.against(asked(LOOK, FILE)) is None
    refusals.remember(asked(args={"n": 3}), "no")
    against = refusals.against(asked(LOOK, FILE))
    assert against is not None
    assert "more than 2" in against
    clock.now += LEAST_SECONDS
    assert refusals.against(asked(LOOK, FILE)) is None
    refusals.remember(asked(LOOK, FILE), "no")
    assert refusals.against(asked(LOOK, FILE))
    assert len(refusals._known) == 1
