"""The environment that Alembic runs: migrations use the connection that the server passes."""

from alembic import context

from nomos.server.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
