"""Withdraw ads that were decided and will not be offered: what they hold is free again at once, and the
journal says so. The twin of a release, for an adapter that knows before its answer leaves."""

from collections.abc import Iterable

from adserver.clock import Clock
from adserver.domain.books import JournalClosed
from adserver.domain.decision import Ad, Decision, event_id
from adserver.domain.records import Released
from adserver.services.moved import Exposed, Memory, Spending
from adserver.services.ports import Journal

_SEEN_EXTRA_MS = 600_000


class Withdrawal:
    """The use case. ``released``: the memory that the recorder of events looks into."""

    def __init__(
        self, exposures: Exposed, budgets: Spending, journal: Journal, released: Memory, clock: Clock
    ) -> None:
        self._exposures = exposures
        self._budgets = budgets
        self._journal = journal
        self._released = released
        self._clock = clock

    def __call__(self, decision: Decision, ads: Iterable[tuple[Ad, int]]) -> None:
        """``ads``: each with when it expires. Without room in the journal nothing is done: a restart would
        not know of it, and what is held expires by itself."""
        now_ms = self._clock()
        for ad, expires_ms in ads:
            ident = event_id(decision.request_id, ad.index)
            try:
                self._journal.append(Released(ident, now_ms, ad.line_item))
            except JournalClosed:
                return
            self._released.add(ident, expires_ms + _SEEN_EXTRA_MS)
            self._exposures.release(ident)
            self._budgets.void(ident)
