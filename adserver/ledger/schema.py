"""The ledger's tables (SQLAlchemy Core; SQLite embedded, nothing in the statements is of one dialect).

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

WAL with synchronous=NORMAL: a power cut may take the last transactions, offset and all, never half of
one; the journal is the truth, and posting goes on from the offset.
"""

from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    create_engine,
    event,
    inspect,
)

from adserver.domain.books import Counts
from adserver.ledger import statement_tables
from adserver.ledger.columns import add_columns
from adserver.ledger.conversions import CONVERSIONS
from adserver.ledger.metadata import METADATA
from adserver.ledger.shown import count_shown, lacks_shown

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
        Column("line_item", Integer, nullable=False),
        Column("creative", Integer, nullable=False),
        Column("placement", Integer, nullable=False),
        Column("day", Integer, nullable=False),
        Column("billed_nanos", BigInteger, nullable=False),
        Column("free_nanos", BigInteger, nullable=False),
        Column("unbilled", SmallInteger, nullable=False),
        Column("reason", String, nullable=False),
        Column("test", SmallInteger, nullable=False),
        Column("country", String(2), nullable=False),
        Column("device", SmallInteger, nullable=False),
    ]


EVENTS: Final = Table("events", METADATA, *_event_columns(), sqlite_with_rowid=False)
FILTERED: Final = Table("filtered", METADATA, *_event_columns(), sqlite_with_rowid=False)

REVERSALS: Final = Table(
    "reversals",
    METADATA,
    Column("event_id", LargeBinary(16), primary_key=True),
    Column("kind", SmallInteger, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("amount_nanos", BigInteger, nullable=False),
    Column("reason", String, nullable=False),
    sqlite_with_rowid=False,
)

ENTRIES: Final = Table(
    "entries",
    METADATA,
    Column("event_id", LargeBinary(16), primary_key=True),
    Column("kind", SmallInteger, primary_key=True),
    Column("reversal", SmallInteger, primary_key=True, default=0),
    Column("debit", String, nullable=False),
    Column("credit", String, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("amount_nanos", BigInteger, CheckConstraint("amount_nanos > 0"), nullable=False),
    sqlite_with_rowid=False,
)

BALANCES: Final = Table(
    "balances",
    METADATA,
    Column("account", String, primary_key=True),
    Column("balance_nanos", BigInteger, nullable=False),
)

BUDGETS: Final = Table(
    "budgets",
    METADATA,
    Column("account", String, primary_key=True),
    Column("day", Integer, primary_key=True),
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
    Column("line_item", Integer, primary_key=True),
    Column("day", Integer, primary_key=True),
    *(Column(name, BigInteger, nullable=False, default=0) for name in COUNTED),
    sqlite_with_rowid=False,
)

SHOWN_COUNTED: Final = ("impressions", "viewable", "clicks", "conversions")
"""As in ``books.Shown``."""

SHOWN: Final = Table(
    "shown",
    METADATA,
    Column("line_item", Integer, primary_key=True),
    Column("placement", Integer, primary_key=True),
    Column("creative", Integer, primary_key=True),
    *(Column(name, BigInteger, nullable=False, default=0) for name in SHOWN_COUNTED),
    sqlite_with_rowid=False,
)

LINE_ITEMS: Final = Table(
    "line_items",
    METADATA,
    Column("serial", Integer, primary_key=True, autoincrement=False),
    Column("full_id", String, nullable=False),
    Column("campaign", Integer, nullable=False),
    Column("advertiser", Integer, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("model", String, nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
)

PLACEMENTS: Final = Table(
    "placements",
    METADATA,
    Column("serial", Integer, primary_key=True, autoincrement=False),
    Column("full_id", String, nullable=False),
    Column("publisher", Integer, nullable=False),
    Column("share_ppm", Integer, nullable=False),
    Column("currency", String(3), nullable=False),
)

BUDGET_LIMITS: Final = Table(
    "budget_limits",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("account", String, nullable=False),
    Column("period", String, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("limit_nanos", BigInteger),
)

OFFSETS: Final = Table(
    "offsets",
    METADATA,
    Column("consumer", String, primary_key=True),
    Column("segment", Integer, nullable=False),
    Column("byte", BigInteger, nullable=False),
)

APPEND_ONLY: Final = (EVENTS, FILTERED, REVERSALS, CONVERSIONS, ENTRIES)


def open_database(path: Path) -> Engine:
    """The database in this file, made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _prepare)
    with engine.begin() as connection:
        lock_for_writing(connection)
        older = lacks_shown(connection)
        add_columns(connection, _LATER_COLUMNS)
        METADATA.create_all(connection)
        if older:
            count_shown(connection)
        statement_tables.prepare(connection)
        for table in (*APPEND_ONLY, *statement_tables.APPEND_ONLY):
            for change in ("UPDATE", "DELETE"):
                connection.exec_driver_sql(_refusing(table.name, change))
    return engine


def read_database(path: Path) -> Engine:
    """The same for reading only, beside whoever writes it."""
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    event.listen(engine, "connect", _patient)
    return engine


def lock_for_writing(connection: Connection) -> None:
    """Begin the transaction as a writer. SQLite's driver would begin one at the first change only, and what
    was read before could be stale by then."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def has(connection: Connection, table: Table) -> bool:
    """A ledger of an earlier version lacks what came later until it is opened for writing."""
    return inspect(connection).has_table(table.name)


_LATER_COLUMNS: Final = (
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


def _refusing(table: str, change: str) -> str:
    """SQLite's way to make a table append-only; PostgreSQL's (a revoked grant) comes with its issue."""
    return (
        f"CREATE TRIGGER IF NOT EXISTS {table}_no_{change.lower()} BEFORE {change} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )


def _prepare(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    _patient(connection, None)


def _patient(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 5000")
    cursor.close()
