"""Writing the books: events posted from the journal, in SQL, each exactly once.

A batch of records and the journal position behind it go into one transaction; so posting may be repeated,
from any older position and in any batches, and leaves the same books. The transaction takes the write lock
before it looks, and forgets what it knew if somebody else posted meanwhile: so any number of posters, one of
them killed at any instant, post everything once. There is one nearly always (``adserver.posting``), or one
for each of several journals: what another of them posts is what *somebody else posted*.

Almost never is an event in the books already, so it is not asked: a batch is added up as if none were, and
where the database then knew one (``ON CONFLICT DO NOTHING`` inserts fewer rows than were given), it is rolled
back and added up again without what is there. Cost: some 13 µs an event, half of it SQLite's.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, select, text, tuple_

from adserver.databases import Place
from adserver.domain.books import Position
from adserver.domain.records import (
    Closed,
    Credited,
    LineItemTerms,
    Record,
)
from adserver.ledger import crediting, forgetting, inserts, older, schema, stating
from adserver.ledger.dialects import lock_for_writing, open_database
from adserver.ledger.ledger import CONSUMER, Ledger, chunks, positions_of
from adserver.ledger.parties import Parties, payer_of, read_parties
from adserver.ledger.posting import Batch
from adserver.ledger.rolled import mark, tallied_of
from adserver.ledger.rollups import Rollups
from adserver.ledger.schema import BUDGETS
from adserver.ledger.sheets import budget_keys
from adserver.ledger.walk import Walk, days_of

_LOG: Final = logging.getLogger("adserver.ledger")
_CACHED_BUDGETS: Final = 500_000
_ENDING: Final = frozenset((Closed, Credited))
_NOBODY: Final[Mapping[bytes, int]] = {}


class _Repeated(Exception):
    """Some of these events are in the books already."""


class LedgerWriter(Ledger):
    """A ledger that posts; used by one thread at a time. ``refused``: events the journal billed and a budget
    (or missing terms) forbade here, since this writer began; each is logged as an error. ``holder``: whose
    leases the money comes out of, where several processes share the budgets."""

    def __init__(self, place: Place, consumer: str = CONSUMER, holder: int | None = None) -> None:
        self._writing = open_database(place)
        older.bring_up(self._writing)
        super().__init__(place, consumer)
        self._holder = holder
        self.refused = 0
        self._known = dict[str, Position]()
        self._billed = dict[tuple[str, int], int]()
        self._parties: Parties | None = None

    def post(self, records: Iterable[Record], behind: Position, people: Mapping[bytes, int] = _NOBODY) -> int:
        """Post records in journal order and move the position to ``behind``, in one transaction; how many
        events were new. ``people``: who saw the impressions, by event id. Does nothing where somebody has
        posted as far."""
        records = list(records)
        try:
            try:
                return self._post(records, behind, people, checked=False)
            except _Repeated:
                self._forget()
                return self._post(records, behind, people, checked=True)
        except BaseException:
            # What is in memory may be ahead of the database.
            self._forget()
            raise

    def _post(
        self, records: Sequence[Record], behind: Position, people: Mapping[bytes, int], checked: bool
    ) -> int:
        with self._writing.begin() as connection:
            lock_for_writing(connection)
            known = positions_of(connection)
            if known != self._known:
                self._forget()
                self._known = known
            self._position = known.get(self._consumer, Position())
            if behind <= self._position:
                return 0
            batches = [self._write(connection, part, people, checked) for part in _parts(records)]
            inserts.move(connection, self._consumer, behind)
        self._position = self._known[self._consumer] = behind
        for batch in batches:
            self._tell(batch)
        return sum(len(batch.plain) + len(batch.events) + len(batch.filtered) for batch in batches)

    def _write(
        self, connection: Connection, records: Sequence[Record], people: Mapping[bytes, int], checked: bool
    ) -> Batch:
        """Records without a closing or credit among them, or one that ends them."""
        tallied = tallied_of(self._consumer)
        rollups = Rollups(tallied, mark(connection, tallied), people)
        batch = self._collect(connection, records, rollups, checked)
        if inserts.write(connection, batch) < batch.rows:
            raise _Repeated
        if self._holder is not None:
            inserts.spend(connection, list(_spent(batch, self._billed, self._holder)))
        for key, row in batch.sheets.budgets.items():
            self._billed[key] = row.billed_nanos
        last = records[-1] if records else None
        if isinstance(last, Closed):
            stating.close(connection, last)
        elif isinstance(last, Credited):
            crediting.post(connection, last, batch.wallets)
            batch.parties.outlines.clear()
        return batch

    def _collect(
        self, connection: Connection, records: Sequence[Record], rollups: Rollups, checked: bool
    ) -> Batch:
        parties = self._parties = self._parties or read_parties(connection)
        terms = [record for record in records if isinstance(record, LineItemTerms)]
        self._load_budgets(connection, parties, days_of(records), terms)
        batch = Batch(parties, self._billed, rollups)
        Walk(connection, batch, records, checked).walk()
        return batch

    def _load_budgets(
        self, connection: Connection, parties: Parties, days: set[tuple[int, int]],
        terms: Iterable[LineItemTerms],
    ) -> None:  # fmt: skip
        """Those of (line item, day), whoever pays for it during the batch."""
        if len(self._billed) > _CACHED_BUDGETS:
            self._billed.clear()
        told = {item.serial: payer_of(item) for item in terms}
        wanted = set[tuple[str, int]]()
        for line_item, day in days:
            for payer in (parties.payers.get(line_item), told.get(line_item)):
                if payer is not None:
                    wanted.update(budget_keys(line_item, day, payer))
        missing = [key for key in wanted if key not in self._billed]
        columns = select(BUDGETS.c.account, BUDGETS.c.day, BUDGETS.c.billed_nanos)
        for keys in chunks(missing):
            found = columns.where(tuple_(BUDGETS.c.account, BUDGETS.c.day).in_(keys))
            for account, day, billed in connection.execute(found):
                self._billed[account, day] = billed

    def describe(self, terms: Iterable[LineItemTerms]) -> None:
        """What line items promised last, for a ledger of before it was kept there."""
        found = text("UPDATE line_items SET model = :m, amount_micros = :a WHERE serial = :s AND model = ''")
        with self._writing.begin() as connection:
            unknown = select(schema.LINE_ITEMS.c.serial).where(schema.LINE_ITEMS.c.model == "")
            wanted = set(connection.execute(unknown).scalars())
            rows = [{"s": t.serial, "m": t.model, "a": t.amount_micros} for t in terms if t.serial in wanted]
            if rows:
                connection.execute(found, rows)

    def _tell(self, batch: Batch) -> None:
        for refusal in batch.refusals:
            _LOG.error("not billed, though the journal says so: %s", refusal)
        self.refused += len(batch.refusals)

    def _forget(self) -> None:
        """Read again, when next needed, what the books say."""
        self._billed.clear()
        self._parties = None

    def forget_people(self, before_ms: int) -> bool:
        """Some of those who saw ads decided before; whether there may be more."""
        return forgetting.forget_people(self._writing, before_ms)

    def close(self) -> None:
        self._writing.dispose()
        super().close()


def _spent(batch: Batch, before: dict[tuple[str, int], int], holder: int) -> Iterator[inserts.Lease]:
    """What the batch billed to each account. Refunds are nobody's lease: the budget has room again."""
    for key, row in batch.sheets.budgets.items():
        spent_nanos = row.billed_nanos - before.get(key, 0) + row.refunded_nanos
        if spent_nanos:
            yield *key, holder, None, spent_nanos, 0


def _parts(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Cut behind each closing, which wants the books as they are before it, and each credit."""
    if _ENDING.isdisjoint(map(type, records)):
        yield records
        return
    start = 0
    for number, record in enumerate(records, 1):
        if type(record) in _ENDING:
            yield records[start:number]
            start = number
    yield records[start:]
