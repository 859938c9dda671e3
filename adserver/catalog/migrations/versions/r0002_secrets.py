"""A place for the secrets of servers that share a database."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "secrets",
        sa.Column("number", _NUMBER, sa.CheckConstraint("number = 1"), primary_key=True, autoincrement=False),
        sa.Column("document", _TEXT, nullable=False),
    )
