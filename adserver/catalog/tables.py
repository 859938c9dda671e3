"""The catalog's tables (SQLAlchemy Core), and its newest revision."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    select,
)

_NUMBER: Final = BigInteger().with_variant(Integer(), "sqlite")
"""A serial has 32 bits, a time more. SQLite, whose integers have as many as they need, counts rows only in a
column of just this name."""
_TEXT: Final = String().with_variant(String(collation="C"), "postgresql")
"""Its order is that of its bytes, everywhere."""

METADATA: Final = MetaData()

CATALOGUE: Final = Table(
    "catalogue",
    METADATA,
    Column("revision", _NUMBER, nullable=False),
    Column("kept_from", _NUMBER, nullable=False),
)
"""One row: the newest revision, and the oldest that can be told again (``history``)."""

OBJECTS: Final = Table(
    "objects",
    METADATA,
    Column("kind", _TEXT, primary_key=True),
    Column("full_id", _TEXT, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("etag", _TEXT, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("revision", _NUMBER, nullable=False),
    Index("objects_by_revision", "revision"),
    sqlite_with_rowid=False,
)

FORMER: Final = Table(
    "former",
    METADATA,
    Column("id", _NUMBER, primary_key=True),
    Column("kind", _TEXT, nullable=False),
    Column("full_id", _TEXT, nullable=False),
    Column("until", _NUMBER, nullable=False),
    Column("etag", _TEXT, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("revision", _NUMBER, nullable=False),
    Column("head", _NUMBER, nullable=False),
    Column("tail", _NUMBER, nullable=False),
    Column("middle", LargeBinary, nullable=False),
)
"""Superseded versions of objects, in the order in which they were (``former``)."""

NOTED: Final = Table(
    "noted",
    METADATA,
    Column("revision", _NUMBER, primary_key=True, autoincrement=False),
    Column("at_ms", _NUMBER, nullable=False),
)
"""Which revision was the newest when: some hundred rows."""

SERIALS: Final = Table(
    "serials",
    METADATA,
    Column("id", _NUMBER, primary_key=True),
    Column("space", _TEXT, nullable=False),
    Column("name", _TEXT, nullable=False),
    Column("serial", _NUMBER, nullable=False),
    UniqueConstraint("space", "name"),
    UniqueConstraint("space", "serial"),
    sqlite_autoincrement=True,
)
"""Rows are added and never changed or removed: a serial means one thing for ever."""

LINE_ITEMS: Final = Table(
    "line_items",
    METADATA,
    Column("serial", _NUMBER, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)
"""The last version of every line item there ever was (MessagePack, without creatives)."""

CREATIVES: Final = Table(
    "creatives",
    METADATA,
    Column("serial", _NUMBER, primary_key=True, autoincrement=False),
    Column("line_item", _NUMBER, nullable=False),
    Column("campaign", _TEXT, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""Every version of every creative (MessagePack)."""

MEMBERS: Final = Table(
    "members",
    METADATA,
    Column("audience", _NUMBER, primary_key=True, autoincrement=False),
    Column("pseudonym", LargeBinary, primary_key=True),
    sqlite_with_rowid=False,
)

APPLIED: Final = Table(
    "applied",
    METADATA,
    Column("kind", _TEXT, primary_key=True),
    Column("full_id", _TEXT, primary_key=True),
    Column("digest", _TEXT, nullable=False),
    sqlite_with_rowid=False,
)
"""What the file of an object was when it was last applied."""

BILLED: Final = Table("billed", METADATA, Column("campaign", _NUMBER, primary_key=True, autoincrement=False))

KEYS: Final = Table(
    "keys",
    METADATA,
    Column("id", _TEXT, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("role", _TEXT, nullable=False),
    Column("owner", _TEXT, nullable=False),
    Column("read_prices", Boolean, nullable=False),
    Column("created_ms", _NUMBER, nullable=False),
    Column("revoked", Boolean, nullable=False),
)

SECRETS: Final = Table(
    "secrets",
    METADATA,
    Column("number", _NUMBER, CheckConstraint("number = 1"), primary_key=True, autoincrement=False),
    Column("document", _TEXT, nullable=False),
)
"""One row, never changed: of a database, which servers on several machines share (``secrets``)."""


def newest(connection: Connection) -> int:
    """The newest revision."""
    return int(connection.execute(select(CATALOGUE.c.revision)).scalar_one())
