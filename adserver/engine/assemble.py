"""Rows of all advertisers -> the sections of an image: rank order, postings, blobs. NumPy throughout.

Canonical: sections depend on the blocks alone, not on which were kept from an earlier catalogue or in which
order values first turned up. The bytes of line items stay in their blocks, wherever these are; arrays by
position say where each is.
"""

import numpy as np

from adserver.engine.blocks import CREATIVE, Array
from adserver.engine.groups import Groups
from adserver.engine.image import Piece, Section
from adserver.engine.index import INCLUDE, NOWHERE, PARTS, REQUIRED, STATIC, Restricted
from adserver.engine.names import blob_sections, sections
from adserver.engine.order import Ranked, bids, joined
from adserver.engine.postings import DENSE, bitmap_words
from adserver.engine.values import Values

Found = dict[str, Section]


def entry_sections(given: Ranked) -> Found:
    """What ``Entries`` reads (the campaigns excepted), and the ways to it by serial."""
    blocks, rows, order = given.blocks, given.rows, given.order
    mine = rows.take(order)  # which is ten times as fast as rows[order]
    starts = np.append(_changes(mine["tier"], bids(mine)), len(rows)).astype(np.uint32)
    serials = mine["serial"].astype(np.int64)
    by_serial = np.argsort(serials)
    items_at = np.array([block.items_at for block in blocks], np.int64)
    caps_at = np.array([block.caps_at for block in blocks], np.int64)
    return {
        "tiers": mine["tier"],
        "scores": mine["score"],
        "flags": mine["flags"],
        "runs": np.repeat(np.arange(len(starts) - 1, dtype=np.uint32), np.diff(starts)),
        "starts": starts,
        "serials": serials,
        "serials.sorted": serials[by_serial],
        "serials.positions": by_serial.astype(np.uint32),
        "block_of": np.repeat(np.arange(len(blocks), dtype=np.uint32), given.counts).take(order),
        "block_serials": np.array([block.serial for block in blocks], np.int64),
        "line_item_at": _spans(given, rows["item_bytes"], items_at),
        "caps_at": _spans(given, rows["cap_bytes"], caps_at),
        **_creatives(given),
    }


def advertiser_sections(given: Ranked) -> Found:
    """All advertisers, campaigns or none."""
    return {**blob_sections("advertisers", [block.advertiser for block in given.blocks])[0]}


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
        "campaign_of": np.repeat(rank, counts).take(given.order),
        "campaign_rows": np.stack((ends - counts, ends), 1)[order].astype(np.uint32),
        "positions": given.positions,
    }


def posting_sections(found: Groups) -> tuple[Found, list[Array]]:
    """(sections, the bitmaps of dense groups)."""
    sparse = found.positions[np.repeat(~found.dense, found.counts)]
    bitmaps = [bitmap(found.of(group), found.size) for group in np.flatnonzero(found.dense).tolist()]
    return {"postings": _postings(found), "sparse": sparse, "words": bitmaps}, bitmaps


def value_sections(found: Groups, values: Values) -> dict[str, Piece]:
    """The names of values."""
    names = list(map(values.names.__getitem__, found.numbers.tolist()))
    return sections("values", names, np.array(values.hashes, np.uint32)[found.numbers])


# -- rows ------------------------------------------------------------------------------------------


def _changes(*columns: Array) -> Array:
    """Where a new value begins in any of them, the first place included."""
    changed = np.zeros(len(columns[0]), bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changed)


def _spans(given: Ranked, sizes: Array, begin: Array) -> Array:
    """By position where in its block its bytes begin and end; block b's first ones at ``begin[b]``."""
    ends = np.cumsum(sizes, dtype=np.int64)
    before = np.append(0, ends)[given.starts]
    ends += np.repeat(begin - before, given.counts)
    both = np.empty((len(ends), 2), np.uint32)
    both[:, 0], both[:, 1] = ends - sizes, ends
    return both.take(given.order, axis=0)


def _creatives(given: Ranked) -> dict[str, Piece]:
    """Serials of creatives in order, and the position of each one's line item."""
    found = joined([block.creatives for block in given.blocks], CREATIVE)
    counts = np.fromiter((len(block.creatives) for block in given.blocks), np.int64, len(given.blocks))
    rows = found["row"] + np.repeat(given.starts, counts)
    order = np.argsort(found["serial"])
    return {
        "creatives.sorted": found["serial"].take(order),
        "creatives.positions": given.positions.take(rows.take(order)),
    }


# -- postings --------------------------------------------------------------------------------------


def _postings(found: Groups) -> Array:
    """(count, offset) by value and part."""
    table = np.zeros((len(found.numbers), 4, 2), np.int64)
    row, part, dense = found.slots >> 2, found.slots & 3, found.dense
    sparse = np.where(dense, 0, found.counts)
    bitmap_at = (np.cumsum(dense) - dense) * bitmap_words(found.size)
    table[row, part, 0] = np.where(dense, DENSE, found.counts)
    table[row, part, 1] = np.where(dense, bitmap_at, np.cumsum(sparse) - sparse)
    return table[:, :PARTS]


def bitmap(positions: Array, size: int) -> Array:
    """Words with these positions set."""
    bits = np.zeros(size, bool)
    bits[positions] = True
    words = np.zeros(bitmap_words(size), np.uint64)
    packed = np.packbits(bits, bitorder="little")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def dimensions(found: Groups, values: Values, bitmaps: list[Array]) -> tuple[Restricted, ...]:
    """Who restricts what; bitmaps of who does not are added. The dimension that most line items restrict
    comes first: it leaves the others the least to do."""
    dimension_of = np.array(values.dimension_of, np.uint16)[found.numbers]
    slots = dimension_of[found.slots >> 2].astype(np.uint32) << 2 | found.slots & 3
    dense, words, everybody = (
        found.dense,
        bitmap_words(found.size),
        bitmap(np.arange(found.size), found.size),
    )
    bitmap_of = np.cumsum(dense) - dense
    sparse = np.repeat(~dense, found.counts)
    sparse_slots, sparse_positions = np.repeat(slots[~dense], found.counts[~dense]), found.positions[sparse]
    told = []
    for name, number in sorted(values.dimensions.items()):
        mine = [np.flatnonzero(slots == number << 2 | part) for part in range(PARTS)]
        if name in STATIC or not any(map(len, mine)):
            continue
        offsets = []
        for part in (INCLUDE, REQUIRED):
            if not len(mine[part]):
                offsets.append(NOWHERE)
                continue
            offsets.append(len(bitmaps) * words)
            restricting = bitmap(sparse_positions[sparse_slots == number << 2 | part], found.size)
            for group in mine[part][dense[mine[part]]].tolist():
                restricting |= bitmaps[bitmap_of[group]]
            bitmaps.append(everybody & ~restricting)
        told.append((int(np.sum(found.counts[mine[INCLUDE]])), Restricted(name, *offsets)))
    return tuple(one for _, one in sorted(told, key=lambda both: (-both[0], both[1].name)))
