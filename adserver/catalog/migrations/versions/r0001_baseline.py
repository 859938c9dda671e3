"""What there was when migrations began: version 2 of the file."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def _column(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _key(name: str, kind: sa.types.TypeEngine[Any], counted: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=counted)


def upgrade() -> None:
    op.create_table("catalogue", _column("revision", _NUMBER), _column("kept_from", _NUMBER))
    op.execute("INSERT INTO catalogue (revision, kept_from) VALUES (0, 0)")
    op.create_table(
        "objects",
        _key("kind", _TEXT),
        _key("full_id", _TEXT),
        _column("body", sa.LargeBinary()),
        _column("etag", _TEXT),
        _column("archived", sa.Boolean()),
        _column("revision", _NUMBER),
        sqlite_with_rowid=False,
    )
    op.create_index("objects_by_revision", "objects", ["revision"])
    op.create_table(
        "former",
        _key("id", _NUMBER, counted=True),
        _column("kind", _TEXT),
        _column("full_id", _TEXT),
        _column("until", _NUMBER),
        _column("etag", _TEXT),
        _column("archived", sa.Boolean()),
        _column("revision", _NUMBER),
        _column("head", _NUMBER),
        _column("tail", _NUMBER),
        _column("middle", sa.LargeBinary()),
    )
    op.create_table("noted", _key("revision", _NUMBER), _column("at_ms", _NUMBER))
    op.create_table(
        "serials",
        _key("id", _NUMBER, counted=True),
        _column("space", _TEXT),
        _column("name", _TEXT),
        _column("serial", _NUMBER),
        sa.UniqueConstraint("space", "name"),
        sa.UniqueConstraint("space", "serial"),
        sqlite_autoincrement=True,
    )
    op.create_table("line_items", _key("serial", _NUMBER), _column("body", sa.LargeBinary()))
    op.create_table(
        "creatives",
        _key("serial", _NUMBER),
        _column("line_item", _NUMBER),
        _column("campaign", _TEXT),
        _column("body", sa.LargeBinary()),
    )
    op.create_table(
        "members",
        _key("audience", _NUMBER),
        _key("pseudonym", sa.LargeBinary()),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "applied",
        _key("kind", _TEXT),
        _key("full_id", _TEXT),
        _column("digest", _TEXT),
        sqlite_with_rowid=False,
    )
    op.create_table("billed", _key("campaign", _NUMBER))
    op.create_table(
        "keys",
        _key("id", _TEXT),
        _column("digest", sa.LargeBinary()),
        _column("role", _TEXT),
        _column("owner", _TEXT),
        _column("read_prices", sa.Boolean()),
        _column("created_ms", _NUMBER),
        _column("revoked", sa.Boolean()),
    )
