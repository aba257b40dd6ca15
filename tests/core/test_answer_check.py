"""An allow is accepted only if it covers the question that was sent, or less."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from answers import ISSUER, SERVICE, allow, iso, jwt, payload

from nomos._core import answer_check, requests
from nomos._core.replies import Allowed
from nomos.constraints import eq
from nomos.models import Chain, chain_of

AGENT = "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"
OTHER = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
NOW = 1_790_000_000
READ, WRITE, PREFIX = "/github/issue/list", "/github/issue/create", "/github/issue"
REPO = {"provider": "github", "owner": "acme", "repo": "app"}
CLONE, INNER = REPO | {"repo": "x"}, REPO | {"path": "x"}
OWNER = {"provider": "github", "owner": "acme"}
NOTE = {"provider": "notes", "Book": "Blue", "path": "a/b", "number": 7}
DIGEST = {"sha256": hashlib.sha256(b"hello").hexdigest()}


def asked(
    command: str = READ,
    resource: Mapping[str, Any] = REPO,
    parent: Chain | None = None,
    **more: Any,
) -> requests.AuthorizeCall:
    question = requests.question(command=command, resource=resource, **more)
    return requests.AuthorizeCall(question, AGENT, "k", "n", (), float(NOW), parent)


def link(command: str = READ, resource: Mapping[str, Any] = REPO, **more: Any) -> dict[str, Any]:
    return payload(AGENT, command, resource, key="k", now=NOW, **more)


def difference(
    sent: requests.AuthorizeCall, given: Mapping[str, Any], **changes: Any
) -> str | None:
    return answer_check.mismatch(sent, Allowed.model_validate(allow(given, **changes)), NOW)


def changed(**meta: Any) -> dict[str, Any]:
    return link(meta=meta)


def test_an_allow_of_the_question_is_accepted() -> None:
    assert difference(asked(), link()) is None
    args = {"title": "x", "labels": ["a", "b"]}
    assert difference(asked(WRITE, args=args), link(WRITE, args=args), args=args) is None
    tuples = {"title": "x", "labels": ("a", "b")}
    assert difference(asked(WRITE, args=tuples), link(WRITE, args=args), args=args) is None


def test_an_allow_is_compared_with_what_was_sent_whatever_changed_since() -> None:
    args = {"state": "open"}
    facts = {"facts": {"agent": {"ticket": "T-1"}}}
    call = asked(constraints=[eq("state", "open")], args=dict(args), context={"ticket": "T-1"})
    question = call.question
    assert question.pol is not None
    assert question.args is not None
    assert question.context is not None
    signed = link(pol=tuple(question.pol), args=args, meta=facts)
    assert difference(call, signed, args=args) is None
    question.pol.clear()
    question.args.clear()
    question.context.clear()
    question.resource["repo"] = "other"
    assert difference(call, signed, args=args) is None
    assert difference(call, link(args=args, meta=facts), args=args) is not None


def test_a_narrower_allow_is_accepted() -> None:
    shorter, later = link(ttl=10), link() | {"nbf": NOW}
    assert difference(asked(), shorter) is None
    assert difference(asked(), later) is None
    assert difference(asked(), link(pol=[["==", ".args.state", "open"]])) is None
    assert difference(asked(args={}), link(), args={}) is None
    each = [["==", ".args.page", 2], ["==", '.args["a-b"]', 1]]
    args = {"page": 2, "a-b": 1}
    assert difference(asked(args=args), link(pol=each), args=args) is None
    for content in ("hello", DIGEST):
        bound = {"c": DIGEST}
        assert difference(asked(args={"c": content}), link(args=bound), args=bound) is None


@pytest.mark.parametrize(
    ("given", "changes", "how"),
    [
        (link() | {"aud": OTHER}, {}, "another key"),
        (link() | {"iss": "nobody"}, {}, "another key"),
        (link() | {"sub": OTHER}, {}, "another key"),
        (link(), {"audience": OTHER}, "another service"),
        (changed(audience=None), {"audience": SERVICE}, "another service"),
        (link(WRITE), {}, "another command"),
        (link("/github"), {}, "another command"),
        (link() | {"cmd": "/github"}, {}, "another command"),
        (link() | {"pol": []}, {}, "another command"),
        (link() | {"pol": None}, {}, "another command"),
        (link() | {"pol": [["==", ".cmd", WRITE]]}, {}, "another command"),
        (
            link(resource=REPO | {"repo": "x"}),
            {"resource": REPO | {"repo": "x"}},
            "another resource",
        ),
        (
            link(resource=REPO | {"path": "x"}),
            {"resource": REPO | {"path": "x"}},
            "another resource",
        ),
        (link(resource=OWNER), {"resource": OWNER}, "another resource"),
        (link(), {"resource": REPO | {"repo": "other"}}, "another resource"),
        (changed(resource_constraint=None), {"resource": REPO}, "another resource"),
        (link(), {"args": {}}, "other arguments"),
        (link(resource=OWNER), {}, "another resource"),
        (link(args={"a": 1}), {"args": {"a": 1}}, "other arguments"),
        (changed(facts={"purpose": "x"}), {}, "another purpose"),
        (changed(facts={"agent": {"x": 1}}), {}, "another purpose"),
        (changed(approval={"id": "env_1"}), {}, "not presented"),
        (changed(approval=None), {}, "not presented"),
        (link() | {"prf": ["0" * 64]}, {}, "without the chain"),
        (link(ttl=301), {"expiresAt": iso(NOW + 301)}, "longer time"),
        (link(ttl=301), {}, "longer time"),
        (link() | {"nbf": NOW - 61}, {}, "longer time"),
        (link() | {"nbf": None}, {}, "longer time"),
        (link(), {"expiresAt": iso(NOW + 301)}, "longer time"),
        (link() | {"exp": "soon"}, {"expiresAt": iso(NOW + 300)}, "longer time"),
        (changed(question="0" * 64), {}, "another question"),
        (changed(question=None), {}, "another question"),
        (link(), {"receiptId": "evt_2"}, "another question"),
        (link(), {"chain": [jwt(link()), jwt(link())]}, "the one delegation"),
    ],
)
def test_an_allow_of_another_question_is_refused(
    given: dict[str, Any], changes: dict[str, Any], how: str
) -> None:
    answer = allow(link()) | {"chain": [jwt(given)], **changes}
    found = answer_check.mismatch(asked(), Allowed.model_validate(answer), NOW)
    assert found is not None
    assert how in found


@pytest.mark.parametrize(
    ("mine", "given"),
    [
        ({"a": 1}, None),
        ({"a": 1}, {}),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": "hello"}, {"a": {"sha256": "0" * 64}}),
        ({"a": "hello"}, {"a": {**DIGEST, "b": 1}}),
        ({"a": DIGEST}, {"a": "hello"}),
        ({"a": None}, {}),
    ],
)
def test_other_args_than_the_requested_ones_are_refused(
    mine: dict[str, Any], given: dict[str, Any] | None
) -> None:
    found = difference(asked(args=mine), link(args=given), args=given)
    assert found == "with other arguments than were requested"


def test_args_that_are_bound_only_in_the_reply_are_refused() -> None:
    found = difference(asked(args={"a": 1}), link(), args={"a": 1})
    assert found == "with other arguments than were requested"


def test_an_allow_for_another_audience_is_refused() -> None:
    assert difference(asked(audience=SERVICE), link()) is None
    found = difference(asked(audience=OTHER), link())
    assert found == "for another service than was requested"


@pytest.mark.parametrize(
    "commands",
    [[READ, WRITE], [READ]],
)
def test_an_allow_of_a_prefix_covers_the_listed_commands(commands: list[str]) -> None:
    sent = asked(PREFIX)
    assert difference(sent, link(PREFIX, commands=commands), commands=commands) is None
    assert difference(sent, link(PREFIX), commands=commands) is not None
    more = link(PREFIX, commands=[*commands, "/github/issue/close"])
    assert difference(sent, more, commands=commands) is not None
    outside = ["/github/repo/read"]
    found = difference(sent, link(PREFIX, commands=outside), commands=outside)
    assert found is not None
    assert "not within" in found


@pytest.mark.parametrize(
    ("mine", "given", "right"),
    [
        (REPO | {"owner": "Acme"}, REPO, True),
        (REPO | {"owner": "Acme"}, REPO | {"owner": "Acme"}, False),
        (REPO | {"path": "/a"}, REPO | {"path": "a"}, True),
        (REPO | {"path": "a"}, REPO | {"path": "/a"}, False),
        ({"provider": "github", "org": "Acme"}, {"provider": "github", "org": "acme"}, True),
        (NOTE, NOTE, True),
        (NOTE, NOTE | {"Book": "blue"}, True),
        (NOTE | {"Book": "e\u0301"}, NOTE | {"Book": "\u00e9"}, True),
        (NOTE | {"path": "/a/b"}, NOTE, True),
        (NOTE | {"path": "./a/b"}, NOTE, True),
        (NOTE | {"path": "."}, NOTE | {"path": ""}, True),
        (NOTE, NOTE | {"Book": "BLUE"}, False),
        (NOTE, NOTE | {"Book": "red"}, False),
        (NOTE, NOTE | {"number": True}, False),
        (NOTE, NOTE | {"number": "7"}, False),
        (NOTE, NOTE | {"more": "x"}, False),
        (NOTE, {"provider": "notes", "path": "a/b"}, False),
        (NOTE, NOTE | {"path": "a/b/c"}, False),
        (NOTE | {"number": "7"}, NOTE, False),
    ],
)
def test_an_allow_of_another_resource_is_refused(
    mine: dict[str, Any],
    given: dict[str, Any],
    right: bool,  # noqa: FBT001
) -> None:
    found = difference(asked(resource=mine), link(resource=given))
    assert (found is None) is right


def test_other_facts_or_another_approval_are_refused() -> None:
    sent = asked(purpose="triage", context={"n": 9.0}, cosigner_envelope_id="env_1")
    facts = {"purpose": "triage", "agent": {"n": 9}, "bundle": "x"}
    assert difference(sent, changed(facts=facts)) is None
    approved = changed(facts=facts, approval={"id": "env_1", "fingerprint": "f"})
    assert difference(sent, approved) is None
    assert difference(sent, changed(facts=facts, approval={"id": "env_2"})) is not None
    assert difference(sent, changed(facts={"purpose": "triage"})) is not None
    assert difference(sent, changed(facts=None)) is not None


def test_an_allow_on_a_chain_names_its_links_and_keeps_their_statements() -> None:
    kept = ["==", ".args.state", "open"]
    first, second = jwt({"iss": ISSUER, "pol": [kept]}), jwt({"iss": AGENT, "pol": None})
    cids = [hashlib.sha256(each.encode()).hexdigest() for each in (first, second)]
    sent = asked(parent=chain_of([first, second]))
    assert difference(sent, link(pol=[kept]) | {"prf": ["a" * 64, *cids]}) is None
    wrong = "without the chain that was sent with the question"
    assert difference(sent, link(pol=[kept])) == wrong
    assert difference(sent, link(pol=[kept]) | {"prf": cids[:1]}) == wrong
    assert difference(sent, link(pol=[kept]) | {"prf": [*cids, 7]}) == wrong
    assert difference(sent, link() | {"prf": cids}) == wrong
