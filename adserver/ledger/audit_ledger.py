"""The ledger against the books made again from the journal: nothing missing, extra, or different.

The ledger is read in one transaction, its large tables straight into rows of NumPy. What a file's owner may
have put there instead of what posting writes (texts, fractions, ids of another length) is told as such.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct
from sqlalchemy import Connection, Table, select

from adserver.domain.books import Position
from adserver.ledger import schema
from adserver.ledger.audit_books import EVENT, REVERSAL, Pair, Tell, name_of
from adserver.ledger.audit_judging import Books
from adserver.ledger.audit_rollups import WHENCE
from adserver.ledger.audit_rows import ID_BYTES, Array, Differing, dtype_of, ordered, read_rows
from adserver.ledger.audit_statements import StatementAudit
from adserver.ledger.columns import has_column
from adserver.ledger.conversions import all_posted
from adserver.ledger.ledger import positions_of
from adserver.ledger.shown import lacks_shown
from adserver.ledger.statement_tables import CREDITS, EARNED, LINES, STATEMENTS, TAKEN_OFF

_ENTRY: Final = ("kind", "reversal", "pair", "nanos")
Rows = Mapping[Any, Any]


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
def reading(path: Path) -> Iterator[Connection]:
    """Whatever is read over it is of one moment."""
    engine = schema.read_database(path)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
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
    whence = WHENCE if has_column(connection, table.name, "country") else "0"
    return _table(connection, table, (*_EVENT_COLUMNS, whence), EVENT)


def _reversals(connection: Connection) -> Array:
    if not schema.has(connection, schema.REVERSALS):
        return read_rows(REVERSAL, ())
    return _table(connection, schema.REVERSALS, _REVERSAL_COLUMNS, REVERSAL)


def _table(connection: Connection, table: Table, columns: Sequence[str], names: Sequence[str]) -> Array:
    _check(connection, table, columns)
    found = f"SELECT event_id, {', '.join(columns)} FROM {table.name} ORDER BY event_id, kind"
    return read_rows(names, _cursor(connection, found))


def _check(connection: Connection, table: Table, columns: Sequence[str]) -> None:
    """SQLite keeps whatever is put into a column; others only what its type allows."""
    wrong = f"length(event_id) <> {ID_BYTES} OR typeof(event_id) <> 'blob'"
    wrong += "".join(f" OR typeof({column}) <> 'integer'" for column in columns)
    strange = connection.exec_driver_sql(f"SELECT count(*) FROM {table.name} WHERE {wrong}").scalar_one()
    if strange:
        raise Unreadable(f"{strange} rows of the ledger's {table.name} hold what no posting writes")


def _entries(connection: Connection) -> tuple[Array, list[Pair]]:
    pair_of: dict[Pair, int] = {}
    _check(connection, schema.ENTRIES, ("kind", "reversal", "amount_nanos"))
    found = _cursor(
        connection,
        "SELECT event_id, kind, reversal, debit, credit, currency, amount_nanos FROM entries "
        "ORDER BY event_id, kind, reversal",
    )
    rows = read_rows(
        _ENTRY,
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
            reasons.update({(row[0], row[1], row[2]): row[3] for row in _cursor(connection, found)})
    return reasons


def _cursor(connection: Connection, statement: str) -> Any:
    """The driver's own cursor: ten million rows are read through it."""
    cursor = connection.connection.cursor()
    cursor.execute(statement)
    return cursor


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


# -- comparing ---------------------------------------------------------------------------------------


def compare(posted: Posted, books: Books, tell: Tell) -> None:
    """Tell every difference."""
    _match_rows("event", posted.events, books.events, ("kind",), EVENT, tell)
    _match_rows("filtered event", posted.filtered, books.filtered, ("kind",), EVENT, tell)
    _match_rows("reversal", posted.reversals, books.reversals, ("kind",), REVERSAL, tell)
    _match("conversion", posted.conversions, books.conversions, tell)
    _match("reason of", posted.reasons, books.reasons, tell)
    _match_entries(posted, books, tell)
    _match("totals of line item, day", posted.totals, books.totals, tell)
    if posted.shown is not None:
        _match("shown of line item, placement, creative", posted.shown, books.shown, tell)
    _match("balance", posted.balances, {(name,): (nanos,) for name, nanos in books.balances.items()}, tell)
    if posted.earned is not None:
        _match_statements(posted, books.statements, tell)
    in_budgets = {key: billed for key, (_, billed) in posted.budgets.items() if billed}
    _match("billed of budget, day", in_budgets, {k: v for k, v in books.budgets.items() if v}, tell)
    for (account, day), (limit, billed) in posted.budgets.items():
        if limit is not None and billed > limit:
            tell(f"budget {account}, day {day}: {billed} nanos billed of {limit} in the ledger")
    _balanced(posted, tell)


