"""Rows of all advertisers -> the sections of an image: rank order, postings, blobs. NumPy throughout.

Canonical: sections depend on the rows alone, not on which were kept from an earlier catalogue or in which
order values first turned up. Blobs stay in the order of the rows, so that nothing large is moved; arrays by
position say where each is.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from adserver.engine import checks, ranking
from adserver.engine.checks import Name
from adserver.engine.draw import mixed
from adserver.engine.image import Piece, Section
from adserver.engine.index import INCLUDE, NOWHERE, PARTS, REQUIRED, STATIC, Restricted
from adserver.engine.names import blob_sections, order_of, sections
from adserver.engine.postings import DENSE, bitmap_words
from adserver.engine.rows import ASKED, CREATIVE, PAIR, ROW, Block
from adserver.engine.values import Values

Array = npt.NDArray[Any]
Found = dict[str, Section]

_SPARSE_BITS: Final = 32
"""A bitmap has a bit, a sparse posting 32 of them, for each position."""


class Ranked(Struct, frozen=True):
    """``rows`` of all blocks; block b's begin at ``starts[b]``. ``order``: position -> row, and
    ``positions`` the other way around."""

    blocks: Sequence[Block]
    rows: Array
    starts: Array
    order: Array
    positions: Array


def ranked(blocks: Sequence[Block]) -> Ranked:
    """Tier, best bid first, and then by a hash: never by id, which would favour the alphabet."""
    rows = np.frombuffer(b"".join(block.rows for block in blocks), ROW)
    starts = _starts(len(block.rows) // ROW.itemsize for block in blocks)
    order = np.lexsort((mixed(rows["serial"]), -_bids(rows), rows["tier"]))
    positions = np.empty(len(rows), np.uint32)
    positions[order] = np.arange(len(rows), dtype=np.uint32)
    return Ranked(blocks, rows, starts, order, positions)


def entry_sections(given: Ranked) -> Found:
    """What ``Entries`` reads (the campaigns excepted), and the ways to it by serial."""
    blocks, rows, order = given.blocks, given.rows, given.order
    mine = rows[order]
    starts = np.append(_changes(mine["tier"], _bids(mine)), len(rows)).astype(np.uint32)
    advertisers = np.array([block.advertiser.serial for block in blocks], np.int64)
    serials = mine["serial"].astype(np.int64)
    by_serial = np.argsort(serials)
    return {
        "tiers": mine["tier"],
        "scores": mine["score"],
        "flags": mine["flags"],
        "runs": np.repeat(np.arange(len(starts) - 1, dtype=np.uint32), _lengths(starts)),
        "starts": starts,
        "serials": serials,
        "serials.sorted": serials[by_serial],
        "serials.positions": by_serial.astype(np.uint32),
        "advertiser_of": np.repeat(advertisers, _counts(given))[order],
        "line_item_at": _spans(rows["item_bytes"], order),
        "line_items": [block.line_items for block in blocks],
        "caps_at": _spans(rows["cap_bytes"], order),
        "caps": [block.caps for block in blocks],
        **_creatives(given),
    }


def campaign_sections(given: Ranked) -> Found:
    """Their table, which campaign each position is of, and each campaign's positions in its own order."""
    documents = [document for block in given.blocks for document in block.documents]
    counts = np.array([document.count for document in documents], np.int64)
    told, order = blob_sections("campaigns", [document.named for document in documents])
    rank = np.empty(len(order), np.uint32)
    rank[order] = np.arange(len(order), dtype=np.uint32)
    ends = np.cumsum(counts)
    return {
        **told,
        "campaign_of": np.repeat(rank, counts)[given.order],
        "campaign_rows": np.stack((ends - counts, ends), 1)[order].astype(np.uint32),
        "positions": given.positions,
    }


