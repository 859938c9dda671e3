"""What the image needs of each line item: a row of numbers, its values, and its bytes.

The unit is an advertiser: caps and budgets of that scope bind siblings, and nothing reaches further. So
the rows of an advertiser whose documents are the same objects as before are right as they are.
"""

from array import array
from collections.abc import Sequence
from operator import is_
from struct import Struct as Packing
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from adserver.domain.campaign import MODELS, Advertiser, Campaign, LineItem
from adserver.engine import checks, ranking
from adserver.engine.binding import Shared, binding, shared
from adserver.engine.checks import Check, Name
from adserver.engine.entries import ACTIVE, CAPPED, CHECKED, MODEL_SHIFT, PARTIAL, clauses
from adserver.engine.index import ADVERTISER, COUNTER, EXCLUDE, INCLUDE, LABEL, REQUIRED, SHOWS, SOLD
from adserver.engine.names import Named, named
from adserver.engine.values import Values

ROW: Final = np.dtype(
    [("tier", "u2"), ("flags", "u2"), ("item_bytes", "u4"), ("cap_bytes", "u4"), ("serial", "i8"),
     ("score", "i8")]
)  # fmt: skip
"""Rows stand campaign by campaign; which are whose is told by ``Document.count``."""
_ROW: Final = Packing("=HHIIqq")
CREATIVE: Final = np.dtype([("serial", "i8"), ("row", "i8")])
_CREATIVE: Final = Packing("=qq")
_ENCODER: Final = msgspec.msgpack.Encoder()

ASKED: Final = np.dtype([("row", "u4"), ("name", "u4"), ("value", "u4")])
"""A name that the row's expression requires, and the pair of it: the first of each name, in its order."""
_ASKED: Final = Packing("=III")
PAIR: Final = np.dtype("u8")
"""From the lowest bit: row (32), part (2), number of the value (30)."""
_VALUE_SHIFT: Final = 34
_PART_SHIFT: Final = 32


class Document(Struct, frozen=True):
    """A campaign without its line items, which are the next ``count`` rows."""

    named: Named
    count: int


class Block(Struct, frozen=True):
    """Rows of one advertiser, and what they were made of."""

    advertiser: Advertiser
    campaigns: tuple[Campaign, ...]
    documents: tuple[Document, ...]
    rows: bytes
    pairs: bytes
    creatives: bytes
    line_items: bytearray
    caps: bytearray
    asked: bytes

    def made_of(self, advertiser: Advertiser, campaigns: Sequence[Campaign]) -> bool:
        """Of these very objects, which are frozen."""
        mine = self.campaigns
        same = self.advertiser is advertiser and len(mine) == len(campaigns)
        return same and all(map(is_, mine, campaigns))


def block(values: Values, advertiser: Advertiser, campaigns: Sequence[Campaign]) -> Block:
    made = _Making(values, advertiser)
    given = shared(campaigns, advertiser.serial)
    for campaign in campaigns:
        made.add(campaign, given)
    return Block(
        advertiser,
        tuple(campaigns),
        tuple(made.documents),
        b"".join(made.rows),
        array("Q", made.pairs).tobytes(),
        b"".join(made.creatives),
        made.line_items,
        made.caps,
        b"".join(made.asked),
    )


class _Making:
    """A block while it grows."""

    def __init__(self, values: Values, advertiser: Advertiser) -> None:
        self.documents: list[Document] = []
        self.rows: list[bytes] = []
        self.pairs: list[int] = []
        self.creatives: list[bytes] = []
        self.line_items, self.caps = bytearray(), bytearray()
        self.asked: list[bytes] = []
        self._values = values
        self._serial = advertiser.serial

    def add(self, campaign: Campaign, given: Shared) -> None:
        bare = msgspec.structs.replace(campaign, line_items=())
        name = f"{campaign.advertiser}/{campaign.id}"
        for item in campaign.line_items:
            self._add(campaign, item, given)
        self.documents.append(Document(named(name, _ENCODER.encode(bare)), len(campaign.line_items)))

    def _add(self, campaign: Campaign, item: LineItem, given: Shared) -> None:
        row, asked = len(self.rows), checks.of(item.targeting)
        flags = self._pair(row, campaign, item) | (CHECKED if asked else 0)
        flags |= MODELS.index(item.pricing.model) << MODEL_SHIFT
        if asked:
            self._ask(row, asked)
        items_before, caps_before = len(self.line_items), len(self.caps)
        _ENCODER.encode_into(item, self.line_items, -1)
        if caps := binding(given, campaign, item, self._serial):
            _ENCODER.encode_into(caps, self.caps, -1)
            self._post(COUNTER, tuple(c.counter for c in caps if c.key[:9] != "line_item"), INCLUDE, row)
        if caps or any(cap.scope == "creative" for cap in item.frequency_caps):
            flags |= CAPPED
        tier, score = ranking.tier(item), ranking.ecpm_micros(item.pricing)
        item_bytes, cap_bytes = len(self.line_items) - items_before, len(self.caps) - caps_before
        self.creatives += [_CREATIVE.pack(creative.serial, row) for creative in item.creatives]
        self.rows.append(_ROW.pack(tier, flags, item_bytes, cap_bytes, item.serial, score))

    def _pair(self, row: int, campaign: Campaign, item: LineItem) -> int:
        """Every value that the index knows of it; the flags that follow from them."""
        flags, of, add = 0, self._values.of, self._post
        for name, clause in clauses(item.targeting, campaign.timezone).items():
            if clause.any:
                add(name, clause.any, INCLUDE, row)
            if clause.none:
                add(name, clause.none, EXCLUDE, row)
            if clause.all:
                add(name, clause.all[:1], REQUIRED, row)
                flags |= PARTIAL if len(clause.all) > 1 else 0
        add(ADVERTISER, (campaign.advertiser,), INCLUDE, row)
        add(LABEL, campaign.labels, INCLUDE, row)
        add(SHOWS, _shows(item), INCLUDE, row)
        if campaign.status == item.status == "active":
            flags |= ACTIVE
            self.pairs.append(of(SOLD)[campaign.currency] << _VALUE_SHIFT | row)
        return flags

    def _post(self, dimension: str, values: tuple[str, ...], part: int, row: int) -> None:
        tail, numbers = part << _PART_SHIFT | row, self._values.of(dimension)
        self.pairs += [number << _VALUE_SHIFT | tail for number in map(numbers.__getitem__, values)]

    def _ask(self, row: int, asked: tuple[Check, ...]) -> None:
        first: dict[Name, str] = {}
        for name, text in checks.pairs(asked):
            first.setdefault(name, text)
        numbers, names = self._values.of(checks.REQUIRED), self._values.asked
        for name, text in first.items():
            number = names.setdefault(name, len(names))
            self.asked.append(_ASKED.pack(row, number, numbers[checks.pair(name, text)]))


def _shows(item: LineItem) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for creative in item.creatives:
        if creative.status == "active":
            found[creative.format] = found[f"{creative.format} {creative.size}"] = None
    return tuple(found)
