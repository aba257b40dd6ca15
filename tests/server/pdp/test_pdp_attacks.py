"""Calls that must be refused, one row for each attack."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import store_access

if TYPE_CHECKING:
    from server.pdp.conftest import World

READ, WRITE, LIST = "/filesystem/file/read", "/filesystem/file/write", "/github/issue/list"
REPO = {"provider": "github", "owner": "acme", "repo": "app"}


def file(path: str) -> dict[str, str]:
    return {"provider": "filesystem", "path": path}


def names(folder: Path) -> list[str]:
    return sorted(found.name for found in folder.iterdir())


def refusal(response: httpx.Response) -> tuple[int, str]:
    """The status and code of a refusal, once its form has been checked."""
    body = response.json()
    assert set(body) <= {"error", "error_code", "request_id", "hop", "fix", "fields"}
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["error"]
    assert response.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in response.headers) == (response.status_code == 401)
    return response.status_code, body["error_code"]


def part(token: str, index: int, change: Callable[[dict[str, Any]], None]) -> str:
    """A token with one of its parts changed, and encoded as tokens are."""
    parts = token.split(".")
    raw = parts[index]
    value = json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))
    change(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    parts[index] = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    return ".".join(parts)


def another_path(claims: dict[str, Any]) -> None:
    claims["args"]["resource"]["path"] = "other"


def later(claims: dict[str, Any]) -> None:
    claims["exp"] += 1


def flipped(token: str) -> str:
    head, _, signature = token.rpartition(".")
    return f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


def unsigned(token: str) -> str:
    return part(token, 0, lambda header: header.update(alg="none")).rpartition(".")[0] + "."


def good(world: World) -> str:
    return world.token(READ, file("f"))


def widened(world: World) -> str:
    root = world.grant(READ, file("d"))
    link = world.grant(READ, file("f"), by="agent", to="child", prf=[root.cid])
    return world.invoke(READ, file("f"), {}, [root.jwt, link.jwt], by="child")


def long_chain(world: World, length: int) -> str:
    chain = [world.grant(READ, file("f"), to="agent")]
    while len(chain) < length:
        link = world.grant(READ, file("f"), by="agent", to="agent", prf=[chain[-1].cid])
        chain.append(link)
    return world.invoke(READ, file("f"), {}, [link.jwt for link in chain])


TOKENS: dict[str, tuple[Callable[[World], str], tuple[int, str]]] = {
    "another path": (lambda w: part(good(w), 1, another_path), (401, "bad_signature")),
    "a later expiry": (lambda w: part(good(w), 1, later), (401, "bad_signature")),
    "a flipped signature": (lambda w: flipped(good(w)), (401, "bad_signature")),
    "no signature": (lambda w: good(w).rpartition(".")[0] + ".", (401, "malformed_ucan")),
    "alg none": (lambda w: unsigned(good(w)), (401, "malformed_ucan")),
    "padding": (lambda w: good(w) + "==", (401, "malformed_ucan")),
    "two segments": (lambda w: good(w).rpartition(".")[0], (401, "malformed_ucan")),
    "no base64": (lambda _: "a.b.*", (401, "malformed_ucan")),
    "an API key": (lambda _: f"nomos_app_{'7' * 26}_{'a' * 52}", (401, "malformed_ucan")),
    "noise": (lambda _: "abc.def.ghi", (401, "malformed_ucan")),
    "too long": (lambda w: f"{good(w)}{'A' * 66_000}", (401, "malformed_ucan")),
    "the delegation itself": (lambda w: w.grant(READ, file("f")).jwt, (401, "malformed_ucan")),
    "a delegation as the chain of itself": (
        lambda w: w.invoke(READ, file("f"), {}, [good(w)]),
        (401, "malformed_ucan"),
    ),
    "no chain": (lambda w: w.invoke(READ, file("f"), {}, []), (401, "chain_invalid")),
    "of a foreign issuer": (
        lambda w: w.invoke(
            READ,
            file("f"),
            {},
            [w.grant(READ, file("f"), by="other_issuer").jwt],
            root="other_issuer",
        ),
        (401, "untrusted_issuer"),
    ),
    "of the agent's own making": (
        lambda w: w.invoke(
            READ, file("f"), {}, [w.grant(READ, file("f"), by="agent").jwt], root="agent"
        ),
        (401, "untrusted_issuer"),
    ),
    "under a trusted name": (
        lambda w: w.invoke(READ, file("f"), {}, [w.grant(READ, file("f"), by="agent").jwt]),
        (401, "untrusted_issuer"),
    ),
    "of a thief of the delegation": (
        lambda w: w.invoke(READ, file("f"), {}, [w.grant(READ, file("f")).jwt], by="stranger"),
        (401, "chain_invalid"),
    ),
    "for another service": (
        lambda w: w.invoke(READ, file("f"), {}, [w.grant(READ, file("f")).jwt], at="issuer"),
        (401, "audience_mismatch"),
    ),
    "for another command": (
        lambda w: w.invoke(READ, file("f"), {}, [w.grant(WRITE, file("f")).jwt]),
        (401, "chain_attenuation_violation"),
    ),
    "a widened link": (
        widened,
        (401, "chain_attenuation_violation"),
    ),
    "too many links": (lambda w: long_chain(w, 9), (401, "chain_too_deep")),
    "out of its scope": (
        lambda w: w.invoke(READ, file("f"), {}, [w.grant(READ, file("d")).jwt]),
        (403, "resource_out_of_scope"),
    ),
    "against its own policy": (
        lambda w: w.token(READ, file("f"), pol=[["==", ".cmd", WRITE]]),
        (403, "resource_out_of_scope"),
    ),
    "by an approval nobody knows": (
        lambda w: w.token(READ, file("f"), meta={"approval": {"id": "env_1"}}),
        (403, "approval_not_found"),
    ),
}


@pytest.mark.parametrize("name", sorted(TOKENS))
def test_an_invalid_token_is_refused_before_the_request_is_parsed(world: World, name: str) -> None:
    """And before anything is said about the request: also when that is malformed."""
    (world.folder / "f").write_text("content")
    make, expected = TOKENS[name]
    said = world.call("GET", READ, make(world), params={"path": "f"})
    assert refusal(said) == expected
    assert "content" not in said.text

    if expected[1] != "approval_not_found":
        malformed = world.call("GET", f"{READ}?path=f&path=g&x=1", make(world))
        assert refusal(malformed) == expected
        unknown = world.call("GET", "/nothing/like/it", make(world))
        assert refusal(unknown) == expected


def test_a_refusal_has_a_fix(world: World) -> None:
    old = good(world)
    world.now += 60
    ended = world.call("GET", READ, old, params={"path": "f"}).json()
    assert (ended["error_code"], ended["fix"]) == (
        "expired",
        "sign a fresh call with `grant.headers()`",
    )
    world.now += 240
    gone = world.call("GET", READ, old, params={"path": "f"}).json()
    assert (gone["error_code"], gone["fix"]) == ("expired", "ask for a new grant")


@pytest.mark.parametrize(
    ("shift", "code"), [(-61, "not_yet_valid"), (60, "expired"), (400, "expired")]
)
def test_a_token_is_valid_between_its_times_only(world: World, shift: int, code: str) -> None:
    token = good(world)
    world.now += shift
    assert refusal(world.call("GET", READ, token, params={"path": "f"})) == (401, code)


def test_a_token_expires_with_its_shortest_link(world: World) -> None:
    root = world.grant(READ, file("f"), ttl=30)
    token = world.invoke(READ, file("f"), {}, [root.jwt], ttl=30)
    world.now += 30
    said = world.call("GET", READ, token, params={"path": "f"})
    assert refusal(said) == (401, "expired")
    assert said.json()["hop"] == 0


def test_the_hop_at_fault_is_named(world: World) -> None:
    root = world.grant(READ, file("f"))
    link = world.grant(READ, file("f"), by="agent", to="child", prf=[root.cid])
    token = world.invoke(READ, file("f"), {}, [root.jwt, flipped(link.jwt)], by="child")
    said = world.call("GET", READ, token, params={"path": "f"})
    assert (refusal(said), said.json()["hop"]) == ((401, "bad_signature"), 1)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Basic YTpi"},
        {"authorization": "Bearer"},
        {"authorization": ""},
    ],
)
def test_without_a_token_the_reply_reveals_nothing_of_the_request(
    world: World, headers: dict[str, str]
) -> None:
    known, unknown, served = (
        world.call("GET", path, None, headers={**headers, "x-request-id": "same"})
        for path in (READ, "/nothing/like/it", "/github/repo/delete")
    )
    assert refusal(known) == (401, "malformed_ucan")
    assert known.content == unknown.content == served.content


def test_two_tokens_are_refused(world: World) -> None:
    headers = [
        ("authorization", f"Bearer {good(world)}"),
        ("authorization", f"Bearer {good(world)}"),
    ]
    said = world.client.get(f"{world.url}{READ}", params={"path": "f"}, headers=headers)
    assert refusal(said) == (401, "malformed_ucan")


# The token is good, and the request is another one


@pytest.mark.parametrize("path", ["g", "f/g", "F", "f "])
def test_a_token_is_refused_for_another_file(world: World, path: str) -> None:
    said = world.call("GET", READ, good(world), params={"path": path})
    assert refusal(said) == (403, "resource_mismatch")


def test_a_token_is_for_one_command(world: World) -> None:
    token = world.token("/filesystem/dir/list", file(""), meta={})
    said = world.call("GET", READ, token, params={"path": "f"})
    assert refusal(said) == (403, "resource_mismatch")


@pytest.mark.parametrize(
    "params",
    [
        {"state": "closed", "page": 1},
        {"page": 1},
        {"state": "open", "page": 2},
        {"state": "open"},
        {},
    ],
)
def test_every_signed_argument_must_be_present_and_equal(
    world: World, params: dict[str, Any]
) -> None:
    token = world.token(LIST, REPO, {"state": "open", "page": 1})
    given = {"owner": "acme", "repo": "app", **params}
    assert refusal(world.call("GET", LIST, token, params=given)) == (403, "resource_mismatch")
    assert world.upstream.seen == []


def test_an_argument_bound_by_the_issuer_holds_even_if_the_agent_does_not_sign_it(
    world: World,
) -> None:
    root = world.grant(LIST, REPO, pol=[["==", ".args.state", "open"]])
    token = world.invoke(LIST, REPO, {"state": "open"}, [root.jwt])
    given = {"owner": "acme", "repo": "app", "state": "open"}
    assert world.call("GET", LIST, token, params=given).status_code == 200
    given["state"] = "closed"
    assert refusal(world.call("GET", LIST, token, params=given)) == (403, "resource_mismatch")


def test_a_bound_write_refuses_other_arguments(world: World) -> None:
    command, args = "/github/issue/create", {"title": "New"}
    token = world.token(command, REPO, args, pol=[["==", ".args", args]])
    body = {"owner": "acme", "repo": "app", **args, "body": "smuggled"}
    assert refusal(world.call("POST", command, token, json=body)) == (403, "resource_mismatch")
    assert world.upstream.seen == []


def test_other_content_than_the_one_signed_is_not_written(world: World) -> None:
    args = {"content": {"sha256": "0" * 64}}
    token = world.token(WRITE, file("f"), args, pol=[["==", ".args", args]])
    said = world.call("PUT", WRITE, token, json={"path": "f", "content": "mine"})
    assert refusal(said) == (403, "resource_mismatch")
    assert names(world.folder) == []


# The token is good, and the request is malformed


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("path=f&path=f", ["path"]),
        ("path=f&p%61th=g", ["path"]),
        ("path=f&color=red", ["color"]),
        ("path=../f", ["resource.path"]),
        ("path=%2e%2e/f", ["resource.path"]),
        ("path=%2e%2e%2ff", ["resource.path"]),
        ("path=%252e%252e%252ff", ["resource.path"]),
        ("path=..%5cf", ["resource.path"]),
        ("path=f%00", ["resource.path"]),
        ("", ["resource.path"]),
        ("path", ["query"]),
        ("path=%ff", ["query"]),
    ],
)
def test_a_malformed_query_is_named_by_its_field(
    world: World, query: str, fields: list[str]
) -> None:
    said = world.call("GET", f"{READ}?{query}", good(world))
    assert (refusal(said), said.json()["fields"]) == ((400, "invalid_request"), fields)


def test_a_malformed_body_is_named_by_its_field(world: World) -> None:
    token = world.token(WRITE, file("f"))
    headers = {"content-type": "application/json"}
    for body, fields in [
        (b'{"path":"f","content":"a","content":"b"}', ["content"]),
        (b'{"path":"f","content":"a","mode":"777"}', ["mode"]),
        (b'{"path":"f","content":7}', ["args.content"]),
        (b'{"path":"f","content":"\\ud800"}', ["args.content"]),
        (b'{"path":"f"}', ["args.content"]),
        (b'{"path":["f"],"content":""}', ["resource.path"]),
        (b"no json", ["body"]),
        (b"[" * 100_000, ["body"]),
    ]:
        said = world.call("PUT", WRITE, token, content=body, headers=headers)
        assert (refusal(said), said.json()["fields"]) == ((400, "invalid_request"), fields)
    assert names(world.folder) == []


def test_many_unknown_fields_get_a_short_error(world: World) -> None:
    token = world.token(WRITE, file("f"))
    body = {f"{'x' * 300}{number}": 1 for number in range(2000)}
    said = world.call("PUT", WRITE, token, json=body)
    assert refusal(said) == (400, "invalid_request")
    assert len(said.content) < 2000


@pytest.mark.parametrize("command", [WRITE, "/github/issue/create"])
def test_a_body_over_the_cap_is_refused_and_nothing_is_done(world: World, command: str) -> None:
    token = world.token(command, file("f") if command == WRITE else REPO)
    method = "PUT" if command == WRITE else "POST"
    said = world.call(method, command, token, json={"content": "x" * 3_000_000})
    assert (refusal(said), said.json()["fields"]) == ((413, "too_large"), ["body"])


def test_a_file_over_the_cap_is_neither_read_nor_written(world: World) -> None:
    (world.folder / "huge").write_bytes(b"x" * (1024 * 1024 + 1))
    assert refusal(world.read("huge")) == (413, "too_large")
    assert refusal(world.write("f", "x" * (1024 * 1024 + 1))) == (413, "too_large")
    assert names(world.folder) == ["huge"]


# The token is good, and the command is not served


def test_an_unknown_command_has_a_suggestion(world: World) -> None:
    said = world.call("GET", "/filesystem/file/reed", good(world))
    assert refusal(said) == (404, "not_found")
    assert "did you mean /filesystem/file/read?" in said.json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//filesystem/file/read",
        "/filesystem/file/read/",
        "/filesystem//file/read",
        "/filesystem/file/%72ead",
        "/filesystem/x/../file/read",
        "/Filesystem/file/read",
        "/filesystem/file",
        "/filesystem/file/read%00",
        "/v1/authorize",
        "/" + "x" * 3000,
    ],
)
def test_a_path_that_is_no_command_is_not_found(world: World, path: str) -> None:
    request = world.client.build_request(
        "GET", world.url, headers={"authorization": f"Bearer {good(world)}"}
    )
    request.url = httpx.URL(world.url).copy_with(raw_path=b"/x")
    request.extensions["target"] = f"{path}?path=f".encode()
    said = world.client.send(request)
    assert refusal(said) == (404, "not_found")
    assert len(said.content) < 1000


def test_a_command_registered_for_policy_is_not_served(world: World) -> None:
    token = world.token("/github/repo/delete", REPO)
    said = world.call(
        "DELETE", "/github/repo/delete", token, params={"owner": "acme", "repo": "app"}
    )
    assert refusal(said) == (404, "not_found")
    assert "can be decided by policy, but this PDP does not serve it" in said.json()["error"]
    assert world.upstream.seen == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_a_command_has_one_method(world: World, method: str) -> None:
    said = world.call(method, READ, good(world), params={"path": "f"})
    assert refusal(said) == (405, "method_not_allowed")
    assert said.headers["allow"] == "GET"


# Once


def test_a_write_works_once_for_each_token(world: World) -> None:
    body = {"path": "f", "content": "first"}
    token = world.token(WRITE, file("f"))
    assert world.call("PUT", WRITE, token, json=body).status_code == 200
    body["content"] = "second"
    assert refusal(world.call("PUT", WRITE, token, json=body)) == (401, "replayed")
    assert (world.folder / "f").read_text() == "first"


def test_one_of_many_concurrent_writes_with_one_token_succeeds(world: World) -> None:
    token = world.token("/github/issue/create", REPO)
    body = {"owner": "acme", "repo": "app", "title": "New"}

    def once(_: int) -> int:
        return world.call("POST", "/github/issue/create", token, json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(once, range(24)))
    assert sorted(statuses) == [200] + [401] * 23
    assert len(world.upstream.seen) == 1


def test_a_write_refused_before_it_is_made_does_not_use_its_token(
    world: World,
) -> None:
    token = world.token(WRITE, file("f"))
    assert refusal(world.call("PUT", WRITE, token, json={"path": "f"}))[0] == 400
    assert world.call("PUT", WRITE, token, json={"path": "f", "content": ""}).status_code == 200


# Revoked


def revoked(world: World, revoke: Callable[[Any, Any], str]) -> bool:
    """Whether a chain of two works, and no longer once `revoke(root, link)` is revoked."""
    root = world.grant(READ, file("f"), to="revoked_agent")
    link = world.grant(READ, file("f"), by="revoked_agent", to="child", prf=[root.cid])
    token = world.invoke(READ, file("f"), {}, [root.jwt, link.jwt], by="child")
    (world.folder / "f").touch()
    before = world.call("GET", READ, token, params={"path": "f"})
    assert before.status_code == 200, before.text
    world.run(store_access.revoke(world.store.store, "acme", [revoke(root, link)]))
    return refusal(world.call("GET", READ, token, params={"path": "f"})) == (401, "revoked")


def test_a_revoked_link_is_refused_with_all_its_descendants(world: World) -> None:
    assert revoked(world, lambda root, _: root.cid)
    assert revoked(world, lambda _, link: link.cid)


def test_the_tokens_of_a_revoked_key_are_refused(world: World) -> None:
    assert revoked(world, lambda *_: world.dids["revoked_agent"])

    root = world.grant(READ, file("f"), to="other_issuer")
    token = world.invoke(READ, file("f"), {}, [root.jwt], by="other_issuer")
    assert world.call("GET", READ, token, params={"path": "f"}).status_code == 200
    world.run(store_access.revoke(world.store.store, "acme", [world.dids["other_issuer"]]))
    assert refusal(world.call("GET", READ, token, params={"path": "f"})) == (401, "revoked")


def test_a_chain_built_on_a_revoked_ancestor_is_refused(world: World) -> None:
    ancestor = world.grant(READ, file("f"))
    root = world.grant(READ, file("f"), prf=[ancestor.cid])
    token = world.invoke(READ, file("f"), {}, [root.jwt])
    (world.folder / "f").touch()
    assert world.call("GET", READ, token, params={"path": "f"}).status_code == 200
    world.run(store_access.revoke(world.store.store, "acme", [ancestor.cid]))
    assert refusal(world.call("GET", READ, token, params={"path": "f"})) == (401, "revoked")


# Links, pipes and swaps, over HTTP


def test_a_symbolic_link_in_the_workspace_is_not_followed(world: World) -> None:
    (world.folder / "passwd").symlink_to("/etc/passwd")
    (world.folder / "etc").symlink_to("/etc")
    for path in ("passwd", "etc/passwd"):
        assert refusal(world.read(path)) == (403, "resource_out_of_scope")
        assert refusal(world.write(path, "x")) == (403, "resource_out_of_scope")


def test_a_pipe_does_not_hold_up_the_call(world: World) -> None:
    os.mkfifo(world.folder / "pipe")
    assert refusal(world.read("pipe")) == (403, "resource_out_of_scope")
    assert refusal(world.write("pipe", "x")) == (403, "resource_out_of_scope")


# Policy decides on the concrete call


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("secret/f", "policy_denied"),
        ("careful/f", "step_up_required"),
        ("reports/f", "policy_denied"),
        ("blue/f", "policy_denied"),
    ],
)
def test_a_valid_token_does_not_override_policy(world: World, path: str, code: str) -> None:
    (world.folder / path).parent.mkdir()
    (world.folder / path).write_text("content")
    said = world.read(path)
    assert refusal(said) == (403, code)
    assert "content" not in said.text


def test_policy_sees_what_the_issuer_put_into_the_token(world: World) -> None:
    for folder in ("reports", "blue"):
        (world.folder / folder).mkdir()
        (world.folder / folder / "f").touch()
    assert world.read("reports/f", meta={"facts": {"purpose": "report"}}).status_code == 200
    assert world.read("reports/f", meta={"facts": {"purpose": "fun"}}).status_code == 403
    assert world.read("blue/f", meta={"facts": {"agent": {"team": "blue"}}}).status_code == 200
    assert world.read("blue/f", meta={"facts": {"agent": {"team": "red"}}}).status_code == 403
    assert world.read("blue/f", meta={"facts": {"agent": "blue"}}).status_code == 403
    assert world.read("f", meta={"app_id": "app_blocked"}).status_code == 403


def test_policy_does_not_see_meta_of_later_links(world: World) -> None:
    (world.folder / "reports").mkdir()
    (world.folder / "reports/f").touch()
    claim = {"facts": {"purpose": "report"}}
    root = world.grant(READ, file("reports/f"))
    link = world.grant(READ, file("reports/f"), by="agent", to="child", prf=[root.cid], meta=claim)
    token = world.invoke(READ, file("reports/f"), {}, [root.jwt, link.jwt], by="child")
    said = world.call("GET", READ, token, params={"path": "reports/f"})
    assert refusal(said) == (403, "policy_denied")


def test_policy_sees_the_depth_of_the_delegation(world: World) -> None:
    (world.folder / "roots").mkdir()
    (world.folder / "roots/f").touch()
    assert world.read("roots/f").status_code == 200
    root = world.grant(READ, file("roots/f"))
    link = world.grant(READ, file("roots/f"), by="agent", to="child", prf=[root.cid])
    token = world.invoke(READ, file("roots/f"), {}, [root.jwt, link.jwt], by="child")
    said = world.call("GET", READ, token, params={"path": "roots/f"})
    assert refusal(said) == (403, "policy_denied")


def test_policy_sees_whether_the_issuer_bound_the_arguments(world: World) -> None:
    (world.folder / "bound").mkdir()
    args = {
        "content": {"sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}
    }
    body = {"path": "bound/f", "content": "x"}
    unbound = world.token(WRITE, file("bound/f"), args)
    assert refusal(world.call("PUT", WRITE, unbound, json=body)) == (403, "policy_denied")
    bound = world.token(WRITE, file("bound/f"), args, pol=[["==", ".args", args]])
    assert world.call("PUT", WRITE, bound, json=body).status_code == 200
    one = world.token(WRITE, file("bound/f"), args, pol=[["==", ".args.content", args["content"]]])
    assert world.call("PUT", WRITE, one, json=body).status_code == 200
    assert world.read("bound/f").status_code == 200


def test_policy_sees_the_rate_of_an_app(world: World) -> None:
    (world.folder / "slow").mkdir()
    (world.folder / "slow/f").touch()
    busy = {"app_id": "app_busy"}
    statuses = [world.read("slow/f", meta=busy).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 403, 403]
    assert world.read("slow/f", meta={"app_id": "app_calm"}).status_code == 200
    world.now += 60
    assert world.read("slow/f", meta=busy).status_code == 200


def test_a_token_in_the_url_is_refused_even_beside_a_good_one(world: World) -> None:
    said = world.call("GET", READ, good(world), params={"path": "f", "access_token": "x"})
    assert (said.status_code, said.json()["error_code"]) == (400, "invalid_request")
    assert said.headers["www-authenticate"].startswith('Bearer error="invalid_request"')
    assert world.call("GET", READ, good(world), params={"path": "f"}).status_code != 400
