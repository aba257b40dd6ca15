"""The schema that the migrations make is the one that the code expects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Engine

from nomos.errors import ConfigurationError
from nomos.server.domain.envelope import action_hash
from nomos.server.domain.redaction import PATTERNS
from nomos.server.storage import nonces, tables
from nomos.server.storage.engine import open_writer
from nomos.server.storage.migrate import upgrade
from nomos.server.storage.tables import metadata


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_writer(tmp_path)
    yield engine
    engine.dispose()


def test_the_migrations_make_the_tables_that_the_code_uses(engine: Engine) -> None:
    with engine.begin() as connection:
        upgrade(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        found = sa.inspect(connection)
        for table in metadata.sorted_tables:
            indexes = {tuple(index["column_names"]) for index in found.get_indexes(table.name)}
            assert indexes == {tuple(column.name for column in i.columns) for i in table.indexes}
            primary = set(found.get_pk_constraint(table.name)["constrained_columns"])
            assert primary == {column.name for column in table.primary_key}


def test_upgrading_twice_changes_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        upgrade(connection)
    with engine.begin() as connection:
        upgrade(connection)
        config = Config()
        config.set_main_option("script_location", "nomos.server.storage:migrations")
        newest = ScriptDirectory.from_config(config).get_current_head()
        assert connection.exec_driver_sql("SELECT * FROM alembic_version").all() == [(newest,)]


def test_a_failed_upgrade_changes_nothing(engine: Engine) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        upgrade(connection)
        transaction.rollback()
    with engine.begin() as connection:
        assert sa.inspect(connection).get_table_names() == []
        upgrade(connection)


def test_a_newer_database_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        upgrade(connection)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with (
        pytest.raises(ConfigurationError, match="schema 9999, which this version of Nomos"),
        engine.begin() as connection,
    ):
        upgrade(connection)


def test_credentials_in_old_records_are_redacted_before_rows_are_hashed(
    engine: Engine,
) -> None:
    secret = "ghp_" + "a1B2" * 9
    pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIN\n-----END PRIVATE KEY-----"
    args = {"n": 0.1, "big": 2**60, "key": [pem, {secret: "ü"}], "ok": None}
    deep: object = secret
    for _ in range(200):
        deep = [deep]
    old = {
        "id": "evt_1",
        "tenant": "t",
        "kind": "call",
        "at": 1,
        "command": f"/{secret}",
        "resource": json.dumps({"provider": "x", secret: ["postgres://u:p@ss@host/"]}),
        "args": json.dumps(args),
        "decision": "allow",
        "policies": "[]",
        "bundle": "b" * 64,
        "purpose": f"use {secret}",
        "request_id": secret,
    }
    with engine.begin() as connection:
        to(connection, "0001")
        for number, changes in enumerate(({}, {"args": json.dumps({"d": deep})}, {"args": "null"})):
            row = {**old, "id": f"evt_{number}", **changes}
            names = ", ".join(row)
            values = ", ".join(f":{name}" for name in row)
            connection.execute(sa.text(f"INSERT INTO receipts ({names}) VALUES ({values})"), row)
        upgrade(connection)
        texts = [row.text for row in connection.execute(sa.text("SELECT * FROM records"))]
    assert not any(part in text for text in texts for part in (secret, "MC4CAQ", "p@ss"))
    first, second, third = map(json.loads, texts)
    mark = "[REDACTED:github_pat]"
    assert (first["command"], first["purpose"]) == (f"/{mark}", f"use {mark}")
    assert first["request_id"] == mark
    assert first["resource"] == {
        "provider": "x",
        mark: ["postgres://[REDACTED:url_password]@host/"],
    }
    assert json.loads(first["detail"]["args"]) == {
        **args,
        "key": ["[REDACTED:private_key]", {mark: "ü"}],
    }
    assert "[REDACTED:depth]" in second["detail"]["args"]
    assert "detail" not in third


def test_the_migration_redacts_every_credential_that_the_server_redacts() -> None:
    """Its own copy may fall behind in time; when it was written it did not."""
    config = Config()
    config.set_main_option("script_location", "nomos.server.storage:migrations")
    script = ScriptDirectory.from_config(config).get_revision("0002")
    assert script is not None
    assert {kind for kind, _ in script.module.SECRETS} <= {kind for kind, _ in PATTERNS}
    for secret in ("AKIAIOSFODNN7EXAMPLE", "_eyJhbGciOiJI.eyJzdWIiOiJ.abcdef", "npm_" + "a" * 36):
        assert "[REDACTED:" in script.module._redacted(secret)


def test_accounts_votes_and_denials_of_an_older_database_are_migrated(engine: Engine) -> None:
    bound = {"tenant": "t", "app": "app_1", "command": "/a/b", "resource": {"x": "é"}, "args": None}
    with engine.begin() as connection:
        to(connection, "0003")

        def put(table: str, **row: object) -> None:
            names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
            connection.execute(sa.text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)

        put("tenants", id="t", issuer_did="did:key:i", created_at=1)
        put("apps", id="app_2", tenant="t", name="Ada", owner="app_1", created_at=1)
        put(
            "envelopes",
            id="env_1",
            tenant="t",
            app="app_1",
            fingerprint="f",
            deed="old",
            state="denied",
            question=json.dumps({"bound": bound}),
            roles="[]",
            policies="[]",
            receipt_id="evt_1",
            created_at=1,
            expires_at=9,
        )
        put("votes", envelope="env_1", operator="app_2", approve=True, roles="[]", at=1)
        rows = [("app_1", "did:a"), ("app_2", "did:a"), ("app_2", "did:b"), ("app_2", None)]
        for seq, (app, did) in enumerate(rows):
            text = json.dumps({"agent": did})
            put(
                "records",
                tenant="t",
                seq=seq,
                id=f"evt_{seq}",
                kind="decision",
                at=seq,
                app=app,
                hash="h",
                text=text,
            )
        upgrade(connection)
        account = connection.execute(sa.select(tables.apps)).one()
        vote = connection.execute(sa.select(tables.votes)).one()
        asked = connection.execute(sa.select(tables.envelopes)).one()
        agents = connection.execute(sa.select(tables.agents).order_by(tables.agents.c.did)).all()
    assert (account.owner, account.confirmed_at, vote.version) == ("app_1", None, None)
    assert asked.deed == action_hash(bound)
    assert [(row.did, row.app) for row in agents] == [("did:a", "app_1"), ("did:b", "app_2")]


def test_nonces_without_an_app_stay_used(engine: Engine) -> None:
    with engine.begin() as connection:
        to(connection, "0006")
        connection.exec_driver_sql("INSERT INTO nonces VALUES ('i', 'a', 'n', 1800000000)")
        upgrade(connection)
        used = nonces.UsedNonce("i", "a", "n", 1_800_000_000, "app_1")
        assert not nonces.claim(connection, used)
        assert nonces.claim(connection, replace(used, nonce="m"))


def to(connection: sa.Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", "nomos.server.storage:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def test_downgrades_are_refused(engine: Engine) -> None:
    """What is on record would be lost, so a backup is the only way back."""
    config = Config()
    config.set_main_option("script_location", "nomos.server.storage:migrations")
    for script in ScriptDirectory.from_config(config).walk_revisions():
        assert not hasattr(script.module, "downgrade")
    with engine.connect() as connection, connection.begin() as transaction:
        upgrade(connection)
        config.attributes["connection"] = connection
        with pytest.raises(AttributeError, match="downgrade"):
            command.downgrade(config, "base")
        assert set(metadata.tables) <= set(sa.inspect(connection).get_table_names())
        transaction.rollback()


def test_there_is_one_head_migration_in_the_package() -> None:
    config = Config()
    config.set_main_option("script_location", "nomos.server.storage:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert len(scripts.get_heads()) == 1
    folder = Path(upgrade.__code__.co_filename).parent / "migrations"
    assert Path(scripts.dir).resolve() == folder.resolve()
    assert all(Path(script.path).is_relative_to(folder) for script in scripts.walk_revisions())
