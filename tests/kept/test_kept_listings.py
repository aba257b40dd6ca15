"""One damaged row: listings name it and continue, and it decides nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import store_access
from data_folders import History, Running, bearer, copy, opened
from sqlalchemy.engine import Connection

from nomos._io.signer import SignerConnection
from nomos.audit.record import Record
from nomos.cli import client
from nomos.models import Secret
from nomos.policy.bundle import Source
from nomos.server.domain.accounts import ApiKey, App
from nomos.server.storage import damaged_rows as damage
from nomos.server.storage.database import Database
from nomos.server.storage.outbox import Outbox, add
from nomos.server.storage.records import new_receipt_id
from nomos.server.storage.steady_clock import Steady
from nomos.server.storage.store import Store

pytestmark = pytest.mark.anyio

NO_UTF8 = "CAST(x'fffe' || {0} AS TEXT)"
HALF = "substr({0}, 1, length({0}) - 2)"
BYTES = "CAST({0} AS BLOB)"

ROOT = "did:key:z6Mk" + "2" * 44
LINK: dict[str, Any] = {
    "id": new_receipt_id(1000),
    "tenant": "default",
    "kind": "delegation",
    "at": 1000,
    "agent": "did:key:z6Mk" + "3" * 44,
    "cid": "a" * 64,
    "root": ROOT,
    "detail": {"by": ROOT, "depth": 1, "swarm": "app_1/family"},
}


@pytest.fixture
async def running(
    tmp_path: Path, link: SignerConnection, history: History
) -> AsyncIterator[Running]:
    data = copy(history.crashed, tmp_path / "data")
    async with opened(data, link, key=history.key) as running:
        boss: Secret = await running.system.create_app("boss", "operator", ("*",))
        running.control.headers.update(bearer(boss.reveal()))
        yield running


def change(path: Path, table: str, column: str, how: str, where: str = "1") -> int:
    """Change bytes of a column behind the server's back."""
    with sqlite3.connect(path / "data" / "nomos.db") as connection:
        value = how.format(column)
        done = connection.execute(f"UPDATE {table} SET {column} = {value} WHERE {where}")
    connection.close()
    return done.rowcount


async def get(running: Running, path: str) -> dict[str, Any]:
    reply = await running.control.get(path)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def refused(running: Running, path: str, name: str) -> None:
    reply = await running.control.get(path)
    assert reply.status_code == 503, reply.text
    assert f"{name} is damaged and cannot be read. Restore" in reply.json()["error"]


@pytest.mark.parametrize("how", [NO_UTF8, HALF, "replace({0}, 'allow', 'deny!')", "''", "'[1]'"])
async def test_receipts(tmp_path: Path, running: Running, how: str) -> None:
    whole = (await get(running, "/v1/receipts?after=0"))["receipts"]
    allowed = next(each["row"] for each in whole if each["row"].get("decision") == "allow")
    seq = allowed["seq"]
    assert change(tmp_path, "records", "text", how, f"seq = {seq}") == 1
    after = await get(running, "/v1/receipts?after=0")
    assert [row["seq"] for row in after["damaged"]] == [seq]
    assert after["receipts"] == [each for each in whole if each["row"]["seq"] != seq]
    for query in (f"before={seq + 1}&limit=1", f"after={seq - 1}&limit=1"):
        page = await get(running, f"/v1/receipts?{query}")
        assert [row["seq"] for row in page["damaged"]] == [seq]
        assert page["receipts"] == []
    await refused(running, f"/v1/receipts/{allowed['id']}", f"row {seq} of the audit log")
    await refused(running, f"/v1/receipts?tree={allowed['id']}", f"row {seq} of the audit log")
    # What it is about can be revoked all the same.
    reply = await running.control.post("/v1/revocations", json={"id": allowed["cid"]})
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("how", [NO_UTF8, HALF])
async def test_swarms(tmp_path: Path, running: Running, how: str) -> None:
    link = Record(**LINK)
    await running.system.store.record(link)
    await running.system.store.record(replace(link, id=new_receipt_id(2000), cid="b" * 64))
    assert (await get(running, "/v1/swarms"))["damaged"] == []
    assert change(tmp_path, "records", "text", how, f"id = '{link.id}'") == 1
    for path in ("/v1/swarms", f"/v1/swarms/{ROOT}", "/v1/swarms/family"):
        found = await get(running, path)
        assert len(found["damaged"]) == 1
        assert not found.get("complete")
    await refused(running, f"/v1/swarms/{link.id}", f"row {found['damaged'][0]} of the audit log")


QUESTIONS = Source(
    "all.cedar",
    'permit(principal, action, resource); @step_up("lead") forbid(principal, action, resource) '
    "unless { context.cosigned };",
)


