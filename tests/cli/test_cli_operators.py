"""`nomos operators`, on the data folder of a running or stopped server."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import store_access
from typer.testing import CliRunner

from nomos.cli.app import app
from nomos.server.control import credentials
from nomos.server.control.credentials import authenticate
from nomos.server.control.login import OPERATORS
from nomos.server.domain.accounts import EVERY_ROLE
from nomos.server.storage.store import Store
from nomos.server.storage.tenants import DEFAULT


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of a server with an operator, one that they registered, and an agent."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)

    async def made() -> None:
        store = Store(folder)
        await store.migrate()
        await store_access.add_tenant(store, DEFAULT, "did:key:x")
        root = credentials.issue("root", "operator", DEFAULT, time.time(), covers=(EVERY_ROLE,))
        await store.add_app(root.app, root.key)
        for name, role in (("olga", "operator"), ("bot", "agent")):
            issued = credentials.issue(
                name,
                "operator" if role == "operator" else "agent",
                DEFAULT,
                time.time(),
                owner=root.app.id,
            )
            await store.add_app(issued.app, issued.key)
        await store.close()

    asyncio.run(made())
    return folder


def run(*args: str) -> Any:
    return CliRunner().invoke(app, ["operators", *args])


def listed(data: Path) -> dict[str, dict[str, Any]]:
    result = run("list", "--json", "--data", str(data))
    assert result.exit_code == 0, result.output
    return {row["name"]: row for row in map(json.loads, result.stdout.splitlines())}


def rotated(data: Path, ident: str) -> None:
    """The account's own person replaces the key."""

    async def work() -> None:
        from nomos.audit.record import Record
        from nomos.server.storage.records import new_receipt_id

        store = Store(data)
        found = await store.apps.find(DEFAULT, ident)
        assert found is not None
        key, _ = credentials.new_key(found.app, found.role, found.covers, shown_to=None)
        receipt = Record(new_receipt_id(1), DEFAULT, "app", 1)
        assert await store.apps.rotate(key, receipt, by=ident)
        await store.close()

    asyncio.run(work())


def test_an_account_counts_as_its_owner_until_it_is_confirmed_here(data: Path) -> None:
    before = listed(data)
    olga, root = before["olga"], before["root"]
    assert set(before) == {"olga", "root"}
    assert (olga["owner"], olga["countsAs"], olga["state"]) == (root["id"], [root["id"]], "active")
    refused = run("confirm", olga["id"], "--data", str(data))
    assert refused.exit_code != 0
    assert f"nomos apps rotate {olga['id']}" in refused.output
    rotated(data, olga["id"])
    done = run("confirm", olga["id"], "--data", str(data))
    assert (done.exit_code, "confirmed" in done.output) == (0, True)
    again = run("confirm", olga["id"], "--data", str(data), "--json")
    assert json.loads(again.stdout)["confirmedBy"] == "server"
    after = listed(data)["olga"]
    assert (after["countsAs"], after["state"]) == ([olga["id"]], "confirmed")
    plain = run("list", "--data", str(data)).stdout.splitlines()
    assert plain[1].split("\t")[:2] == [olga["id"], "confirmed"]


def test_accounts_that_cannot_be_confirmed_are_refused(data: Path) -> None:
    root = listed(data)["root"]["id"]
    for ident, why in ((root, "nothing to confirm"), ("app_0", "nomos operators list")):
        result = run("confirm", ident, "--data", str(data))
        assert result.exit_code != 0
        assert why in result.output


def test_a_locked_out_operator_gets_a_new_key_on_the_server(data: Path) -> None:
    result = run("create", "Ada", "--data", str(data))
    assert result.exit_code == 0, result.output
    key = result.stdout.strip().splitlines()[-1]

    async def used() -> Any:
        store = Store(data)
        found = await authenticate(store, [f"Bearer {key}"], OPERATORS)
        rows = await store_access.receipts(store, DEFAULT)
        await store.close()
        return found, rows

    found, rows = asyncio.run(used())
    assert found.covers == (EVERY_ROLE,)
    assert (rows[0].act, rows[0].actor, rows[0].app) == ("create", "server", found.app)
    assert key not in str(rows)
    assert listed(data)["Ada"]["countsAs"] == [found.app]
    made = json.loads(run("create", "B", "--covers", "lead", "--data", str(data), "--json").stdout)
    assert made["covers"] == ["lead"]


def test_remaining_accounts_of_a_disabled_operator_are_listed(data: Path) -> None:
    root = listed(data)["root"]["id"]
    assert listed(data)["root"]["leftApps"] == []
    assert run("list", "--data", str(data)).stderr == ""

    async def disabled() -> None:
        from nomos.server.storage import apps as aggregate

        store = Store(data)
        await store.database.write(aggregate.disable, DEFAULT, root, 1)
        await store.close()

    asyncio.run(disabled())
    result = run("list", "--data", str(data))
    olga = listed(data)["olga"]["id"]
    assert "2 accounts still work that" in result.stderr
    assert f"nomos apps disable {olga}" in result.stderr
    assert f"nomos apps confirm {olga}" in result.stderr
    assert result.stderr.count("nomos apps confirm") == 1  # an agent's app has no person
    assert len(result.stdout.splitlines()) == 2
    assert {app["name"] for app in listed(data)["root"]["leftApps"]} == {"olga", "bot"}


def test_a_database_of_another_version_is_not_changed(data: Path) -> None:
    async def changed() -> None:
        import sqlalchemy as sa

        store = Store(data)
        older = sa.text("UPDATE alembic_version SET version_num = '0001'")
        await store.database.write(lambda connection: connection.execute(older))
        await store.close()

    asyncio.run(changed())
    result = run("create", "Ada", "--data", str(data))
    assert result.exit_code != 0
    assert "Start the server with it first" in " ".join(result.output.split())


def test_a_folder_without_a_server_is_not_changed(tmp_path: Path) -> None:
    for command in (("list",), ("confirm", "app_0"), ("create", "x")):
        result = run(*command, "--data", str(tmp_path))
        assert result.exit_code != 0
        assert "is not a server's data folder" in result.output
    assert list(tmp_path.iterdir()) == []