def _match_statements(posted: Posted, found: StatementAudit, tell: Tell) -> None:
    earned = {key: tuple(counts) for key, counts in found.earned.items()}
    _match("earned of line item, placement, month, kind", posted.earned or {}, earned, tell)
    _match("closing of party, month, instant", posted.statements, found.statements, tell)
    _match("credit of advertiser, id", posted.credits, found.credits, tell)
    _match("statement of credit of advertiser, id", posted.taken_off, found.taken_off, tell)
    _match("statement line of party, month, line item, placement", posted.lines, found.lines, tell)


def _match_rows(
    what: str, posted: Array, expected: Array, keys: Sequence[str], columns: Sequence[str], tell: Tell
) -> None:
    values = [name for name in columns if name not in keys]
    different = Differing(expected, posted, keys, values)

    def name(row: Any) -> str:
        return f"{what} {_name((bytes(row['id']), int(row['kind'])))}"

    def told(row: Any) -> tuple[int, ...]:
        return tuple(int(row[column]) for column in values)

    _tell_different(different, name, told, tell)


def _match_entries(posted: Posted, books: Books, tell: Tell) -> None:
    """Both sides with the accounts numbered alike."""
    numbers = {pair: number for number, pair in enumerate(posted.pairs)}
    expected = _expected_entries(books, numbers)
    different = Differing(expected, posted.entries, ("kind", "reversal"), ("pair", "nanos"))
    pairs = list(numbers)

    def name(row: Any) -> str:
        part = ("", ", reversal", ", operator's part", ", reversal of the operator's part")
        return f"entry {_name((bytes(row['id']), int(row['kind'])))}{part[int(row['reversal']) & 3]}"

    def told(row: Any) -> tuple[str | int, ...]:
        return (*pairs[int(row["pair"])], int(row["nanos"]))

    _tell_different(different, name, told, tell)


def _expected_entries(books: Books, numbers: dict[Pair, int]) -> Array:
    """In order. ``numbers`` learns new pairs."""
    found = []
    for paid in (*books.entries, *books.booked):
        of_pair = np.array([numbers.setdefault(pair, len(numbers)) for pair in paid.pairs], np.int64)
        entries = np.zeros(len(paid.rows), dtype_of(_ENTRY))
        entries["id"], entries["kind"], entries["nanos"] = paid.rows["id"], paid.rows["kind"], paid.nanos
        entries["reversal"], entries["pair"] = paid.part, of_pair[paid.rows["pair"]] if len(entries) else 0
        found.append(entries)
    return ordered(np.concatenate(found), "kind", "reversal")


def _tell_different(
    different: Differing, name: Callable[[Any], str], told: Callable[[Any], Any], tell: Tell
) -> None:
    for row in different.missing:
        tell(f"{name(row)}: missing in the ledger, the journal says {told(row)}")
    for row in different.extra:
        tell(f"{name(row)}: the ledger says {told(row)}, the journal knows nothing of it")
    for ours, theirs in different.changed:
        tell(f"{name(ours)}: the ledger says {told(theirs)}, the journal {told(ours)}")


def _match(what: str, posted: Rows, expected: Rows, tell: Tell) -> None:
    for key in expected.keys() - posted.keys():
        tell(f"{what} {_name(key)}: missing in the ledger, the journal says {expected[key]}")
    for key in posted.keys() - expected.keys():
        tell(f"{what} {_name(key)}: the ledger says {posted[key]}, the journal knows nothing of it")
    for key in expected.keys() & posted.keys():
        if posted[key] != expected[key]:
            tell(f"{what} {_name(key)}: the ledger says {posted[key]}, the journal {expected[key]}")


def _name(key: Iterable[Any]) -> str:
    first, *rest = key
    if not isinstance(first, bytes):
        return ", ".join(str(part) for part in (first, *rest))
    return name_of(first, rest[0]).removeprefix("event ")


def _balanced(posted: Posted, tell: Tell) -> None:
    """Debits equal credits, and balances are what the entries add up to."""
    sums: dict[str, int] = {}
    nanos = np.zeros(len(posted.pairs), np.int64)
    np.add.at(nanos, posted.entries["pair"], posted.entries["nanos"])
    for (debit, credit, _), amount in zip(posted.pairs, nanos.tolist(), strict=True):
        sums[debit] = sums.get(debit, 0) + amount
        sums[credit] = sums.get(credit, 0) - amount
    for account in sorted(sums.keys() | {account for (account,) in posted.balances}):
        (balance,) = posted.balances.get((account,), (0,))
        if balance != sums.get(account, 0):
            tell(f"balance {account}: {balance} nanos, its entries add up to {sums.get(account, 0)}")
    if total := sum(balance for (balance,) in posted.balances.values()):
        tell(f"debits and credits differ by {total} nanos")
