"""The budget rows that bills move, and the limits that stand in them.

A bill moves six: those of its line item, campaign and advertiser, of a day and of all days.
"""

from collections import defaultdict
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final

from msgspec import Struct

from adserver.domain import ids
from adserver.domain.decision import EventKind
from adserver.domain.records import Recorded, Reversed
from adserver.domain.statements import month_of
from adserver.ledger.guards import PERIODS, Guards, levels
from adserver.ledger.parties import Outline, Parties, Payer
from adserver.ledger.schema import LIFETIME

_KNOWN_MAX: Final = 100_000
_AT_MS: Final = attrgetter("at_ms")
_Day = tuple[int, int]
"""(line item, day)."""


class Budgeted(Struct):
    """A row of ``budgets`` as this batch leaves it; ``refunded_nanos``: what reversals of it took off."""

    account: str
    day: int
    limit_nanos: int | None
    billed_nanos: int
    refunded_nanos: int = 0

    def hold(self, guard: int | None) -> None:
        self.limit_nanos = None if guard is None else max(guard, self.billed_nanos)

    def has_room(self, nanos: int) -> bool:
        return self.limit_nanos is None or self.billed_nanos + nanos <= self.limit_nanos


class Sheet(Struct):
    """What is billed to a line item on one day moves these. ``fixed``: whatever the instant, the limits of
    its budgets are those that stand in them."""

    payer: Payer
    debit: str
    month: int
    budgets: list[Budgeted]
    fixed: bool


class Sheets:
    """Those of one batch. ``billed``: the budget rows so far; rows that are not there begin at 0."""

    def __init__(self, parties: Parties, billed: Mapping[tuple[str, int], int]) -> None:
        self.budgets: dict[tuple[str, int], Budgeted] = {}
        self._parties = parties
        self._billed = billed
        self._sheets: dict[tuple[int, int], Sheet] = {}

    def clear(self) -> None:
        """Terms have changed."""
        self._sheets.clear()

    def of(self, event: Recorded | Reversed) -> Sheet | None:
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
        known, day = self._parties.outlines, (event.line_item, event.day)
        outline = known.get(day)
        if outline is None:
            if len(known) >= _KNOWN_MAX:
                known.clear()
            outline = known[day] = _outline(self._parties.guards, event, payer)
        rows = [self._budget(account, day) for account, day in outline.budgets]
        if outline.fixed is None:
            for row in rows:
                self._limit(row, payer.currency, _since_ms(event))
        else:
            for row, guard in zip(rows, outline.fixed, strict=True):
                row.hold(guard)
        return Sheet(payer, outline.debit, outline.month, rows, outline.fixed is not None)

    def _budget(self, account: str, day: int) -> Budgeted:
        row = self.budgets.get((account, day))
        if row is None:
            billed = self._billed.get((account, day), 0)
            row = self.budgets[account, day] = Budgeted(account, day, None, billed)
        return row

    def _limit(self, row: Budgeted, currency: str, at_ms: int) -> None:
        row.hold(_guard(self._parties.guards, row.account, row.day, currency, at_ms))

    def bill(self, bills: Mapping[Any, tuple[Recorded, int]]) -> bool:
        """Bill all of these, if all can be billed whatever their order; else none of them. Each is the last
        of some that are alike, and how many. Limits only fall while time passes, so it is their last instants
        that count."""
        amounts, last = defaultdict[_Day, int](int), dict[_Day, Recorded]()
        for event, count in bills.values():
            if event.billed_nanos > 0:
                day = event.line_item, event.day
                amounts[day] += count * event.billed_nanos
                if day not in last or last[day].at_ms < event.at_ms:
                    last[day] = event
        more = defaultdict[tuple[str, int], int](int)
        for event in sorted(last.values(), key=_AT_MS):
            sheet = self.of(event)
            if sheet is None:
                return False
            for row in sheet.budgets:
                more[row.account, row.day] += amounts[event.line_item, event.day]
        rows = [(self.budgets[key], amount) for key, amount in more.items()]
        if any(not row.has_room(amount) for row, amount in rows):
            return False
        for row, amount in rows:
            row.billed_nanos += amount
        return True


def budget_keys(line_item: int, day: int, payer: Payer) -> tuple[tuple[str, int], ...]:
    """The budget rows that a bill of this day moves: (account, day)."""
    item, campaign, advertiser = levels(line_item, payer.campaign, payer.advertiser)
    return (
        (item, LIFETIME), (item, day), (campaign, LIFETIME),
        (campaign, day), (advertiser, LIFETIME), (advertiser, day),
    )  # fmt: skip


def _outline(guards: Guards, event: Recorded | Reversed, payer: Payer) -> Outline:
    keys = budget_keys(event.line_item, event.day, payer)
    fixed = all(guards.fixed(account, period) for account, _ in keys for period in PERIODS)
    at_ms = _since_ms(event)
    held = [_guard(guards, *key, payer.currency, at_ms) for key in keys] if fixed else None
    return Outline(f"advertiser:{payer.advertiser}:{payer.currency}", month_of(event.day), keys, held)


def _guard(guards: Guards, account: str, day: int, currency: str, at_ms: int) -> int | None:
    if day == LIFETIME:
        return guards.guard_in_all(account, currency, at_ms)
    return guards.guard(account, "day", at_ms)


def _since_ms(event: Recorded | Reversed) -> int:
    """By when, at the latest, a hold was made for it that is as old as holds get: of a fee, with its day."""
    return event.at_ms if event.kind != EventKind.FEE else ids.minted_ms(event.event_id)
