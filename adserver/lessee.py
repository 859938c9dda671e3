"""A process that shares the budgets: what it leases of them, joined at the start, a turn some ten times a
second, given back at a clean end (``ledger.leases``, ``ledger.leasing``). One that is alone has none.

Who was alone before has promised what nobody has heard of; it joins as one that has heard of no catalogue.
Who was one of several and is the only one yet shares on, until the others' last tokens are over.
"""

import asyncio
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from adserver import recovery
from adserver.databases import Place
from adserver.domain.books import Position
from adserver.domain.workers import Worker
from adserver.ledger import journals
from adserver.ledger.elsewhere import Elsewhere
from adserver.ledger.journal import Journal
from adserver.ledger.leases import Leases
from adserver.ledger.leasing import Leasing
from adserver.ledger.ledger import Ledger
from adserver.ledger.poster import Poster
from adserver.ledger.reader import Reader
from adserver.ledger.writer import LedgerWriter
from adserver.recovery import States
from adserver.settings import Settings


class Lessee:
    """Of the ledger at ``place``, in which this worker's journal is posted to its end. ``revision``: of the
    catalogue."""

    def __init__(self, data: Path, place: Place, ledger: Ledger, worker: Worker, revision: int) -> None:
        self._data, self._ledger, self._worker = data, ledger, worker
        self._leases = Leases(place, worker.number)
        self._held = self._leases.join(0 if ledger.position > Position() else revision)
        # Of one moment for all that is made of it: others post meanwhile.
        self.billed = list(ledger.billed_accounts(0))
        self._revision = revision
        self._leasing = Leasing(self._held, self.billed, revision)

    def begin(self, mirrored: bool = False) -> States:
        """Hot state whose budgets are what is leased; made again, it begins anew. ``mirrored``: see there."""
        self._leasing = Leasing(self._held, self.billed, self._revision)
        states = recovery.fresh(self._leasing, mirrored)
        states.budgets.load((), self.billed)
        self._elsewhere = Elsewhere(self._ledger, states.budgets, self._leasing)
        return states

    async def turn(self, states: States, now_ms: int) -> None:
        """What is booked is heard of, what runs low is asked for, what lies idle given back."""
        states.budgets.paid_in(await asyncio.to_thread(self._ledger.paid_in))
        returned, asks = self._leasing.plan(states.budgets, now_ms)
        settled = await asyncio.to_thread(self._leases.settle, returned, asks, self._leasing.heard)
        self._leasing.apply(returned, settled)

    async def hear(self, written: Callable[[], Position], now_ms: int) -> None:
        """What others delivered counts here. ``written``: the journal's end."""
        elsewhere = self._elsewhere
        if not elsewhere.is_due:
            return
        heard = await asyncio.to_thread(elsewhere.read, self._worker.number, elsewhere.keys(now_ms))
        elsewhere.hear(*heard)
        sold = await asyncio.to_thread(elsewhere.sold)
        elsewhere.note(sold, written(), now_ms)

    def leave(self, now_ms: int) -> None:
        """A clean end: all is posted, and no turn goes on."""
        self._leases.leave(self._leasing.give_all_back(), now_ms)

    def bury(self, now_ms: int) -> None:
        """Those that are no more: what they held comes back once their last tokens are over. Nobody reads the
        journals of a machine that never comes back."""
        fleet = self._worker.fleet
        orphans = [] if fleet is None else fleet.orphans
        for number in [*gone(self._data, self._worker), *orphans]:
            self._leases.bury(number, now_ms)

    def close(self) -> None:
        self._leases.close()


Join = Callable[[int], Lessee]
"""Once the journal is posted; the revision of the catalogue."""


def open_books(
    settings: Settings, place: Place, worker: Worker, now_ms: int
) -> tuple[LedgerWriter, Ledger, Join | None]:
    """The books to post into and to read, and what joins those who share the budgets, where they are shared:
    with others that serve, or with what somebody who served promised. The first worker has posted before what
    processes that are no more left in their journals. Raises JournalBusy where one of them is not gone."""
    number = worker.number
    if worker.is_first:
        for other in gone(settings.data, worker):
            _post(settings, place, other)
    consumer = journals.consumer_of(number)
    books = LedgerWriter(place, consumer)
    ledger = Ledger(place, consumer)
    if not _shares(place, ledger, worker, now_ms):
        return books, ledger, None
    books.close()
    return (
        LedgerWriter(place, consumer, number),
        ledger,
        partial(Lessee, settings.data, place, ledger, worker),
    )


def gone(data: Path, worker: Worker) -> list[int]:
    """The processes that once served from this folder and are no more."""
    here = set(worker.here)
    return [number for number in journals.numbers_in(data) if number not in here]


def _shares(place: Place, ledger: Ledger, worker: Worker, now_ms: int) -> bool:
    """Whoever finds all others gone and over is alone from then on."""
    known = ledger.holders()
    if worker.shares or not known:
        return worker.shares
    with closing(Leases(place, worker.number)) as leases:
        over = [leases.bury(number, now_ms) for number in known - {worker.number}]
        if not all(over):
            return True
        leases.dissolve()
    return False


def _post(settings: Settings, place: Place, number: int) -> None:
    """To the end of a journal that nobody writes any more."""
    folder = journals.folder_of(settings.data, number)
    with (
        closing(Journal(folder, settings.segment_bytes)) as journal,
        closing(Reader(folder)) as reader,
        closing(LedgerWriter(place, journals.consumer_of(number), number)) as books,
    ):
        Poster(reader, books, lambda: journal.synced_position).drain()
