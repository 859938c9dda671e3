"""The statements that a batch is written with: one a table, for all its rows at once.

Each is spelled once for the database and then handed to its driver with rows as plain tuples; SQLAlchemy's
own way, a dictionary a row, costs three times what SQLite does.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Connection

from adserver.domain.books import Position
from adserver.domain.counted import COUNTED
from adserver.domain.decision import EventKind
from adserver.ledger.conversions import CONVERSIONS
from adserver.ledger.dialects import dialect_of
from adserver.ledger.insertion import Adding, Insertion, changing, once, replacing
from adserver.ledger.lease_tables import HOLDERS, LEASES
from adserver.ledger.ledger import chunks
from adserver.ledger.posting import PLAIN, Batch
from adserver.ledger.rolled import CREATIVES, MARKS, PEOPLE, REQUESTS, ROLLUPS
from adserver.ledger.rollups import PAID, Rollups
from adserver.ledger.schema import (
    BALANCES,
    BUDGET_LIMITS,
    BUDGETS,
    ENTRIES,
    EVENTS,
    FILTERED,
    LINE_ITEMS,
    OFFSETS,
    PLACEMENTS,
    REVERSALS,
    SHOWN,
    TOTALS,
)
from adserver.ledger.statement_tables import EARNED

_ADD_EVENT: Final = once(EVENTS)
_ADD_PLAIN: Final = once(EVENTS, PLAIN)
_ADD_FILTERED: Final = once(FILTERED)
_ADD_REVERSAL: Final = once(REVERSALS)
_ADD_CONVERSION: Final = once(CONVERSIONS)
_ADD_ENTRY: Final = once(ENTRIES)
_TOTALS: Final = Adding(TOTALS)
_SHOWN: Final = Adding(SHOWN)
_ROLLUPS: Final = Adding(ROLLUPS)
_ADDED: Final = {kind: Adding(ROLLUPS, (name, *PAID)) for kind, name in COUNTED.items()}
_REQUESTS: Final = Adding(REQUESTS)
_ADD_CREATIVE: Final = once(CREATIVES)
_ADD_PERSON: Final = once(PEOPLE)
_SET_MARK: Final = replacing(MARKS)
_ADD_BALANCE: Final = changing(BALANCES, "balance_nanos = balances.balance_nanos + excluded.balance_nanos")
_SET_BUDGET: Final = replacing(BUDGETS)
_SET_LINE_ITEM: Final = replacing(LINE_ITEMS)
_SET_PLACEMENT: Final = replacing(PLACEMENTS)
_EARNED: Final = Adding(EARNED)
_SET_OFFSET: Final = replacing(OFFSETS)
_ADD_LIMIT: Final = Insertion(BUDGET_LIMITS, BUDGET_LIMITS.c.keys()[1:], "")
_SET_LEASE: Final = changing(LEASES, "granted_nanos = excluded.granted_nanos")
_WANT_LEASE: Final = changing(LEASES, "wanted = excluded.wanted")
_SPEND: Final = changing(LEASES, "spent_nanos = leases.spent_nanos + excluded.spent_nanos")
_SET_HOLDER: Final = replacing(HOLDERS)

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
    _add(connection, _TOTALS, batch.totals)
    _add(connection, _SHOWN, batch.shown)
    _add(connection, _EARNED, batch.earned)
    _many(connection, _ADD_BALANCE, batch.balances.items())
    budgets = (
        (row.account, row.day, row.limit_nanos, row.billed_nanos) for row in batch.sheets.budgets.values()
    )
    _many(connection, _SET_BUDGET, budgets)
    add_rollups(connection, batch.rollups)
    return new


def add_rollups(connection: Connection, rollups: Rollups) -> None:
    for (quarter, kind), cells in sorted(rollups.added.items(), key=itemgetter(0)):
        places = sorted(cells)
        keys = [(quarter, *place) for place in places]
        _many(connection, *_ADDED[EventKind(kind)].told(keys, map(cells.__getitem__, places)))
    _add(connection, _ROLLUPS, rollups.cells)
    _many(connection, _ADD_CREATIVE, rollups.creatives.items())
    _many(connection, _ADD_PERSON, rollups.seen.items())
    for part in chunks(rollups.unseen):
        connection.execute(PEOPLE.delete().where(PEOPLE.c.event_id.in_(part)))
    if rollups.requests:
        _add(connection, _REQUESTS, rollups.requests)
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


def _many(connection: Connection, insertion: Insertion, rows: Iterable[tuple[Any, ...]]) -> int:
    """How many rows it added or changed."""
    return dialect_of(connection).insert(connection, insertion, rows)


def _add(connection: Connection, adding: Adding, rows: Mapping[Any, Sequence[int]]) -> None:
    """Numbers by key."""
    if rows:
        insertion, told = adding.of(rows)
        _many(connection, insertion, told)
