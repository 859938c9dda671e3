"""From a batch of records to what the ledger has to add: pure bookkeeping, no SQL.

Only ``Recorded``, ``Converted``, ``Accrued`` and ``Reversed`` move anything. Accepted: counted, and where it
was billed, an entry for the publisher's part and one for the operator's (none for nothing), and six budget
rows (three levels, day and lifetime). Expired and filtered: counted. Test events: stored, nothing else.
Converted: stored, and where it is owed to an ad, an accepted event. Accrued: one for each part. Reversed: its
entries once more the other way round, the budgets have room again, and the counts of what is invalid grow;
what was shown is unlearned. Terms tell who pays, who is paid, and the budgets.

What an event moves is looked up once a batch for each line item and day (``Sheet``); so an event costs some
additions and the rows it leaves.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from adserver.domain import counted, ids, money
from adserver.domain.conversions import Converted
from adserver.domain.decision import EventKind
from adserver.domain.records import LineItemTerms, PlacementTerms, Recorded, Reversed, Status, Unbilled
from adserver.domain.statements import month_of
from adserver.ledger.conversions import row_of
from adserver.ledger.guards import PERIODS, Limit, levels
from adserver.ledger.parties import Parties, Payee, Payer, payer_of
from adserver.ledger.rollups import Rollups
from adserver.ledger.schema import COUNTED, LIFETIME, OPERATORS, REVERSAL, SHOWN_COUNTED
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
_IS_ACCEPTED: Final = int(Status.ACCEPTED)
_IS_FILTERED: Final = int(Status.FILTERED)


class Budgeted(Struct):
    """A row of ``budgets`` as this batch leaves it; ``refunded_nanos``: what reversals of it took off."""

    account: str
    day: int
    limit_nanos: int | None
    billed_nanos: int
    refunded_nanos: int = 0


class Sheet(Struct):
    """What is billed to a line item on one day moves these. ``fixed``: whatever the instant, the limits of
    its budgets are those that stand in them."""

    payer: Payer
    debit: str
    month: int
    budgets: tuple[Budgeted, ...]
    fixed: bool


class Batch:
    """What one transaction adds. ``billed``: the budget rows so far, loaded by the caller before; rows
    that are not there begin at 0. ``refusals``: events the journal billed and the ledger must not."""

    def __init__(self, parties: Parties, billed: dict[tuple[str, int], int], rollups: Rollups) -> None:
        self.rollups = rollups
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
        self.budgets: dict[tuple[str, int], Budgeted] = {}
        self.refusals: list[str] = []
        self._sheets: dict[tuple[int, int], Sheet] = {}
        self._parties = parties
        self.wallets = parties.guards.wallets
        self._billed = billed

    @property
    def rows(self) -> int:
        """Of events and conversions, each of which is to be new."""
        return len(self.events) + len(self.filtered) + len(self.conversions)

    def terms(self, terms: LineItemTerms) -> None:
        """Take over terms, unless they are older than what is known (records posted again)."""
        payer, known = payer_of(terms), self._parties.payers.get(terms.serial)
        if known is not None and payer.since <= known.since:
            return
        self.line_items[terms.serial] = terms
        self.rollups.learn(terms)
        self._parties.payers[terms.serial] = payer
        self.limits += self._parties.guards.learn(terms)
        self._sheets.clear()

    def placement(self, terms: PlacementTerms) -> None:
        self.placements[terms.serial] = terms
        self._parties.payees[terms.serial] = Payee(terms.publisher, terms.revenue_share_ppm)

    def event(self, event: Recorded) -> None:
        """Add an event that is not in the books yet."""
        if event.status == _IS_FILTERED:
            self.filtered.append(_row(event, event.billed_nanos, event.free_nanos, event.unbilled))
            if not event.test:
                self._count(event, _FILTERED, 0, 0)
            return
        billed, free, unbilled = 0, event.free_nanos, event.unbilled
        if event.billed_nanos > 0:
            billed, free, unbilled = self._bill(event)
        self.events.append(_row(event, billed, free, unbilled))
        if event.test:
            return
        self.rollups.see(event)
        if event.status == _IS_ACCEPTED:
            self._count(event, _COUNTERS.get(event.kind), billed, free)
            self._show(event)
        else:
            self._count(event, _EXPIRED, 0, 0)

    def convert(self, found: Converted) -> Recorded | None:
        """Add a conversion that is not in the books yet; the event it is, where it is owed to an ad."""
        self.conversions.append(row_of(found))
        event = counted.event_of(found)
        if event is not None:
            self.event(event)
        return event

    def reverse(self, found: Reversed, entries: Sequence[Row]) -> None:
        """Take back an event that is in the books and was not reversed before. ``entries``: its own."""
        amount = found.billed_nanos
        self.reversals.append((found.event_id, found.kind, found.at_ms, amount, found.reason))
        sheet = self._sheet(found) if amount else None
        if sheet is not None:
            for row in sheet.budgets:
                row.billed_nanos -= amount
                row.refunded_nanos += amount
            self._earn(found, sheet.month, 1, amount, sum(entry[6] for entry in entries if entry[2] == 0))
        for event_id, kind, part, debit, credit, currency, nanos in entries:
            self._enter(event_id, kind, part | REVERSAL, credit, debit, currency, nanos)
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
        sheet = self._sheet(event)
        refusal = self._refusal(event, sheet)
        if sheet is None or refusal is not None:
            self.refusals.append(f"{ids.encode(event.event_id)} kind {event.kind}: {amount} nanos {refusal}")
            return 0, amount, int(Unbilled.OVER_BUDGET)
        for row in sheet.budgets:
            row.billed_nanos += amount
        self._pay(event, sheet, amount)
        return amount, event.free_nanos, event.unbilled

    def _refusal(self, event: Recorded, sheet: Sheet | None) -> str | None:
        """Why the books cannot bill what the journal says was billed."""
        if event.status != _IS_ACCEPTED or event.test:
            return "billed for an event that is never billed"
        if sheet is None:
            return f"no terms of line item {event.line_item}"
        if event.placement not in self._parties.payees:
            return f"no terms of placement {event.placement}"
        for row in sheet.budgets:
            if row.limit_nanos is not None and row.billed_nanos + event.billed_nanos > row.limit_nanos:
                return (
                    f"over the budget of {row.account} day {row.day}: {row.billed_nanos} of {row.limit_nanos}"
                )
        return None

    # -- what an event moves -----------------------------------------------------------------------

    def _sheet(self, event: Recorded | Reversed) -> Sheet | None:
        """None: nobody knows who pays."""
        sheet = self._sheets.get((event.line_item, event.day))
        if sheet is None:
            payer = self._parties.payers.get(event.line_item)
            if payer is None:
                return None
            sheet = self._sheets[event.line_item, event.day] = self._open(event, payer)
        elif not sheet.fixed:
            for row in sheet.budgets:
                self._limit(row, sheet.payer.currency, _since_ms(event))
        return sheet

    def _open(self, event: Recorded | Reversed, payer: Payer) -> Sheet:
        guards, keys = self._parties.guards, budget_keys(event.line_item, event.day, payer)
        rows = tuple(self._budget(*key, payer.currency, _since_ms(event)) for key in keys)
        fixed = all(guards.fixed(account, period) for account, _ in keys for period in PERIODS)
        debit = f"advertiser:{payer.advertiser}:{payer.currency}"
        return Sheet(payer, debit, month_of(event.day), rows, fixed)

    def _budget(self, account: str, day: int, currency: str, at_ms: int) -> Budgeted:
        row = self.budgets.get((account, day))
        if row is None:
            billed = self._billed.get((account, day), 0)
            row = self.budgets[account, day] = Budgeted(account, day, None, billed)
        self._limit(row, currency, at_ms)
        return row

    def _limit(self, row: Budgeted, currency: str, at_ms: int) -> None:
        guards = self._parties.guards
        if row.day == LIFETIME:
            guard = guards.guard_in_all(row.account, currency, at_ms)
        else:
            guard = guards.guard(row.account, "day", at_ms)
        row.limit_nanos = None if guard is None else max(guard, row.billed_nanos)

    # -- moving it ---------------------------------------------------------------------------------

    def _pay(self, event: Recorded, sheet: Sheet, amount: int) -> None:
        """The publisher's part of it, rounded down, and the operator's."""
        payee, currency = self._parties.payees[event.placement], sheet.payer.currency
        earned = money.part(amount, payee.share_ppm)
        self._earn(event, sheet.month, 0, amount, earned)
        if earned:
            publisher = f"publisher:{payee.publisher}:{currency}"
            self._enter(event.event_id, event.kind, 0, sheet.debit, publisher, currency, earned)
            self.rollups.earn(event, earned)
        if kept := amount - earned:
            operator = f"operator:{currency}"
            self._enter(event.event_id, event.kind, OPERATORS, sheet.debit, operator, currency, kept)

    def _earn(self, event: Recorded | Reversed, month: int, back: int, amount: int, share: int) -> None:
        """``back``: 1 where it is taken back. A day is one unit, whoever shares its fee."""
        counts = self.earned[event.line_item, event.placement, month, event.kind]
        units = int(event.kind != EventKind.FEE or not ids.index_of(event.event_id))
        for column, more in enumerate((units, amount, share), 3 * back):
            counts[column] += more

    def _enter(
        self, event_id: bytes, kind: int, part: int, debit: str, credit: str, currency: str, nanos: int
    ) -> None:
        self.balances[debit] += nanos
        self.balances[credit] -= nanos
        self.entries.append((event_id, kind, part, debit, credit, currency, nanos))

    def _count(self, event: Recorded, counter: int | None, billed: int, free: int) -> None:
        for counts in self._counts(event):
            if counter is not None:
                counts[counter] += 1
            counts[_BILLED] += billed
            counts[_FREE] += free

    def _counts(self, event: Recorded | Reversed) -> tuple[list[int], list[int], list[int]]:
        """All that its numbers are counted in; the last has more columns than the others, at its end."""
        item, totals = event.line_item, self.totals
        return totals[item, LIFETIME], totals[item, event.day], self.rollups.cell(event)

    def _show(self, event: Recorded | Reversed, count: int = 1) -> None:
        counter = _SHOWN.get(event.kind)
        if counter is not None:
            self.shown[event.line_item, event.placement, event.creative][counter] += count


def budget_keys(line_item: int, day: int, payer: Payer) -> tuple[tuple[str, int], ...]:
    """The budget rows that a bill of this day moves: (account, day)."""
    item, campaign, advertiser = levels(line_item, payer.campaign, payer.advertiser)
    return (
        (item, LIFETIME), (item, day), (campaign, LIFETIME),
        (campaign, day), (advertiser, LIFETIME), (advertiser, day),
    )  # fmt: skip


def _since_ms(event: Recorded | Reversed) -> int:
    """By when, at the latest, a hold was made for it that is as old as holds get: of a fee, with its day."""
    return event.at_ms if event.kind != EventKind.FEE else ids.minted_ms(event.event_id)


def _row(event: Recorded, billed: int, free: int, unbilled: int) -> Row:
    """In the order of the columns of ``events``."""
    return (
        event.event_id, event.kind, event.status, event.at_ms, event.line_item, event.creative,
        event.placement, event.day, billed, free, unbilled, event.reason, int(event.test),
        event.country, event.device,
    )  # fmt: skip
