"""``adserver verify``: the journal against itself, the ledger, and the laws. Also beside a running server.

The ledger is read first, in one transaction; then the journal, whose beginning up to the ledger's position
must explain every row: nothing missing, nothing extra, nothing different. What is written behind it is
not posted yet and audited for the chain and laws 1 and 2 only.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection, Table, select

from adserver.domain import ids
from adserver.domain.books import Position
from adserver.domain.decision import EventKind
from adserver.ledger import schema
from adserver.ledger.audit_books import Books
from adserver.ledger.audit_caps import CapAudit
from adserver.ledger.audit_feeds import FeedAudit
from adserver.ledger.reader import Reader
from adserver.ledger.segments import Damage

JOURNAL: Final = "journal"
LEDGER: Final = "ledger.sqlite"

Rows = Mapping[Any, Any]


class Posted(Struct, frozen=True):
    """The ledger's rows by key."""

    position: Position
    events: dict[Any, Any]
    filtered: dict[Any, Any]
    reversals: dict[Any, Any]
    entries: dict[Any, Any]
    totals: dict[Any, Any]
    shown: dict[Any, Any] | None
    """None: a ledger of before it was counted; it is when the ledger is next opened."""
    balances: dict[Any, Any]
    budgets: dict[Any, Any]


def verify(data_dir: Path, report: Callable[[str], None] = print) -> list[str]:
    """Audit what lies in ``data_dir``; each difference, also told to ``report`` with a summary."""
    differences: list[str] = []

    def tell(difference: str) -> None:
        differences.append(difference)
        report(difference)

    if not (data_dir / LEDGER).exists():
        tell(f"there is no ledger: {data_dir / LEDGER}")
        return differences
    posted = _read_ledger(data_dir / LEDGER)
    books, feeds, caps = Books(tell), FeedAudit(tell), CapAudit(tell)
    read, unposted, short = _walk(data_dir / JOURNAL, posted.position, books, feeds, caps, tell)
    if not short:
        _compare(posted, books, tell)
    report(f"journal: {read} records whole and in the chain, {unposted} of them not posted yet")
    report(f"law 1: {feeds.ads} sponsored items on {feeds.pages} feed pages")
    report(f"law 2: {caps.exposures} exposures, {caps.late} impressions after their expiry")
    report(f"law 3: {len(posted.budgets)} budget accounts")
    report(
        f"law 4: {len(posted.events)} events, {len(posted.filtered)} filtered, {len(posted.entries)} entries"
    )
    report("no differences" if not differences else f"{len(differences)} differences")
    return differences


def _walk(
    journal: Path, position: Position, books: Books, feeds: FeedAudit, caps: CapAudit,
    tell: Callable[[str], None],
) -> tuple[int, int, bool]:  # fmt: skip
    """Feed the audits; (records read, of them behind the ledger's position, whether it ends before that)."""
    read = unposted = 0
    behind = Position()
    reader = Reader(journal)
    try:
        for behind, record, personal in reader.read(Position()):
            read += 1
            if behind <= position:
                books.take(record)
            else:
                unposted += 1
            feeds.take(record)
            caps.take(record, personal)
    except Damage as damage:
        tell(f"journal damaged: {damage}")
        return read, unposted, behind < position
    finally:
        reader.close()
    if position > Position() and behind < position:
        tell(f"the journal ends at {behind}, the ledger was posted up to {position}")
        return read, unposted, True
    return read, unposted, False


def _read_ledger(path: Path) -> Posted:
    engine = schema.read_database(path)
    try:
        with engine.connect() as connection:
            # One statement opens the transaction; all that follow see the same moment.
            connection.exec_driver_sql("BEGIN")
            row = connection.execute(select(schema.OFFSETS.c.segment, schema.OFFSETS.c.byte)).first()
            return Posted(
                Position() if row is None else Position(row[0], row[1]),
                _rows(connection, schema.EVENTS, 2),
                _rows(connection, schema.FILTERED, 2),
                _rows(connection, schema.REVERSALS, 2) if schema.has(connection, schema.REVERSALS) else {},
                _rows(connection, schema.ENTRIES, 3),
                _totals(connection),
                None if schema.lacks_shown(connection) else _rows(connection, schema.SHOWN, 3),
                _rows(connection, schema.BALANCES, 1),
                _rows(connection, schema.BUDGETS, 2),
            )
    finally:
        engine.dispose()


def _rows(connection: Connection, table: Table, keys: int) -> dict[Any, Any]:
    """key columns -> the others."""
    return {tuple(row[:keys]): tuple(row[keys:]) for row in connection.execute(select(table))}


def _totals(connection: Connection) -> dict[Any, Any]:
    """Those of an earlier version lack the last columns: nothing was counted in them."""
    wide = len(schema.COUNTED)
    rows = connection.exec_driver_sql("SELECT * FROM totals")
    return {(row[0], row[1]): (*row[2:], *(0,) * (2 + wide - len(row))) for row in rows}


def _compare(posted: Posted, books: Books, tell: Callable[[str], None]) -> None:
    totals = {key: tuple(counts) for key, counts in books.totals.items()}
    budgets = {key: billed for key, billed in books.budgets.items() if billed}
    in_budgets = {key: billed for key, (_, billed) in posted.budgets.items() if billed}
    balances = {(account,): (nanos,) for account, nanos in books.balances.items()}
    _match("event", posted.events, books.events, tell)
    _match("filtered event", posted.filtered, books.filtered, tell)
    _match("reversal", posted.reversals, books.reversals, tell)
    _match("entry", posted.entries, books.entries, tell)
    _match("totals of line item, day", posted.totals, totals, tell)
    if posted.shown is not None:
        shown = {key: tuple(counts) for key, counts in books.shown.items()}
        _match("shown of line item, placement, creative", posted.shown, shown, tell)
    _match("balance", posted.balances, balances, tell)
    _match("billed of budget, day", in_budgets, budgets, tell)
    for (account, day), (limit, billed) in posted.budgets.items():
        if limit is not None and billed > limit:
            tell(f"budget {account}, day {day}: {billed} nanos billed of {limit} in the ledger")
    _balanced(posted, tell)


def _match(what: str, posted: Rows, expected: Rows, tell: Callable[[str], None]) -> None:
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
    return f"{ids.encode(first)} {EventKind(rest[0]).name.lower()}"


def _balanced(posted: Posted, tell: Callable[[str], None]) -> None:
    """Debits equal credits, and balances are what the entries add up to."""
    sums: dict[str, int] = {}
    for debit, credit, _, amount in posted.entries.values():
        sums[debit] = sums.get(debit, 0) + amount
        sums[credit] = sums.get(credit, 0) - amount
    for account in sorted(sums.keys() | {account for (account,) in posted.balances}):
        (balance,) = posted.balances.get((account,), (0,))
        if balance != sums.get(account, 0):
            tell(f"balance {account}: {balance} nanos, its entries add up to {sums.get(account, 0)}")
    if total := sum(balance for (balance,) in posted.balances.values()):
        tell(f"debits and credits differ by {total} nanos")
