"""A process that sells from shared budgets: journal, hot state, leases and posting of one number, composed
as a server would, without a catalogue or a wire. Time is an argument.

What it sells is told by ``Shelf``: line items whose budgets are ``limits``.
"""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import msgspec
from msgspec import Struct

from adserver import recovery
from adserver.domain import ids
from adserver.domain.books import Position
from adserver.domain.campaign import MODELS
from adserver.domain.credits import PREPAID
from adserver.domain.decision import Ad, Decision, EventKind, Slot, event_id
from adserver.domain.records import (
    BudgetTerms,
    Credited,
    Decided,
    LineItemTerms,
    PlacementTerms,
    Recorded,
    Released,
    Status,
    Unbilled,
)
from adserver.engine import localtime
from adserver.ledger import journals
from adserver.ledger.accounts import levels
from adserver.ledger.journal import Journal
from adserver.ledger.leases import Leases
from adserver.ledger.leasing import Leasing
from adserver.ledger.place import place_of
from adserver.ledger.poster import Poster
from adserver.ledger.reader import Reader
from adserver.ledger.writer import LedgerWriter

ZONE = "UTC"
PLACE = PlacementTerms(0, 1, 7, "lumen/top", 3, "EUR")
RENDER_MS = 900_000
PAYS = {"cpm": EventKind.IMPRESSION, "cpc": EventKind.CLICK}


