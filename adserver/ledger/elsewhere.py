"""What other processes delivered and billed, as the ledger tells it: goals and plans count it too.

The ledger has everybody's counts in one row, this process's among them as far as they are posted. So its own
are noted first, with the place of its journal, and the row is read once all up to there is posted: what is
more in the row is the others'. What this process counts between the two is taken for others' until the next
look, so a goal stands still a little too soon and never goes on for that. Money needs no note: what is posted
of a holder stands beside its leases.

A look at ``limits.HEARD_AT_ONCE`` line items a turn, one after the other of all that were ever sold.
"""

from collections.abc import Iterable
from typing import Final

from adserver.domain import limits
from adserver.domain.books import LineItemTotals, Position
from adserver.ledger.accounts import Key
from adserver.ledger.budgets import Budgets
from adserver.ledger.leasing import Leasing
from adserver.ledger.ledger import Ledger
from adserver.ledger.schema import COUNTED

Counts = tuple[int, ...]
_NOTHING: Final[Counts] = (0,) * len(COUNTED)


class Elsewhere:
    """For one process. ``hear`` may block, the others are of the process's own thread."""

    def __init__(self, ledger: Ledger, budgets: Budgets, leasing: Leasing) -> None:
        self._ledger = ledger
        self._budgets = budgets
        self._leasing = leasing
        self._theirs = dict[int, Counts]()
        self._own = dict[int, Counts]()
        self._noted = Position()
        self._after = -1

    def sold(self) -> list[int]:
        """The line items that are looked at next. Blocking."""
        serials = self._ledger.sold_after(self._after, limits.HEARD_AT_ONCE)
        self._after = serials[-1] if len(serials) == limits.HEARD_AT_ONCE else -1
        return serials

    def note(self, serials: Iterable[int], written: Position, now_ms: int) -> None:
        """Remember what of these this process counted itself. ``written``: its journal's end."""
        self._own, self._noted = {}, written
        for serial in serials:
            bound = self._budgets.standing(serial, now_ms)
            if bound is not None:
                theirs = self._theirs.get(serial, _NOTHING)
                self._own[serial] = _minus(_counts(bound.totals), theirs)

    @property
    def is_due(self) -> bool:
        """Whether all that was noted is posted."""
        return self._ledger.position >= self._noted

    def keys(self, now_ms: int) -> list[Key]:
        """The accounts of what was noted."""
        found = set[Key]()
        for serial in self._own:
            bound = self._budgets.standing(serial, now_ms)
            if bound is not None:
                found.update(bound.keys)
        return list(found)

    def read(self, holder: int, keys: list[Key]) -> tuple[list[LineItemTotals], dict[Key, int]]:
        """What the ledger has, of one moment each. Blocking."""
        return self._ledger.totals_of(list(self._own)), self._ledger.billed_elsewhere(holder, keys)

    def hear(self, totals: Iterable[LineItemTotals], billed: dict[Key, int]) -> None:
        """What more others delivered counts here."""
        for total in totals:
            known = self._budgets.totals(total.line_item)
            if known is not None:
                self._count(known[0], _minus(_counts(total), self._own[total.line_item]))
        for key, nanos in billed.items():
            self._leasing.elsewhere(key, self._budgets.account(*key), nanos)

    def _count(self, mine: LineItemTotals, theirs: Counts) -> None:
        before = self._theirs.get(mine.line_item, _NOTHING)
        if theirs == before:
            return
        self._theirs[mine.line_item] = theirs
        for name, more in zip(COUNTED, _minus(theirs, before), strict=True):
            setattr(mine, name, getattr(mine, name) + more)


def _counts(totals: LineItemTotals) -> Counts:
    return tuple([getattr(totals, name) for name in COUNTED])


def _minus(counts: Counts, others: Counts) -> Counts:
    return tuple([one - other for one, other in zip(counts, others, strict=True)])
