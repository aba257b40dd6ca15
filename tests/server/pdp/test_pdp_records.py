"""Receipts of calls, and failures to store them."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import store_access

from nomos.audit.record import Record
from nomos.server.http import quotas
from nomos.server.http.limits import MAX_COUNTED, MAX_KEYS, SlidingWindowCounter
from nomos.server.pdp.context import PdpLimits
from nomos.server.pdp.gate import Gate
from nomos.server.pdp.request_parsing import MAX_COMMAND

if TYPE_CHECKING:
    from server.pdp.conftest import World

READ, WRITE = "/filesystem/file/read", "/filesystem/file/write"
CREATE = "/github/issue/create"
REPO = {"provider": "github", "owner": "acme", "repo": "app"}


def file(path: str) -> dict[str, str]:
    return {"provider": "filesystem", "path": path}


def test_a_read_leaves_one_receipt(world: World) -> None:
    (world.folder / "f").touch()
    root = world.grant(READ, file("f"), meta={"facts": {"purpose": "to see"}})
    token = world.invoke(READ, file("f"), {}, [root.jwt])
    (row,) = world.receipts(world.call("GET", READ, token, params={"path": "f"}))
    assert (row.kind, row.decision, row.reason, row.status) == ("call", "allow", None, 200)
    assert (row.tenant, row.app, row.agent) == ("acme", "app_1", world.dids["agent"])
    assert (row.command, row.resource, row.args) == (READ, file("f"), {})
    assert (row.policies, row.bundle) == (("anyone",), world.ports.bundle.hash)
    assert (row.purpose, row.cid, row.expires_at) == ("to see", root.cid, int(world.now) + 60)
    assert row.at == int(world.now) * 1000


def test_an_app_whose_calls_fill_the_log_is_rejected_without_a_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "BYTES_A_SECOND", 1)
    left = world.ports.quotas
    left._left.clear()
    (world.folder / "f").touch()
    args = {"content": {"sha256": hashlib.sha256(b"x").hexdigest()}}
    write = world.token(WRITE, file("f"), args)
    left.take("acme/app_1", quotas.BYTES, world.ports.elapsed())
    try:
        for said in (
            world.read("f"),
            world.read("secret/f"),  # policy would deny it
            world.call("PUT", WRITE, write, json={"path": "f", "content": "x"}),
        ):
            assert (said.status_code, said.json()["error_code"]) == (429, "rate_limited")
            assert int(said.headers["retry-after"]) >= 1
            assert world.receipts(said) == []
        assert world.read("f", meta={"app_id": "app_2"}).status_code == 200
    finally:
        left._left.clear()
    again = world.call("PUT", WRITE, write, json={"path": "f", "content": "x"})
    assert again.status_code == 200, "its token was not used up"


def test_text_chosen_by_agents_counts_in_the_apps_quota(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[str, int]] = []

    def take(app: str, size: int, now: float) -> None:
        assert now > 0
        taken.append((app, size))

    monkeypatch.setattr(world.ports.quotas, "take", take)
    (world.folder / "f").touch()
    root = world.grant(READ, file("f"))
    for statements in (1, 500):
        pol = [["==", ".resource.path", "f"]] * statements
        link = world.grant(READ, file("f"), by="agent", to="child", prf=[root.cid], pol=pol)
        token = world.invoke(READ, file("f"), {}, [root.jwt, link.jwt], by="child")
        assert world.call("GET", READ, token, params={"path": "f"}).status_code == 200
    body = {"owner": "acme", "repo": "app", "title": "t", "body": "x" * 5000}
    assert world.call("POST", CREATE, world.token(CREATE, REPO), json=body).status_code == 200
    assert {app for app, _ in taken} == {"acme/app_1"}
    few, many, write = (size for _, size in taken)
    assert few < 200
    assert many - few >= 499 * len(str(pol[0]))
    assert write > 2 * 5000, "a write has two receipts"


def test_a_write_leaves_its_intent_and_its_outcome(world: World) -> None:
    intent, outcome = world.receipts(world.write("f", "content"))
    assert (intent.decision, intent.status) == ("allow", None)
    assert (outcome.decision, outcome.status) == ("allow", 200)
    assert outcome.id == f"{intent.id}_end"
    assert intent.args == outcome.args
    assert "content" in (outcome.args or {})
    assert "'content'" not in str((outcome.args or {}).values())


def test_two_calls_with_one_request_id_do_not_mix(world: World) -> None:
    """Callers choose that id, so it is not what ties an outcome to its intent."""
    for content in ("one", "two"):
        args = {"content": {"sha256": hashlib.sha256(content.encode()).hexdigest()}}
        said = world.call(
            "PUT",
            WRITE,
            world.token(WRITE, file("f"), args),
            json={"path": "f", "content": content},
            headers={"x-request-id": "chosen"},
        )
    rows = world.receipts(said)
    intents = {row.id: row.args for row in rows if row.status is None}
    outcomes = {row.id: row.args for row in rows if row.status is not None}
    assert len(intents) == 2
    assert outcomes == {f"{ident}_end": args for ident, args in intents.items()}


def test_a_policy_refusal_is_recorded_with_its_reason_and_policies(world: World) -> None:
    (row,) = world.receipts(world.read("secret/f"))
    assert (row.decision, row.reason, row.status) == ("deny", "policy_denied", 403)
    assert row.policies == ("no-secrets",)


def test_an_allowed_call_that_failed_is_recorded_as_allow_with_its_status(world: World) -> None:
    (row,) = world.receipts(world.read("missing"))
    assert (row.decision, row.reason, row.status) == ("allow", None, 404)
    (row,) = world.receipts(world.write("missing/f", "x"))
    assert (row.decision, row.reason, row.status) == ("allow", None, 404)


def test_a_path_through_a_symbolic_link_is_recorded_as_deny(world: World) -> None:
    (world.folder / "link").symlink_to("/etc/passwd")
    (row,) = world.receipts(world.read("link"))
    assert (row.decision, row.reason, row.status) == ("deny", "resource_out_of_scope", 403)


def test_a_replay_is_recorded_as_one(world: World) -> None:
    token = world.token(WRITE, file("f"))
    body = {"path": "f", "content": "x"}
    world.call("PUT", WRITE, token, json=body)
    intent, outcome = world.receipts(world.call("PUT", WRITE, token, json=body))
    assert intent.status is None
    assert (outcome.decision, outcome.reason, outcome.status) == ("deny", "replayed", 401)


def test_a_token_that_proves_nothing_is_recorded_without_what_it_claims(world: World) -> None:
    token = world.token(READ, file("f"))
    head, _, signature = token.rpartition(".")
    forged = f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    (row,) = world.receipts(world.call("GET", READ, forged, params={"path": "f"}))
    assert (row.tenant, row.decision, row.reason, row.status) == (
        "acme",
        "deny",
        "bad_signature",
        401,
    )
    assert (row.agent, row.app, row.purpose, row.cid) == (None, None, None, None)
    assert (row.command, row.resource) == (READ, file("f"))

    (row,) = world.receipts(world.call("GET", "/some/thing", forged))
    assert (row.command, row.resource, row.args) == ("/some/thing", {}, None)


def test_a_credential_in_a_path_is_redacted_completely(world: World) -> None:
    path = "/" + "x" * (MAX_COMMAND - 1 - 15) + "ghp_" + "a1B2" * 9
    assert len(path) > MAX_COMMAND
    (row,) = world.receipts(world.call("GET", path, "a.b.c"))
    assert row.command is not None
    assert len(row.command) == MAX_COMMAND
    assert "ghp_" not in row.command
    assert "[REDACTED" in row.command


def test_a_token_for_another_request_is_recorded_with_the_request(world: World) -> None:
    token = world.token(READ, file("f"))
    (row,) = world.receipts(world.call("GET", READ, token, params={"path": "g"}))
    assert (row.reason, row.resource) == ("resource_mismatch", file("g"))


def test_a_request_without_a_decision_has_no_receipt(world: World) -> None:
    token = world.token(READ, file("f"))
    assert world.receipts(world.call("GET", READ, None)) == []
    assert world.receipts(world.call("GET", READ, token)) == []
    assert world.receipts(world.call("GET", "/no/such", token)) == []


def test_secrets_in_arguments_are_redacted_before_they_are_stored(world: World) -> None:
    secret = "ghp_" + "a1B2" * 9
    token = world.token(CREATE, REPO)
    body = {"owner": "acme", "repo": "app", "title": f"use {secret}", "body": "x" * 20_000}
    rows = world.receipts(world.call("POST", CREATE, token, json=body))
    assert len(rows) == 2
    assert secret not in repr(rows)
    assert set(rows[0].args or {}) == {"sha256", "bytes"}

    token, body = world.token(CREATE, REPO), {**body, "body": "short"}
    rows = world.receipts(world.call("POST", CREATE, token, json=body))
    assert (rows[0].args or {})["title"] == "use [REDACTED:github_pat]"


# When the store fails


def test_a_read_whose_receipt_cannot_be_stored_returns_no_content(world: World) -> None:
    (world.folder / "f").write_text("content")
    world.store.broken.add("record")
    said = world.read("f")
    assert (said.status_code, said.json()["error_code"]) == (503, "unavailable")
    assert "content" not in said.text


def test_a_failed_read_whose_receipt_cannot_be_stored_is_unavailable(world: World) -> None:
    world.store.broken.add("record")
    assert world.read("missing").status_code == 503


def test_a_write_whose_intent_cannot_be_stored_is_not_made(world: World) -> None:
    world.store.broken.add("record")
    said = world.write("f", "content")
    assert (said.status_code, said.json()["error_code"]) == (503, "unavailable")
    assert not (world.folder / "f").exists()


def test_a_write_whose_outcome_cannot_be_stored_is_reported_as_made(world: World) -> None:
    world.store.failing_after = 1
    said = world.write("f", "content")
    assert said.status_code == 200
    assert (world.folder / "f").read_text() == "content"
    (intent,) = world.receipts(said)
    assert (intent.decision, intent.status) == ("allow", None)


def test_without_a_replay_store_writes_are_unavailable(world: World) -> None:
    world.store.broken.add("claim_nonce")
    said = world.write("f", "content")
    assert (said.status_code, said.json()["error_code"]) == (503, "unavailable")
    assert not (world.folder / "f").exists()


def test_without_the_revocation_store_every_token_is_refused(world: World) -> None:
    (world.folder / "f").write_text("content")
    world.store.broken.add("revoked")
    said = world.read("f")
    assert (said.status_code, said.json()["error_code"]) == (503, "revocations_stale")
    assert "content" not in said.text


def test_a_refusal_stands_even_if_it_cannot_be_recorded(world: World) -> None:
    world.store.broken.add("record")
    assert world.read("secret/f").status_code == 403
    assert world.call("GET", READ, "a.b.c").status_code == 401


# Bounds


def test_only_so_many_refused_tokens_are_recorded_in_a_minute(world: World) -> None:
    """Anyone can send these; without a bound anyone could fill the disk."""
    ports = replace(world.ports, limits=PdpLimits(unproven_receipts_per_minute=3))
    gate = Gate(ports)
    before = rows(world)

    async def flood() -> None:
        from nomos.server.pdp.request_parsing import PdpRequest
        from nomos.server.pdp.statuses import PdpError

        async def body(cap: int) -> bytes:
            return b""

        for _ in range(5):
            asked = PdpRequest("GET", READ, b"", ("Bearer a.b.c",), None, body, "flood")
            with pytest.raises(PdpError):
                await gate.serve(asked)

    world.run(flood())
    assert rows(world) - before == 3 + 1  # the last says that from there on they are counted
    world.run(gate.close())


def rows(world: World) -> int:
    return len(world.run(store_access.receipts(world.store.store, "acme", 10_000)))


def test_a_pace_counts_what_came_before_within_a_minute() -> None:
    pace = SlidingWindowCounter()
    assert [pace.count("a", now) for now in (0, 10, 59.9, 60, 70)] == [0, 1, 2, 2, 2]
    assert pace.count("b", 70) == 0


def test_a_pace_holds_so_much_and_no_more() -> None:
    pace = SlidingWindowCounter()
    for _ in range(MAX_COUNTED + 5):
        last = pace.count("a", 0)
    assert last == MAX_COUNTED
    for number in range(MAX_KEYS + 5):
        pace.count(str(number), 0)
    assert len(pace) == MAX_KEYS
    assert pace.count("a", 0) == 0


def test_a_gate_that_is_closed_twice_stores_its_counts_once(world: World) -> None:
    gate = Gate(replace(world.ports, limits=PdpLimits(unproven_receipts_per_minute=3)))
    world.run(_refuse(gate, 50))
    before = rows(world)
    world.run(gate.close())
    once = rows(world)
    world.run(gate.close())
    assert before < once == rows(world)


async def _refuse(gate: Gate, times: int, token: str = "a.b.c") -> None:
    from nomos.server.pdp.request_parsing import PdpRequest
    from nomos.server.pdp.statuses import PdpError

    async def body(cap: int) -> bytes:
        return b""

    for _ in range(times):
        with pytest.raises(PdpError):
            await gate.serve(
                PdpRequest("GET", READ, b"", (f"Bearer {token}",), None, body, "flood")
            )


def test_refused_tokens_beyond_the_limit_are_counted_exactly(world: World) -> None:
    gate = Gate(replace(world.ports, limits=PdpLimits(unproven_receipts_per_minute=3)))
    before = rows(world)
    world.run(_refuse(gate, 50))
    world.run(_refuse(gate, 7, world.token(READ, {"provider": "filesystem", "path": "f"}) + "x"))
    (begin, *_) = world.run(store_access.receipts(world.store.store, "acme", 1))
    assert (begin.act, begin.kind, begin.agent) == ("fold_begin", "call", None)
    world.run(gate.close())
    world.run(gate.close())
    kept = world.run(store_access.receipts(world.store.store, "acme", 10_000))[
        : rows(world) - before
    ]
    single = [row for row in kept if row.act is None]
    counts = {row.reason: row.detail["count"] for row in kept if row.act == "fold"}
    assert len(single) + sum(counts.values()) == 57
    assert sum(counts.values()) == 54
    assert {row.decision for row in kept} == {"deny"}
    assert all(row.detail["since"] <= row.detail["until"] for row in kept if row.act == "fold")


def test_a_count_that_cannot_be_stored_is_stored_with_the_next(world: World) -> None:
    gate = Gate(replace(world.ports, limits=PdpLimits(unproven_receipts_per_minute=1)))
    world.run(_refuse(gate, 5))
    world.store.broken.add("record")
    world.run(_refuse(gate, 5))
    world.run(_failing(gate))
    world.store.broken.clear()
    world.run(gate.close())
    (last, *_) = world.run(store_access.receipts(world.store.store, "acme", 1))
    assert (last.act, last.detail["count"]) == ("fold", 9)


async def _failing(gate: Gate) -> None:
    with pytest.raises(OSError, match="disk"):
        await gate._refused._folded.flush()


def test_counts_are_stored_while_it_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nomos.server.pdp.rejection_counter.FIRST_SECONDS", 0.01)
    rows_before = rows(world)
    gate = Gate(replace(world.ports, limits=PdpLimits(unproven_receipts_per_minute=1)))
    world.run(_refuse(gate, 5))

    async def stored() -> int:
        counted = 0
        for _ in range(1000):
            kept = (await store_access.receipts(world.store.store, "acme", 10_000))[
                : rows_before * -1 or None
            ]
            counted = sum(row.detail["count"] for row in kept if row.act == "fold")
            if counted >= 4:
                break
            await asyncio.sleep(0.01)
        return counted

    assert world.run(stored()) == 4


def test_agents_that_are_counted_apart_are_bounded(world: World) -> None:
    from nomos.server.pdp.rejection_counter import MOST_GROUPS, RejectionCounter, RejectionGroup

    kept: list[Record] = []

    async def keep(record: Record) -> None:
        kept.append(record)

    async def count() -> None:
        folded = RejectionCounter(keep, lambda: 1.0)
        for number in range(MOST_GROUPS + 100):
            folded.count(RejectionGroup("acme", "root", f"agent {number}", "expired"))
        await folded.close()

    world.run(count())
    assert len(kept) == MOST_GROUPS + 1
    assert sum(row.detail["count"] for row in kept) == MOST_GROUPS + 100
