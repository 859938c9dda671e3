"""Events as rows for other engines, from the journal alone, whose records name everything they speak of.
Only of closings the ledger is asked too: it alone knows which of them money had moved under.

A row is an event as it was recorded, with what it cost and who pays whom; reversals are rows of their own, so
that a file once written never changes. There is nobody in them: no pseudonym, no fact of a request. Instants
are UTC. Cost: some 5 µs a row, memory for one row group of each hour that is open.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from heapq import merge
from pathlib import Path
from typing import Final

from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError

from adserver.databases import Place
from adserver.domain import ids, limits
from adserver.domain.bills import BillPlace, Closing, Total
from adserver.domain.books import Position
from adserver.domain.counted import events_of
from adserver.domain.decision import EventKind
from adserver.domain.provenance import DEVICES
from adserver.domain.records import (
    Closed,
    LineItemTerms,
    PlacementTerms,
    Record,
    Recorded,
    Reversed,
    Status,
    Unbilled,
)
from adserver.domain.statements import month_text
from adserver.ledger.audit_walk import at_ms
from adserver.ledger.dialects import read_database
from adserver.ledger.reader import Reader
from adserver.ledger.stating import Standing, standing

REVERSED: Final = "reversed"


class EventRow(Struct, frozen=True):
    """``status``: accepted, expired, filtered or reversed. ``unbilled`` and ``reason``: why nothing was
    billed, or why it was reversed. ``billed_nanos`` is negative for a reversal. ``day``: of the decision in
    the campaign's time zone, by which statements go. ``creative``: the number of its version.
    ``place``: of its record in the journal, as one number in the journal's order; of several, in the order
    of time, as audits read them."""

    event_id: str
    kind: str
    status: str
    at_ms: int
    decided_ms: int
    day: int
    advertiser: str
    campaign: str
    line_item: str
    creative: int
    publisher: str
    placement: str
    currency: str
    billed_nanos: int
    free_nanos: int
    unbilled: str
    reason: str
    test: bool
    country: str
    device: str
    place: int


class Names:
    """What the serials of events mean, as the journal's terms tell it before any event that needs it."""

    def __init__(self, stood: Standing) -> None:
        self._stood = stood
        self._line_items: dict[int, LineItemTerms] = {}
        self._placements: dict[int, str] = {}
        self._owners: dict[str, str] = {}

    def learn(self, terms: LineItemTerms | PlacementTerms) -> None:
        if isinstance(terms, LineItemTerms):
            self._line_items[terms.serial] = terms
            self._owners[f"advertiser:{terms.advertiser}"] = terms.full_id.partition("/")[0]
        else:
            self._placements[terms.serial] = terms.full_id
            self._owners[f"publisher:{terms.publisher}"] = terms.full_id.partition("/")[0]

    def owner(self, party: str) -> str:
        """Its id; empty where nothing was told of it."""
        return self._owners.get(party, "")

    def closing(self, closed: Closed, place: int, owner: str) -> Closing:
        side = closed.party.partition(":")[0]
        journal = BillPlace(closed.segment, closed.offset, closed.chain.hex())
        totals = [Total(currency, micros) for currency, micros in closed.totals]
        stands = self._stood.get((closed.party, closed.month, closed.at_ms))
        return Closing(side, owner, month_text(closed.month), place, journal, totals, stands)

    def event(self, event: Recorded, place: int) -> EventRow:
        return self._row(
            event, place, Status(event.status).name.lower(), event.billed_nanos, event.free_nanos,
            Unbilled(event.unbilled).name.lower() if event.unbilled else "", event.test,
        )  # fmt: skip

    def reversal(self, found: Reversed, place: int) -> EventRow:
        return self._row(found, place, REVERSED, -found.billed_nanos, 0, "", False)

    def _row(
        self, event: Recorded | Reversed, place: int, status: str, billed: int, free: int, unbilled: str,
        test: bool,
    ) -> EventRow:  # fmt: skip
        terms = self._line_items.get(event.line_item)
        advertiser, campaign, line_item = terms.full_id.split("/") if terms is not None else ("", "", "")
        publisher, _, placement = self._placements.get(event.placement, "").partition("/")
        return EventRow(
            event_id=ids.encode(event.event_id),
            kind=EventKind(event.kind).name.lower(),
            status=status,
            at_ms=event.at_ms,
            decided_ms=ids.minted_ms(event.event_id),
            day=event.day,
            advertiser=advertiser,
            campaign=campaign,
            line_item=line_item,
            creative=event.creative,
            publisher=publisher,
            placement=placement,
            currency="" if terms is None else terms.currency,
            billed_nanos=billed,
            free_nanos=free,
            unbilled=unbilled,
            reason=event.reason,
            test=test,
            country=event.country,
            device=DEVICES[event.device] if event.device < len(DEVICES) else "other",
            place=place,
        )


def closings_posted(ledger: Place) -> Standing:
    """What the ledger made of each closing; also beside its writer. Nothing of a ledger that is not there or
    cannot be read: events are exported all the same."""
    engine = read_database(ledger, limits.DATABASE_PATIENCE_LONG_S)
    try:
        with engine.connect() as connection:
            return standing(connection)
    except SQLAlchemyError:
        return {}
    finally:
        engine.dispose()


def events(
    journals: Sequence[Path], from_ms: int, to_ms: int, closings: list[Closing], stood: Standing | None = None
) -> Iterator[EventRow]:
    """The rows recorded in [from, to), by their places; also beside who writes. ``closings`` gets
    those of statements, of all times, with what of them ``stood``. Raises Damage."""
    names, told = [Names(stood or {}) for _ in journals], list[tuple[Closed, int, Names]]()
    with ExitStack() as stack:
        readers = [stack.enter_context(closing(Reader(journal))) for journal in journals]
        for place, number, record in _together(readers):
            known = names[number]
            if isinstance(record, LineItemTerms | PlacementTerms):
                known.learn(record)
            elif isinstance(record, Closed):
                told.append((record, place, known))
            elif isinstance(record, Reversed):
                if from_ms <= record.at_ms < to_ms:
                    yield known.reversal(record, place)
            else:
                found = (event for event in events_of(record) if from_ms <= event.at_ms < to_ms)
                yield from (known.event(event, place) for event in found)
    # A month may be closed before anything is sold, and by who sold nothing: whose it is others may tell.
    for record, place, known in told:
        owner = next(filter(None, (one.owner(record.party) for one in names)), "")
        closings.append(known.closing(record, place, owner))


def _together(readers: Sequence[Reader]) -> Iterator[tuple[int, int, Record]]:
    """(place, number of the journal, record)."""
    if len(readers) == 1:
        return ((behind.number, 0, record) for behind, record, _ in readers[0].read(Position()))
    timed = merge(*(_timed(number, reader) for number, reader in enumerate(readers)), key=_when)
    return ((place, number, record) for place, (_, number, record) in enumerate(timed, 1))


Timed = tuple[int, int, Record]


def _timed(number: int, reader: Reader) -> Iterator[Timed]:
    """With the instant of each, which never goes back within a journal."""
    latest_ms = 0
    for _, record, _ in reader.read(Position()):
        latest_ms = max(latest_ms, at_ms(record))
        yield latest_ms, number, record


def _when(timed: Timed) -> tuple[int, int]:
    return timed[:2]
