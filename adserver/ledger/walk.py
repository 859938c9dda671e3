"""Over the records of a batch, in the journal's order: what is new of each goes into the books.

Events in a row are handed on together; all else moves money or says who pays, so it waits for those before
it. Where it is not known that all are new, those in the books already are passed over.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from sqlalchemy import Connection, Table, select

from adserver.domain.conversions import Converted
from adserver.domain.counted import events_of
from adserver.domain.decision import EventKind
from adserver.domain.fees import Accrued
from adserver.domain.records import (
    LineItemTerms,
    PlacementTerms,
    Record,
    Recorded,
    Reversed,
    Status,
    Tallied,
)
from adserver.ledger.conversions import posted
from adserver.ledger.ledger import chunks
from adserver.ledger.posting import Batch, Row
from adserver.ledger.schema import ENTRIES, EVENTS, FILTERED, OPERATORS, REVERSALS

_Key = tuple[bytes, int, bool]
"""(event id, kind, filtered)."""
_DAY: Final = attrgetter("line_item", "day")


def days_of(records: Iterable[Record]) -> set[tuple[int, int]]:
    """(line item, day) of all that may move a budget."""
    days = set[tuple[int, int]]()
    for kind, run in groupby(records, type):
        if kind is Recorded or kind is Reversed:
            days.update(map(_DAY, run))
        elif kind is Converted or kind is Accrued:
            days.update(_DAY(event) for record in run for event in events_of(record))
    return days


class Walk:
    """``checked``: the database is asked what is there already."""

    def __init__(
        self, connection: Connection, batch: Batch, records: Sequence[Record], checked: bool
    ) -> None:
        self._batch = batch
        self._records = records
        self._reversals = Reversals(connection, [one for one in records if isinstance(one, Reversed)])
        self._checked = checked
        self._seen = _present(connection, records) if checked else set()

    def walk(self) -> None:
        for kind, run in groupby(self._records, type):
            if kind is Recorded:
                self._record([record for record in run if isinstance(record, Recorded)])
            else:
                for record in run:
                    self._take(record)

    def _record(self, events: Sequence[Recorded]) -> None:
        new = [event for event in events if self._is_new(event)] if self._checked else events
        before = len(self._batch.entries)
        self._batch.recorded(new)
        self._reversals.recorded(new, self._batch.entries, before)

    def _is_new(self, event: Recorded) -> bool:
        return self._once((event.event_id, event.kind, event.status == Status.FILTERED))

    def _once(self, key: _Key) -> bool:
        """Whether it is met for the first time, and not there already."""
        new = key not in self._seen
        self._seen.add(key)
        return new

    def _take(self, record: Record) -> None:
        if isinstance(record, Converted):
            if self._once((record.key, EventKind.CONVERSION, False)):
                self._batch.conversion(record)
                self._record(events_of(record))
        elif isinstance(record, Accrued):
            self._record(events_of(record))
        elif isinstance(record, Reversed):
            if self._reversals.stand(record):
                self._batch.reverse(record, self._reversals.entries_of(record))
        elif isinstance(record, LineItemTerms):
            self._batch.terms(record)
        elif isinstance(record, PlacementTerms):
            self._batch.placement(record)
        elif isinstance(record, Tallied):
            self._batch.rollups.tally(record)


class Reversals:
    """Which reversals of a batch take something back: of an event that is in the books, and the first."""

    def __init__(self, connection: Connection, records: Sequence[Reversed]) -> None:
        wanted = [record.event_id for record in records]
        self._wanted = set(wanted)
        self._events = set(_keys(connection, EVENTS, wanted))
        self._made = set(_keys(connection, REVERSALS, wanted))
        self._entries = dict[tuple[bytes, int], list[Row]]()
        for entry in _entries(connection, wanted):
            self._entries.setdefault(entry[:2], []).append(entry)

    def recorded(self, events: Iterable[Recorded], entries: Sequence[Row], before: int) -> None:
        """In the same batch; ``entries``: theirs from number ``before`` on."""
        if not self._wanted:
            return
        for event in events:
            if event.event_id in self._wanted and event.status == Status.ACCEPTED:
                self._events.add((event.event_id, event.kind))
        for entry in entries[before:]:
            if entry[0] in self._wanted:
                self._entries.setdefault(entry[:2], []).append(entry)

    def entries_of(self, record: Reversed) -> Sequence[Row]:
        """Those of the event that is taken back."""
        return self._entries.get((record.event_id, record.kind), ())

    def stand(self, record: Reversed) -> bool:
        key = record.event_id, record.kind
        if key in self._made or key not in self._events:
            return False
        self._made.add(key)
        return True


def _present(connection: Connection, records: Sequence[Record]) -> set[_Key]:
    """Those already in the books."""
    events = [event for record in records for event in events_of(record)]
    conversions = [record for record in records if isinstance(record, Converted)]
    present = set[_Key]()
    for part in chunks([conversion.key for conversion in conversions]):
        present.update((key, EventKind.CONVERSION, False) for key in posted(connection, part))
    for filtered, table in ((False, EVENTS), (True, FILTERED)):
        wanted = [event.event_id for event in events if (event.status == Status.FILTERED) == filtered]
        present.update((event_id, kind, filtered) for event_id, kind in _keys(connection, table, wanted))
    return present


def _entries(connection: Connection, wanted: Sequence[bytes]) -> Iterator[Row]:
    """Of the events with these ids, not of their reversals."""
    for event_ids in chunks(wanted):
        found = select(ENTRIES).where(
            ENTRIES.c.event_id.in_(event_ids), ENTRIES.c.reversal.in_((0, OPERATORS))
        )
        yield from (tuple(row) for row in connection.execute(found))


def _keys(connection: Connection, table: Table, wanted: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    """(event id, kind) of the rows with these ids."""
    for event_ids in chunks(wanted):
        found = select(table.c.event_id, table.c.kind).where(table.c.event_id.in_(event_ids))
        yield from ((row[0], row[1]) for row in connection.execute(found))
