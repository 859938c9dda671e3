"""The statements that a batch is written with: one a table, for all its rows at once.

Each is compiled once by SQLAlchemy for the database's dialect and then handed to its driver with rows as
plain tuples; SQLAlchemy's own way, a dictionary a row, costs three times what SQLite does.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import compress
from typing import Any, Final

from sqlalchemy import Connection, Dialect, TextClause, text

from adserver.domain.books import Position
from adserver.ledger.conversions import CONVERSIONS
from adserver.ledger.lease_tables import LEASES
from adserver.ledger.posting import PLAIN, Batch
from adserver.ledger.rolled import ASKED, ROLLED
from adserver.ledger.rollups import Rollups
from adserver.ledger.schema import COUNTED, ENTRIES, EVENTS, FILTERED, REVERSALS, SHOWN_COUNTED
from adserver.ledger.statement_tables import EARNED_COUNTED


def _insert(table: str, columns: Sequence[str], behind: str, told: Collection[str] | None = None) -> str:
    """All but those ``told`` are 0."""
    names = ", ".join(columns)
    values = ", ".join(f":{name}" if told is None or name in told else "0" for name in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT {behind}"


def _upsert(table: str, keys: str, columns: Sequence[str]) -> str:
    return _changing(table, keys, columns, ", ".join(f"{name} = excluded.{name}" for name in columns))


def _changing(table: str, keys: str, columns: Sequence[str], changes: str) -> str:
    return _insert(table, [*keys.split(", "), *columns], f"({keys}) DO UPDATE SET {changes}")


class _Adding:
    """Numbers to be added to those of a table. Most rows of a batch leave most columns as they are: only
    those are told that one of them adds to."""

    def __init__(self, table: str, keys: str, columns: Sequence[str]) -> None:
        self._table, self._keys, self._columns = table, keys, columns
        self._statements = dict[tuple[bool, ...], TextClause]()

    def add(self, connection: Connection, rows: Mapping[Any, Sequence[int]]) -> None:
        if not rows:
            return
        moved = tuple(map(any, zip(*rows.values(), strict=True)))
        if moved not in self._statements:
            self._statements[moved] = text(self._spelled(list(compress(self._columns, moved))))
        told = ((*key, *compress(numbers, moved)) for key, numbers in sorted(rows.items()))
        _many(connection, self._statements[moved], told)

    def _spelled(self, moved: Sequence[str]) -> str:
        keys, table = self._keys.split(", "), self._table
        changes = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in moved)
        behind = f"({self._keys}) DO UPDATE SET {changes}" if moved else "DO NOTHING"
        return _insert(table, [*keys, *self._columns], behind, [*keys, *moved])


_ADD_EVENT: Final = text(_insert("events", EVENTS.c.keys(), "DO NOTHING"))
_ADD_PLAIN: Final = text(_insert("events", EVENTS.c.keys(), "DO NOTHING", PLAIN))
_ADD_FILTERED: Final = text(_insert("filtered", FILTERED.c.keys(), "DO NOTHING"))
_ADD_REVERSAL: Final = text(_insert("reversals", REVERSALS.c.keys(), "DO NOTHING"))
_ADD_CONVERSION: Final = text(_insert("conversions", CONVERSIONS.c.keys(), "DO NOTHING"))
_ADD_ENTRY: Final = text(_insert("entries", ENTRIES.c.keys(), "DO NOTHING"))
_TOTALS: Final = _Adding("totals", "line_item, day", COUNTED)
_SHOWN: Final = _Adding("shown", "line_item, placement, creative", SHOWN_COUNTED)
_ROLLUPS: Final = _Adding("rollups", "quarter, line_item, creative, placement, country, device", ROLLED)
_REQUESTS: Final = _Adding("requests", "quarter, placement, country, device", ASKED)
_EARNED: Final = _Adding("earned", "line_item, placement, month, kind", EARNED_COUNTED)
_ADD_CREATIVE: Final = text(_insert("creatives", ("version", "identity"), "DO NOTHING"))
_ADD_PERSON: Final = text(_insert("people", ("event_id", "person"), "DO NOTHING"))
_REMOVE_PERSON: Final = text("DELETE FROM people WHERE event_id = :event_id")
_SET_MARK: Final = text(_upsert("marks", "name", ["number"]))
_ADD_BALANCE: Final = text(
    _changing(
        "balances",
        "account",
        ["balance_nanos"],
        "balance_nanos = balances.balance_nanos + excluded.balance_nanos",
    )
)
_SET_BUDGET: Final = text(_upsert("budgets", "account, day", ["limit_nanos", "billed_nanos"]))
_SET_LINE_ITEM: Final = text(
    _upsert(
        "line_items",
        "serial",
        ["full_id", "campaign", "advertiser", "currency", "revision", "at_ms", "model", "amount_micros"],
    )
)
_SET_PLACEMENT: Final = text(
    _upsert("placements", "serial", ["full_id", "publisher", "share_ppm", "currency"])
)
_SET_OFFSET: Final = text(_upsert("offsets", "consumer", ["segment", "byte"]))
_ADD_LIMIT: Final = text(
    "INSERT INTO budget_limits (account, period, at_ms, limit_nanos) "
    "VALUES (:account, :period, :at_ms, :limit_nanos)"
)
_LEASE: Final = "account, day, holder"
_HELD: Final = tuple(LEASES.c.keys()[3:])
_SET_LEASE: Final = text(_changing("leases", _LEASE, _HELD, "granted_nanos = excluded.granted_nanos"))
_WANT_LEASE: Final = text(_changing("leases", _LEASE, _HELD, "wanted = excluded.wanted"))
_SPEND: Final = text(
    _changing("leases", _LEASE, _HELD, "spent_nanos = leases.spent_nanos + excluded.spent_nanos")
)
_SET_HOLDER: Final = text(_upsert("holders", "holder", ["revision", "ended_ms"]))

Lease = tuple[str, int, int, int | None, int, int]
"""A row of ``leases``."""


def write(connection: Connection, batch: Batch) -> int:
    """Add a batch; how many events and conversions of it, filtered ones too, were not there yet."""
    line_items = (
        (
            t.serial,
            t.full_id,
            t.campaign,
            t.advertiser,
            t.currency,
            t.revision,
            t.at_ms,
            t.model,
            t.amount_micros,
        )
        for t in batch.line_items.values()
    )
    _many(connection, _SET_LINE_ITEM, line_items)
    placements = (
        (t.serial, t.full_id, t.publisher, t.revenue_share_ppm, t.currency) for t in batch.placements.values()
    )
    _many(connection, _SET_PLACEMENT, placements)
    _many(connection, _ADD_LIMIT, ((x.account, x.period, x.at_ms, x.limit_nanos) for x in batch.limits))
    new = _many(connection, _ADD_PLAIN, batch.plain) + _many(connection, _ADD_EVENT, batch.events)
    new += _many(connection, _ADD_FILTERED, batch.filtered)
    new += _many(connection, _ADD_CONVERSION, batch.conversions)
    _many(connection, _ADD_REVERSAL, batch.reversals)
    _many(connection, _ADD_ENTRY, batch.entries)
    _TOTALS.add(connection, batch.totals)
    _SHOWN.add(connection, batch.shown)
    _EARNED.add(connection, batch.earned)
    _many(connection, _ADD_BALANCE, batch.balances.items())
    budgets = (
        (row.account, row.day, row.limit_nanos, row.billed_nanos) for row in batch.sheets.budgets.values()
    )
    _many(connection, _SET_BUDGET, budgets)
    add_rollups(connection, batch.rollups)
    return new


def add_rollups(connection: Connection, rollups: Rollups) -> None:
    _ROLLUPS.add(connection, rollups.cells)
    _many(connection, _ADD_CREATIVE, rollups.creatives.items())
    _many(connection, _ADD_PERSON, rollups.seen.items())
    _many(connection, _REMOVE_PERSON, ((event_id,) for event_id in rollups.unseen))
    if rollups.requests:
        _REQUESTS.add(connection, rollups.requests)
        set_mark(connection, rollups.mark, rollups.tallied)


def set_mark(connection: Connection, name: str, number: int) -> None:
    _many(connection, _SET_MARK, [(name, number)])


def move(connection: Connection, consumer: str, behind: Position) -> None:
    """The consumer's position."""
    _many(connection, _SET_OFFSET, [(consumer, behind.segment, behind.offset)])


def set_leases(connection: Connection, rows: Iterable[Lease]) -> None:
    """What is granted of each, the rest as it is."""
    _many(connection, _SET_LEASE, rows)


def want_leases(connection: Connection, rows: Iterable[Lease]) -> None:
    _many(connection, _WANT_LEASE, rows)


def spend(connection: Connection, rows: Iterable[Lease]) -> None:
    """More is posted of each; of accounts without a limit too, which may be given one."""
    _many(connection, _SPEND, rows)


def set_holders(connection: Connection, rows: Iterable[tuple[int, int, int | None]]) -> None:
    """(holder, revision, since when it has ended)."""
    _many(connection, _SET_HOLDER, rows)


def _many(connection: Connection, statement: TextClause, rows: Iterable[tuple[Any, ...]]) -> int:
    """One statement for many rows, whose values stand in the order of its parameters; how many it changed."""
    values = list(rows)
    if not values:
        return 0
    return connection.exec_driver_sql(_spelled(statement, connection.dialect), values).rowcount


@lru_cache(64)
def _spelled(statement: TextClause, dialect: Dialect) -> str:
    return str(statement.compile(dialect=dialect))
