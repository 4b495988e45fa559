"""Alembic runs this for each upgrade; `deployments.library.database` gives the connection."""

from alembic import context

from deployments.library.tables import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata)
with context.begin_transaction():
    context.run_migrations()
