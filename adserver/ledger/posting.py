"""From a batch of records to what the ledger has to add: pure bookkeeping, no SQL.

Only ``Recorded`` and ``Reversed`` move anything. Accepted: counted, and where it was billed, one entry and
six budget rows (three levels, day and lifetime). Expired and filtered: counted. Test events: stored,
nothing else. Reversed: the entry once more the other way round, the budgets have room again, and the
counts of what is invalid grow; what was shown is unlearned.
Terms tell who pays, who is paid, and the budgets.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from adserver.domain import ids
from adserver.domain.decision import EventKind
from adserver.domain.records import LineItemTerms, PlacementTerms, Recorded, Reversed, Status, Unbilled
from adserver.ledger.guards import Guards, Limit, levels
from adserver.ledger.schema import COUNTED, LIFETIME, SHOWN_COUNTED

Row = tuple[Any, ...]

_COUNTERS: Final = {
    int(EventKind.IMPRESSION): COUNTED.index("impressions"),
    int(EventKind.VIEWABLE): COUNTED.index("viewable"),
    int(EventKind.CLICK): COUNTED.index("clicks"),
}
_SHOWN: Final = {
    kind: SHOWN_COUNTED.index(COUNTED[column])
    for kind, column in _COUNTERS.items()
    if COUNTED[column] in SHOWN_COUNTED
}
_INVALID: Final = {kind: COUNTED.index(f"invalid_{COUNTED[column]}") for kind, column in _COUNTERS.items()}
REVERSIBLE: Final = frozenset(_INVALID)
"""The kinds of events that can be found invalid later: those that are counted."""
_REFUNDED: Final = COUNTED.index("refunded_nanos")
_FILTERED: Final = COUNTED.index("filtered")
_EXPIRED: Final = COUNTED.index("expired")
_BILLED: Final = COUNTED.index("billed_nanos")
_FREE: Final = COUNTED.index("free_nanos")


class Payer(Struct, frozen=True):
    """Who pays for a line item; ``since``: (revision, instant) of the terms that say so."""

    campaign: int
    advertiser: int
    currency: str
    since: tuple[int, int]


def payer_of(terms: LineItemTerms) -> Payer:
    return Payer(terms.campaign, terms.advertiser, terms.currency, (terms.revision, terms.at_ms))


class Parties(Struct):
    """What the books know of line items and placements: serial -> payer, serial -> publisher."""

    payers: dict[int, Payer]
    publishers: dict[int, int]
    guards: Guards


class Budgeted(Struct):
    """A row of ``budgets`` as this batch leaves it."""

    limit_nanos: int | None
    billed_nanos: int


class Batch:
    """What one transaction adds. ``billed``: the budget rows so far, loaded by the caller before; rows
    that are not there begin at 0. ``refusals``: events the journal billed and the ledger must not."""

    def __init__(self, parties: Parties, billed: dict[tuple[str, int], int]) -> None:
        self.events: list[Row] = []
        self.filtered: list[Row] = []
        self.reversals: list[Row] = []
        self.entries: list[Row] = []
        self.limits: list[Limit] = []
        self.line_items: dict[int, LineItemTerms] = {}
        self.placements: dict[int, PlacementTerms] = {}
        self.totals: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * len(COUNTED))
        self.shown: defaultdict[tuple[int, int, int], list[int]] = defaultdict(
            lambda: [0] * len(SHOWN_COUNTED)
        )
        self.balances: defaultdict[str, int] = defaultdict(int)
        self.budgets: dict[tuple[str, int], Budgeted] = {}
        self.refusals: list[str] = []
        self._parties = parties
        self._billed = billed

    def terms(self, terms: LineItemTerms) -> None:
        """Take over terms, unless they are older than what is known (records posted again)."""
        payer, known = payer_of(terms), self._parties.payers.get(terms.serial)
        if known is not None and payer.since <= known.since:
            return
        self.line_items[terms.serial] = terms
        self._parties.payers[terms.serial] = payer
        self.limits += self._parties.guards.learn(terms)

    def placement(self, terms: PlacementTerms) -> None:
        self.placements[terms.serial] = terms
        self._parties.publishers[terms.serial] = terms.publisher

    def event(self, event: Recorded) -> None:
        """Add an event that is not in the books yet."""
        if event.status == Status.FILTERED:
            self.filtered.append(_row(event, event.billed_nanos, event.free_nanos, event.unbilled))
        else:
            billed, free, unbilled = self._bill(event)
            self.events.append(_row(event, billed, free, unbilled))
            if event.status == Status.ACCEPTED and not event.test:
                self._count(event, _COUNTERS.get(event.kind), billed, free)
                self._show(event)
                return
        if not event.test:
            self._count(event, _FILTERED if event.status == Status.FILTERED else _EXPIRED, 0, 0)

    def reverse(self, found: Reversed) -> None:
        """Take back an event that is in the books and was not reversed before."""
        amount, payer = found.billed_nanos, self._parties.payers.get(found.line_item)
        self.reversals.append((found.event_id, found.kind, found.at_ms, amount, found.reason))
        if amount > 0 and payer is not None:
            for key in _keys(found, payer):
                self._budget(*key, found.at_ms).billed_nanos -= amount
            self._enter(found, payer, -amount)
        for day in (LIFETIME, found.day):
            counts = self.totals[found.line_item, day]
            counts[_INVALID[found.kind]] += 1
            counts[_REFUNDED] += amount
        self._show(found, -1)

    def _bill(self, event: Recorded) -> tuple[int, int, int]:
        """(billed nanos, free nanos, unbilled) as the books take them."""
        amount = event.billed_nanos
        if amount <= 0:
            return 0, event.free_nanos, event.unbilled
        payer = self._parties.payers.get(event.line_item)
        rows = [] if payer is None else [self._budget(*key, event.at_ms) for key in _keys(event, payer)]
        refusal = self._refusal(event, payer, rows)
        if payer is None or refusal is not None:
            self.refusals.append(f"{ids.encode(event.event_id)} kind {event.kind}: {amount} nanos {refusal}")
            return 0, amount, int(Unbilled.OVER_BUDGET)
        for row in rows:
            row.billed_nanos += amount
        self._enter(event, payer, amount)
        return amount, event.free_nanos, event.unbilled

    def _refusal(self, event: Recorded, payer: Payer | None, rows: list[Budgeted]) -> str | None:
        """Why the books cannot bill what the journal says was billed."""
        if event.status != Status.ACCEPTED or event.test:
            return "billed for an event that is never billed"
        if payer is None:
            return f"no terms of line item {event.line_item}"
        if event.placement not in self._parties.publishers:
            return f"no terms of placement {event.placement}"
        for row, (account, day) in zip(rows, _keys(event, payer), strict=True):
            if row.limit_nanos is not None and row.billed_nanos + event.billed_nanos > row.limit_nanos:
                return f"over the budget of {account} day {day}: {row.billed_nanos} of {row.limit_nanos}"
        return None

    def _budget(self, account: str, day: int, at_ms: int) -> Budgeted:
        row = self.budgets.get((account, day))
        if row is None:
            row = self.budgets[account, day] = Budgeted(None, self._billed.get((account, day), 0))
        guard = self._parties.guards.guard(account, "lifetime" if day == LIFETIME else "day", at_ms)
        row.limit_nanos = None if guard is None else max(guard, row.billed_nanos)
        return row

    def _enter(self, event: Recorded | Reversed, payer: Payer, amount: int) -> None:
        """One entry; of a negative amount the other way round, as the reversal."""
        debit = f"advertiser:{payer.advertiser}:{payer.currency}"
        credit = f"publisher:{self._parties.publishers[event.placement]}:{payer.currency}"
        self.balances[debit] += amount
        self.balances[credit] -= amount
        if amount < 0:
            debit, credit = credit, debit
        reversal = int(amount < 0)
        self.entries.append(
            (event.event_id, event.kind, reversal, debit, credit, payer.currency, abs(amount))
        )

    def _count(self, event: Recorded, counter: int | None, billed: int, free: int) -> None:
        for day in (LIFETIME, event.day):
            counts = self.totals[event.line_item, day]
            if counter is not None:
                counts[counter] += 1
            counts[_BILLED] += billed
            counts[_FREE] += free

    def _show(self, event: Recorded | Reversed, count: int = 1) -> None:
        counter = _SHOWN.get(event.kind)
        if counter is not None:
            self.shown[event.line_item, event.placement, event.creative][counter] += count


def budget_keys(event: Recorded | Reversed, payers: Mapping[int, Payer]) -> tuple[tuple[str, int], ...]:
    """The budget rows an event touches: (account, day)."""
    payer = payers.get(event.line_item)
    return () if payer is None or event.billed_nanos <= 0 else _keys(event, payer)


def _keys(event: Recorded | Reversed, payer: Payer) -> tuple[tuple[str, int], ...]:
    item, campaign, advertiser = levels(event.line_item, payer.campaign, payer.advertiser)
    day = event.day
    return (
        (item, LIFETIME), (item, day), (campaign, LIFETIME),
        (campaign, day), (advertiser, LIFETIME), (advertiser, day),
    )  # fmt: skip


def _row(event: Recorded, billed: int, free: int, unbilled: int) -> Row:
    """In the order of the columns of ``events``."""
    return (
        event.event_id, event.kind, event.status, event.at_ms, event.line_item, event.creative,
        event.placement, event.day, billed, free, unbilled, event.reason, int(event.test),
    )  # fmt: skip