@pytest.mark.parametrize(
    ("column", "how"),
    [
        ("question", NO_UTF8),
        ("question", HALF),
        ("question", "replace({0}, 'a.txt', 'c.txt')"),
        ("roles", "'\"lead\"'"),
        ("reason", BYTES),
        ("expires_at", "'never'"),
    ],
)
async def test_approvals(
    tmp_path: Path, link: SignerConnection, history: History, column: str, how: str
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    async with opened(data, link, key=history.key, policies=(QUESTIONS,)) as running:
        asked = [
            (await running.ask(ttlSeconds=60, resource=each)).json()["approvalEnvelopeId"]
            for each in FILES
        ]
        boss: Secret = await running.system.create_app("boss", "operator", ("*",))
        agent = dict(running.control.headers)
        running.control.headers.update(bearer(boss.reveal()))
        version = (await get(running, f"/v1/approvals/{asked[0]}"))["version"]
        change(tmp_path, "envelopes", "reason", "'x'", "reason IS NULL")
        change(tmp_path, "envelopes", column, how, f"id = '{asked[0]}'")
        for query in ("state=pending", "state=all"):
            listed = await get(running, f"/v1/approvals?{query}")
            assert asked[1] in [each["id"] for each in listed["approvals"]]
            # An approval without an expiry is not pending.
            assert listed["damaged"] == [asked[0]] or (column, query[6:]) == NEVER
        await refused(running, f"/v1/approvals/{asked[0]}", f"approval {asked[0]}")
        said = {"approve": True, "version": version}
        reply = await running.control.post(f"/v1/approvals/{asked[0]}/decide", json=said)
        assert reply.status_code == 503
        running.control.headers.update({"authorization": agent["authorization"]})
        reply = await running.ask(ttlSeconds=60, resource=FILES[0])
        assert reply.json().get("decision") != "allow"


FILES = [{"provider": "filesystem", "path": name} for name in ("a.txt", "b.txt")]
NEVER = ("expires_at", "pending")


@pytest.mark.parametrize(
    ("column", "how"),
    [
        ("name", NO_UTF8),
        ("name", BYTES),
        ("created_at", "'soon'"),
        ("created_at", "99999999999999"),
    ],
)
async def test_apps(tmp_path: Path, running: Running, column: str, how: str) -> None:
    made = [
        (await running.control.post("/v1/apps", json={"name": name, "role": "agent"})).json()["id"]
        for name in ("one", "two")
    ]
    change(tmp_path, "apps", column, how, f"id = '{made[0]}'")
    listed = await get(running, "/v1/apps")
    assert listed["damaged"] == [made[0]]
    assert made[1] in [each["id"] for each in listed["apps"]]
    reply = await running.control.post(f"/v1/apps/{made[0]}/rotate")
    assert (reply.status_code, f"app {made[0]} is damaged" in reply.text) == (503, True)


@pytest.mark.parametrize("how", [NO_UTF8, HALF, "'\"*\"'", "'{{}}'", "'[7]'"])
async def test_damaged_roles_give_no_access(tmp_path: Path, running: Running, how: str) -> None:
    app = running.control.headers["authorization"].removeprefix("Bearer nomos_").rpartition("_")[0]
    assert change(tmp_path, "api_keys", "covers", how, f"app = '{app}'") == 1
    reply = await running.control.get("/v1/approvals")
    assert reply.status_code == 503
    assert f"the API key of {app} is damaged" in reply.json()["error"]


@pytest.mark.parametrize(("column", "how"), [("url", NO_UTF8), ("decides", "'maybe'")])
async def test_services(
    tmp_path: Path, running: Running, link: SignerConnection, column: str, how: str
) -> None:
    dids = {"one": "did:key:z6Mk" + "2" * 44, "two": "did:key:z6Mk" + "3" * 44}
    for name, did in dids.items():
        sent = {"name": name, "did": did, "url": "https://service.example"}
        assert (await running.control.post("/v1/services", json=sent)).status_code == 200
    change(tmp_path, "services", column, how, "name = 'one'")
    listed = await get(running, "/v1/services")
    assert listed["damaged"] == ["one"]
    assert [each["name"] for each in listed["services"]] == ["two"]
    known = await get(running, "/.well-known/nomos")
    assert [each["name"] for each in known["services"] if each["name"] != "pdp"] == ["two"]
    reply = await running.control.post("/v1/services/one/remove")
    assert (reply.status_code, "service one is damaged" in reply.text) == (503, True)


@pytest.mark.parametrize(
    ("column", "how"),
    [("sources", NO_UTF8), ("sources", HALF), ("sources", "'[[1,2]]'"), ("origin", "'x'")],
)
async def test_policies(tmp_path: Path, running: Running, column: str, how: str) -> None:
    sent = {"sources": {"all.cedar": "permit(principal, action, resource); // more"}}
    assert (await running.control.post("/v1/policies", json=sent)).status_code == 200
    change(tmp_path, "bundles", column, how, "version = 2")
    listed = await get(running, "/v1/policies")
    assert listed["damaged"] == ["2"]
    assert [each["version"] for each in listed["policies"]] == [1]
    await refused(running, "/v1/policies/2", "version 2 of the policies")
    reply = await running.control.post("/v1/policies/2/activate")
    assert (reply.status_code, "version 2 of the policies is damaged" in reply.text) == (503, True)


@pytest.mark.parametrize("how", [NO_UTF8, HALF])
async def test_the_feed_is_not_served_with_a_missing_row(
    tmp_path: Path, running: Running, how: str
) -> None:
    assert (await get(running, "/v1/revocations"))["entries"]
    change(tmp_path, "revocations", "text", how, "seq = 1")
    await refused(running, "/v1/revocations", "row 1 of the log of revocations")


@pytest.mark.parametrize("how", [NO_UTF8, BYTES])
async def test_the_outbox(tmp_path: Path, how: str) -> None:
    (tmp_path / "data").mkdir()
    database = Database(tmp_path / "data")
    await _fill(database)
    change(tmp_path, "outbox", "body", how, "id = 'x'")
    outbox = Outbox(database, lambda: 2000.0, Steady(lambda: 2000.0))
    assert [each.tries for each in await outbox.due(8, 30)] == [1]
    assert await outbox.due(8, 30) == ()
    await database.close()


async def test_messages_with_damaged_ids_do_not_block_others(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    database = Database(tmp_path / "data")
    await _fill(database)
    change(tmp_path, "outbox", "id", NO_UTF8, "id = 'x'")
    outbox = Outbox(database, lambda: 2000.0, Steady(lambda: 2000.0))
    found = [await outbox.due(1, 30) for _ in range(3)]
    assert [each.tries for each in sum(found, ())] == [1]
    with sqlite3.connect(tmp_path / "data" / "nomos.db") as connection:
        errors = connection.execute("SELECT error FROM outbox ORDER BY error").fetchall()
    connection.close()
    assert errors == [(None,), ("the message is damaged",)]
    await database.close()


@pytest.mark.parametrize("how", [NO_UTF8, HALF, "'7'", "'{{}}'"])
async def test_a_damaged_denial_decides_nothing(
    tmp_path: Path, link: SignerConnection, history: History, how: str
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    async with opened(data, link, key=history.key, policies=(QUESTIONS,)) as running:
        ident = (await running.ask(ttlSeconds=60)).json()["approvalEnvelopeId"]
        boss: Secret = await running.system.create_app("boss", "operator", ("*",))
        who = bearer(boss.reveal())
        reply = await running.control.get(f"/v1/approvals/{ident}", headers=who)
        said = {"approve": False, "version": reply.json()["version"]}
        reply = await running.control.post(f"/v1/approvals/{ident}/decide", json=said, headers=who)
        assert reply.status_code == 200, reply.text
        change(tmp_path, "envelopes", "question", how, f"id = '{ident}'")
        # Another question of the same command, which the damaged one may have denied.
        reply = await running.ask(ttlSeconds=60, resource=FILES[1])
        assert reply.status_code == 503, reply.text


def _message(connection: Connection, at: int) -> None:
    add(connection, "default", "approval.requested", {}, at)


async def _fill(database: Database) -> None:
    from nomos.server.storage.migrate import upgrade

    await database.write(upgrade)
    for at in (1_000_000, 1_000_001):
        await database.write(partial(_message, at=at))
    await database.write(
        lambda connection: connection.exec_driver_sql(
            "UPDATE outbox SET id = 'x' WHERE id = (SELECT min(id) FROM outbox)"
        )
    )


@pytest.mark.parametrize(("column", "how"), [("approve", "'x'"), ("roles", HALF), ("roles", "7")])
async def test_a_damaged_vote_does_not_count(
    tmp_path: Path, link: SignerConnection, history: History, column: str, how: str
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    async with opened(data, link, key=history.key, policies=(QUESTIONS,)) as running:
        ident = (await running.ask(ttlSeconds=60)).json()["approvalEnvelopeId"]
        agent = running.control.headers["authorization"]
        boss: Secret = await running.system.create_app("boss", "operator", ("*",))
        running.control.headers.update(bearer(boss.reveal()))
        said = {
            "approve": True,
            "version": (await get(running, f"/v1/approvals/{ident}"))["version"],
        }
        reply = await running.control.post(f"/v1/approvals/{ident}/decide", json=said)
        assert reply.json()["state"] == "approved"
        assert change(tmp_path, "votes", column, how) == 1
        assert (await get(running, "/v1/approvals?state=all"))["damaged"] == [ident]
        running.control.headers["authorization"] = agent
        assert (await running.ask(ttlSeconds=60)).json().get("decision") != "allow"


async def test_a_damaged_row_does_not_fail_writes_of_the_same_group(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    store = Store(tmp_path / "data")
    await store.migrate()
    await store_access.add_tenant(store, "default", "did:key:issuer")
    await store.add_app(App("app_1", "default", "one", 1), ApiKey("app_1", "default", "agent", "0"))
    change(tmp_path, "apps", "name", NO_UTF8)
    with pytest.raises(damage.Damaged, match="a row of the database is damaged"):
        await store.database.write(lambda each: each.exec_driver_sql("SELECT name FROM apps").all())
    await store.close()


def test_the_command_line_names_what_a_listing_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    empty: tuple[object, ...] = ({}, {"damaged": []}, [], None)
    for nothing in empty:
        client._report_damaged(nothing)
    assert capsys.readouterr().err == ""
    client._report_damaged({"damaged": [{"seq": 5, "hash": "…"}, "app_1"]})
    assert capsys.readouterr().err == "damaged: row 5, app_1 cannot be read\n"
