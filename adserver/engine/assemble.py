"""Rows of all advertisers -> the sections of an image: rank order, postings, blobs. NumPy throughout.

Canonical: sections depend on the rows alone, not on which were kept from an earlier catalogue or in which
order values first turned up. Blobs stay in the order of the rows, so that nothing large is moved; arrays by
position say where each is.
"""

from collections.abc import Mapping, Sequence
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
from adserver.engine.names import blob_sections, order_of, order_of_names, sections
from adserver.engine.postings import DENSE, bitmap_words
from adserver.engine.rows import CREATIVE, PART_SHIFT, ROW, ROW_MASK, VALUE_SHIFT, Block
from adserver.engine.values import Values

Array = npt.NDArray[Any]
Found = dict[str, Section]

_SPARSE_MAX: Final = 32
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
    found: Found = {**blob_sections("campaigns", {d.name: d.blob for d in documents})}
    rank = _ranks([document.name.encode() for document in documents])
    spans = np.empty((len(documents), 2), np.uint32)
    spans[rank] = np.stack((np.cumsum(counts) - counts, np.cumsum(counts)), 1)
    found["campaign_of"] = np.repeat(rank, counts)[given.order].astype(np.uint32)
    found["campaign_rows"] = spans
    found["positions"] = given.positions
    return found


def posting_sections(
    given: Ranked, values: Values
) -> tuple[Found, tuple[Restricted, ...], tuple[Name, ...]]:
    """(sections, the dimensions, the names whose required values are indexed)."""
    required = checks.often_required(
        [[name for name, _ in pairs] for block in given.blocks for _, pairs in block.asked]
    )
    keys = np.concatenate((_pairs(given), _asked(given, frozenset(required))))
    numbers, of_row = _value_rows(keys >> np.uint64(VALUE_SHIFT), values)
    keys = _keyed(keys, of_row, given.positions)
    positions = (keys & np.uint64(ROW_MASK)).astype(np.uint32)
    slots = (keys >> np.uint64(PART_SHIFT)).astype(np.int64)
    found, bitmaps = _postings(slots, positions, len(numbers), len(given.rows))
    dimension_of = np.array(values.dimension_of, np.uint16)[numbers]
    slots = dimension_of[slots >> 2].astype(np.int64) << 2 | slots & 3
    dimensions = _dimensions(slots, positions, values.dimensions, len(given.rows), bitmaps)
    names = [values.names[number] for number in numbers.tolist()]
    found |= sections("values", names, np.array(values.hashes, np.uint64)[numbers])
    found["words"] = bitmaps
    return found, dimensions, required


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


def _starts(counts: Any) -> Array:
    return np.array([0, *accumulate(counts)], np.int64)[:-1]


def _spans(sizes: Array, order: Array) -> Array:
    """By position where its bytes begin and end."""
    ends = np.cumsum(sizes, dtype=np.uint64)
    spans: Array = np.stack((ends - sizes, ends), 1)[order]
    return spans


