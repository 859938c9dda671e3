"""The books: events posted from the journal, in SQL, each exactly once.

A batch of records and the journal position behind it go into one transaction; so posting may be repeated,
from any older position and in any batches, and leaves the same books. Events already there are left out
before anything is added up, and once more by ``ON CONFLICT DO NOTHING``. There is one poster per ledger
(it lives beside the journal's one writer); reading is free to everybody.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Table, TextClause, select, text, tuple_

from adserver.domain.books import LineItemTotals, Position, Shown
from adserver.domain.records import LineItemTerms, PlacementTerms, Record, Recorded, Reversed, Status
from adserver.ledger import schema
from adserver.ledger.guards import Guards, Limit, levels
from adserver.ledger.posting import REVERSIBLE, Batch, Parties, Payer, budget_keys, payer_of
from adserver.ledger.schema import (
    BUDGETS,
    COUNTED,
    EVENTS,
    FILTERED,
    LIFETIME,
    OFFSETS,
    REVERSALS,
    SHOWN,
    SHOWN_COUNTED,
    TOTALS,
)

_Thing = TypeVar("_Thing")
_LOG: Final = logging.getLogger("adserver.ledger")
_CONSUMER: Final = "posting"
_IN_LIST: Final = 500
_CACHED_BUDGETS: Final = 500_000


def _insert(table: str, columns: Sequence[str], behind: str) -> str:
    names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT {behind}"


def _upsert(table: str, keys: str, columns: Sequence[str]) -> str:
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return _insert(table, [*keys.split(", "), *columns], f"({keys}) DO UPDATE SET {changes}")


def _adding(table: str, keys: str, columns: Sequence[str]) -> str:
    changes = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in columns)
    return _insert(table, [*keys.split(", "), *columns], f"({keys}) DO UPDATE SET {changes}")


_ADD_EVENT: Final = text(_insert("events", EVENTS.c.keys(), "DO NOTHING"))
_ADD_FILTERED: Final = text(_insert("filtered", FILTERED.c.keys(), "DO NOTHING"))
_ADD_REVERSAL: Final = text(_insert("reversals", REVERSALS.c.keys(), "DO NOTHING"))
_ADD_ENTRY: Final = text(_insert("entries", schema.ENTRIES.c.keys(), "DO NOTHING"))
_ADD_TOTALS: Final = text(_adding("totals", "line_item, day", COUNTED))
_ADD_SHOWN: Final = text(_adding("shown", "line_item, placement, creative", SHOWN_COUNTED))
_ADD_BALANCE: Final = text(_adding("balances", "account", ["balance_nanos"]))
_SET_BUDGET: Final = text(_upsert("budgets", "account, day", ["limit_nanos", "billed_nanos"]))
_SET_LINE_ITEM: Final = text(
    _upsert("line_items", "serial", ["full_id", "campaign", "advertiser", "currency", "revision", "at_ms"])
)
_SET_PLACEMENT: Final = text(_upsert("placements", "serial", ["full_id", "publisher"]))
_SET_OFFSET: Final = text(_upsert("offsets", "consumer", ["segment", "byte"]))
_ADD_LIMIT: Final = text(
    "INSERT INTO budget_limits (account, period, at_ms, limit_nanos) "
    "VALUES (:account, :period, :at_ms, :limit_nanos)"
)


class Ledger:
    """Posted events in the SQLite file at ``path``. ``refused``: events the journal billed and a budget
    (or missing terms) forbade here, since this process began; each is logged as an error."""

    def __init__(self, path: Path) -> None:
        self._engine = schema.open_database(path)
        self.refused = 0
        self._billed: dict[tuple[str, int], int] = {}
        with self._engine.connect() as connection:
            self._position = _position(connection)
            self._parties = _parties(connection)

    @property
    def position(self) -> Position:
        """How far into the journal everything is posted."""
        return self._position

    def status(self, event_id: bytes, kind: int) -> int | None:
        """The recorded status of (event id, kind), None if none is posted. ``FILTERED`` is told only
        where nothing else was recorded: the id is not used up then."""
        with self._engine.connect() as connection:
            for table in (EVENTS, FILTERED):
                found = select(table.c.status).where(table.c.event_id == event_id, table.c.kind == kind)
                status = connection.execute(found).scalar()
                if status is not None:
                    return int(status)
        return None

    def reversible(self, event_ids: Sequence[bytes]) -> list[Reversed]:
        """What would take back the accepted events with these ids, every kind of them, that are posted and
        not reversed yet; ``at_ms`` and ``reason`` are the caller's to give."""
        found: list[Reversed] = []
        columns = ("event_id", "kind", "at_ms", "line_item", "creative", "placement", "day", "billed_nanos")
        with self._engine.connect() as connection:
            gone = set[tuple[bytes, int]]()
            for part in _chunks(event_ids):
                events = select(*(EVENTS.c[name] for name in columns)).where(
                    EVENTS.c.event_id.in_(part), EVENTS.c.status == Status.ACCEPTED, EVENTS.c.test == 0
                )
                keys = select(REVERSALS.c.event_id, REVERSALS.c.kind)
                gone.update(
                    (row[0], row[1]) for row in connection.execute(keys.where(REVERSALS.c.event_id.in_(part)))
                )
                rows = connection.execute(events).all()
                found += [_reversal(row) for row in rows if (row[0], row[1]) not in gone]
        return [event for event in found if event.kind in REVERSIBLE]

    def totals(self) -> Iterator[LineItemTotals]:
        """Every line item's numbers over all days."""
        columns = [TOTALS.c.line_item, *(TOTALS.c[name] for name in COUNTED)]
        with self._engine.connect() as connection:
            rows = connection.execute(select(*columns).where(TOTALS.c.day == LIFETIME)).all()
        return (LineItemTotals(*row) for row in rows)

    def shown(self) -> tuple[Position, list[Shown]]:
        """What was delivered per line item, placement and creative, and up to where in the journal: both of
        one moment."""
        with self._engine.connect() as connection:
            # One statement opens the transaction; all that follow see the same moment.
            connection.exec_driver_sql("BEGIN")
            rows = connection.execute(select(SHOWN)).all()
            return _position(connection), [Shown(*row) for row in rows]

    def billed_by_day(self, since_day: int) -> Iterator[tuple[int, int, int]]:
        """(line item, day, billed nanos) of the days from ``since_day`` on; days are the campaign's."""
        found = select(TOTALS.c.line_item, TOTALS.c.day, TOTALS.c.billed_nanos).where(
            TOTALS.c.day >= max(since_day, 0), TOTALS.c.billed_nanos > 0
        )
        with self._engine.connect() as connection:
            rows = connection.execute(found).all()
        return ((row[0], row[1], row[2]) for row in rows)

    def billed_accounts(self, since_day: int) -> Iterator[tuple[str, int, int]]:
        """(account, day, billed nanos) of every budget account ever billed: lifetimes (day ``LIFETIME``) and
        the days from ``since_day`` on."""
        found = select(BUDGETS.c.account, BUDGETS.c.day, BUDGETS.c.billed_nanos).where(
            (BUDGETS.c.day == LIFETIME) | (BUDGETS.c.day >= since_day)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(found).all()
        return ((row[0], row[1], row[2]) for row in rows)

    def has_earned(self, publisher: int) -> bool:
        """Whether anything was ever credited to the publisher with this serial."""
        account = schema.BALANCES.c.account
        found = select(account).where(account.like(f"publisher:{publisher}:%")).limit(1)
        with self._engine.connect() as connection:
            return connection.execute(found).first() is not None

    def billed_campaigns(self) -> set[int]:
        """Serials of the campaigns with something billed: currency and time zone are fixed."""
        found = select(BUDGETS.c.account).where(
            BUDGETS.c.account.like("campaign:%"), BUDGETS.c.day == LIFETIME, BUDGETS.c.billed_nanos > 0
        )
        with self._engine.connect() as connection:
            accounts = connection.execute(found).scalars().all()
        return {int(account.partition(":")[2]) for account in accounts}

    def post(self, records: Iterable[Record], behind: Position) -> int:
        """Post records in journal order and move the position to ``behind``, in one transaction; how many
        events were new. What lies before the position was posted by somebody and is left alone: the
        transaction takes the write lock before it looks, so two posters cannot both think they are first."""
        records = list(records)
        try:
            with self._engine.begin() as connection:
                schema.lock_for_writing(connection)
                posted = _position(connection)
                if behind <= posted:
                    self._position = posted
                    return 0
                batch = self._collect(connection, records)
                _write(connection, batch)
                offset = {"consumer": _CONSUMER, "segment": behind.segment, "byte": behind.offset}
                connection.execute(_SET_OFFSET, offset)
        except BaseException:
            self._reload()
            raise
        self._position = behind
        self._remember(batch)
        return len(batch.events) + len(batch.filtered)

    def _collect(self, connection: Connection, records: Sequence[Record]) -> Batch:
        events = [record for record in records if isinstance(record, Recorded | Reversed)]
        seen = _present(connection, events)
        self._load_budgets(connection, events, [r for r in records if isinstance(r, LineItemTerms)])
        batch = Batch(self._parties, self._billed)
        for record in records:
            if isinstance(record, Recorded):
                key = (record.event_id, record.kind, _table_of(record).name)
                if key not in seen:
                    seen.add(key)
                    batch.event(record)
            elif isinstance(record, Reversed):
                key = (record.event_id, record.kind, REVERSALS.name)
                if key not in seen and (record.event_id, record.kind, EVENTS.name) in seen:
                    seen.add(key)
                    batch.reverse(record)
            elif isinstance(record, LineItemTerms):
                batch.terms(record)
            elif isinstance(record, PlacementTerms):
                batch.placement(record)
        return batch

    def _load_budgets(
        self, connection: Connection, events: Iterable[Recorded | Reversed], terms: Iterable[LineItemTerms]
    ) -> None:
        if len(self._billed) > _CACHED_BUDGETS:
            self._billed.clear()
        payers = {**{t.serial: payer_of(t) for t in terms}, **self._parties.payers}
        wanted = {key for event in events for key in budget_keys(event, payers)}
        missing = [key for key in wanted if key not in self._billed]
        columns = select(BUDGETS.c.account, BUDGETS.c.day, BUDGETS.c.billed_nanos)
        for keys in _chunks(missing):
            found = columns.where(tuple_(BUDGETS.c.account, BUDGETS.c.day).in_(keys))
            for account, day, billed in connection.execute(found):
                self._billed[account, day] = billed

    def _remember(self, batch: Batch) -> None:
        for key, row in batch.budgets.items():
            self._billed[key] = row.billed_nanos
        for refusal in batch.refusals:
            _LOG.error("not billed, though the journal says so: %s", refusal)
        self.refused += len(batch.refusals)

    def _reload(self) -> None:
        """After a failed transaction: what is in memory may be ahead of the database."""
        self._billed.clear()
        with self._engine.connect() as connection:
            self._parties = _parties(connection)

    def close(self) -> None:
        self._engine.dispose()


def _reversal(row: Sequence[Any]) -> Reversed:
    event_id, kind, at_ms, line_item, creative, placement, day, billed_nanos = row
    return Reversed(event_id, kind, at_ms, line_item, creative, placement, day, billed_nanos, "")


def _position(connection: Connection) -> Position:
    found = select(OFFSETS.c.segment, OFFSETS.c.byte).where(OFFSETS.c.consumer == _CONSUMER)
    row = connection.execute(found).first()
    return Position() if row is None else Position(row[0], row[1])


def _parties(connection: Connection) -> Parties:
    items, placements = schema.LINE_ITEMS.c, schema.PLACEMENTS.c
    parties = Parties({}, {}, Guards())
    found = select(
        items.serial, items.campaign, items.advertiser, items.currency, items.revision, items.at_ms
    )
    for serial, campaign, advertiser, currency, *since in connection.execute(found):
        parties.payers[serial] = Payer(campaign, advertiser, currency, (since[0], since[1]))
        for account in levels(serial, campaign, advertiser):
            parties.guards.know(account)
    for serial, publisher in connection.execute(select(placements.serial, placements.publisher)):
        parties.publishers[serial] = publisher
    history = schema.BUDGET_LIMITS.c
    ordered = select(history.account, history.period, history.at_ms, history.limit_nanos)
    for row in connection.execute(ordered.order_by(history.number)):
        parties.guards.restore(Limit(*row))
    return parties


def _chunks(things: Sequence[_Thing]) -> Iterator[Sequence[_Thing]]:
    for start in range(0, len(things), _IN_LIST):
        yield things[start : start + _IN_LIST]


def _table_of(event: Recorded | Reversed) -> Table:
    if isinstance(event, Reversed):
        return REVERSALS
    return FILTERED if event.status == Status.FILTERED else EVENTS


def _present(connection: Connection, events: Sequence[Recorded | Reversed]) -> set[tuple[bytes, int, str]]:
    """(event id, kind, table) of those already in the books; of reversals also what they reverse."""
    present: set[tuple[bytes, int, str]] = set()
    for table in (EVENTS, FILTERED, REVERSALS):
        wanted = [e.event_id for e in events if table in (_table_of(e), _reversed_in(e))]
        for event_ids in _chunks(wanted):
            found = select(table.c.event_id, table.c.kind).where(table.c.event_id.in_(event_ids))
            present.update((event_id, kind, table.name) for event_id, kind in connection.execute(found))
    return present


def _reversed_in(event: Recorded | Reversed) -> Table | None:
    return EVENTS if isinstance(event, Reversed) else None


def _write(connection: Connection, batch: Batch) -> None:
    budgets = (
        (account, day, row.limit_nanos, row.billed_nanos) for (account, day), row in batch.budgets.items()
    )
    line_items = (
        (t.serial, t.full_id, t.campaign, t.advertiser, t.currency, t.revision, t.at_ms)
        for t in batch.line_items.values()
    )
    placements = ((t.serial, t.full_id, t.publisher) for t in batch.placements.values())
    limits = ((x.account, x.period, x.at_ms, x.limit_nanos) for x in batch.limits)
    _many(connection, _SET_LINE_ITEM, line_items)
    _many(connection, _SET_PLACEMENT, placements)
    _many(connection, _ADD_LIMIT, limits)
    _many(connection, _ADD_EVENT, batch.events)
    _many(connection, _ADD_FILTERED, batch.filtered)
    _many(connection, _ADD_REVERSAL, batch.reversals)
    _many(connection, _ADD_ENTRY, batch.entries)
    _many(connection, _ADD_TOTALS, ((*key, *counts) for key, counts in batch.totals.items()))
    _many(connection, _ADD_SHOWN, ((*key, *counts) for key, counts in batch.shown.items()))
    _many(connection, _ADD_BALANCE, batch.balances.items())
    _many(connection, _SET_BUDGET, budgets)


def _many(connection: Connection, statement: TextClause, rows: Iterable[tuple[Any, ...]]) -> None:
    """One statement for many rows, whose values stand in the order of its parameters. Compiled here, since
    SQLAlchemy's own way, a dictionary a row, costs three times what SQLite does."""
    values = list(rows)
    if values:
        compiled = statement.compile(dialect=connection.dialect)
        connection.exec_driver_sql(str(compiled), values)
