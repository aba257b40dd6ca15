"""Tokens with an approval: valid once, for the approved call only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from server.pdp.conftest import World

    from nomos._protocol import Signed

READ, WRITE, LIST = "/filesystem/file/read", "/filesystem/file/write", "/filesystem/dir/list"
ENVELOPE = "env_0123456789abcdefghjkmnpqrs"
NOW, TENANT = 1_800_000_000, "acme"
PATH = "careful/f"
CONTENT = "what the lead has seen"
ARGS = {"content": {"sha256": hashlib.sha256(CONTENT.encode()).hexdigest()}}
RECEIPT = "evt_0123456789abcdefghjkmnpqrs"


def file(path: str) -> dict[str, str]:
    return {"provider": "filesystem", "path": path}


def pol(command: str, path: str, args: Mapping[str, Any] | None) -> list[list[Any]]:
    bound = [] if args is None else [["==", ".args", dict(args)]]
    return [["==", ".cmd", command], ["==", ".resource", file(path)], *bound]


def approved(world: World, **more: Any) -> dict[str, Any]:
    """The meta of a delegation as the control plane signs it after an approval."""
    given = {"id": ENVELOPE, "fingerprint": "ab" * 32, "roles": ["lead"]}
    return {"approval": given, "audience": world.dids["pdp"], "receipt_id": RECEIPT} | more


def grant_write(world: World, **change: Any) -> Signed:
    made = {"pol": pol(WRITE, PATH, ARGS), "meta": approved(world)} | change
    return world.grant(WRITE, file(PATH), **made)


def grant_read(world: World, path: str = PATH, **change: Any) -> Signed:
    made = {"pol": pol(READ, path, {}), "meta": approved(world)} | change
    return world.grant(READ, file(path), **made)


def write(world: World, root: Signed, content: str = CONTENT) -> httpx.Response:
    args = {"content": {"sha256": hashlib.sha256(content.encode()).hexdigest()}}
    token = world.invoke(WRITE, file(PATH), args, [root.jwt])
    return world.call("PUT", WRITE, token, json={"path": PATH, "content": content})


def read(world: World, root: Signed, path: str = PATH) -> httpx.Response:
    token = world.invoke(READ, file(path), {}, [root.jwt])
    return world.call("GET", READ, token, params={"path": path})


def result_of(said: httpx.Response) -> tuple[int, str | None]:
    return said.status_code, said.json().get("error_code")


@pytest.fixture(autouse=True)
def careful(world: World) -> None:
    (world.folder / "careful").mkdir()
    (world.folder / PATH).write_text("before")


def content(world: World) -> str:
    return (world.folder / PATH).read_text()


# What an approval is good for


def test_without_an_approval_the_call_is_refused_as_step_up_required(world: World) -> None:
    said = write(world, grant_write(world, meta={}))
    assert result_of(said) == (403, "step_up_required")
    assert "a person looks at careful files first" in said.json()["error"]
    assert content(world) == "before"


def test_an_approved_write_is_done_once(world: World) -> None:
    root = grant_write(world)
    assert result_of(write(world, root)) == (200, None)
    assert content(world) == CONTENT
    (world.folder / PATH).write_text("since then")
    again = write(world, root)
    assert result_of(again) == (403, "approval_already_used")
    assert ENVELOPE in again.json()["error"]
    assert content(world) == "since then"


def test_an_approval_counts_for_its_own_roles_only(world: World) -> None:
    """Policy may want other people by the time of the call than by that of the approval."""
    given = {**approved(world)["approval"], "roles": ["security"]}
    said = write(world, grant_write(world, meta=approved(world, approval=given)))
    assert result_of(said) == (403, "approval_mismatch")
    assert "also requires the approval of lead" in said.json()["error"]
    assert content(world) == "before"


def test_the_same_invocation_repeated_is_refused_as_used(world: World) -> None:
    root = grant_write(world)
    token = world.invoke(WRITE, file(PATH), ARGS, [root.jwt])
    body = {"path": PATH, "content": CONTENT}
    said = [result_of(world.call("PUT", WRITE, token, json=body)) for _ in range(2)]
    assert said == [(200, None), (403, "approval_already_used")]


def test_an_approved_read_is_done_once_too(world: World) -> None:
    root = grant_read(world)
    said = read(world, root)
    assert (said.status_code, said.json()["content"]) == (200, "before")
    again = read(world, root)
    assert result_of(again) == (403, "approval_already_used")
    assert "before" not in again.text.replace(" used before", "")


def test_one_of_many_concurrent_calls_succeeds(world: World) -> None:
    root = grant_write(world)
    with ThreadPoolExecutor(12) as pool:
        said = list(pool.map(lambda _: result_of(write(world, root)), range(12)))
    assert sorted(said, key=str) == [(200, None)] + [(403, "approval_already_used")] * 11


def test_a_used_approval_is_remembered_until_its_delegation_expires(world: World) -> None:
    """Its invocations end long before, and are not what is counted."""
    root = grant_write(world, ttl=3000)
    assert result_of(write(world, root)) == (200, None)
    for minutes in range(4, 48, 4):
        world.now = NOW + 60 * minutes
        for _ in range(9):  # enough claims for old ones to be forgotten
            assert world.write("other", "x").status_code == 200
        assert result_of(write(world, root)) == (403, "approval_already_used")


def test_a_call_that_needs_no_approval_uses_it_too(world: World) -> None:
    (world.folder / "plain").write_text("x")
    root = grant_read(world, "plain")
    assert read(world, root, "plain").status_code == 200
    assert result_of(read(world, root, "plain")) == (403, "approval_already_used")


# What it is not good for


def test_an_approval_does_not_override_a_forbid(world: World) -> None:
    (world.folder / "secret").mkdir()
    (world.folder / "secret" / "f").write_text("s3cret")
    said = read(world, grant_read(world, "secret/f"), "secret/f")
    assert result_of(said) == (403, "policy_denied")
    assert "s3cret" not in said.text


def test_other_arguments_than_the_approved_ones_are_refused(world: World) -> None:
    assert write(world, grant_write(world), "something else").status_code == 403
    assert content(world) == "before"


def test_a_refused_call_does_not_use_it_up(world: World) -> None:
    root = grant_write(world)
    assert write(world, root, "something else").status_code == 403
    assert result_of(write(world, root)) == (200, None)


def test_an_approved_call_that_then_fails_has_used_it_up(world: World) -> None:
    (world.folder / PATH).unlink()
    root = grant_read(world)
    assert result_of(read(world, root)) == (404, "not_found")
    (world.folder / PATH).write_text("later")
    assert result_of(read(world, root)) == (403, "approval_already_used")


def test_an_approved_delegation_cannot_be_delegated(world: World) -> None:
    root = grant_read(world)
    link = world.grant(READ, file(PATH), by="agent", to="child", prf=[root.cid])
    token = world.invoke(READ, file(PATH), {}, [root.jwt, link.jwt], by="child")
    said = world.call("GET", READ, token, params={"path": PATH})
    assert result_of(said) == (401, "chain_invalid")


def test_an_agent_cannot_approve_for_itself(world: World) -> None:
    """What a link says of approvals is the agent's own word; only the issuer's counts."""
    root = world.grant(READ, file(PATH), pol=pol(READ, PATH, {}))
    link = world.grant(
        READ,
        file(PATH),
        by="agent",
        to="child",
        prf=[root.cid],
        meta=approved(world),
        pol=pol(READ, PATH, {}),
    )
    token = world.invoke(READ, file(PATH), {}, [root.jwt, link.jwt], by="child")
    said = world.call("GET", READ, token, params={"path": PATH})
    assert result_of(said) == (403, "step_up_required")


@pytest.mark.parametrize(
    "given",
    [
        {},
        None,
        True,
        ENVELOPE,
        [ENVELOPE],
        {"id": ENVELOPE},
        {"fingerprint": "ab" * 32, "roles": ["lead"]},
        {"id": "env_1", "fingerprint": "ab" * 32, "roles": ["lead"]},
        {"id": 7, "fingerprint": "ab" * 32, "roles": ["lead"]},
        {"id": ENVELOPE, "fingerprint": "AB" * 32, "roles": ["lead"]},
        {"id": ENVELOPE, "fingerprint": "ab" * 31, "roles": ["lead"]},
        {"id": ENVELOPE, "fingerprint": 7, "roles": ["lead"]},
        {"id": ENVELOPE, "fingerprint": "ab" * 32},
        {"id": ENVELOPE, "fingerprint": "ab" * 32, "roles": "lead"},
        {"id": ENVELOPE, "fingerprint": "ab" * 32, "roles": [1]},
        {"id": ENVELOPE, "fingerprint": "ab" * 32, "roles": ["lead"], "uses": 2},
    ],
    ids=str,
)
def test_an_approval_in_an_unknown_form_is_refused(world: World, given: object) -> None:
    """Nor is it a token without one: what the issuer meant by it is not known."""
    root = grant_read(world, meta=approved(world, approval=given))
    assert result_of(read(world, root)) == (403, "approval_not_found")
    (world.folder / "plain").write_text("x")
    free = grant_read(world, "plain", meta=approved(world, approval=given))
    assert result_of(read(world, free, "plain")) == (403, "approval_not_found")


@pytest.mark.parametrize(
    "statements",
    [[], [["==", ".cmd", READ]], [["==", ".resource", file(PATH)]]],
    ids=["nothing", "the command", "the resource"],
)
def test_an_approval_must_name_one_command_and_one_resource(
    world: World, statements: list[Any]
) -> None:
    assert result_of(read(world, grant_read(world, pol=statements))) == (403, "approval_mismatch")


@pytest.mark.parametrize("audience", [None, "stranger", 7])
def test_an_approval_is_valid_for_one_service(world: World, audience: object) -> None:
    """Every service counts for itself, so one good everywhere would be good often."""
    named = world.dids.get(str(audience), audience)
    meta = approved(world, audience=named)
    assert result_of(read(world, grant_read(world, meta=meta))) == (401, "audience_mismatch")


# When the store fails


def test_without_a_replay_store_the_call_is_not_made(world: World) -> None:
    writing, reading = grant_write(world), grant_read(world)
    world.store.broken.add("claim_nonce")
    assert result_of(write(world, writing)) == (503, "unavailable")
    said = read(world, reading)
    assert result_of(said) == (503, "unavailable")
    assert "before" not in said.text
    assert content(world) == "before"
    world.store.broken.clear()
    assert result_of(write(world, writing)) == (200, None)


# What is on record


def test_the_record_has_the_approval_and_its_parent(world: World) -> None:
    root = grant_write(world)
    intent, outcome = world.receipts(write(world, root))
    assert (intent.envelope, intent.parent, intent.cid) == (ENVELOPE, RECEIPT, root.cid)
    assert (outcome.envelope, outcome.parent) == (ENVELOPE, intent.id)
    assert intent.policies == ("careful",)
    (_, refused) = world.receipts(write(world, root))
    assert (refused.reason, refused.envelope) == ("approval_already_used", ENVELOPE)


def test_only_a_proven_approval_is_recorded(world: World) -> None:
    token = world.invoke(READ, file(PATH), {}, [grant_read(world).jwt])
    forged = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    said = world.call("GET", READ, forged, params={"path": PATH})
    (row,) = world.receipts(said)
    assert (said.status_code, row.tenant, row.envelope, row.parent) == (401, TENANT, None, None)
    odd = grant_read(world, "plain", meta={"receipt_id": "not one of ours"})
    (row,) = world.receipts(read(world, odd, "plain"))
    assert (row.parent, row.envelope) == (None, None)
