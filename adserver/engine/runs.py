"""Matches of the index, a run at a time: runs are neighbours whose order chance decides (a guaranteed
tier, or equal prior scores of one tier of the auction), so a run is a stretch of positions.

A run of one costs one look at its lowest bit; ten thousand matches of one run become numbers in some ten
microseconds, and nobody asks anything else of them until they are drawn.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adserver.engine import postings
from adserver.engine.draw import Positions
from adserver.engine.entries import Entries

_NEAR: Final = (1 << 240) - 1
"""The next match is mostly near, and small numbers are quicker than large ones."""
_FEW: Final = 24
"""Bits that are quicker taken out one by one."""


def runs(masks: Iterable[tuple[int, int]], entries: Entries) -> Iterator[Positions]:
    """Ascending positions, each time all of one run that matched. ``masks``: see ``Index.masks``. Lazy: a run
    is cut out when it is asked for, and chunks are looked at as far as it goes."""
    run_of, starts = entries.runs, entries.starts
    begun: list[Positions] = []
    end = 0
    for base, bits in masks:
        behind = base + postings.CHUNK
        while bits:
            near = bits & _NEAR or bits
            skipped = (near & -near).bit_length() - 1
            bits >>= skipped
            base += skipped
            if base >= end:
                if begun:
                    yield _joined(begun)
                    begun = []
                end = starts[run_of[base] + 1]
            width = end - base
            mine = bits & ((1 << width) - 1)
            bits >>= width
            if mine == 1 and not begun and end <= behind:
                yield (base,)
            else:
                begun.append(numbers(base, mine))
            base = end
        if begun and end <= behind:
            yield _joined(begun)
            begun = []
    if begun:
        yield _joined(begun)


def numbers(base: int, bits: int) -> Positions:
    """The positions of set bits, the lowest bit standing for ``base``."""
    if bits.bit_count() > _FEW:
        octets = np.frombuffer(bits.to_bytes(-(-bits.bit_length() // 8), "little"), np.uint8)
        found: NDArray[np.int64] = np.flatnonzero(np.unpackbits(octets, bitorder="little")) + base
        return found
    few = []
    base -= 1
    while bits:
        low = bits & -bits
        bits ^= low
        few.append(base + low.bit_length())
    return few


def _joined(parts: list[Positions]) -> Positions:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
