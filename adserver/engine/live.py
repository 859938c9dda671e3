"""The ``live`` bitmap: one bit a line item, flipped in place by whoever learns that a budget is spent or that
a line item is ahead of its plan.

It only spares work. A bit that is still set for a spent budget costs a refused reservation. One cleared for
pacing is set again when its plan has caught up, and now and then before, since what was held may have been
freed; one cleared for a budget is looked at again on every tick, so a budget that has room again (an expired
hold) serves again. Both a bounded number at a time: the next request may have to ask them all.
"""

import heapq
from itertools import islice

from adserver.domain import limits
from adserver.domain.decision import NoFill
from adserver.engine.postings import CHUNK, full_chunks


class Live:
    """Bits over the positions of one snapshot, in the index's chunks. ``cleared``: why each of the others is
    out, those cleared first first."""

    def __init__(self, size: int) -> None:
        self.chunks = full_chunks(size)
        self.cleared: dict[int, NoFill] = {}
        self._due: list[tuple[int, int]] = []

    def clear(self, position: int, reason: NoFill, until_ms: int | None = None) -> None:
        """``until_ms``: when a paced one is set again; others by ``look_again``."""
        chunk, bit = divmod(position, CHUNK)
        self.chunks[chunk] &= ~(1 << bit)
        self.cleared[position] = reason
        if until_ms is not None:
            heapq.heappush(self._due, (until_ms, position))

    def set(self, position: int) -> None:
        chunk, bit = divmod(position, CHUNK)
        self.chunks[chunk] |= 1 << bit
        self.cleared.pop(position, None)

    def wake(self, now_ms: int) -> None:
        """Set those whose time has come."""
        due, most = self._due, limits.LOOKED_AT_AGAIN
        while due and due[0][0] <= now_ms and most:
            self.set(heapq.heappop(due)[1])
            most -= 1

    def look_again(self) -> None:
        """Set some of those that wait for no time: the next request that meets them finds out."""
        waiting = (p for p, reason in self.cleared.items() if reason is not NoFill.PACED)
        for position in list(islice(waiting, limits.LOOKED_AT_AGAIN)):
            self.set(position)
