"""Migration of a database to the newest schema."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from nomos.errors import ConfigurationError


def upgrade(connection: Connection) -> None:
    """Apply all missing migrations or none, in the transaction of `connection`."""
    config = _config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    for revision in MigrationContext.configure(connection).get_current_heads():
        if revision not in known:
            raise ConfigurationError(
                f"the database has schema {revision}, which this version of Nomos does not "
                "support. Use the version that wrote it, or a newer one",
                setting="data",
            )
    command.upgrade(config, "head")


def check_newest(connection: Connection) -> None:
    """Raise ConfigurationError unless the database has the newest schema; change nothing."""
    newest = ScriptDirectory.from_config(_config(connection)).get_current_head()
    if MigrationContext.configure(connection).get_current_heads() != (newest,):
        raise ConfigurationError(
            "the database belongs to another version of Nomos, or is empty. Start the server "
            "with it first: it migrates the database or reports the problem",
            setting="data",
        )


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "nomos.server.storage:migrations")
    return config