class Item(Struct, frozen=True):
    """``price_nanos`` of an impression or (a multiple of 1000) of a click."""

    serial: int
    campaign: int
    advertiser: int
    price_nanos: int
    model: str = "cpm"

    @property
    def hold_nanos(self) -> int:
        return self.price_nanos if self.model == "cpm" else -(-self.price_nanos // 20)


class Shelf:
    """What is in force. ``limits``: (account, period) -> nanos."""

    def __init__(self, items: Iterable[Item], limits: dict[tuple[str, str], int], revision: int) -> None:
        self.items = {item.serial: item for item in items}
        self.revision = revision
        self.limits = dict(limits)

    def line_item(self, serial: int) -> LineItemTerms | None:
        item = self.items.get(serial)
        if item is None:
            return None
        micros = item.price_nanos if item.model == "cpm" else item.price_nanos // 1000
        bare = LineItemTerms(
            0, self.revision, serial, f"acme/c{item.campaign}/i{serial}", item.campaign, item.advertiser,
            "EUR", ZONE, item.model, micros,
        )  # fmt: skip
        budgets = [
            BudgetTerms(name, period, self.limits[name, period], ZONE)
            for name in levels(bare)
            for period in ("lifetime", "day", PREPAID)
            if (name, period) in self.limits
        ]
        return LineItemTerms(
            *(getattr(bare, name) for name in bare.__struct_fields__[:10]), (), tuple(budgets)
        )

    def levels(self, terms: LineItemTerms) -> dict[str, tuple[BudgetTerms, ...]]:
        return {}

    def absent(self, serials: set[int]) -> set[int]:
        return set()


class Sale(Struct, frozen=True, array_like=True):
    """An ad that is out: all that its token would say."""

    ident: bytes
    serial: int
    price_nanos: int
    decided_ms: int
    expires_ms: int


class Till:
    """Opening goes on where the process of this number ended, however it did."""

    def __init__(self, data: Path, number: int, shelf: Shelf, now_ms: int, url: str | None = None) -> None:
        """``url``: of a database for the books."""
        place = place_of(data, url)
        folder = journals.folder_of(data, number)
        folder.mkdir(parents=True, exist_ok=True)
        self.number = number
        self.journal = Journal(folder, 1 << 20)
        self.reader = Reader(folder)
        self.books = LedgerWriter(place, journals.consumer_of(number), number)
        self.poster = Poster(self.reader, self.books, lambda: self.journal.synced_position)
        self.poster.drain()
        self.leases = Leases(place, number)
        held, billed = self.leases.join(shelf.revision), list(self.books.billed_accounts(0))
        self.leasing = Leasing(held, billed, shelf.revision)
        self.states = recovery.fresh(self.leasing)
        self.budgets = self.states.budgets
        self.budgets.load((), billed)
        self.budgets.paid_in(self.books.paid_in())
        with closing(Reader(folder)) as reader:
            for _, record, personal in reader.read(Position()):
                self.states.hot.apply(record, personal)
        self.states.hot.sweep(now_ms)
        self.follow(shelf, now_ms)

    def follow(self, shelf: Shelf, now_ms: int) -> None:
        """Other limits are in force; they stand in the journal before anything is sold under them."""
        self.shelf = shelf
        self.journal.append(PLACE)
        for serial in shelf.items:
            terms = shelf.line_item(serial)
            assert terms is not None
            self.journal.append(msgspec.structs.replace(terms, at_ms=now_ms))
        self.budgets.follow(shelf)

    # -- selling -----------------------------------------------------------------------------------

    def sell(self, serials: Iterable[int], now_ms: int) -> list[Sale]:
        """An ad of each line item whose budgets have room here, decided at once."""
        self.states.hot.sweep(now_ms)
        request_id = ids.mint(now_ms, self.number << 56 | self.journal.position.number, 0)
        sales, ads = list[Sale](), list[Ad]()
        for serial in serials:
            item, ident = self.shelf.items[serial], event_id(request_id, len(ads) + 1)
            ends_ms, firm = now_ms + RENDER_MS, item.model == "cpm"
            if self.budgets.reserve(ident, serial, item.hold_nanos, now_ms, ends_ms, firm):
                sales.append(Sale(ident, serial, item.price_nanos, now_ms, ends_ms))
                model = MODELS.index(item.model)
                ads.append(
                    Ad(
                        len(ads) + 1, serial, 100 + serial, item.price_nanos, item.hold_nanos,
                        item.price_nanos, model=model,
                    )
                )  # fmt: skip
        if ads:
            slot = Slot(PLACE.serial, "top", tuple(ads), expires_ms=now_ms + RENDER_MS)
            self.journal.append(Decided(Decision(request_id, self.shelf.revision, PLACE.publisher, (slot,))))
        return sales

    def show(self, sale: Sale, now_ms: int) -> bool:
        """The paid event of an ad that was decided here came, in time; whether it was new, and is counted."""
        kind = PAYS[self.shelf.items[sale.serial].model]
        key = sale.ident + bytes((kind,))
        if key in self.states.seen or sale.ident in self.states.released:
            return False
        affords = self.budgets.affords(sale.ident, sale.serial, sale.price_nanos, sale.decided_ms)
        billed = sale.price_nanos if affords else 0
        day = localtime.day_span(ZONE, sale.decided_ms)[0]
        unbilled = Unbilled.NONE if affords else Unbilled.OVER_BUDGET
        event = Recorded(
            sale.ident, kind, Status.ACCEPTED, now_ms, sale.serial, 100 + sale.serial, PLACE.serial, billed,
            unbilled, day, free_nanos=sale.price_nanos - billed,
        )  # fmt: skip
        self.journal.append(event)
        self.states.seen.add(key, now_ms + 10 * RENDER_MS)
        self.budgets.post(sale.ident, sale.serial, billed, sale.decided_ms)
        return True

    def release(self, sale: Sale, now_ms: int) -> None:
        if self.budgets.void(sale.ident):
            self.states.released.add(sale.ident, now_ms + 10 * RENDER_MS)
            self.journal.append(Released(sale.ident, now_ms, sale.serial))

    def reverse(self, sale: Sale, now_ms: int) -> int:
        """Found invalid, if it is posted and was not before; nanos given back."""
        found = self.books.reversible([sale.ident])
        for event in found:
            taken = msgspec.structs.replace(event, at_ms=now_ms, reason="a farm")
            self.journal.append(taken)
            self.budgets.refund(taken, "impressions" if event.kind == EventKind.IMPRESSION else "clicks")
        return sum(event.billed_nanos for event in found)

    def deposit(self, name: str, advertiser: int, micros: int, now_ms: int) -> None:
        """Booked here; counts, for everybody, once it is posted."""
        self.journal.append(Credited(name, advertiser, "deposit", "EUR", micros, now_ms, "paid"))

    # -- beside it ---------------------------------------------------------------------------------

    def post(self) -> None:
        self.journal.sync()
        self.poster.drain()

    def turn(self, now_ms: int) -> None:
        """Of the leases, as a duty would; ``settle`` would run in a thread. What is booked is heard of."""
        self.budgets.paid_in(self.books.paid_in())
        returned, asks = self.leasing.plan(self.budgets, now_ms)
        self.leasing.apply(returned, self.leases.settle(returned, asks, self.leasing.heard))

    def leave(self, now_ms: int) -> None:
        """A clean end."""
        self.post()
        self.leases.leave(self.leasing.give_all_back(), now_ms)
        self.close()

    def close(self) -> None:
        """As a kill leaves it: what is in the kernel stays."""
        for part in (self.leases, self.reader, self.journal, self.books):
            part.close()
