"""Events as rows for other engines, from the journal alone, whose records name everything they speak of.

A row is an event as it was recorded, with what it cost and who pays whom; reversals are rows of their own, so
that a file once written never changes. There is nobody in them: no pseudonym, no fact of a request. Instants
are UTC. Cost: some 5 µs a row, memory for one row group of each hour that is open.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from msgspec import Struct

from adserver.domain import ids
from adserver.domain.books import Position
from adserver.domain.decision import EventKind
from adserver.domain.provenance import DEVICES
from adserver.domain.records import LineItemTerms, PlacementTerms, Recorded, Reversed, Status, Unbilled
from adserver.ledger.reader import Reader

REVERSED: Final = "reversed"


class EventRow(Struct, frozen=True):
    """``status``: accepted, expired, filtered or reversed. ``unbilled`` and ``reason``: why nothing was
    billed, or why it was reversed. ``billed_nanos`` is negative for a reversal. ``day``: of the decision in
    the campaign's time zone, by which statements go. ``creative``: the number of its version."""

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


class Names:
    """What the serials of events mean, as the journal's terms tell it before any event that needs it."""

    def __init__(self) -> None:
        self._line_items: dict[int, LineItemTerms] = {}
        self._placements: dict[int, str] = {}

    def learn(self, terms: LineItemTerms | PlacementTerms) -> None:
        if isinstance(terms, LineItemTerms):
            self._line_items[terms.serial] = terms
        else:
            self._placements[terms.serial] = terms.full_id

    def event(self, event: Recorded) -> EventRow:
        return self._row(
            event, Status(event.status).name.lower(), event.billed_nanos, event.free_nanos,
            Unbilled(event.unbilled).name.lower() if event.unbilled else "", event.test,
        )  # fmt: skip

    def reversal(self, found: Reversed) -> EventRow:
        return self._row(found, REVERSED, -found.billed_nanos, 0, "", False)

    def _row(
        self, event: Recorded | Reversed, status: str, billed: int, free: int, unbilled: str, test: bool
    ) -> EventRow:
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
        )


def events(journal: Path, from_ms: int, to_ms: int) -> Iterator[EventRow]:
    """The rows recorded in [from, to), in the journal's order; also beside its writer. Raises Damage."""
    names = Names()
    with closing(Reader(journal)) as reader:
        for _, record, _ in reader.read(Position()):
            if isinstance(record, LineItemTerms | PlacementTerms):
                names.learn(record)
            elif isinstance(record, Recorded | Reversed) and from_ms <= record.at_ms < to_ms:
                yield names.event(record) if isinstance(record, Recorded) else names.reversal(record)
