"""The ``live`` bitmap: one bit a line item, flipped in place by whoever learns that a budget is spent.

It only spares work. A bit that is still set for a spent budget costs a refused reservation; a cleared bit
is looked at again on every tick, so a budget that has room again (an expired hold) serves again.
"""

from adserver.engine.postings import CHUNK, full_chunks


class Live:
    """Bits over the positions of one snapshot, in the index's chunks."""

    def __init__(self, size: int) -> None:
        self.chunks = full_chunks(size)
        self.cleared: set[int] = set()

    def clear(self, position: int) -> None:
        chunk, bit = divmod(position, CHUNK)
        self.chunks[chunk] &= ~(1 << bit)
        self.cleared.add(position)

    def set(self, position: int) -> None:
        chunk, bit = divmod(position, CHUNK)
        self.chunks[chunk] |= 1 << bit
        self.cleared.discard(position)
