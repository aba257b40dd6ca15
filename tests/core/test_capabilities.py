"""`with` and `can`: what each means, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomos._core.scope import covers, within
from nomos.capabilities import parse
from nomos.errors import ConfigurationError
from nomos.models import Capability

APP = {"provider": "github", "owner": "acme", "repo": "app"}


def one(**members: Any) -> Capability:
    (found,) = parse([members])
    return found


def refused(value: object) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as error:
        parse([value])
    assert str(error.value).startswith(error.value.setting)
    return error.value


@pytest.mark.parametrize(
    ("named", "resource"),
    [
        ("github://acme/app", APP),
        ("github://ACME/App", APP),
        ("github://acme", {"provider": "github", "owner": "acme"}),
        ("filesystem:///notes", {"provider": "filesystem", "path": "notes"}),
        ("filesystem://notes", {"provider": "filesystem", "path": "notes"}),
        ("filesystem:///notes/2026", {"provider": "filesystem", "path": "notes/2026"}),
        ("filesystem:///", {"provider": "filesystem", "path": ""}),
    ],
)
def test_with_names_a_resource(named: str, resource: dict[str, Any]) -> None:
    assert one(**{"with": named}, can="*").resource == resource


@pytest.mark.parametrize(
    ("can", "command"),
    [
        ("repo:read", "/github/repo/read"),
        ("repo", "/github/repo"),
        ("repo:*", "/github/repo"),
        ("*", "/github"),
        ("a:b:c", "/github/a/b/c"),
        ("/github/repo/read", "/github/repo/read"),
        ("/github", "/github"),
    ],
)
def test_can_names_a_command(can: str, command: str) -> None:
    assert one(**{"with": "github://acme/app"}, can=can).command == command


@pytest.mark.parametrize(
    "named",
    [
        *("", "github", "github:", "github:acme", "github:/acme", "//acme/app", "acme/app"),
        *("github://", "github:///app", "github:////", "github://acme/", "github://acme/app/"),
        *("github://acme/app/issues", "github://acme//app", "github://acme/..", "github://../app"),
        *(
            "github://acme/app?ref=x",
            "github://acme/app#x",
            "github://acme%2fapp",
            "github://a@b/c",
        ),
        *("github://*", "github://acme/*", "github://*/app", "github://acme/a*"),
        *("github://acme /app", " github://acme/app", "github://acme/app\n", "github://acme\\app"),
        *(
            "GITHUB://acme/app",
            "github.com://acme/app",
            "github://acme:80/app",
            "github://acmé/app",
        ),
        *("filesystem://", "filesystem:///notes/", "filesystem:////notes", "filesystem:///../etc"),
        *("filesystem:///a/../b", "filesystem:///a/./b", "filesystem:///a//b", "filesystem://../a"),
        *("slack://general", "file:///notes", None, 7, b"github://acme/app", ["github://acme/app"]),
    ],
)
def test_an_ambiguous_or_malformed_with_is_refused(named: object) -> None:
    error = refused({"with": named, "can": "*"})
    assert error.setting == "capabilities[0].with"


@pytest.mark.parametrize(
    "can",
    [
        *("", ":", "repo:", ":repo", "repo::read", "*:read", "repo:*:read", "**", "repo*", "r*"),
        *("Repo:read", "repo/read", "repo read", "repo.read", "../x", "répo", "repo:read\n"),
        *("/", "/github/", "/github//repo", "/github/*", "/Github/repo", "//github/repo"),
        *("/gitlab/repo/read", "/githubs", "/filesystem/read"),
        *(None, 1, ["repo:read"], "a" * 300, "/github/" + "a" * 300),
    ],
)
def test_an_ambiguous_or_malformed_can_is_refused(can: object) -> None:
    assert refused({"with": "github://acme/app", "can": can}).setting == "capabilities[0].can"


def test_a_command_of_another_provider_names_both_providers() -> None:
    error = refused({"with": "github://acme/app", "can": "/filesystem/read"})
    assert "a command of filesystem" in str(error)
    assert "one of github" in str(error)


def test_an_undeclared_provider_needs_command_and_resource() -> None:
    assert '{"command"' in str(refused({"with": "tickets://a", "can": "list"}))
    resource = {"provider": "tickets", "queue": "a", "number": 7}
    found = one(command="/tickets/list", resource=resource)
    assert found == Capability("/tickets/list", resource)
    resource["queue"] = "b"
    assert found.resource["queue"] == "a"


def test_a_resource_with_a_table_is_made_canonical() -> None:
    found = one(
        command="/github/repo", resource={"repo": "App", "owner": "ACME", "provider": "github"}
    )
    assert found == Capability("/github/repo", APP)
    assert list(found.resource) == ["provider", "owner", "repo"]


@pytest.mark.parametrize(
    ("members", "setting"),
    [
        ({"command": "github", "resource": APP}, ".command"),
        ({"command": "/github/", "resource": APP}, ".command"),
        ({"command": None, "resource": APP}, ".command"),
        ({"command": "/gitlab", "resource": APP}, ".resource"),
        ({"command": "/github", "resource": {"owner": "acme"}}, ".resource"),
        ({"command": "/github", "resource": None}, ".resource"),
        ({"command": "/github", "resource": APP | {"repo": None}}, ".resource.repo"),
        ({"command": "/github", "resource": APP | {"repo": ".."}}, ".resource.repo"),
        ({"command": "/github", "resource": APP | {"branch": "x"}}, ".resource.branch"),
        ({"command": "/a", "resource": {"provider": "a", "b": None}}, ".resource"),
        ({"command": "/a", "resource": {"provider": "a", "b": 1.5}}, ".resource"),
        ({"command": "/a", "resource": {"provider": "a", "b": True}}, ".resource"),
        ({"command": "/a", "resource": {"provider": "a", "b": ["c"]}}, ".resource"),
        ({"command": "/a", "resource": {"provider": "a", 1: "c"}}, ".resource"),
        ({"command": "/a", "resource": {"provider": "a", "b": "\ud800"}}, ".resource"),
    ],
)
def test_a_wrong_command_or_resource_is_refused_by_its_name(
    members: dict[str, Any], setting: str
) -> None:
    assert refused(members).setting == f"capabilities[0]{setting}"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "repo:read",
        [],
        {},
        {"with": "github://acme/app"},
        {"can": "repo:read"},
        {"command": "/github"},
        {"with": "github://acme/app", "can": "*", "resource": APP},
        {"with": "github://acme/app", "can": "*", "ttl": 3},
        {"command": "/github", "resource": APP, "nb": {}},
    ],
)
def test_a_capability_has_these_members_and_no_others(value: object) -> None:
    assert refused(value).setting == "capabilities[0]"


@pytest.mark.parametrize(
    "values",
    [None, "github", b"x", 7, {}, [], (), {"with": "github://acme", "can": "*"}, {"a", "b"}],
)
def test_an_empty_list_of_capabilities_is_refused(values: object) -> None:
    with pytest.raises(ConfigurationError) as error:
        parse(values)
    assert error.value.setting == "capabilities"


def test_one_child_has_at_most_64() -> None:
    value = {"with": "github://acme/app", "can": "*"}
    assert len(parse([value] * 64)) == 64
    with pytest.raises(ConfigurationError, match="holds 65"):
        parse([value] * 65)


def test_an_error_names_the_index_of_the_capability() -> None:
    good = {"with": "github://acme/app", "can": "*"}
    with pytest.raises(ConfigurationError) as error:
        parse([good, good | {"can": "a b"}], where="children[3].capabilities")
    assert error.value.setting == "children[3].capabilities[1].can"


def test_args_and_pol_narrow_it_further() -> None:
    nested = {"deep": [1, None, 2.5]}
    pol = [["==", ".args.x", nested]]
    found = one(
        **{"with": "github://acme/app"}, can="issue:list", args={"state": "open", "n": 1}, pol=pol
    )
    assert found.pol == (
        ["==", ".args.state", "open"],
        ["==", ".args.n", 1],
        ["==", ".args.x", {"deep": [1, None, 2.5]}],
    )
    nested["deep"] = []
    assert found.pol[2][2] == {"deep": [1, None, 2.5]}


@pytest.mark.parametrize(
    ("members", "setting"),
    [
        ({"args": ["state"]}, ".args"),
        ({"args": {"resource": {}}}, ".args"),
        ({"args": {"a.b": 1}}, ".args"),
        ({"args": {"": 1}}, ".args"),
        ({"args": {1: 1}}, ".args"),
        ({"args": {"a": float("nan")}}, ".args"),
        ({"args": {"a": object()}}, ".args"),
        ({"args": {"a": 2**53}}, ".args"),
        ({"args": {"a": -(2**53)}}, ".args"),
        ({"args": {"a": {1: 2}}}, ".args"),
        ({"args": {"a": b"x"}}, ".args"),
        ({"args": {"a": "\udc00"}}, ".args"),
        ({"args": {f"a{n}": n for n in range(101)}}, ".args"),
        ({"args": None}, ".args"),
        ({"pol": {}}, ".pol"),
        ({"pol": "=="}, ".pol"),
        ({"pol": None}, ".pol"),
        ({"pol": [["==", ".a", float("inf")]]}, ".pol"),
        ({"pol": [[]] * 101}, ".pol"),
    ],
)
def test_wrong_args_and_statements_are_refused_by_name(
    members: dict[str, Any], setting: str
) -> None:
    value = {"with": "github://acme/app", "can": "*", **members}
    assert refused(value).setting == f"capabilities[0]{setting}"


def test_a_statement_that_never_ends_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "levels" in str(refused({"with": "github://acme/app", "can": "*", "pol": endless}))


def test_a_capability_object_is_accepted_and_checked() -> None:
    value = Capability("/github/repo", APP, (["==", ".args.a", 1],))
    assert parse([value]) == (value,)
    with pytest.raises(ConfigurationError):
        parse([Capability("/gitlab/repo", APP)])


segments = st.lists(st.sampled_from(["repo", "read", "*", "issue", ""]), max_size=4)


@given(segments, st.sampled_from([":", "/"]), st.sampled_from(["", "/github/"]))
def test_can_never_leaves_the_provider(parts: list[str], between: str, start: str) -> None:
    can = start + between.join(parts)
    value: Mapping[str, Any] = {"with": "github://acme/app", "can": can}
    try:
        (found,) = parse([value])
    except ConfigurationError:
        return
    assert within(found.command, "/github")
    assert "*" not in found.command
    named = [part for part in parts if part not in ("", "*")]
    assert found.command == "/".join(["/github", *named]) or start


@given(st.text("acmeAPP./-_%*:@?# \\", max_size=12))
def test_with_names_one_owner_or_one_repository(rest: str) -> None:
    try:
        (found,) = parse([{"with": f"github://{rest}", "can": "*"}])
    except ConfigurationError:
        return
    assert covers({"provider": "github", "owner": rest.partition("/")[0].lower()}, found.resource)
    assert ("repo" in found.resource) is ("/" in rest)
