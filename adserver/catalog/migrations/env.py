"""Run by Alembic, in the transaction of who opens the catalog."""

from alembic import context

from adserver.catalog.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=False,
)
context.run_migrations()
