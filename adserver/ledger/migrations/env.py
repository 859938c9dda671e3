"""Run by Alembic, in the transaction of who opens the ledger."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
