"""How Alembic runs our migrations: on the connection that `Database.migrate` gives."""

from alembic import context

from holdfast.service.database import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata)
context.run_migrations()
