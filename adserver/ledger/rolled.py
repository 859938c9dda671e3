"""The tables that reports are made from (``rollups`` says how), posted in one transaction with the ledger.

* ``rollups``: what events add up to in each cell. All of it follows from ``events`` and ``entries``.
* ``requests``: how often a placement was asked, for how many ads, and how many were answered. Asking is no
  event: it has no line item and no money.
* ``people``: who saw each accepted impression that was not found invalid (64 bits of the pseudonym; of the
  session's where there is no consent). Personal, so old rows are removed; nobody else is named in the ledger.
  Some 32 bytes an impression.
* ``creatives``: which creative a version is of, as terms told.
* ``marks``: numbers by name: ``PEOPLE_SINCE``, from which decision on (in ms) ``people`` is whole;
  ``tallied_of``, the number of a journal's last tally in ``requests``.
"""

from typing import Final

from sqlalchemy import (
    Column,
    Connection,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    inspect,
    select,
)

from adserver.ledger.columns import NUMBER, keys, numbers, words
from adserver.ledger.schema import BY_ID, COUNTED

TABLES: Final = MetaData()
"""Apart from the ledger's own, which are there in every version."""

ROLLED: Final = (*COUNTED, "earned_nanos")
"""The numbers of a cell; ``earned_nanos``: the publisher's, less what was refunded of it."""
ASKED: Final = ("requests", "asked", "answered")
PEOPLE_SINCE: Final = "people_since_ms"

ROLLUPS: Final = Table(
    "rollups",
    TABLES,
    *keys("quarter", "line_item", "creative", "placement"),
    Column("country", words(2), primary_key=True),
    Column("device", SmallInteger, primary_key=True),
    *numbers(*ROLLED),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (quarter)",
)

REQUESTS: Final = Table(
    "requests",
    TABLES,
    *keys("quarter", "placement"),
    Column("country", words(2), primary_key=True),
    Column("device", SmallInteger, primary_key=True),
    *numbers(*ASKED),
    sqlite_with_rowid=False,
)

PEOPLE: Final = Table(
    "people",
    TABLES,
    Column("event_id", LargeBinary(16), primary_key=True),
    *numbers("person"),
    **BY_ID,
)

CREATIVES: Final = Table(
    "creatives",
    TABLES,
    Column("version", NUMBER, primary_key=True, autoincrement=False),
    Column("identity", NUMBER, nullable=False),
)

MARKS: Final = Table(
    "marks",
    TABLES,
    Column("name", words(), primary_key=True),
    *numbers("number"),
    sqlite_with_rowid=False,
)


def tallied_of(consumer: str) -> str:
    """Of the journal that this consumer posts."""
    return f"tallied:{consumer}"


def is_rolled(connection: Connection) -> bool:
    """Whether this is not a ledger of before there were rollups."""
    return inspect(connection).has_table(ROLLUPS.name)


def mark(connection: Connection, name: str) -> int:
    """0 where nothing was marked."""
    found = connection.execute(select(MARKS.c.number).where(MARKS.c.name == name)).scalar()
    return 0 if found is None else int(found)