def posting_sections(given: Ranked, values: Values) -> tuple[Found, tuple[Restricted, ...], tuple[Name, ...]]:
    """(sections, the dimensions, the names whose required values are indexed)."""
    asked, required = _asked(given, values)
    slots, rows = _pairs(given, asked)
    numbers, slot_of = _value_slots(slots, values)
    slots, positions = _sorted(slot_of[slots], given.positions[rows])
    firsts = _changes(slots)
    found = Groups(slots[firsts], firsts, _lengths(np.append(firsts, len(slots))), positions, len(given.rows))
    bitmaps = [_bitmap(found.of(group), found.size) for group in np.flatnonzero(found.dense).tolist()]
    dimensions = _dimensions(found, np.array(values.dimension_of, np.uint16)[numbers], values, bitmaps)
    names = [values.names[number] for number in numbers.tolist()]
    told = sections("values", names, np.array(values.hashes, np.uint32)[numbers])
    sparse = positions[np.repeat(~found.dense, found.counts)]
    postings = {"postings": _postings(found, len(numbers)), "sparse": sparse, "words": bitmaps}
    return {**told, **postings}, dimensions, required


# -- rows ------------------------------------------------------------------------------------------


def _bids(rows: Array) -> Array:
    """What ranks within a tier: nothing in the guaranteed ones."""
    auction = rows["tier"] // 10 == ranking.AUCTION
    return np.where(auction, rows["score"], 0)


def _changes(*columns: Array) -> Array:
    """Where a new value begins in any of them, the first place included."""
    if not len(columns[0]):
        return np.zeros(0, np.int64)
    changed = np.zeros(len(columns[0]), bool)
    changed[0] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changed)


def _lengths(bounds: Array) -> Array:
    lengths: Array = bounds[1:] - bounds[:-1]
    return lengths


def _counts(given: Ranked) -> Array:
    """Rows of each block."""
    return _lengths(np.append(given.starts, len(given.rows)))


def _starts(counts: Iterable[int]) -> Array:
    return np.array([0, *accumulate(counts)], np.int64)[:-1]


def _repeated(starts: Array, sizes: Iterable[int], each: np.dtype[Any]) -> Array:
    """For all that blocks of ``sizes`` bytes hold, where its block's rows begin."""
    counts = np.fromiter(sizes, np.int64, len(starts)) // each.itemsize
    return np.repeat(starts.astype(np.uint32), counts)


def _spans(sizes: Array, order: Array) -> Array:
    """By position where its bytes begin and end."""
    ends = np.cumsum(sizes, dtype=np.uint64)
    spans: Array = np.stack((ends - sizes, ends), 1)[order]
    return spans


def _creatives(given: Ranked) -> dict[str, Piece]:
    """Serials of creatives in order, and the position of each one's line item."""
    found = np.frombuffer(b"".join(block.creatives for block in given.blocks), CREATIVE)
    rows = found["row"] + _repeated(given.starts, (len(b.creatives) for b in given.blocks), CREATIVE)
    order = np.argsort(found["serial"])
    return {
        "creatives.sorted": found["serial"][order],
        "creatives.positions": given.positions[rows[order]],
    }


# -- postings --------------------------------------------------------------------------------------


class Groups(Struct, frozen=True):
    """Pairs by slot, a slot being a value and a part: group g is of ``slots[g]``, and its positions are the
    ``counts[g]`` from ``firsts[g]``, ascending."""

    slots: Array
    firsts: Array
    counts: Array
    positions: Array
    size: int

    @property
    def dense(self) -> Array:
        return self.counts * _SPARSE_BITS > self.size

    def of(self, group: int) -> Array:
        first = self.firsts[group]
        return self.positions[first : first + self.counts[group]]


def _asked(given: Ranked, values: Values) -> tuple[Array, tuple[Name, ...]]:
    """Of each expression the first required pair whose name is indexed (``checks.indexed``), and the names
    that are."""
    asked = np.frombuffer(b"".join(block.asked for block in given.blocks), ASKED)
    rows = asked["row"] + _repeated(given.starts, (len(block.asked) for block in given.blocks), ASKED)
    counts = np.bincount(asked["name"], minlength=len(values.asked))
    required = checks.most_required({n: c for n, c in zip(values.asked, counts.tolist(), strict=True) if c})
    indexed = np.zeros(len(values.asked), bool)
    indexed[[number for number, name in enumerate(values.asked) if name in set(required)]] = True
    chosen = np.flatnonzero(indexed[asked["name"]])
    _, first = np.unique(rows[chosen], return_index=True)
    chosen = chosen[first]
    return np.stack((rows[chosen], asked["value"][chosen] << 2 | REQUIRED), 1).astype(np.uint32), required


