"""Rank order: which position each row of all blocks has, and what keeps its place from image to image.

Idea: between two images few blocks change, and rows that stay keep their order among themselves. So what was
in order is so still once positions are mapped (``Ranked.moved``), and what is new finds its place by
bisection: a change costs a few passes over flat arrays, and no sorting. The result is that of sorting all.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from msgspec import Struct

from adserver.engine import ranking
from adserver.engine.blocks import ROW, Array, Block
from adserver.engine.draw import mixed

GONE: Final = 2**32 - 1
"""Instead of a position: the row is no more."""
_MERGED_SHARE: Final = 8
"""Where more than one row in so many is new, all are sorted."""


class Ranked(Struct, frozen=True, eq=False):
    """``rows`` of all blocks; block b's begin at ``starts[b]``, ``counts[b]`` of them. ``order``: position ->
    row, and ``positions`` the other way around.
    ``moved``: by position in the order before, the one here, or GONE; None where all were sorted. ``fresh``:
    numbers of the blocks that were not there before."""

    blocks: Sequence[Block]
    rows: Array
    starts: Array
    counts: Array
    order: Array
    positions: Array
    fresh: Array
    moved: Array | None


def ranked(blocks: Sequence[Block], before: Ranked | None = None) -> Ranked:
    """Tier, best bid first, and then by a hash: never by id, which would favour the alphabet."""
    rows = joined([block.rows for block in blocks], ROW)
    counts = np.fromiter((len(block.rows) for block in blocks), np.int64, len(blocks))
    starts = np.cumsum(counts) - counts
    was = np.full(len(blocks), -1) if before is None else _was(blocks, before.blocks)
    fresh = np.flatnonzero(was < 0)
    keys = rows["tier"], -bids(rows), mixed(rows["serial"])
    stayed = None
    if before is None or np.sum(counts[fresh]) * _MERGED_SHARE > len(rows):
        order = np.lexsort(keys[::-1])
    else:
        stayed = _rows_now(before, was, starts)[before.order]
        left, new = stayed[stayed >= 0], np.flatnonzero(np.repeat(was < 0, counts))
        new = new[np.lexsort([key[new] for key in reversed(keys)])]
        ends = np.full(len(new), len(left))
        order = np.insert(left, bisected(0 * ends, ends, _precedes(keys, left, new)), new)
    positions = np.empty(len(rows), np.uint32)
    positions[order] = np.arange(len(rows), dtype=np.uint32)
    moved = None
    if stayed is not None:
        moved = np.full(len(stayed), GONE, np.uint32)
        moved[stayed >= 0] = positions[left]
    return Ranked(blocks, rows, starts, counts, order, positions, fresh, moved)


def bids(rows: Array) -> Array:
    """What ranks within a tier: nothing in the guaranteed ones."""
    auction = rows["tier"] // ranking.LEVELS == ranking.AUCTION
    return np.where(auction, rows["score"], 0)


def joined(arrays: Sequence[Array], kind: np.dtype) -> Array:
    """Contiguous ones, one after the other. As bytes: NumPy would compare fields of each with each."""
    return np.frombuffer(b"".join([array.data for array in arrays]), kind)


def bisected(low: Array, high: Array, before: Callable[[Array, Array], Array]) -> Array:
    """Where each of some new things belongs: the first place between its ``low`` and its ``high`` (that one
    excluded) whose thing is not ``before`` it; ``before(which, places)`` says that of many. All at once."""
    low, high = low.copy(), high.copy()
    while len(open_ := np.flatnonzero(low < high)):
        middle = (low[open_] + high[open_]) // 2
        right = before(open_, middle)
        low[open_[right]] = middle[right] + 1
        high[open_[~right]] = middle[~right]
    return low


def _was(blocks: Sequence[Block], before: Sequence[Block]) -> Array:
    """By block, its number among those before; -1 for a new one."""
    numbers = {id(block): number for number, block in enumerate(before)}
    return np.fromiter((numbers.get(id(block), -1) for block in blocks), np.int64, len(blocks))


def _rows_now(before: Ranked, was: Array, starts: Array) -> Array:
    """By row before, the row now; negative where it is no more."""
    by = np.full(len(before.blocks), -1)
    by[was[was >= 0]] = starts[was >= 0]
    rows: Array = np.arange(len(before.rows)) + np.repeat(by - before.starts, before.counts)
    rows[np.repeat(by < 0, before.counts)] = -1
    return rows


def _precedes(keys: tuple[Array, ...], rows: Array, new: Array) -> Callable[[Array, Array], Array]:
    """Whether the row at a place comes before a new one."""

    def before(which: Array, places: Array) -> Array:
        found, decided = np.zeros(len(which), bool), np.zeros(len(which), bool)
        for key in keys:
            here, there = key[rows[places]], key[new[which]]
            found |= ~decided & (here < there)
            decided |= here != there
        return found

    return before
