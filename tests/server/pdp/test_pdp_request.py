"""From an HTTP request to one canonical call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from nomos.errors import InvalidRequest
from nomos.resources import CommandSpec, Provider, find_command
from nomos.server.pdp.request import Rebuilt, read_body, rebuild, recorded_args
from nomos.server.pdp.statuses import PdpError
from nomos.server.providers.catalog import load_catalog

CATALOG = load_catalog()
JSON = "application/json"


def command(name: str) -> tuple[Provider, CommandSpec]:
    found = find_command(CATALOG, name)
    assert found is not None
    return found


def from_query(name: str, query: bytes, body: bytes = b"") -> Rebuilt:
    return rebuild(*command(name), query=query, body=body)


def from_body(
    name: str, body: Any, *, query: bytes = b"", content_type: str | None = JSON
) -> Rebuilt:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return rebuild(*command(name), query=query, body=raw, content_type=content_type)


def fields_at_fault(name: str, given: Any) -> tuple[str, ...]:
    make = from_query if isinstance(given, bytes) and not given.startswith(b"{") else from_body
    with pytest.raises(InvalidRequest) as raised:
        make(name, given)
    return raised.value.fields


def test_a_query_becomes_a_canonical_resource_and_its_arguments() -> None:
    call = from_query("/github/issue/list", b"owner=Acme&repo=App&state=open&page=2").call
    assert call.cmd == "/github/issue/list"
    assert call.resource == {"provider": "github", "owner": "acme", "repo": "app"}
    assert call.args == {"state": "open", "page": 2}


def test_a_body_becomes_the_same() -> None:
    body = {"owner": "acme", "repo": "app", "title": "New", "labels": ["a", "b"], "milestone": 3}
    call = from_body("/github/issue/create", body).call
    assert call.resource == {"provider": "github", "owner": "acme", "repo": "app"}
    assert call.args == {"title": "New", "labels": ["a", "b"], "milestone": 3}


def test_a_long_text_is_bound_by_its_digest_and_kept_for_the_call() -> None:
    rebuilt = from_body("/filesystem/file/write", {"path": "a", "content": "hé"})
    assert rebuilt.call.args == {"content": {"sha256": hashlib.sha256("hé".encode()).hexdigest()}}
    assert rebuilt.values == {"content": "hé"}


def test_a_digest_in_place_of_a_text_is_refused() -> None:
    body = {"path": "a", "content": {"sha256": "0" * 64}}
    assert fields_at_fault("/filesystem/file/write", body) == ("args.content",)


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        (b"owner=acme&owner=evil&repo=app", ("owner",)),
        (b"owner=acme&%6fwner=evil&repo=app", ("owner",)),
        (b"owner=acme&repo=app&color=red", ("color",)),
        (b"owner=acme&repo=app&provider=filesystem", ("provider",)),
        (b"owner=acme&repo=app&resource=x", ("resource",)),
        (b"owner=acme", ("resource.repo",)),
        (b"owner=&repo=app", ("resource.owner",)),
        (b"owner=ac%00me&repo=app", ("resource.owner",)),
        (b"owner=acme&repo=..", ("resource.repo",)),
        (b"owner=acme&repo=a%2Fb", ("resource.repo",)),
        (b"owner=acme&repo=app&page=two", ("args.page",)),
        (b"owner=acme&repo=app&page=2.0", ("args.page",)),
        (b"owner=acme&repo=app&page=02", ("args.page",)),
        (b"owner=acme&repo=app&page=-0", ("args.page",)),
        (b"owner=acme&repo=app&page=%D9%A2", ("args.page",)),
        (b"owner=acme&repo=app&page=99999999999999999999", ("args.page",)),
        (b"owner=acme&repo=app&state", ("query",)),
        (b"owner=acme&repo=app&state=%FF", ("query",)),
        (b"owner=acme&repo=app&state=\xff", ("query",)),
        (b"&".join(b"a%d=1" % n for n in range(65)), ("query",)),
    ],
)
def test_an_ambiguous_or_malformed_query_is_refused(query: bytes, fields: tuple[str, ...]) -> None:
    assert fields_at_fault("/github/issue/list", query) == fields


MILESTONE = ("args.milestone",)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b'{"owner":"acme","repo":"app","title":"a","title":"b"}', ("title",)),
        (b'{"owner":"acme","repo":"app","title":"a","t\\u0069tle":"b"}', ("title",)),
        (b'{"owner":"acme","repo":"app","title":NaN}', ("body",)),
        (b'{"owner":"acme","repo":"app","title":"\\ud800"}', ("args.title",)),
        (b'{"owner":"acme","repo":"app","title":null}', ("args.title",)),
        (b'{"owner":"acme","repo":"app","title":7}', ("args.title",)),
        (b'{"owner":"acme","repo":"app","title":"a","milestone":1.0}', ("args.milestone",)),
        (b'{"owner":"acme","repo":"app","title":"a","milestone":true}', ("args.milestone",)),
        (b'{"owner":"acme","repo":"app","title":"a","milestone":1e999}', ("args.milestone",)),
        (b'{"owner":"acme","repo":"app","title":"a","labels":"x"}', ("args.labels",)),
        (b'{"owner":"acme","repo":"app"}', ("args.title",)),
        (b'{"owner":"acme","repo":"app","title":"a","resource":{}}', ("resource",)),
        (b'{"owner":["acme"],"repo":"app","title":"a"}', ("resource.owner",)),
        (b'{"title":' + b"[" * 100_000, ("body",)),
        (b'{"title":' + b"9" * 5000 + b"}", ("body",)),
        (b'{"title":"\xff"}', ("body",)),
        (b"{", ("body",)),
        ('{"owner":"acme","repo":"app","title":"a","e\u0301":1}'.encode(), ("body",)),
        (b'{"owner":"acme","repo":"app","title":"a","milestone":9007199254740992}', MILESTONE),
    ],
)
def test_an_ambiguous_or_malformed_body_is_refused(body: bytes, fields: tuple[str, ...]) -> None:
    assert fields_at_fault("/github/issue/create", body) == fields


@pytest.mark.parametrize(
    "body", [b"[]", b'"x"', b"null", b"", b"\xef\xbb\xbf{}", "{}".encode("utf-16")]
)
def test_a_body_is_a_json_object_in_utf8(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as raised:
        from_body("/github/issue/create", body)
    assert raised.value.fields == ("body",)


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded"]
)
def test_a_body_needs_the_content_type_json(content_type: str | None) -> None:
    with pytest.raises(InvalidRequest, match="content-type"):
        from_body("/github/issue/create", {}, content_type=content_type)


def test_a_read_has_no_body_and_a_write_no_query() -> None:
    with pytest.raises(InvalidRequest) as raised:
        from_query("/github/issue/list", b"owner=acme&repo=app", b"{}")
    assert raised.value.fields == ("body",)
    with pytest.raises(InvalidRequest) as raised:
        from_body("/github/issue/create", {"title": "x"}, query=b"owner=acme&repo=app")
    assert raised.value.fields == ("query",)


@pytest.mark.parametrize(
    "path",
    [
        b"../x",
        b"a/../../x",
        b"a/..",
        b"..",
        b"%2e%2e/x",
        b"a/%2e%2e/x",
        b"%252e%252e%252fx",
        b"a%5C..%5Cx",
        b"a//b",
        b"a/./b",
        b"a%00b",
        b"a/",
        b"%2F%2Fetc/passwd",
        b"a%0Ab",
    ],
)
def test_a_path_that_could_leave_the_workspace_is_refused(path: bytes) -> None:
    assert fields_at_fault("/filesystem/file/read", b"path=" + path) == ("resource.path",)


@pytest.mark.parametrize(
    ("given", "path"), [(b"", ""), (b".", ""), (b"/", ""), (b"./a", "a"), (b"/a/b", "a/b")]
)
def test_a_path_has_one_form(given: bytes, path: str) -> None:
    call = from_query("/filesystem/dir/list", b"path=" + given).call
    assert call.resource == {"provider": "filesystem", "path": path}


def test_true_and_false_are_the_only_booleans_and_commas_separate_lists() -> None:
    provider, spec = command("/github/branch/list")
    query = b"owner=acme&repo=app&protected="
    assert rebuild(provider, spec, query=query + b"true").call.args == {"protected": True}
    with pytest.raises(InvalidRequest) as raised:
        rebuild(provider, spec, query=query + b"1")
    assert raised.value.fields == ("args.protected",)

    labels = spec.args["protected"].model_copy(update={"type": "strings"})
    listed = spec.model_copy(update={"args": {"labels": labels}})
    query = b"owner=acme&repo=app&labels="
    assert rebuild(provider, listed, query=query + b"a,b").call.args == {"labels": ["a", "b"]}
    assert rebuild(provider, listed, query=query).call.args == {"labels": []}


def test_an_undeclared_parameter_is_named_with_the_declared_ones() -> None:
    with pytest.raises(InvalidRequest, match=r"'stat\\u0435'; it takes: owner, repo, state"):
        from_query("/github/issue/list", b"owner=acme&repo=app&stat%D0%B5=open")
    with pytest.raises(InvalidRequest, match="it takes: none"):
        from_query("/github/user/read", b"x=1")


def test_a_body_is_refused_as_soon_as_it_is_too_long() -> None:
    taken = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b"x" * 10

    assert len(anyio.run(read_body, chunks(), 10_000, 5.0)) == 10_000
    taken = 0
    with pytest.raises(PdpError) as raised:
        anyio.run(read_body, chunks(), 25, 5.0)
    assert (raised.value.status, raised.value.fields, taken) == (413, ("body",), 3)


def test_a_receipt_keeps_long_arguments_by_their_digest() -> None:
    assert recorded_args({"title": "short"}) == {"title": "short"}
    kept = recorded_args({"body": "x" * 20_000})
    assert set(kept) == {"sha256", "bytes"}
