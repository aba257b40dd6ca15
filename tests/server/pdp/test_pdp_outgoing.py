"""The upstream request of a call, before it is sent."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomos._protocol import Call
from nomos.models import Secret
from nomos.resources import Argument, CommandSpec, Provider, ResourceField, Upstream
from nomos.server.pdp.context import PdpLimits
from nomos.server.pdp.credentials import resolve
from nomos.server.pdp.request import Rebuilt
from nomos.server.pdp.statuses import PdpError
from nomos.server.pdp.upstream import HttpProvider, Outgoing, outgoing
from nomos.server.settings import UpstreamTarget

TEMPLATE = "/v1/{owner}/files/{path}/rows/{key}:watch"


def provider(command: CommandSpec) -> Provider:
    fields = {
        "owner": ResourceField(),
        "path": ResourceField(type="path"),
        "ref": ResourceField(),
        "number": ResourceField(type="integer"),
    }
    return Provider(name="my-api", kind="MyApi", fields=fields, commands={command.name: command})


def spec(path: str = TEMPLATE, method: Any = "GET", **more: Any) -> CommandSpec:
    return CommandSpec(
        name="/my-api/row/read",
        risk="read",
        resource=("owner", "path"),
        optional=("ref",),
        args={
            "key": Argument(required=True),
            "q": Argument(),
            "flag": Argument(type="boolean"),
            "tags": Argument(type="strings"),
            "text": Argument(place="body"),
        },
        upstream=Upstream(method=method, path=path, **more),
    )


def call(command: CommandSpec, resource: dict[str, Any], **args: Any) -> Rebuilt:
    built = Call(cmd=command.name, resource={"provider": "my-api", **resource}, args=args)
    return Rebuilt(provider(command), command, built, args)


def sent(command: CommandSpec, resource: dict[str, Any], **args: Any) -> Outgoing:
    return outgoing(call(command, resource, **args))


def url(what: Rebuilt, base: str = "https://api.example/base") -> httpx.URL:
    http = HttpProvider({}, PdpLimits())
    target = UpstreamTarget(base, Secret("token"))
    return http._request(outgoing(what), resolve("my-api", {"my-api": target})).url


def test_values_fill_the_template_and_the_rest_is_query_or_body() -> None:
    said = sent(
        spec(method="POST"),
        {"owner": "a b", "path": "x/y z"},
        key="k?1",
        q="a&b=c",
        flag=True,
        tags=["x", "y"],
        text="hé",
    )
    assert said.path == "/v1/a%20b/files/x/y%20z/rows/k%3F1:watch"
    assert said.query == "q=a%26b%3Dc&flag=true&tags=x%2Cy"
    assert json.loads(said.body or b"") == {"text": "hé"}


@given(
    owner=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    q=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_no_value_changes_host_path_or_query(owner: str, key: str, q: str) -> None:
    """Decoded segment by segment, the request says exactly what was asked for."""
    command = spec("/v1/{owner}/rows/{key}")
    if {owner, key} & {".", ".."} or any(mark in owner + key for mark in "/\\"):
        with pytest.raises(PdpError):
            url(call(command, {"owner": owner}, key=key, q=q))
        return
    found = url(call(command, {"owner": owner}, key=key, q=q))
    raw_path, _, raw_query = found.raw_path.decode("ascii").partition("?")
    assert (found.scheme, found.host, found.fragment) == ("https", "api.example", "")
    assert [unquote(part) for part in raw_path.split("/")] == ["", "base", "v1", owner, "rows", key]
    assert raw_query.count("&") == 0
    assert unquote(raw_query) == f"q={q}"


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_value_that_is_no_segment_is_refused(value: str) -> None:
    with pytest.raises(PdpError) as raised:
        sent(spec(), {"owner": value, "path": "a"}, key="k")
    assert (raised.value.status, raised.value.fields) == (400, ("resource.owner",))
    with pytest.raises(PdpError) as raised:
        sent(spec("/v1/{key}"), {"owner": "a", "path": "a"}, key=value)
    assert raised.value.status == 400


@pytest.mark.parametrize("value", ["a/b", "/", "../x", "a\\b", "\\"])
def test_a_value_that_a_decoding_upstream_would_split_is_refused(value: str) -> None:
    with pytest.raises(PdpError) as raised:
        sent(spec(), {"owner": value, "path": "a"}, key="k")
    assert (raised.value.status, raised.value.fields) == (400, ("resource.owner",))
    with pytest.raises(PdpError) as raised:
        sent(spec(), {"owner": "o", "path": "a"}, key=value)
    assert (raised.value.status, raised.value.fields) == (400, ("args.key",))
    assert "args.key" in str(raised.value)


def test_a_list_that_a_decoding_upstream_would_split_is_refused() -> None:
    with pytest.raises(PdpError) as raised:
        sent(spec("/v1/{owner}/{path}/{tags}"), {"owner": "o", "path": "a"}, tags=["x", "y/z"])
    assert raised.value.fields == ("args.tags",)


def test_an_argument_with_the_name_of_a_path_field_is_not_a_path() -> None:
    command = spec("/v1/{owner}/{path}").model_copy(
        update={"resource": ("owner",), "args": {"path": Argument(required=True)}}
    )
    with pytest.raises(PdpError) as raised:
        sent(command, {"owner": "o"}, path="a/b")
    assert raised.value.fields == ("args.path",)
    assert sent(command, {"owner": "o"}, path="a").path == "/v1/o/a"


def test_a_folder_that_would_leave_an_empty_segment_is_refused() -> None:
    with pytest.raises(PdpError):
        sent(spec(), {"owner": "a", "path": ""}, key="k")
    said = sent(spec("/v1/{owner}/{key}/{path}"), {"owner": "a", "path": ""}, key="k")
    assert said.path == "/v1/a/k/"


def test_a_field_that_the_upstream_would_not_see_is_refused() -> None:
    """It was signed as a limit; leaving it out would act on more than was granted."""
    with pytest.raises(PdpError) as raised:
        sent(spec(), {"owner": "a", "path": "p", "ref": "main"}, key="k")
    assert (raised.value.status, raised.value.fields) == (400, ("resource.ref",))


def test_a_value_missing_from_the_template_is_refused() -> None:
    with pytest.raises(PdpError) as raised:
        sent(spec("/v1/{owner}/{path}/{number}"), {"owner": "a", "path": "p"}, key="k")
    assert raised.value.fields == ("resource.number",)


def test_an_unserved_command_makes_no_request() -> None:
    with pytest.raises(PdpError) as raised:
        sent(CommandSpec(name="/my-api/x", risk="read"), {})
    assert raised.value.status == 404


@pytest.mark.parametrize("text", ["/a!$&'()*+,;=:@~_.-/{owner}/{path}/{key}"])
def test_every_character_that_a_template_may_hold_can_be_sent(text: str) -> None:
    found = url(call(spec(text), {"owner": "o", "path": "p"}, key="k"))
    assert found.raw_path.decode() == "/base" + text.format(owner="o", path="p", key="k")


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (None, "NOMOS_MY_API_URL"),
        (UpstreamTarget("", Secret("t")), "NOMOS_MY_API_URL"),
        (UpstreamTarget("ftp://x", Secret("t")), "NOMOS_MY_API_URL"),
        (UpstreamTarget("http://", Secret("t")), "NOMOS_MY_API_URL"),
        (UpstreamTarget("https://me:pw@api.example", Secret("t")), "NOMOS_MY_API_URL"),
        (UpstreamTarget("https://api.example?x=1", Secret("t")), "NOMOS_MY_API_URL"),
        (UpstreamTarget("https://api.example:port", Secret("t")), "NOMOS_MY_API_URL"),
        (UpstreamTarget("https://api.example"), "NOMOS_MY_API_TOKEN or NOMOS_MY_API_TOKEN_FILE"),
        (UpstreamTarget("https://api.example", Secret("")), "NOMOS_MY_API_TOKEN"),
        (UpstreamTarget("https://api.example", Secret("s3cr3t\r\nx: y")), "NOMOS_MY_API_TOKEN"),
    ],
)
def test_a_missing_setting_is_named_and_its_value_is_not(
    target: UpstreamTarget | None, names: str
) -> None:
    with pytest.raises(PdpError, match=names) as raised:
        resolve("my-api", {} if target is None else {"my-api": target})
    assert (raised.value.status, raised.value.code) == (503, "unavailable")
    assert "s3cr3t" not in str(raised.value)
    assert "pw" not in str(raised.value)
