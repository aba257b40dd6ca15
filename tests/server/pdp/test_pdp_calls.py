"""Calls that are accepted, over real HTTP with real tokens."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from server.pdp.conftest import World

REPO = {"provider": "github", "owner": "acme", "repo": "app"}
FILE_READ, FILE_WRITE = "/filesystem/file/read", "/filesystem/file/write"


def file(path: str) -> dict[str, str]:
    return {"provider": "filesystem", "path": path}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_is_returned_for_its_token(world: World) -> None:
    (world.folder / "notes").mkdir()
    (world.folder / "notes/a.txt").write_text("hello")
    said = world.read("notes/a.txt")
    assert said.status_code == 200
    assert said.json() == {
        "path": "notes/a.txt",
        "content": "hello",
        "encoding": "utf-8",
        "size": 5,
        "sha256": sha256("hello"),
    }
    assert said.headers["cache-control"] == "no-store"
    assert said.headers["content-type"] == "application/json"


def test_a_read_token_works_until_it_expires(world: World) -> None:
    (world.folder / "a").write_text("x")
    token = world.token(FILE_READ, file("a"))
    for _ in range(3):
        assert world.call("GET", FILE_READ, token, params={"path": "a"}).status_code == 200


def test_a_file_is_written_and_listed(world: World) -> None:
    said = world.write("new.txt", "content")
    assert (said.status_code, said.json()["sha256"]) == (200, sha256("content"))
    assert (world.folder / "new.txt").read_text() == "content"
    token = world.token("/filesystem/dir/list", file(""))
    listed = world.call("GET", "/filesystem/dir/list", token, params={"path": "/"})
    assert listed.json() == {"entries": [{"name": "new.txt", "type": "file", "size": 7}]}


def test_bytes_are_written_as_base64(world: World) -> None:
    said = world.write("raw", base64.b64encode(b"\xff\x00").decode(), encoding="base64")
    assert said.status_code == 200, said.text
    assert (world.folder / "raw").read_bytes() == b"\xff\x00"


def test_a_write_as_large_as_allowed_goes_through(world: World) -> None:
    content = "\n\u00e9" * (1024 * 1024 // 3)
    said = world.write("big", content)
    assert (said.status_code, said.json()["sha256"]) == (200, sha256(content))
    assert world.read("big").json()["content"] == content


def test_issues_are_listed_under_their_name(world: World) -> None:
    token = world.token("/github/issue/list", REPO)
    params = {"owner": "Acme", "repo": "App", "state": "open"}
    said = world.call("GET", "/github/issue/list", token, params=params)
    assert said.status_code == 200, said.text
    assert [issue["title"] for issue in said.json()["issues"]] == ["It breaks"]
    (method, path, headers, body) = world.upstream.seen[0]
    assert (method, path, body) == ("GET", "/repos/acme/app/issues?state=open", b"")
    assert headers["user-agent"] == "nomos-pdp"


@pytest.mark.parametrize(
    ("command", "resource", "expected"),
    [
        ("/github/repo/read", REPO, {"id": 7, "full_name": "acme/app", "private": True}),
        ("/github/issue/read", {**REPO, "issue_number": 1}, {"number": 1}),
    ],
)
def test_a_single_object_is_returned_unchanged(
    world: World, command: str, resource: dict[str, Any], expected: dict[str, Any]
) -> None:
    token = world.token(command, resource)
    params = {name: value for name, value in resource.items() if name != "provider"}
    said = world.call("GET", command, token, params=params)
    assert said.status_code == 200, said.text
    assert said.json().items() >= expected.items()


@pytest.mark.parametrize(
    ("command", "args", "path"),
    [
        ("/github/issue/create", {"title": "New", "labels": ["a,b"]}, "/repos/acme/app/issues"),
        (
            "/github/pr/create",
            {"title": "Pull", "head": "topic", "base": "main", "draft": True},
            "/repos/acme/app/pulls",
        ),
    ],
)
def test_a_create_call_sends_the_signed_arguments(
    world: World, command: str, args: dict[str, Any], path: str
) -> None:
    token = world.token(command, REPO, args, pol=[["==", ".cmd", command], ["==", ".args", args]])
    said = world.call("POST", command, token, json={"owner": "acme", "repo": "app", **args})
    assert said.status_code == 200, said.text
    (method, sent_to, headers, body) = world.upstream.seen[0]
    assert (method, sent_to, headers["content-type"]) == ("POST", path, "application/json")
    assert json.loads(body) == args


def test_a_grant_of_a_prefix_covers_each_command_under_it(world: World) -> None:
    root = world.grant("/github/issue", REPO)
    token = world.invoke("/github/issue/list", REPO, {}, [root.jwt])
    params = {"owner": "acme", "repo": "app"}
    assert world.call("GET", "/github/issue/list", token, params=params).status_code == 200


def test_a_grant_of_a_folder_covers_paths_under_it(world: World) -> None:
    (world.folder / "d").mkdir()
    (world.folder / "d/f").write_text("x")
    root = world.grant(FILE_READ, file("d"))
    token = world.invoke(FILE_READ, file("d/f"), {}, [root.jwt])
    assert world.call("GET", FILE_READ, token, params={"path": "d/f"}).status_code == 200


def test_a_chain_of_two_links_is_accepted_for_its_holder(world: World) -> None:
    (world.folder / "f").write_text("x")
    root = world.grant(FILE_READ, file("f"))
    link = world.grant(FILE_READ, file("f"), by="agent", to="child", prf=[root.cid])
    token = world.invoke(FILE_READ, file("f"), {}, [root.jwt, link.jwt], by="child")
    said = world.call("GET", FILE_READ, token, params={"path": "f"})
    assert said.status_code == 200, said.text
    assert world.receipts(said)[0].agent == world.dids["child"]


def test_a_token_as_long_as_allowed_reaches_the_gate(world: World) -> None:
    args = {"title": "x", "body": "y" * 15_000}
    token = world.token("/github/issue/create", REPO, args, pol=[["==", ".args", args]])
    assert 45_000 < len(token) < 65_536
    body = {"owner": "acme", "repo": "app", **args}
    assert world.call("POST", "/github/issue/create", token, json=body).status_code == 200


def test_a_well_formed_request_id_is_repeated(world: World) -> None:
    headers = {"x-request-id": "trace:1"}
    said = world.call("GET", FILE_READ, None, headers=headers)
    assert said.headers["x-request-id"] == said.json()["request_id"] == "trace:1"
    for unfit in ("x" * 129, "a b", "", "caf\u00e9".encode().decode("latin-1")):
        said = world.call("GET", FILE_READ, None, headers={"x-request-id": unfit.encode("latin-1")})
        assert said.headers["x-request-id"].startswith("req_")
        assert said.headers["x-request-id"] == said.json()["request_id"]


def test_health_needs_no_token(world: World) -> None:
    assert world.call("GET", "/healthz", None).json() == {"ok": True}
    assert world.call("GET", "/readyz", None).json() == {"ok": True}
    assert "x-request-id" in world.call("GET", "/healthz", None).headers
    assert world.call("POST", "/healthz", None).status_code == 401


def test_a_pdp_without_its_store_is_healthy_and_not_ready(world: World) -> None:
    world.store.broken.add("revoked")
    said = world.call("GET", "/readyz", None)
    assert (said.status_code, said.json()["error"]) == (503, "the store does not answer")
    assert world.call("GET", "/healthz", None).status_code == 200
