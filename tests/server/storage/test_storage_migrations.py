"""The schema that the migrations make is the one that the code expects."""

from __future__ import annotations

from collections.abc import Iterator
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
        assert connection.exec_driver_sql("SELECT * FROM alembic_version").all() == [("0002",)]


def test_an_upgrade_that_fails_leaves_nothing(engine: Engine) -> None:
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


def test_there_is_no_way_back_for_what_is_on_record(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "nomos.server.storage:migrations")
    with engine.begin() as connection:
        upgrade(connection)
        config.attributes["connection"] = connection
        with pytest.raises(NotImplementedError, match="restore a backup"):
            command.downgrade(config, "base")


def test_there_is_one_newest_migration_and_it_is_in_the_package() -> None:
    config = Config()
    config.set_main_option("script_location", "nomos.server.storage:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert len(scripts.get_heads()) == 1
    folder = Path(upgrade.__code__.co_filename).parent / "migrations"
    assert Path(scripts.dir).resolve() == folder.resolve()
    assert all(Path(script.path).is_relative_to(folder) for script in scripts.walk_revisions())
