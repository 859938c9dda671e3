"""What was delivered and billed, counted from the journal alone: what a serving process has from its ledger.

Replay needs the books as they were at a position of the journal, and the learned rates of another; both are
sums over the events before it. They move the very accounts that recording an event moves.
"""

from collections import defaultdict
from typing import Final, Protocol

from msgspec import Struct

from adserver.domain import ids, money
from adserver.domain.books import LineItemTotals, Shown
from adserver.domain.counted import COUNTED, events_of
from adserver.domain.decision import EventKind
from adserver.domain.records import Credited, Record, Recorded, Reversed, Status

_SHOWN: Final = tuple(COUNTED)
_ENDED: Final = {Status.FILTERED: "filtered", Status.EXPIRED: "expired"}

Key = tuple[int, int, int]
"""Line item, placement, version of the creative."""
Billed = tuple[str, int, int]
"""Account, day, nanos."""
Paid = tuple[int, str, int]
"""Advertiser, currency, micros."""


class Wallets(Protocol):
    def paid(self) -> list[Paid]: ...


class Books(Protocol):
    @property
    def wallets(self) -> Wallets: ...
    def pay_in(self, advertiser: int, currency: str, nanos: int) -> None: ...
    def paid_in(self, paid: list[Paid]) -> None: ...
    def bill(self, line_item: int, price_nanos: int, decided_ms: int) -> None: ...
    def refund(self, found: Reversed, counted: str | None) -> None: ...
    def totals(self, line_item: int) -> tuple[LineItemTotals, int] | None: ...
    def delivered(self) -> tuple[list[LineItemTotals], list[Billed]]: ...
    def load(self, totals: list[LineItemTotals], billed: list[Billed]) -> None: ...


class Delivered(Struct, frozen=True, array_like=True):
    """At a position of the journal, for a checkpoint; one that does not say what was paid in is of an earlier
    version."""

    totals: list[LineItemTotals]
    billed: list[Billed]
    shown: list[Shown]
    paid: list[Paid] | None = None


class Recount:
    """Moves ``books`` by every event, and counts what was ``shown``."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._shown: defaultdict[Key, list[int]] = defaultdict(lambda: [0] * len(_SHOWN))

    def apply(self, record: Record, shown: bool = True) -> None:
        """One record of the journal, in order. ``shown``: whether the rates asked for go as far."""
        if isinstance(record, Reversed):
            self._take_back(record, shown)
        elif isinstance(record, Credited):
            nanos = money.nanos(record.amount_micros)
            self._books.pay_in(record.advertiser, record.currency, nanos)
        for event in events_of(record):
            if not event.test:
                self._event(event, shown)

    def _event(self, event: Recorded, shown: bool) -> None:
        column = _ENDED.get(Status(event.status))
        if column is None:
            kind = EventKind(event.kind)
            column = COUNTED.get(kind)
            if shown and column is not None:
                self._shown[event.line_item, event.placement, event.creative][_SHOWN.index(kind)] += 1
            if event.billed_nanos:
                self._books.bill(event.line_item, event.billed_nanos, ids.minted_ms(event.event_id))
        self._count(event, column)

    def _take_back(self, found: Reversed, shown: bool) -> None:
        kind = EventKind(found.kind)
        if shown and kind in COUNTED:
            self._shown[found.line_item, found.placement, found.creative][_SHOWN.index(kind)] -= 1
        self._books.refund(found, COUNTED.get(kind))

    def _count(self, record: Recorded, column: str | None) -> None:
        known = self._books.totals(record.line_item)
        if known is not None:
            known[0].free_nanos += record.free_nanos
            if column is not None:
                setattr(known[0], column, getattr(known[0], column) + 1)

    def shown(self) -> list[Shown]:
        return [Shown(*key, *counts) for key, counts in self._shown.items()]

    def dump(self) -> Delivered:
        return Delivered(*self._books.delivered(), self.shown(), self._books.wallets.paid())

    def load(self, dumped: Delivered) -> None:
        """Raises ValueError for one of an earlier version: what was paid in before is in the journal only."""
        if dumped.paid is None:
            raise ValueError("a checkpoint that does not tell what was paid in")
        self._books.load(dumped.totals, dumped.billed)
        self._books.paid_in(dumped.paid)
        for row in dumped.shown:
            counts = [row.impressions, row.viewable, row.clicks, row.conversions]
            self._shown[row.line_item, row.placement, row.creative] = counts
