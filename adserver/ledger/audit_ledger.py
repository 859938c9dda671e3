"""The ledger as the audit reads it (``audit_differences`` compares it with the journal).

It is read in one transaction, its large tables straight into rows of NumPy. What a file's owner may
have put there instead of what posting writes (texts, fractions, ids of another length) is told as such.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection, Table, select

from adserver import migrating
from adserver.databases import Place
from adserver.domain import limits
from adserver.domain.books import Position
from adserver.ledger import schema
from adserver.ledger.audit_books import EVENT, REVERSAL, Pair
from adserver.ledger.audit_rows import Array, read_rows
from adserver.ledger.columns import has_column
from adserver.ledger.conversions import all_posted
from adserver.ledger.dialects import dialect_of, hold_still, read_database
from adserver.ledger.ledger import positions_of
from adserver.ledger.migrations import MIGRATIONS
from adserver.ledger.shown import lacks_shown
from adserver.ledger.statement_tables import CREDITS, EARNED, LINES, STATEMENTS, TAKEN_OFF

ENTRY: Final = ("kind", "reversal", "pair", "nanos")


class Posted(Struct, frozen=True):
    """The ledger's rows: large tables ordered by id and kind, small ones by key. In ``entries``, ``pair``
    numbers ``pairs``; ``reasons``: as in ``audit_books.Heard``; ``positions``: how far each journal
    was posted, by consumer."""

    positions: dict[str, Position]
    events: Array
    filtered: Array
    reversals: Array
    conversions: dict[Any, Any]
    entries: Array
    pairs: list[Pair]
    reasons: dict[tuple[bytes, int, int], str]
    totals: dict[Any, Any]
    shown: dict[Any, Any] | None
    """None: a ledger of before it was counted; it is when the ledger is next opened."""
    balances: dict[Any, Any]
    budgets: dict[Any, Any]
    earned: dict[Any, Any] | None = None
    statements: dict[Any, Any] = {}
    lines: dict[Any, Any] = {}
    credits: dict[Any, Any] = {}
    taken_off: dict[Any, Any] = {}
    """None and empty: a ledger of before there were statements."""


class Unreadable(Exception):
    """A table holds what posting never writes."""


@contextmanager
def reading(place: Place) -> Iterator[Connection]:
    """Whatever is read over it is of one moment. Raises Unusable for what another version made."""
    engine = read_database(place, limits.DATABASE_PATIENCE_LONG_S)
    try:
        with engine.connect() as connection:
            hold_still(connection)
            migrating.check(connection, MIGRATIONS)
            yield connection
    finally:
        engine.dispose()


def read_ledger(connection: Connection) -> Posted:
    """Raises Unreadable."""
    entries, pairs = _entries(connection)
    return Posted(
        positions_of(connection),
        _events(connection, schema.EVENTS),
        _events(connection, schema.FILTERED),
        _reversals(connection),
        all_posted(connection),
        entries,
        pairs,
        _reasons(connection),
        _counts(connection, "totals", 2, schema.COUNTED),
        None if lacks_shown(connection) else _counts(connection, "shown", 3, schema.SHOWN_COUNTED),
        _rows(connection, schema.BALANCES, 1),
        _rows(connection, schema.BUDGETS, 2),
        *_statements(connection),
    )


_EVENT_COLUMNS: Final = (
    "kind", "status", "at_ms", "line_item", "creative", "placement", "day", "billed_nanos", "free_nanos",
    "unbilled", "test",
)  # fmt: skip
_REVERSAL_COLUMNS: Final = ("kind", "at_ms", "amount_nanos")


def _events(connection: Connection, table: Table) -> Array:
    """Those of an earlier version tell neither country nor device."""
    whence = dialect_of(connection).WHENCE if has_column(connection, table.name, "country") else "0"
    return _table(connection, table, (*_EVENT_COLUMNS, whence), EVENT)


def _reversals(connection: Connection) -> Array:
    if not schema.has(connection, schema.REVERSALS):
        return read_rows(REVERSAL, ())
    return _table(connection, schema.REVERSALS, _REVERSAL_COLUMNS, REVERSAL)


def _table(connection: Connection, table: Table, columns: Sequence[str], names: Sequence[str]) -> Array:
    _check(connection, table, columns)
    found = f"SELECT event_id, {', '.join(columns)} FROM {table.name} ORDER BY event_id, kind"
    return read_rows(names, _stream(connection, found))


def _check(connection: Connection, table: Table, columns: Sequence[str]) -> None:
    wrong = dialect_of(connection).strange(columns)
    strange = connection.exec_driver_sql(f"SELECT count(*) FROM {table.name} WHERE {wrong}").scalar_one()
    if strange:
        raise Unreadable(f"{strange} rows of the ledger's {table.name} hold what no posting writes")


def _entries(connection: Connection) -> tuple[Array, list[Pair]]:
    pair_of: dict[Pair, int] = {}
    _check(connection, schema.ENTRIES, ("kind", "reversal", "amount_nanos"))
    found = _stream(
        connection,
        "SELECT event_id, kind, reversal, debit, credit, currency, amount_nanos FROM entries "
        "ORDER BY event_id, kind, reversal",
    )
    rows = read_rows(
        ENTRY,
        (
            (ident, kind, reversal, pair_of.setdefault((debit, credit, currency), len(pair_of)), nanos)
            for ident, kind, reversal, debit, credit, currency, nanos in found
        ),
    )
    return rows, list(pair_of)


def _reasons(connection: Connection) -> dict[tuple[bytes, int, int], str]:
    reasons = {}
    for name, status in (("events", "status"), ("filtered", "status"), ("reversals", "0")):
        if name != "reversals" or schema.has(connection, schema.REVERSALS):
            found = f"SELECT event_id, kind, {status}, reason FROM {name} WHERE reason <> ''"
            reasons.update({(row[0], row[1], row[2]): row[3] for row in _stream(connection, found)})
    return reasons


def _stream(connection: Connection, statement: str) -> Iterable[Any]:
    return dialect_of(connection).stream(connection, statement)


def _rows(connection: Connection, table: Table, keys: int) -> dict[Any, Any]:
    """key columns -> the others."""
    return {tuple(row[:keys]): tuple(row[keys:]) for row in connection.execute(select(table))}


def _counts(connection: Connection, name: str, keys: int, columns: Sequence[str]) -> dict[Any, Any]:
    """Those of an earlier version lack the last columns: nothing was counted in them."""
    wide = keys + len(columns)
    rows = connection.exec_driver_sql(f"SELECT * FROM {name}")
    return {tuple(row[:keys]): (*row[keys:], *(0,) * (wide - len(row))) for row in rows}


def _statements(connection: Connection) -> Iterator[Any]:
    for table, keys in ((EARNED, 4), (STATEMENTS, 3), (LINES, 4), (CREDITS, 2), (TAKEN_OFF, 2)):
        there = schema.has(connection, table)
        yield _rows(connection, table, keys) if there else None if table is EARNED else {}
