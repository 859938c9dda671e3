"""Which positions carry which value: pairs of all blocks, grouped by value and part.

Idea: as in ``order``. What was grouped stays so when positions are mapped; pairs of new rows find their
places by bisection within their groups; groups come and go. At 100 000 line items two million pairs are
read through three times instead of being sorted. The result is that of grouping everything.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct

from adserver.engine import checks
from adserver.engine.blocks import ASKED, PAIR, Array, Numbered
from adserver.engine.checks import Name
from adserver.engine.index import REQUIRED
from adserver.engine.names import order_of
from adserver.engine.order import GONE, Ranked, bisected, joined
from adserver.engine.values import Values

_U4: Final = np.dtype(np.uint32)
_SPARSE_BITS: Final = 32
"""A bitmap has a bit, a sparse posting 32 of them, for each position."""


class Groups(Struct, frozen=True, eq=False):
    """``numbers``: those of the values that are used, in the order of their rows. A slot is a value's row and
    a part: group g is of ``slots[g]``, ascending, and its positions are the ``counts[g]`` from ``firsts[g]``,
    ascending too. ``required``: the names whose required values are indexed."""

    numbers: Array
    slots: Array
    firsts: Array
    counts: Array
    positions: Array
    required: tuple[Name, ...]
    size: int

    @property
    def dense(self) -> Array:
        return self.counts * _SPARSE_BITS > self.size

    def of(self, group: int) -> Array:
        first = self.firsts[group]
        return self.positions[first : first + self.counts[group]]


def grouped(
    given: Ranked, blocks: Sequence[Numbered], values: Values, before: Groups | None = None
) -> Groups:
    """``blocks``: those of ``given``, numbered by ``values``; ``before``: of the order before, by the same
    values."""
    asked, required = _asked(given, blocks, values)
    if before is None or given.moved is None or before.required != required:
        slots, rows = _pairs(given, blocks, np.arange(len(blocks)), asked)
        numbers = _in_order(np.flatnonzero(_used(slots, values)), values)
        slots, positions = _sorted(_renamed(slots, _rows_of(numbers, values)), given.positions[rows])
        firsts = _changes(slots)
        counts = np.diff(np.append(firsts, len(slots)))
        return Groups(numbers, slots[firsts], firsts, counts, positions, required, len(given.rows))
    slots, rows = _pairs(given, blocks, given.fresh, asked)
    new = np.flatnonzero(_used(slots, values))
    missing = new[_rows_of(before.numbers, values)[new] == GONE]
    numbers = _in_order(np.append(before.numbers, missing), values) if len(missing) else before.numbers
    rows_of = _rows_of(numbers, values)
    slots, positions = _sorted(_renamed(slots, rows_of), given.positions[rows])
    return _tidy(_merged(before, numbers, rows_of, given, slots, positions))


def _merged(
    before: Groups, numbers: Array, rows_of: Array, given: Ranked, slots: Array, positions: Array
) -> Groups:
    """With the pairs of new rows, which are in order; groups may be left without any."""
    assert given.moved is not None
    left = given.moved.take(before.positions)
    gone = np.flatnonzero(left == GONE)
    owners = before.firsts.searchsorted(gone, "right") - 1
    left = np.delete(left, gone)
    here = rows_of[before.numbers[before.slots >> 2]] << 2 | before.slots & 3
    missing = slots[_changes(slots)]
    at = here.searchsorted(missing)
    absent = np.append(here, GONE)[at] != missing
    both = np.insert(here, at[absent], missing[absent])
    counts = np.zeros(len(both), np.int64)
    counts[both.searchsorted(here)] = before.counts - np.bincount(owners, minlength=len(here))
    group = both.searchsorted(slots)
    low = (np.cumsum(counts) - counts)[group]
    places = bisected(low, low + counts[group], lambda which, at: left[at] < positions[which])
    counts += np.bincount(group, minlength=len(both))
    every = np.insert(left, places, positions)
    return Groups(numbers, both, np.cumsum(counts) - counts, counts, every, before.required, len(given.rows))


def _tidy(found: Groups) -> Groups:
    """Without groups of none, and values of no group."""
    some = np.flatnonzero(found.counts)
    slots = found.slots[some]
    used = np.zeros(len(found.numbers), bool)
    used[slots >> 2] = True
    if not used.all():
        rows = np.cumsum(used, dtype=np.uint32) - np.uint32(1)
        slots = rows[slots >> 2] << 2 | slots & 3
    numbers = found.numbers[used]
    return Groups(
        numbers, slots, found.firsts[some], found.counts[some], found.positions, found.required, found.size
    )


# -- pairs -----------------------------------------------------------------------------------------


def _asked(given: Ranked, blocks: Sequence[Numbered], values: Values) -> tuple[Array, tuple[Name, ...]]:
    """Of each expression the first required pair whose name is indexed (``checks.indexed``), as (row, slot);
    and the names that are."""
    asked = joined([one.block.asked for one in blocks], ASKED)
    counts = np.fromiter((len(one.block.asked) for one in blocks), np.int64, len(blocks))
    rows = asked["row"] + np.repeat(given.starts, counts)
    names = joined([one.names[one.block.asked["name"]] for one in blocks], _U4)
    numbers = joined([one.values[one.block.asked["value"]] for one in blocks], _U4)
    often = np.bincount(names, minlength=len(values.asked)).tolist()
    required = checks.most_required({n: c for n, c in zip(values.asked, often, strict=True) if c})
    indexed = np.zeros(len(values.asked), bool)
    indexed[[values.asked[name] for name in required]] = True
    chosen = np.flatnonzero(indexed[names])
    _, first = np.unique(rows[chosen], return_index=True)
    chosen = chosen[first]
    return np.stack((rows[chosen], numbers[chosen] << 2 | REQUIRED), 1), required


def _pairs(given: Ranked, blocks: Sequence[Numbered], chosen: Array, asked: Array) -> tuple[Array, Array]:
    """(slots by value number, rows) of the ``chosen`` blocks, with those of ``asked`` that are theirs."""
    mine = [blocks[number] for number in chosen.tolist()]
    counts = np.fromiter((len(one.block.pairs) for one in mine), np.int64, len(mine))
    rows = joined([one.block.pairs for one in mine], PAIR)["row"] + np.repeat(given.starts[chosen], counts)
    theirs = np.zeros(len(blocks), bool)
    theirs[chosen] = True
    asked = asked[np.repeat(theirs, given.counts)[asked[:, 0]]]
    slots = joined([_slots(one) for one in mine], _U4)
    return np.append(slots, asked[:, 1].astype(np.uint32)), np.append(rows, asked[:, 0])


def _slots(one: Numbered) -> Array:
    own = one.block.pairs["slot"]
    slots: Array = one.values[own >> 2] << 2 | own & 3
    return slots


def _used(slots: Array, values: Values) -> Array:
    """By number of a value, whether it has a slot."""
    used = np.zeros(len(values), bool)
    used[slots >> 2] = True
    return used


def _in_order(numbers: Array, values: Values) -> Array:
    """Numbers of values in the order of their rows."""
    hashes = np.array(values.hashes, np.uint32)[numbers]
    return numbers[order_of(list(map(values.names.__getitem__, numbers.tolist())), hashes)]


def _rows_of(numbers: Array, values: Values) -> Array:
    """By number of a value, its row, or GONE."""
    rows = np.full(len(values), GONE, np.uint32)
    rows[numbers] = np.arange(len(numbers), dtype=np.uint32)
    return rows


def _renamed(slots: Array, rows_of: Array) -> Array:
    """Slots by number -> slots by row."""
    renamed: Array = rows_of[slots >> 2] << 2 | slots & 3
    return renamed


def _sorted(slots: Array, positions: Array) -> tuple[Array, Array]:
    """By slot and position, each pair once."""
    keys = slots.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= positions
    keys.sort()
    if (keys[1:] == keys[:-1]).any():
        keys = keys[np.append(True, keys[1:] != keys[:-1])]
    return (keys >> np.uint64(32)).astype(np.uint32), keys.astype(np.uint32)


def _changes(column: Array) -> Array:
    """Where a new value begins, the first place included."""
    return np.flatnonzero(np.append(np.ones(len(column[:1]), bool), column[1:] != column[:-1]))
