"""The canonical form of every resource and argument, or an error that names the field."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nomos._limits import MAX_INTEGER
from nomos.errors import InvalidRequest
from nomos.resources import (
    FILESYSTEM,
    GITHUB,
    MAX_ARGUMENT,
    MAX_FIELD,
    MAX_ITEMS,
    Argument,
    CommandSpec,
    Provider,
    ResourceField,
    canonical_args,
    canonical_resource,
    commands_under,
    find_command,
    nearest_command,
    provider_name,
)

LIST = CommandSpec(name="/github/issue/list", risk="read", resource=("owner", "repo"))
COMMITS = CommandSpec(
    name="/github/commit/list", risk="read", resource=("owner", "repo"), optional=("ref", "path")
)
ISSUE = CommandSpec(
    name="/github/issue/read", risk="read", resource=("owner", "repo", "issue_number")
)
READ = CommandSpec(name="/filesystem/file/read", risk="read", resource=("path",))
APP = {"provider": "github", "owner": "acme", "repo": "app"}

NOTES = Provider(
    name="notes",
    kind="Notes",
    fields={"title": ResourceField(), "tag": ResourceField(case="lower")},
)

CALL = CommandSpec(
    name="/notes/note/write",
    risk="write",
    args={
        "title": Argument(required=True),
        "count": Argument(type="integer"),
        "draft": Argument(type="boolean"),
        "labels": Argument(type="strings"),
        "content": Argument(digest="sha256"),
    },
)


def refused(
    resource: object, command: CommandSpec | None = None, provider: Provider = GITHUB
) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        canonical_resource(provider, resource, command)  # type: ignore[arg-type]
    for path in caught.value.fields:
        assert path in str(caught.value)
    return caught.value


def path_of(text: str) -> str:
    resource = canonical_resource(FILESYSTEM, {"provider": "filesystem", "path": text}, READ)
    found: str = resource["path"]
    return found


def test_github_names_are_lower_case_and_fields_come_in_their_declared_order() -> None:
    given = {"repo": "App", "owner": "ACME", "provider": "github"}
    found = canonical_resource(GITHUB, given, LIST)
    assert list(found.items()) == [("provider", "github"), ("owner", "acme"), ("repo", "app")]


def test_a_command_s_optional_fields_may_be_given_or_left_out() -> None:
    assert canonical_resource(GITHUB, APP, COMMITS) == APP
    more = {**APP, "ref": "Main", "path": "./docs"}
    assert canonical_resource(GITHUB, more, COMMITS) == {**APP, "ref": "Main", "path": "docs"}


def test_without_a_command_any_of_the_provider_s_fields_may_be_given() -> None:
    assert canonical_resource(GITHUB, {"provider": "github"}) == {"provider": "github"}
    found = canonical_resource(GITHUB, {"provider": "github", "owner": "Acme", "issue_number": 1})
    assert found == {"provider": "github", "owner": "acme", "issue_number": 1}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"repo": None}, "resource.repo"),
        ({"repo": ""}, "resource.repo"),
        ({"repo": True}, "resource.repo"),
        ({"repo": 7}, "resource.repo"),
        ({"repo": ["app"]}, "resource.repo"),
        ({"repo": {"name": "app"}}, "resource.repo"),
        ({"repo": "acme/app"}, "resource.repo"),
        ({"repo": ".."}, "resource.repo"),
        ({"repo": "."}, "resource.repo"),
        ({"repo": "a" * 101}, "resource.repo"),
        ({"owner": "ac me"}, "resource.owner"),
        ({"owner": "acme\n"}, "resource.owner"),
        ({"provider": "gitlab"}, "resource.provider"),
        ({"provider": None}, "resource.provider"),
        ({"provider": 1}, "resource.provider"),
        ({"branch": "main"}, "resource.branch"),
        ({"issue_number": 1}, "resource.issue_number"),
    ],
)
def test_a_field_that_is_wrong_is_named(change: dict[str, Any], path: str) -> None:
    assert refused({**APP, **change}, LIST).fields == (path,)


@pytest.mark.parametrize("name", ["owner", "repo", "provider"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    error = refused({key: value for key, value in APP.items() if key != name}, LIST)
    assert error.fields == (f"resource.{name}",)
    assert "is missing" in str(error)


@pytest.mark.parametrize("number", [1.0, 1.5, "1", True, -1, MAX_INTEGER + 1, None, float("nan")])
def test_a_number_is_whole_and_in_range(number: object) -> None:
    assert refused({**APP, "issue_number": number}, ISSUE).fields == ("resource.issue_number",)


@pytest.mark.parametrize("number", [0, 1, MAX_INTEGER])
def test_a_whole_number_is_unchanged(number: int) -> None:
    given = {**APP, "issue_number": number}
    assert canonical_resource(GITHUB, given, ISSUE)["issue_number"] == number


def test_all_faults_are_reported_at_once() -> None:
    error = refused({"provider": "github", "owner": None, "x": 1}, LIST)
    assert error.fields == ("resource.owner", "resource.x", "resource.repo")


def test_a_misspelt_field_has_a_suggestion() -> None:
    assert "did you mean owner" in str(refused({**APP, "ownr": "acme"}, LIST))


def test_an_unknown_field_lists_the_known_ones() -> None:
    assert "it takes provider, owner, repo" in str(refused({**APP, "zzz": "acme"}, LIST))


@pytest.mark.parametrize("name", ["a\n\x1b[2J", "x" * 500, "ключ", 7, None])
def test_a_strange_name_is_shown_short_and_printable(name: object) -> None:
    strange: dict[object, object] = {name: 1}
    strange.update(APP)
    error = refused(strange, LIST)
    assert len(error.fields[0]) < 80
    assert str(error).isascii()
    assert str(error).isprintable()


@pytest.mark.parametrize("resource", [None, [], "github", 1, [("provider", "github")]])
def test_a_resource_is_an_object(resource: object) -> None:
    assert refused(resource, LIST).fields == ("resource",)


def test_a_resource_has_a_bounded_number_of_members() -> None:
    error = refused({f"f{number}": 1 for number in range(MAX_ITEMS + 1)}, LIST)
    assert error.fields == ("resource",)


@pytest.mark.parametrize(
    "text",
    [
        "a\x00b",
        "a\x7fb",
        "a\x85b",
        "a\u2028b",
        "a\u2029b",
        "pdf\u202egnp.exe",
        "\u2066a",
        "\ud800",
        "e\u0301",
        "\u212b",
        "x" * (MAX_FIELD + 1),
    ],
)
def test_ambiguous_text_is_refused(text: str) -> None:
    assert refused({"provider": "notes", "title": text}, provider=NOTES).fields == (
        "resource.title",
    )


@pytest.mark.parametrize("text", ["x" * MAX_FIELD, "Übung 7", "日本語", "a b", "..", "%2e"])
def test_other_text_is_unchanged(text: str) -> None:
    assert canonical_resource(NOTES, {"provider": "notes", "title": text})["title"] == text


def test_the_kelvin_sign_is_no_letter_k() -> None:
    refused({"provider": "notes", "tag": "\u212a"}, provider=NOTES)


def test_lower_case_that_grows_too_long_is_refused() -> None:
    refused({"provider": "notes", "tag": "\u0130" * MAX_FIELD}, provider=NOTES)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", "a"),
        ("/a", "a"),
        ("./a", "a"),
        ("a/b c/d.txt", "a/b c/d.txt"),
        ("...", "..."),
        ("a/..b", "a/..b"),
        (".env", ".env"),
        ("100%", "100%"),
        ("", ""),
        (".", ""),
        ("/", ""),
        ("./", ""),
        ("/.", ""),
    ],
)
def test_a_path_is_relative_and_its_root_is_empty(text: str, path: str) -> None:
    assert path_of(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "..",
        "/..",
        "./..",
        "a/..",
        "a/../b",
        "../a",
        "a//b",
        "//a",
        ".//a",
        "a/",
        "a/./b",
        "a/.",
        "././a",
        "/./a",
        "a\\b",
        "..\\a",
        "a\x00b",
        "%2e%2e/a",
        "%2E%2E/a",
        "a%2fb",
        "a%2Fb",
        "a%5cb",
        "a%5Cb",
        "a%00",
        "%252e%252e",
        "a\nb",
        "e\u0301",
        None,
        7,
        ["a"],
        "x" * (MAX_FIELD + 1),
    ],
)
def test_an_ambiguous_path_is_refused(text: object) -> None:
    resource = {"provider": "filesystem", "path": text}
    assert refused(resource, READ, FILESYSTEM).fields == ("resource.path",)


PIECES = st.lists(
    st.sampled_from(["..", ".", "/", "//", "\\", "%2e", "%2F", "a", "b.c", "é", "\u202e", "~", " "])
    | st.text(max_size=3),
    max_size=8,
).map("".join)


@settings(deadline=None)
@given(PIECES)
def test_a_canonical_path_never_leaves_its_root(text: str) -> None:
    try:
        path = path_of(text)
    except InvalidRequest:
        return
    joined = posixpath.normpath(posixpath.join("/root", path))
    assert joined == posixpath.join("/root", path).rstrip("/")
    assert joined == "/root" or joined.startswith("/root/")
    assert path_of(path) == path


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["provider", "title", "tag"]),
        st.text(max_size=20) | st.none() | st.integers() | st.just("notes"),
    )
)
def test_canonicalization_is_idempotent(resource: dict[str, Any]) -> None:
    resource["provider"] = "notes"
    try:
        once = canonical_resource(NOTES, resource)
    except InvalidRequest:
        return
    assert canonical_resource(NOTES, once) == once
    assert json.loads(json.dumps(once)) == once


@settings(deadline=None)
@given(st.text(alphabet=st.characters(categories=("Lu", "Lt", "Mn")), min_size=1, max_size=6))
def test_lower_case_is_final(text: str) -> None:
    try:
        once = canonical_resource(NOTES, {"provider": "notes", "tag": text})
    except InvalidRequest:
        return
    assert canonical_resource(NOTES, once) == once


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*APP, "path", "ref"]) | st.text(), JSON, max_size=6))
def test_any_json_is_accepted_or_refused_cleanly(resource: dict[str, Any]) -> None:
    for command in (None, COMMITS):
        try:
            found = canonical_resource(GITHUB, resource, command)
        except InvalidRequest:
            continue
        assert found["provider"] == "github"


def test_arguments_come_back_in_their_declared_order() -> None:
    args = {"labels": ("b", "a"), "draft": False, "count": -3, "title": "x\ny"}
    found = canonical_args(CALL, args)
    assert list(found) == ["title", "count", "draft", "labels"]
    assert found == {"title": "x\ny", "count": -3, "draft": False, "labels": ["b", "a"]}


@pytest.mark.parametrize(
    ("args", "path"),
    [
        ({"titel": "x"}, "args.titel"),
        ({"resource": {}}, "args.resource"),
        ({"title": None}, "args.title"),
        ({"title": 1}, "args.title"),
        ({"title": "\ud800"}, "args.title"),
        ({"title": "x" * (MAX_ARGUMENT + 1)}, "args.title"),
        ({"count": 1.0}, "args.count"),
        ({"count": "1"}, "args.count"),
        ({"count": True}, "args.count"),
        ({"count": -MAX_INTEGER - 1}, "args.count"),
        ({"draft": "true"}, "args.draft"),
        ({"draft": 1}, "args.draft"),
        ({"labels": "a,b"}, "args.labels"),
        ({"labels": ["a", 1]}, "args.labels"),
        ({"labels": ["a"] * (MAX_ITEMS + 1)}, "args.labels"),
        ({"labels": {"a": 1}}, "args.labels"),
        ({"content": b"x"}, "args.content"),
        ({"content": {"sha256": "00"}}, "args.content"),
        ({"content": {"sha256": "A" * 64}}, "args.content"),
        ({"content": {"sha256": 7}}, "args.content"),
        ({"content": {"sha256": "0" * 64, "more": 1}}, "args.content"),
        ({"content": {}}, "args.content"),
    ],
)
def test_an_argument_that_is_wrong_is_named(args: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        canonical_args(CALL, args)
    assert caught.value.fields == (path,)


def test_a_command_without_arguments_refuses_any() -> None:
    with pytest.raises(InvalidRequest, match="it takes nothing"):
        canonical_args(LIST, {"state": "open"})


def test_a_digested_argument_is_bound_by_the_hash_of_its_text() -> None:
    digest = {"sha256": hashlib.sha256("grüße".encode()).hexdigest()}
    assert canonical_args(CALL, {"content": "grüße"}) == {"content": digest}
    assert canonical_args(CALL, {"content": digest}) == {"content": digest}


def test_a_digested_argument_may_be_longer_than_others() -> None:
    assert canonical_args(CALL, {"content": "x" * (MAX_ARGUMENT + 1)})["content"]


def test_required_arguments_are_checked_if_the_call_is_complete() -> None:
    assert canonical_args(CALL, {}) == {}
    with pytest.raises(InvalidRequest) as caught:
        canonical_args(CALL, {}, complete=True)
    assert caught.value.fields == ("args.title",)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(list(CALL.args)) | st.text(), JSON, max_size=6))
def test_any_arguments_are_accepted_or_refused_cleanly(args: dict[str, Any]) -> None:
    try:
        found = canonical_args(CALL, args)
    except InvalidRequest:
        return
    assert canonical_args(CALL, found) == found


def catalog() -> Mapping[str, Provider]:
    names = ["/github/issue/comment", "/github/issue/comment/list", "/github/issue/list"]
    names.append("/github/issues/list")
    commands = {name: CommandSpec(name=name, risk="read") for name in names}
    return {"github": GITHUB.model_copy(update={"commands": commands}), "notes": NOTES}


def test_a_command_is_found_by_its_exact_name() -> None:
    found = find_command(catalog(), "/github/issue/list")
    assert found is not None
    assert (found[0].name, found[1].name) == ("github", "/github/issue/list")


@pytest.mark.parametrize(
    "name", ["/github/issue", "/github/issue/list/", "/github", "/gitlab/issue/list", "", "/"]
)
def test_other_names_are_no_commands(name: str) -> None:
    assert find_command(catalog(), name) is None


def test_commands_under_a_prefix_are_matched_by_whole_segments() -> None:
    below = ("/github/issue/comment", "/github/issue/comment/list", "/github/issue/list")
    assert commands_under(catalog(), "/github/issue") == below
    assert commands_under(catalog(), "/github/issue/comment") == below[:2]
    assert commands_under(catalog(), "/github/iss") == ()
    assert commands_under(catalog(), "/gitlab") == ()


def test_a_similar_command_is_suggested() -> None:
    assert nearest_command(catalog(), "/github/issue/lst") == "/github/issue/list"
    assert nearest_command(catalog(), "x" * 10_000) is None


def test_a_command_s_first_segment_names_its_provider() -> None:
    assert provider_name("/github/issue/list") == "github"
    assert provider_name("/github") == "github"


@pytest.mark.parametrize("name", ["a" * 100, "." + "a" * 99, ".github", "a.b-c_d", "9"])
def test_repository_names_that_github_permits_are_accepted(name: str) -> None:
    given = {"provider": "github", "owner": "acme", "repo": name}
    assert canonical_resource(GITHUB, given) == given


@pytest.mark.parametrize("name", ["a" * 101, "." + "a" * 100, ".", "..", "..a", "a b", ""])
def test_other_repository_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="repo"):
        canonical_resource(GITHUB, {"provider": "github", "owner": "acme", "repo": name})