def _pairs(given: Ranked, asked: Array) -> tuple[Array, Array]:
    """(slots by value number, rows counted through) of all blocks."""
    found = np.frombuffer(b"".join(block.pairs for block in given.blocks), np.uint32).reshape(-1, 2)
    rows = found[:, 0] + _repeated(given.starts, (len(block.pairs) for block in given.blocks), PAIR)
    return np.append(found[:, 1], asked[:, 1]), np.append(rows, asked[:, 0])


def _value_slots(slots: Array, values: Values) -> tuple[Array, Array]:
    """The numbers of the values that are used, in the order of their rows; and slot by number -> by row."""
    used = np.zeros(len(values) * 4, bool)
    used[slots] = True
    numbers = np.flatnonzero(used.reshape(-1, 4).any(1))
    hashes = np.array(values.hashes, np.uint32)[numbers]
    numbers = numbers[order_of([values.names[number] for number in numbers.tolist()], hashes)]
    slot_of = np.zeros((len(values), 4), np.uint32)
    slot_of[numbers] = np.arange(len(numbers) * 4, dtype=np.uint32).reshape(-1, 4)
    return numbers, slot_of.reshape(-1)


def _sorted(slots: Array, positions: Array) -> tuple[Array, Array]:
    """By slot and position, each pair once."""
    keys = slots.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= positions
    keys.sort()
    if (keys[1:] == keys[:-1]).any():
        keys = keys[_changes(keys)]
    return (keys >> np.uint64(32)).astype(np.uint32), keys.astype(np.uint32)


def _postings(found: Groups, values: int) -> Array:
    """(count, offset) by value and part."""
    table = np.zeros((values, 4, 2), np.int64)
    row, part, dense = found.slots >> 2, found.slots & 3, found.dense
    sparse = np.where(dense, 0, found.counts)
    bitmap_at = (np.cumsum(dense) - dense) * bitmap_words(found.size)
    table[row, part, 0] = np.where(dense, DENSE, found.counts)
    table[row, part, 1] = np.where(dense, bitmap_at, np.cumsum(sparse) - sparse)
    return table[:, :PARTS]


def _bitmap(positions: Array, size: int) -> Array:
    """Words with these positions set."""
    bits = np.zeros(size, bool)
    bits[positions] = True
    words = np.zeros(bitmap_words(size), np.uint64)
    packed = np.packbits(bits, bitorder="little")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def _dimensions(
    found: Groups, dimension_of: Array, values: Values, bitmaps: list[Array]
) -> tuple[Restricted, ...]:
    """Who restricts what; bitmaps of who does not are added. The dimension that most line items restrict
    comes first: it leaves the others the least to do."""
    slots = dimension_of[found.slots >> 2].astype(np.uint32) << 2 | found.slots & 3
    dense, words, everybody = (
        found.dense,
        bitmap_words(found.size),
        _bitmap(np.arange(found.size), found.size),
    )
    bitmap_of = np.cumsum(dense) - dense
    sparse = np.repeat(~dense, found.counts)
    sparse_slots, sparse_positions = np.repeat(slots[~dense], found.counts[~dense]), found.positions[sparse]
    told = []
    for name, number in sorted((name, number) for number, name in enumerate(values.dimensions)):
        mine = [np.flatnonzero(slots == number << 2 | part) for part in range(PARTS)]
        if name in STATIC or not any(map(len, mine)):
            continue
        offsets = []
        for part in (INCLUDE, REQUIRED):
            if not len(mine[part]):
                offsets.append(NOWHERE)
                continue
            offsets.append(len(bitmaps) * words)
            restricting = _bitmap(sparse_positions[sparse_slots == number << 2 | part], found.size)
            for group in mine[part][dense[mine[part]]].tolist():
                restricting |= bitmaps[bitmap_of[group]]
            bitmaps.append(everybody & ~restricting)
        told.append((int(np.sum(found.counts[mine[INCLUDE]])), Restricted(name, *offsets)))
    return tuple(one for _, one in sorted(told, key=lambda both: (-both[0], both[1].name)))
