"""From a batch of records to what the ledger has to add: pure bookkeeping, no SQL.

Only ``Recorded``, ``Converted``, ``Accrued`` and ``Reversed`` move anything. Accepted: counted, and where it
was billed, an entry for the publisher's part and one for the operator's (none for nothing), and six budget
rows (three levels, day and lifetime). Expired and filtered: counted. Test events: stored, nothing else.
Converted: stored, and where it is owed to an ad, an accepted event. Accrued: one for each part. Reversed: its
entries once more the other way round, the budgets have room again, and the counts of what is invalid grow;
what was shown is unlearned. Terms tell who pays, who is paid, and the budgets.

Events that move the same money (``alike``) are added up first and moved at once, if no budget could refuse
one of them; else one by one. What they move is looked up once a batch for each line item
and day (``Sheet``); so an event costs the rows it leaves.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final

from adserver.domain import counted, ids, money
from adserver.domain.conversions import Converted
from adserver.domain.decision import EventKind
from adserver.domain.records import LineItemTerms, PlacementTerms, Recorded, Reversed, Status, Unbilled
from adserver.ledger import alike
from adserver.ledger.alike import Group, Key
from adserver.ledger.conversions import row_of
from adserver.ledger.guards import Limit
from adserver.ledger.parties import Parties, Payee, payer_of
from adserver.ledger.rollups import Numbers, Rollups
from adserver.ledger.schema import COUNTED, EVENTS, LIFETIME, OPERATORS, REVERSAL, SHOWN_COUNTED
from adserver.ledger.sheets import Sheet, Sheets
from adserver.ledger.statement_tables import EARNED_COUNTED

Row = tuple[Any, ...]

_COUNTERS: Final = {int(kind): COUNTED.index(name) for kind, name in counted.COUNTED.items()}
_SHOWN: Final = {int(kind): SHOWN_COUNTED.index(name) for kind, name in counted.COUNTED.items()}
_INVALID: Final = {kind: COUNTED.index(f"invalid_{COUNTED[column]}") for kind, column in _COUNTERS.items()}
REVERSIBLE: Final = frozenset((*_INVALID, int(EventKind.FEE)))
"""The kinds of events that can be taken back later: those that are counted, and fees."""
_REFUNDED: Final = COUNTED.index("refunded_nanos")
_FILTERED: Final = COUNTED.index("filtered")
_EXPIRED: Final = COUNTED.index("expired")
_BILLED: Final = COUNTED.index("billed_nanos")
_FREE: Final = COUNTED.index("free_nanos")
PLAIN: Final = tuple(column.name for column in EVENTS.c if column.name != "test")
"""The columns of ``events`` that are told of a plain event; it is no test."""
_ROW: Final = attrgetter(*PLAIN)
_IS_ACCEPTED: Final = int(Status.ACCEPTED)
_IS_FILTERED: Final = int(Status.FILTERED)


class Batch:
    """What one transaction adds. ``billed``: the budget rows so far, loaded by the caller before; rows
    that are not there begin at 0. ``refusals``: events the journal billed and the ledger must not."""

    def __init__(self, parties: Parties, billed: dict[tuple[str, int], int], rollups: Rollups) -> None:
        self.rollups = rollups
        self.plain: list[Row] = []
        self.events: list[Row] = []
        self.filtered: list[Row] = []
        self.reversals: list[Row] = []
        self.conversions: list[Row] = []
        self.entries: list[Row] = []
        self.limits: list[Limit] = []
        self.line_items: dict[int, LineItemTerms] = {}
        self.placements: dict[int, PlacementTerms] = {}
        self.totals: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * len(COUNTED))
        self.shown: defaultdict[tuple[int, int, int], list[int]] = defaultdict(
            lambda: [0] * len(SHOWN_COUNTED)
        )
        self.earned: defaultdict[tuple[int, int, int, int], list[int]] = defaultdict(
            lambda: [0] * len(EARNED_COUNTED)
        )
        self.balances: defaultdict[str, int] = defaultdict(int)
        self.refusals: list[str] = []
        self.sheets = Sheets(parties, billed)
        self.parties = parties
        self.wallets = parties.guards.wallets

    @property
    def rows(self) -> int:
        """Of events and conversions, each of which is to be new."""
        return len(self.plain) + len(self.events) + len(self.filtered) + len(self.conversions)

    def terms(self, terms: LineItemTerms) -> None:
        """Take over terms, unless they are older than what is known (records posted again)."""
        payer, known = payer_of(terms), self.parties.payers.get(terms.serial)
        if known is not None and payer.since <= known.since:
            return
        self.line_items[terms.serial] = terms
        self.rollups.learn(terms)
        self.parties.payers[terms.serial] = payer
        self.limits += self.parties.guards.learn(terms)
        self.parties.outlines.clear()
        self.sheets.clear()

    def placement(self, terms: PlacementTerms) -> None:
        self.placements[terms.serial] = terms
        self.parties.payees[terms.serial] = Payee(terms.publisher, terms.revenue_share_ppm)

    def recorded(self, events: Sequence[Recorded]) -> None:
        """Add events that are not in the books yet, in the journal's order."""
        plain, others = alike.parted(events)
        self._one_by_one(others)
        keys = alike.keys_of(plain)
        groups = alike.grouped(keys, plain)
        if self._all_known(groups.values()) and self.sheets.bill(groups):
            self._together(plain, keys, groups)
        else:
            self._one_by_one(plain)

    def _all_known(self, groups: Iterable[Group]) -> bool:
        """Whether it is known who is paid for them."""
        payees = self.parties.payees
        return all(event.placement in payees for event, _ in groups if event.billed_nanos > 0)

    def _together(self, events: Sequence[Recorded], keys: Sequence[Key], groups: dict[Key, Group]) -> None:
        """Those that are billed stand in their budgets already."""
        moved = {key: self._move(*group) for key, group in groups.items()}
        moves = list(map(moved.__getitem__, keys))
        self.plain += map(_ROW, events)
        self.entries += [
            (event.event_id, *entry)
            for event, (entries, _) in zip(events, moves, strict=True)
            for entry in entries
        ]
        self.rollups.add(events, [numbers for _, numbers in moves])
        self.rollups.see(events)

    def _move(self, event: Recorded, count: int) -> tuple[list[Row], Numbers]:
        """What so many of it move beside budgets and cells; the entries of each, without its id, and what
        each adds to its cell."""
        amount, free = event.billed_nanos, event.free_nanos
        sheet, counter = self.sheets.of(event) if amount > 0 else None, _COUNTERS.get(event.kind)
        for counts in self._totals(event):
            _add(counts, counter, count, amount, free)
        self._show(event, count)
        entries = [] if sheet is None else list(self._pay(event, sheet, amount, count))
        return entries, (1, amount, free, _earned(entries))

    def _one_by_one(self, events: Iterable[Recorded]) -> None:
        for event in events:
            self.event(event)

    def event(self, event: Recorded) -> None:
        """Add one, whatever it is."""
        if event.status == _IS_FILTERED:
            self.filtered.append(_row(event, event.billed_nanos, event.free_nanos, event.unbilled))
            if not event.test:
                self._count(event, _FILTERED, 1, 0, 0)
            return
        billed, free, unbilled = 0, event.free_nanos, event.unbilled
        if event.billed_nanos > 0:
            billed, free, unbilled = self._bill(event)
        self.events.append(_row(event, billed, free, unbilled))
        if event.test:
            return
        self.rollups.see((event,))
        if event.status == _IS_ACCEPTED:
            self._count(event, _COUNTERS.get(event.kind), 1, billed, free)
            self._show(event)
        else:
            self._count(event, _EXPIRED, 1, 0, 0)

    def conversion(self, found: Converted) -> None:
        """What an advertiser told; the event it is, where it is owed to an ad, is ``recorded``."""
        self.conversions.append(row_of(found))

    def reverse(self, found: Reversed, entries: Sequence[Row]) -> None:
        """Take back an event that is in the books and was not reversed before. ``entries``: its own."""
        amount = found.billed_nanos
        self.reversals.append((found.event_id, found.kind, found.at_ms, amount, found.reason))
        sheet = self.sheets.of(found) if amount else None
        if sheet is not None:
            for row in sheet.budgets:
                row.billed_nanos -= amount
                row.refunded_nanos += amount
            self._earn(found, sheet.month, 1, 1, amount, sum(entry[6] for entry in entries if entry[2] == 0))
        for event_id, kind, part, debit, credit, currency, nanos in entries:
            entry = self._enter(kind, part | REVERSAL, credit, debit, currency, nanos, 1)
            self.entries.append((event_id, *entry))
            if part != OPERATORS:
                self.rollups.earn(found, -nanos)
        self.rollups.unsee(found)
        for counts in self._counts(found):
            if found.kind in _INVALID:
                counts[_INVALID[found.kind]] += 1
            counts[_REFUNDED] += amount
        self._show(found, -1)

    def _bill(self, event: Recorded) -> tuple[int, int, int]:
        """(billed nanos, free nanos, unbilled) as the books take them."""
        amount = event.billed_nanos
        sheet = self.sheets.of(event)
        refusal = self._refusal(event, sheet)
        if sheet is None or refusal is not None:
            self.refusals.append(f"{ids.encode(event.event_id)} kind {event.kind}: {amount} nanos {refusal}")
            return 0, amount, int(Unbilled.OVER_BUDGET)
        for row in sheet.budgets:
            row.billed_nanos += amount
        entries = list(self._pay(event, sheet, amount, 1))
        self.entries += [(event.event_id, *entry) for entry in entries]
        self.rollups.earn(event, _earned(entries))
        return amount, event.free_nanos, event.unbilled

    def _refusal(self, event: Recorded, sheet: Sheet | None) -> str | None:
        """Why the books cannot bill what the journal says was billed."""
        if event.status != _IS_ACCEPTED or event.test:
            return "billed for an event that is never billed"
        if sheet is None:
            return f"no terms of line item {event.line_item}"
        if event.placement not in self.parties.payees:
            return f"no terms of placement {event.placement}"
        for row in sheet.budgets:
            if not row.has_room(event.billed_nanos):
                return (
                    f"over the budget of {row.account} day {row.day}: {row.billed_nanos} of {row.limit_nanos}"
                )
        return None

    # -- moving it ---------------------------------------------------------------------------------

    def _pay(self, event: Recorded, sheet: Sheet, amount: int, count: int) -> Iterator[Row]:
        """The publisher's part of each of so many, rounded down, and the operator's: entries without an
        event's id."""
        payee, currency = self.parties.payees[event.placement], sheet.payer.currency
        earned = money.part(amount, payee.share_ppm)
        self._earn(event, sheet.month, 0, count, amount, earned)
        if earned:
            publisher = f"publisher:{payee.publisher}:{currency}"
            yield self._enter(event.kind, 0, sheet.debit, publisher, currency, earned, count)
        if kept := amount - earned:
            operator = f"operator:{currency}"
            yield self._enter(event.kind, OPERATORS, sheet.debit, operator, currency, kept, count)

    def _earn(
        self, event: Recorded | Reversed, month: int, back: int, count: int, amount: int, share: int
    ) -> None:
        """``back``: 1 where it is taken back. A day is one unit, whoever shares its fee."""
        counts = self.earned[event.line_item, event.placement, month, event.kind]
        if event.kind != EventKind.FEE or not ids.index_of(event.event_id):
            counts[3 * back] += count
        counts[3 * back + 1] += count * amount
        counts[3 * back + 2] += count * share

    def _enter(
        self, kind: int, part: int, debit: str, credit: str, currency: str, nanos: int, count: int
    ) -> Row:
        self.balances[debit] += count * nanos
        self.balances[credit] -= count * nanos
        return kind, part, debit, credit, currency, nanos

    def _count(self, event: Recorded, counter: int | None, count: int, billed: int, free: int) -> None:
        for counts in self._counts(event):
            _add(counts, counter, count, billed, free)

    def _counts(self, event: Recorded | Reversed) -> tuple[list[int], list[int], list[int]]:
        """All that its numbers are counted in; the last has more columns than the others, at its end."""
        return (*self._totals(event), self.rollups.cell(event))

    def _totals(self, event: Recorded | Reversed) -> tuple[list[int], list[int]]:
        item, totals = event.line_item, self.totals
        return totals[item, LIFETIME], totals[item, event.day]

    def _show(self, event: Recorded | Reversed, count: int = 1) -> None:
        counter = _SHOWN.get(event.kind)
        if counter is not None:
            self.shown[event.line_item, event.placement, event.creative][counter] += count


def _add(counts: list[int], counter: int | None, count: int, billed: int, free: int) -> None:
    if counter is not None:
        counts[counter] += count
    counts[_BILLED] += count * billed
    counts[_FREE] += count * free


def _earned(entries: Iterable[Row]) -> int:
    """The publisher's part of these, which lack the event's id."""
    return sum([entry[5] for entry in entries if entry[1] == 0])


def _row(event: Recorded, billed: int, free: int, unbilled: int) -> Row:
    """In the order of the columns of ``events``."""
    return (
        event.event_id, event.kind, event.status, event.at_ms, event.line_item, event.creative,
        event.placement, event.day, billed, free, unbilled, event.reason, int(event.test),
        event.country, event.device,
    )  # fmt: skip
