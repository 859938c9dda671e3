"""The ledger's tables (SQLAlchemy Core; what is of one database is in ``sqlite`` or ``postgres``).

* ``events``: each accepted or expired event once, by (event id, kind), as the journal recorded it.
* ``filtered``: events that did not use their id up; an accepted one may follow under the same id.
* ``reversals``: events of these that were found invalid later, each once.
* ``conversions``: what advertisers told of (``ledger.conversions``).
* ``entries``: double entry, append-only. Each says: ``debit`` owes, ``credit`` is owed, ``amount_nanos``.
  Accounts are named ``advertiser:<serial>:<currency>``, ``publisher:<serial>:<currency>`` and
  ``operator:<currency>``. ``reversal``: 0 for the publisher's part of an event, ``OPERATORS`` for what the
  operator keeps of it; ``REVERSAL`` is added where that was taken back.
* ``balances``: debits minus credits of each account; they add up to zero.
* ``budgets``: billed per budget account (``line_item:<serial>``, ``campaign:<serial>``,
  ``advertiser:<serial>``) and day (-1: lifetime), whether it has a limit or not: one given later finds
  what was spent. The CHECK is law 3 as a constraint; ``guards`` says what ``limit_nanos`` is.
* ``totals``: what was delivered per line item and day (-1: all days).
* ``shown``: accepted events per line item, placement and version of a creative: what rates are learned
  from. All of it follows from ``events``; a file without it is given it when it is opened.
* ``line_items``, ``placements``: who pays in which currency, who is paid; ``budget_limits``: the history
  of each budget.
* ``offsets``: how far into the journal all this goes; moved in the transaction that posts.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    LargeBinary,
    SmallInteger,
    Table,
    inspect,
)

from adserver.domain.books import Counts
from adserver.ledger import (
    machine_tables,  # noqa: F401  # one of those that are made
    statement_tables,
)
from adserver.ledger.columns import NUMBER, words
from adserver.ledger.conversions import CONVERSIONS
from adserver.ledger.metadata import METADATA

LIFETIME: Final = -1
"""The ``day`` of a lifetime budget, and of the totals over all days."""

REVERSAL: Final = 1
OPERATORS: Final = 2
"""Of ``entries.reversal``, to be added up."""


def _event_columns() -> list[Column[Any]]:
    return [
        Column("event_id", LargeBinary(16), primary_key=True),
        Column("kind", SmallInteger, primary_key=True),
        Column("status", SmallInteger, nullable=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("line_item", NUMBER, nullable=False),
        Column("creative", NUMBER, nullable=False),
        Column("placement", NUMBER, nullable=False),
        Column("day", NUMBER, nullable=False),
        Column("billed_nanos", BigInteger, nullable=False),
        Column("free_nanos", BigInteger, nullable=False),
        Column("unbilled", SmallInteger, nullable=False),
        Column("reason", words(), nullable=False),
        Column("test", SmallInteger, nullable=False),
        Column("country", words(2), nullable=False),
        Column("device", SmallInteger, nullable=False),
    ]


BY_ID: Final[dict[str, Any]] = {"sqlite_with_rowid": False, "postgresql_partition_by": "RANGE (event_id)"}
"""A table that grows by event (``partitions``)."""

EVENTS: Final = Table("events", METADATA, *_event_columns(), **BY_ID)
FILTERED: Final = Table("filtered", METADATA, *_event_columns(), **BY_ID)

REVERSALS: Final = Table(
    "reversals",
    METADATA,
    Column("event_id", LargeBinary(16), primary_key=True),
    Column("kind", SmallInteger, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("amount_nanos", BigInteger, nullable=False),
    Column("reason", words(), nullable=False),
    sqlite_with_rowid=False,
)

ENTRIES: Final = Table(
    "entries",
    METADATA,
    Column("event_id", LargeBinary(16), primary_key=True),
    Column("kind", SmallInteger, primary_key=True),
    Column("reversal", SmallInteger, primary_key=True, default=0),
    Column("debit", words(), nullable=False),
    Column("credit", words(), nullable=False),
    Column("currency", words(3), nullable=False),
    Column("amount_nanos", BigInteger, CheckConstraint("amount_nanos > 0"), nullable=False),
    **BY_ID,
)

BALANCES: Final = Table(
    "balances",
    METADATA,
    Column("account", words(), primary_key=True),
    Column("balance_nanos", BigInteger, nullable=False),
)

BUDGETS: Final = Table(
    "budgets",
    METADATA,
    Column("account", words(), primary_key=True),
    Column("day", NUMBER, primary_key=True),
    Column("limit_nanos", BigInteger),
    Column("billed_nanos", BigInteger, nullable=False),
    CheckConstraint("limit_nanos IS NULL OR billed_nanos <= limit_nanos", name="within_budget"),
    sqlite_with_rowid=False,
)

COUNTED: Final = Counts.__struct_fields__
"""The numbers of a line item."""

TOTALS: Final = Table(
    "totals",
    METADATA,
    Column("line_item", NUMBER, primary_key=True),
    Column("day", NUMBER, primary_key=True),
    *(Column(name, BigInteger, nullable=False, default=0) for name in COUNTED),
    sqlite_with_rowid=False,
)

SHOWN_COUNTED: Final = ("impressions", "viewable", "clicks", "conversions")
"""As in ``books.Shown``."""

SHOWN: Final = Table(
    "shown",
    METADATA,
    Column("line_item", NUMBER, primary_key=True),
    Column("placement", NUMBER, primary_key=True),
    Column("creative", NUMBER, primary_key=True),
    *(Column(name, BigInteger, nullable=False, default=0) for name in SHOWN_COUNTED),
    sqlite_with_rowid=False,
)

LINE_ITEMS: Final = Table(
    "line_items",
    METADATA,
    Column("serial", NUMBER, primary_key=True, autoincrement=False),
    Column("full_id", words(), nullable=False),
    Column("campaign", NUMBER, nullable=False),
    Column("advertiser", NUMBER, nullable=False),
    Column("currency", words(3), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("model", words(), nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
)

PLACEMENTS: Final = Table(
    "placements",
    METADATA,
    Column("serial", NUMBER, primary_key=True, autoincrement=False),
    Column("full_id", words(), nullable=False),
    Column("publisher", NUMBER, nullable=False),
    Column("share_ppm", NUMBER, nullable=False),
    Column("currency", words(3), nullable=False),
)

BUDGET_LIMITS: Final = Table(
    "budget_limits",
    METADATA,
    Column("number", NUMBER, primary_key=True),
    Column("account", words(), nullable=False),
    Column("period", words(), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("limit_nanos", BigInteger),
)

OFFSETS: Final = Table(
    "offsets",
    METADATA,
    Column("consumer", words(), primary_key=True),
    Column("segment", NUMBER, nullable=False),
    Column("byte", BigInteger, nullable=False),
)

APPEND_ONLY: Final = (
    EVENTS, FILTERED, REVERSALS, CONVERSIONS, ENTRIES, *statement_tables.APPEND_ONLY
)  # fmt: skip
"""The database refuses to change or remove rows of these."""


def has(connection: Connection, table: Table) -> bool:
    """A ledger of an earlier version lacks what came later until it is opened for writing."""
    return inspect(connection).has_table(table.name)


LATER_COLUMNS: Final = (
    *(("totals", name, "BIGINT NOT NULL DEFAULT 0") for name in COUNTED),
    *(("shown", name, "BIGINT NOT NULL DEFAULT 0") for name in SHOWN_COUNTED),
    ("placements", "share_ppm", "INTEGER NOT NULL DEFAULT 1000000"),
    ("placements", "currency", "VARCHAR(3) NOT NULL DEFAULT ''"),
    ("line_items", "model", "VARCHAR NOT NULL DEFAULT ''"),
    ("line_items", "amount_micros", "BIGINT NOT NULL DEFAULT 0"),
    *((table, "country", "VARCHAR(2) NOT NULL DEFAULT ''") for table in ("events", "filtered")),
    *((table, "device", "SMALLINT NOT NULL DEFAULT 0") for table in ("events", "filtered")),
)
"""That a ledger of an earlier version may lack, with what was so then."""
