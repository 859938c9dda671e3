"""Who serves from a ledger that several machines share."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_NUMBER = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("machine", _TEXT, nullable=False),
        sa.Column("serves", sa.SmallInteger(), nullable=False),
        sa.Column("door", _TEXT, nullable=False),
        sa.Column("gone", sa.SmallInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        # A file of before there were notes is given all tables at once.
        if_not_exists=True,
    )
