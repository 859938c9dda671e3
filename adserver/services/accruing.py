"""Flat fees accrued: once a day's last ad can no longer be shown, its fee is a record of the journal.

Whoever was down at midnight finds the day among what it read again from the journal, and accrues it then;
a day that is accrued is in the journal, and no day any more. The ids of its events follow from line item, day
and placement, so a ledger could not take it twice either.
"""

from typing import Protocol

from adserver.clock import Clock
from adserver.domain.books import JournalClosed, LineItemTotals
from adserver.domain.fees import Accrued
from adserver.services.fees import Fees, Holds
from adserver.services.ports import Journal


class Spending(Holds, Protocol):
    def bill(self, line_item: int, price_nanos: int, decided_ms: int) -> None: ...
    def totals(self, line_item: int) -> tuple[LineItemTotals, int] | None: ...


class Accruing:
    """The use case."""

    def __init__(self, journal: Journal, fees: Fees, budgets: Spending, clock: Clock) -> None:
        self._journal = journal
        self._fees = fees
        self._budgets = budgets
        self._clock = clock

    def accrue(self) -> None:
        """All that is due. Where the journal has no room it stays due, and is tried again."""
        for fee in self._fees.due(self._clock()):
            try:
                self._journal.append(fee)
            except JournalClosed:
                return
            self._move(fee)

    def _move(self, fee: Accrued) -> None:
        self._fees.accrued(fee)
        self._budgets.bill(fee.line_item, fee.billed_nanos, fee.start_ms)
        known = self._budgets.totals(fee.line_item)
        if known is not None:
            known[0].free_nanos += fee.nanos - fee.billed_nanos
