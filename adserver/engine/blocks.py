"""The block of an advertiser: all that images need of its line items, in one run of bytes of its own.

The unit is an advertiser: caps and budgets of that scope bind siblings, and nothing reaches further. A block
depends on its advertiser's documents alone (values are numbered within it, in the order in which they turn
up), so it is the same bytes whoever makes it, and whoever has it need not read the documents again: not for
the next revision, and not in the next process. An image speaks of blocks where they lie.
"""

from itertools import accumulate, pairwise
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from adserver.domain.campaign import Campaign, LineItem
from adserver.engine.checks import Name
from adserver.engine.image import Image, Sections
from adserver.engine.names import Named
from adserver.engine.values import Values

Array = npt.NDArray[Any]

ROW: Final = np.dtype(
    [("tier", "u2"), ("flags", "u2"), ("item_bytes", "u4"), ("cap_bytes", "u4"), ("serial", "i8"),
     ("score", "i8")]
)  # fmt: skip
"""Rows stand campaign by campaign; which are whose is told by ``Document.count``."""
CREATIVE: Final = np.dtype([("serial", "i8"), ("row", "i8")])
PAIR: Final = np.dtype([("row", "u4"), ("slot", "u4")])
"""``slot``: the value's number within the block, and the part in the lowest two bits."""
ASKED: Final = np.dtype([("row", "u4"), ("name", "u4"), ("value", "u4")])
"""A name that the row's expression requires, and the pair of it: the first of each name, in its order."""

_BYTES_MAX: Final = 2**32 - 1
"""Of a block: the image has places within it as 32 bits."""


class Document(Struct, frozen=True, array_like=True):
    """A campaign without its line items, which are the next ``count`` rows; ``etag``: of the text it was
    read from, where there is one."""

    named: Named
    count: int
    etag: str


class Head(Struct, frozen=True, array_like=True):
    serial: int
    advertiser: Named
    documents: tuple[Document, ...]


class Spoken(Struct, frozen=True, array_like=True):
    """Names of values and of expressions' names, both by their numbers in the block. ``looked_at``: the names
    that its line items ask of requests; ``also``: the values that they want and the index does not hold."""

    values: tuple[bytes, ...]
    asked: tuple[Name, ...]
    looked_at: tuple[Name, ...]
    also: tuple[bytes, ...]


_CAMPAIGN: Final = msgspec.msgpack.Decoder(Campaign)
_LINE_ITEM: Final = msgspec.msgpack.Decoder(LineItem)
_HEAD: Final = msgspec.msgpack.Decoder(Head)
_SPOKEN: Final = msgspec.msgpack.Decoder(Spoken)
_ENCODER: Final = msgspec.msgpack.Encoder()


class Block(Struct, frozen=True, eq=False):
    """A block where it lies (``sections``); ``items_at`` and ``caps_at``: where in it those of the rows
    begin."""

    sections: Sections
    serial: int
    advertiser: Named
    documents: tuple[Document, ...]
    rows: Array
    pairs: Array
    creatives: Array
    asked: Array
    items_at: int
    caps_at: int


class Numbered(Struct, frozen=True, eq=False):
    """A block with an assembler's numbers for its own: ``values`` and ``names`` (of expressions);
    ``looked_at`` and ``also`` are as in ``Spoken``."""

    block: Block
    values: Array
    names: Array
    looked_at: tuple[Name, ...]
    also: tuple[bytes, ...]


def packed(
    head: Head,
    spoken: Spoken,
    rows: bytes,
    pairs: bytes,
    creatives: bytes,
    asked: bytes,
    items: bytes,
    caps: bytes,
) -> bytes:
    """The bytes of a block. Raises ValueError if they are too many."""
    image = Image({
        "head": _ENCODER.encode(head),
        "spoken": _ENCODER.encode(spoken),
        "rows": rows,
        "pairs": pairs,
        "creatives": creatives,
        "asked": asked,
        "caps": caps,
        "line_items": items,
    })  # fmt: skip
    if image.size > _BYTES_MAX:
        raise ValueError(f"the line items of advertiser {head.advertiser.name.decode()} are too large")
    return bytes(image)


def opened(given: bytes | memoryview, checked: bool = True) -> Block:
    """The block in these bytes; ``checked``: not every byte needs to be read first. Raises ImageError."""
    sections = Sections(given)
    if not checked:
        sections.check()
    head = _HEAD.decode(sections.bytes("head"))
    return Block(
        sections,
        head.serial,
        head.advertiser,
        head.documents,
        np.frombuffer(sections.bytes("rows"), ROW),
        np.frombuffer(sections.bytes("pairs"), PAIR),
        np.frombuffer(sections.bytes("creatives"), CREATIVE),
        np.frombuffer(sections.bytes("asked"), ASKED),
        sections.place("line_items"),
        sections.place("caps"),
    )


def numbered(block: Block, values: Values) -> Numbered:
    spoken = _SPOKEN.decode(block.sections.bytes("spoken"))
    return Numbered(
        block,
        np.fromiter(map(values.numbers.__getitem__, spoken.values), np.uint32, len(spoken.values)),
        np.fromiter(map(values.asked_number, spoken.asked), np.uint32, len(spoken.asked)),
        spoken.looked_at,
        spoken.also,
    )


def campaigns_of(block: Block) -> dict[tuple[str, str], Campaign]:
    """By full id and etag, the campaigns the block was made of."""
    text, sizes = block.sections.bytes("line_items"), block.rows["item_bytes"].tolist()
    ends = list(accumulate(sizes, initial=0))
    items = [_LINE_ITEM.decode(text[first:end]) for first, end in pairwise(ends)]
    found, row = {}, 0
    for document in block.documents:
        mine = tuple(items[row : row + document.count])
        row += document.count
        bare = _CAMPAIGN.decode(document.named.blob)
        found[document.named.name.decode(), document.etag] = replace(bare, line_items=mine)
    return found
