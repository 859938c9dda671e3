"""The journal as the use cases write to it: terms stand in it before any record that relies on them.

A decision or an event speaks of line items and placements by serial; what these promised then (caps,
budgets, prices, a feed's policy) is what the laws are audited by, and what hot state and books are made of
again. So whenever a record speaks of one whose terms are not in the journal as they are in force, they are
appended just before it, in the same turn of the loop; if they find no room, the record finds none either,
and nothing is sold or counted. A swap of the catalogue journals nothing but what line items that leave it
had promised last.

Terms speak for accounts that siblings share, and the last that speaks for an account holds (audits and books
read them so): terms are also told again when somebody else said otherwise of one of their accounts since.
Memory: an entry for each line item sold; time: a look into a set for each ad and event.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from adserver.domain.books import JournalClosed
from adserver.domain.conversions import Converted
from adserver.domain.decision import is_recorded
from adserver.domain.fees import Accrued
from adserver.domain.records import (
    Decided,
    LineItemTerms,
    Personal,
    PlacementTerms,
    Record,
    Recorded,
    Status,
    Tallied,
)
from adserver.domain.told import Accepted
from adserver.engine.snapshot import Snapshot
from adserver.services.ports import Rows
from adserver.services.terms import InForce, placement_terms

Said = dict[str, int]
"""What is said of an account: period -> limit, for each that has one."""


class Limits(Protocol):
    """Budgets, whose line items are bound to the catalogue in force."""

    def follow(self, in_force: InForce) -> set[int]:
        """Another catalogue is in force; the line items that have just left."""
        ...

    def terms(self, line_item: int) -> LineItemTerms | None:
        """What binds a line item now, or bound it last."""
        ...


class Windows(Protocol):
    """Frequency counters, that look back as far as was promised."""

    def promise(self, terms: LineItemTerms) -> None: ...


class Promises:
    """``told``: the terms in the journal by serial, in the order they were last told; ``identities``: of the
    versions of creatives they ever named; both are kept up to date. ``owns``: whether an ad was decided here;
    None: all were. Of another's its journal tells, which may be lost, so its events do here."""

    def __init__(
        self, journal: Rows, limits: Limits, windows: Windows,
        told: dict[int, LineItemTerms], identities: dict[int, int],
        owns: Callable[[bytes], bool] | None = None,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._limits = limits
        self._windows = windows
        self._told = told
        self._identities = identities
        self._owns = owns
        self._said: dict[str, Said] = {}
        for terms in told.values():
            self._said |= _said(terms)
        self._snapshot: Snapshot | None = None
        self._standing: set[int] = set()
        self._placements: dict[int, PlacementTerms] = {}
        self._placed: set[int] = set()
        self._owed: set[int] = set()

    # -- the journal's own -------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        return self._journal.open

    def append(self, record: Record, personal: Personal | None = None) -> None:
        """Raises JournalClosed; the record is not in the journal then."""
        if isinstance(record, Decided):
            self._promise(record)
        elif isinstance(record, Tallied):
            for _, placement, *_ in record.cells:
                if placement not in self._placed:
                    self._placement(placement, record.at_ms)
        elif isinstance(record, Recorded) and self._is_untold(record.event_id):
            self._given(record)
        elif (
            isinstance(record, Recorded | Converted | Accrued)
            and record.line_item not in self._standing
            and not (isinstance(record, Recorded) and record.status == Status.FILTERED)
        ):
            self._line_item(record.line_item, record.at_ms)
        self._journal.append(record, personal)

    def append_row(self, row: list[Accepted], at_ms: int) -> None:
        """Of ads that were decided here. Raises JournalClosed; nothing of the row is in the journal then."""
        for told, *_ in row:
            if told[4] not in self._standing:
                self._line_item(told[4], at_ms)
        self._journal.append_row(row, at_ms)

    def synced(self) -> asyncio.Future[None]:
        return self._journal.synced()

    # -- what is promised --------------------------------------------------------------------------

    def follow(self, snapshot: Snapshot, now_ms: int) -> None:
        """From now on these are the terms. Costs a look at the line items ever touched, to find those that
        left; the others are looked at when they are sold."""
        left = self._limits.follow(InForce(snapshot))
        self._snapshot = snapshot
        self._standing, self._placed = set(), set()
        self._owed |= left & self._told.keys()
        self.settle(now_ms)

    def settle(self, now_ms: int) -> None:
        """Journal what line items that left had promised last, for their late events after a restart. What
        the journal keeps in reserve is left to the events; a full disk is tried again later."""
        while self._owed and self._journal.open:
            serial = self._owed.pop()
            try:
                self._line_item(serial, now_ms)
            except JournalClosed:
                self._owed.add(serial)
                return

    def _promise(self, record: Decided) -> None:
        for slot in record.decision.slots:
            if slot.repeated is None:
                if slot.placement not in self._placed:
                    self._placement(slot.placement, record.decision.now_ms)
                for ad in slot.ads:
                    if ad.line_item not in self._standing:
                        self._line_item(ad.line_item, record.decision.now_ms)

    def _is_untold(self, event_id: bytes) -> bool:
        """Whether no decision in this journal told of its line item and placement."""
        return not is_recorded(event_id) or (self._owns is not None and not self._owns(event_id))

    def _given(self, event: Recorded) -> None:
        """Of an ad whose decision told nothing here, so its events do, whatever becomes of them."""
        if event.placement not in self._placed:
            self._placement(event.placement, event.at_ms)
        if event.line_item not in self._standing:
            self._line_item(event.line_item, event.at_ms)

    def _line_item(self, serial: int, now_ms: int) -> None:
        terms = self._limits.terms(serial)
        if terms is not None and self._is_news(terms):
            revision = self._snapshot.revision if self._snapshot is not None else 0
            terms = msgspec.structs.replace(terms, at_ms=now_ms, revision=revision)
            self._journal.append(terms)
            self._told.pop(serial, None)
            self._told[serial] = terms
            self._identities.update(terms.creatives)
            self._windows.promise(terms)
            self._said |= _said(terms)
        self._standing.add(serial)

    def _is_news(self, terms: LineItemTerms) -> bool:
        told = self._told.get(terms.serial)
        if told is None or msgspec.structs.replace(terms, at_ms=told.at_ms, revision=told.revision) != told:
            return True
        return any(self._said.get(name) != said for name, said in _said(terms).items())

    def _placement(self, serial: int, now_ms: int) -> None:
        assert self._snapshot is not None
        view = self._snapshot.placements_by_serial.get(serial)
        if view is not None:
            terms = placement_terms(view)
            if self._placements.get(serial) != terms:
                revision = self._snapshot.revision
                self._journal.append(msgspec.structs.replace(terms, at_ms=now_ms, revision=revision))
                self._placements[serial] = terms
        self._placed.add(serial)


def _said(terms: LineItemTerms) -> dict[str, Said]:
    """What terms say of the accounts they speak for."""
    names = f"line_item:{terms.serial}", f"campaign:{terms.campaign}", f"advertiser:{terms.advertiser}"
    said: dict[str, Said] = {name: {} for name in names}
    for budget in terms.budgets:
        said[budget.account][budget.period] = budget.limit_nanos
    return said
