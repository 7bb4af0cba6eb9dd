"""Alembic's entry: runs on the connection that `core.storage.database.upgrade` hands over."""

from alembic import context

from core.storage.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
