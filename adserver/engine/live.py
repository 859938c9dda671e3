"""The ``live`` bitmap: one bit a line item, flipped in place by whoever learns that a budget is spent or that
a line item is ahead of its plan.

It only spares work. A bit that is still set for a spent budget costs a refused reservation. One cleared for
pacing is set again when its plan has caught up, and now and then before, since what was held may have been
freed; one cleared for a budget is looked at again on every tick, so a budget that has room again (an expired
hold) serves again. Both a bounded number at a time: the next request may have to ask them all.

So the bits depend on who asked and when a tick ran, and chance is drawn among those that are set: they are
an input of a decision like its counters. Hence every record of a decision tells how the bits it began with
differ from those of the record before (*hints*), and replay begins with the very same. Invariant: ``moved``
is all that the journal does not know yet, in order; ``hints`` of its beginning, put behind those told before,
gives the bits of that moment. Cost: nothing while nothing moves, some four bytes a change for the record.
"""

import heapq
from itertools import islice, pairwise
from typing import Final

from adserver.domain import limits
from adserver.domain.decision import NoFill
from adserver.engine.postings import CHUNK, full_chunks

Hints = tuple[int, ...]
"""Whether all bits were set before (1: a new snapshot, or a restart), and then for each line item that
differs, by position: how far behind the one before, times four, plus its state."""

_REASONS: Final = (None, NoFill.BUDGET_EXHAUSTED, NoFill.PACED)
_STATES: Final = {reason: state for state, reason in enumerate(_REASONS)}
_STATE_BITS: Final = 2


class Live:
    """Bits over the positions of one snapshot, in the index's chunks. ``cleared``: why each of the others is
    out, those cleared first first. ``moved``: (position, state) of changes that were not told."""

    def __init__(self, size: int) -> None:
        self.chunks = full_chunks(size)
        self.cleared: dict[int, NoFill] = {}
        self.moved: list[tuple[int, int]] = []
        self._size = size
        self._due: list[tuple[int, int]] = []
        self._anew = True

    def clear(self, position: int, reason: NoFill, until_ms: int | None = None) -> None:
        """``until_ms``: when a paced one is set again; others by ``look_again``."""
        chunk, bit = divmod(position, CHUNK)
        self.chunks[chunk] &= ~(1 << bit)
        self.cleared[position] = reason
        self.moved.append((position, _STATES[reason]))
        if until_ms is not None:
            heapq.heappush(self._due, (until_ms, position))

    def set(self, position: int) -> None:
        chunk, bit = divmod(position, CHUNK)
        self.chunks[chunk] |= 1 << bit
        self.cleared.pop(position, None)
        self.moved.append((position, 0))

    def wake(self, now_ms: int) -> int:
        """Set those whose time has come: a request begins. How much has ``moved`` by now."""
        due, most = self._due, limits.LOOKED_AT_AGAIN
        while due and due[0][0] <= now_ms and most:
            self.set(heapq.heappop(due)[1])
            most -= 1
        if len(self.moved) > limits.HINTS_UNTOLD:
            self._begin_anew()
        return len(self.moved)

    def look_again(self) -> None:
        """Set some of those that wait for no time: the next request that meets them finds out."""
        waiting = (p for p, reason in self.cleared.items() if reason is not NoFill.PACED)
        for position in list(islice(waiting, limits.LOOKED_AT_AGAIN)):
            self.set(position)

    # -- what the journal is told ------------------------------------------------------------------

    def hints(self, moved: int) -> Hints | None:
        """Of the first so many changes; None where there is nothing to tell."""
        if not moved and not self._anew:
            return None
        states = sorted(dict(self.moved[:moved]).items())
        behind = pairwise(((-1, 0), *states))
        return (
            int(self._anew),
            *((at - before) << _STATE_BITS | state for (before, _), (at, state) in behind),
        )

    def told(self, moved: int) -> None:
        """The journal has them."""
        del self.moved[:moved]
        self._anew = False

    def _begin_anew(self) -> None:
        """So much that the journal was not told: it is less to look at all line items again."""
        self.chunks[:] = full_chunks(self._size)
        self.cleared.clear()
        self.moved.clear()
        self._due.clear()
        self._anew = True


def follow(left_out: dict[int, NoFill], hints: Hints | None) -> None:
    """Bring up to date whose bits are not set, and why: by the next record's hints."""
    if hints is None:
        return
    if hints[0]:
        left_out.clear()
    position = -1
    for number in hints[1:]:
        position += number >> _STATE_BITS
        reason = _REASONS[number & (1 << _STATE_BITS) - 1]
        if reason is None:
            left_out.pop(position, None)
        else:
            left_out[position] = reason