def _creatives(given: Ranked) -> dict[str, Piece]:
    """Serials of creatives in order, and the position of each one's line item."""
    found = np.frombuffer(b"".join(block.creatives for block in given.blocks), CREATIVE)
    counts = [len(block.creatives) // CREATIVE.itemsize for block in given.blocks]
    rows = found["row"] + np.repeat(given.starts, counts)
    order = np.argsort(found["serial"])
    return {
        "creatives.sorted": found["serial"][order],
        "creatives.positions": given.positions[rows[order]],
    }


def _ranks(names: list[bytes]) -> Array:
    """Name -> row in its table."""
    order = order_of_names(names)
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    return rank


# -- postings --------------------------------------------------------------------------------------


def _pairs(given: Ranked) -> Array:
    """Of all blocks, their rows counted through."""
    found = np.frombuffer(b"".join(block.pairs for block in given.blocks), np.uint64)
    counts = [len(block.pairs) // 8 for block in given.blocks]
    return found + np.repeat(given.starts, counts).astype(np.uint64)


def _asked(given: Ranked, names: frozenset[Name]) -> Array:
    """Of each expression the first required pair whose name is indexed (``checks.indexed``)."""
    found = []
    for start, block in zip(given.starts.tolist(), given.blocks, strict=True):
        for row, pairs in block.asked:
            number = next((number for name, number in pairs if name in names), None)
            if number is not None:
                found.append(number << VALUE_SHIFT | REQUIRED << PART_SHIFT | start + row)
    return np.array(found, np.uint64)


def _value_rows(used: Array, values: Values) -> tuple[Array, Array]:
    """(row -> number, number -> row) of the values that are used."""
    is_used = np.zeros(len(values), bool)
    is_used[used] = True
    numbers = np.flatnonzero(is_used)
    names = [values.names[number] for number in numbers.tolist()]
    numbers = numbers[order_of(names, np.array(values.hashes, np.uint64)[numbers])]
    of_row = np.zeros(len(values), np.uint64)
    of_row[numbers] = np.arange(len(numbers), dtype=np.uint64)
    return numbers, of_row


def _keyed(pairs: Array, of_row: Array, positions: Array) -> Array:
    """Value's row, part and position in one word, ascending, each once."""
    part = (pairs >> np.uint64(PART_SHIFT)) & np.uint64(3)
    keys = of_row[pairs >> np.uint64(VALUE_SHIFT)] << np.uint64(2) | part
    keys = keys << np.uint64(PART_SHIFT) | positions[pairs & np.uint64(ROW_MASK)]
    keys.sort()
    each: Array = keys[_changes(keys)]
    return each


def _postings(slots: Array, positions: Array, rows: int, size: int) -> tuple[Found, list[Array]]:
    """Tables of (count, offset) by value and part, and the bitmaps. A slot is a value's row and a part."""
    firsts = _changes(slots)
    counts = _lengths(np.append(firsts, len(slots)))
    dense = counts * _SPARSE_MAX > size
    table = np.zeros((rows, PARTS, 2), np.int64)
    row, part = slots[firsts] >> 2, slots[firsts] & 3
    table[row, part, 0] = np.where(dense, DENSE, counts)
    sparse_counts = np.where(dense, 0, counts)
    bitmap_of = (np.cumsum(dense) - dense) * bitmap_words(size)
    table[row, part, 1] = np.where(dense, bitmap_of, np.cumsum(sparse_counts) - sparse_counts)
    bitmaps = [
        _bitmap(positions[first : first + count], size)
        for first, count in zip(firsts[dense].tolist(), counts[dense].tolist(), strict=True)
    ]
    return {"postings": table, "sparse": positions[np.repeat(~dense, counts)]}, bitmaps


def _bitmap(positions: Array, size: int, rest: bool = False) -> Array:
    """Words with these positions set, or all others."""
    bits = np.full(size, rest)
    bits[positions] = not rest
    words = np.zeros(bitmap_words(size), np.uint64)
    packed = np.packbits(bits, bitorder="little")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def _dimensions(
    slots: Array, positions: Array, names: list[str], size: int, bitmaps: list[Array]
) -> tuple[Restricted, ...]:
    """Who restricts what, as bitmaps of who does not. The most restricted dimension first: it leaves the
    others the least to do. Here a slot is a dimension and a part."""
    by_slot = np.argsort(slots.astype(np.uint32), kind="stable")
    firsts = np.searchsorted(slots[by_slot], np.arange(len(names) * 4 + 1))
    found = []
    for name, number in sorted((name, number) for number, name in enumerate(names)):
        spans = [firsts[number * 4 + part : number * 4 + part + 2] for part in range(PARTS)]
        if name in STATIC or all(first == end for first, end in spans):
            continue
        offsets = []
        for part in (INCLUDE, REQUIRED):
            first, end = spans[part]
            offsets.append(len(bitmaps) * bitmap_words(size) if first < end else NOWHERE)
            if first < end:
                bitmaps.append(_bitmap(positions[by_slot[first:end]], size, rest=True))
        first, end = spans[INCLUDE]
        found.append((first - end, name, Restricted(name, *offsets)))
    return tuple(told for _, _, told in sorted(found, key=lambda one: one[:2]))
