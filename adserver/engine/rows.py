"""The documents of an advertiser -> its block (``blocks``): for each line item a row of numbers, its values,
and its bytes."""

from array import array
from collections.abc import Sequence
from struct import Struct as Packing
from typing import Final

import msgspec
import numpy as np

from adserver.domain.campaign import MODELS, Advertiser, Campaign, LineItem
from adserver.engine import checks, ranking
from adserver.engine.binding import Shared, binding, shared
from adserver.engine.blocks import PAIR, Array, Block, Document, Head, Spoken, opened, packed
from adserver.engine.checks import Check, Name
from adserver.engine.entries import ACTIVE, CAPPED, CHECKED, MODEL_SHIFT, PARTIAL, clauses
from adserver.engine.index import ADVERTISER, COUNTER, EXCLUDE, INCLUDE, LABEL, REQUIRED, SHOWS, SOLD
from adserver.engine.names import named
from adserver.engine.values import Values, name_of
from adserver.engine.vocabulary import looked_at

_ROW: Final = Packing("=HHIIqq")
_CREATIVE: Final = Packing("=qq")
_ASKED: Final = Packing("=III")
_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
"""What was decoded is encoded again as it was: sets have an order here."""

_VALUE_SHIFT: Final = 34
"""A pair while it is made, from the lowest bit: row (32), part (2), number of the value (30)."""
_PART_SHIFT: Final = 32


def block(
    values: Values, advertiser: Advertiser, campaigns: Sequence[Campaign], etags: Sequence[str] = ()
) -> Block:
    """``etags``: of the texts of the campaigns. ``values`` may be any, and know more for it afterwards."""
    made = _Making(values, advertiser)
    given = shared(campaigns, advertiser.serial)
    for campaign, etag in zip(campaigns, etags or [""] * len(campaigns), strict=True):
        made.add(campaign, etag, given)
    return opened(made.packed(advertiser))


class _Making:
    """A block while it grows."""

    def __init__(self, values: Values, advertiser: Advertiser) -> None:
        self.documents: list[Document] = []
        self.rows: list[bytes] = []
        self.pairs: list[int] = []
        self.creatives: list[bytes] = []
        self.line_items, self.caps = bytearray(), bytearray()
        self.asked: list[tuple[int, Name, int]] = []
        self.looked_at: set[Name] = set()
        self.also: set[bytes] = set()
        self._values = values
        self._serial = advertiser.serial

    def add(self, campaign: Campaign, etag: str, given: Shared) -> None:
        bare = msgspec.structs.replace(campaign, line_items=())
        name = f"{campaign.advertiser}/{campaign.id}"
        for item in campaign.line_items:
            self._add(campaign, item, given)
        self.documents.append(Document(named(name, _ENCODER.encode(bare)), len(campaign.line_items), etag))

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
        for name, clause in sorted(clauses(item.targeting, campaign.timezone).items()):
            if clause.any:
                add(name, clause.any, INCLUDE, row)
            if clause.none:
                add(name, clause.none, EXCLUDE, row)
            if clause.all:
                add(name, clause.all[:1], REQUIRED, row)
                flags |= PARTIAL if len(clause.all) > 1 else 0
                self.also.update(name_of(name, value) for value in clause.all[1:])
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
        self.looked_at |= looked_at(asked)
        first: dict[Name, str] = {}
        for name, text in checks.pairs(asked):
            first.setdefault(name, text)
        numbers = self._values.of(checks.REQUIRED)
        self.asked += [(row, name, numbers[checks.pair(name, text)]) for name, text in first.items()]

    def packed(self, advertiser: Advertiser) -> bytes:
        made = np.frombuffer(array("Q", self.pairs), np.uint64)
        asked_values = [value for _, _, value in self.asked]
        given = np.append((made >> np.uint64(_VALUE_SHIFT)).astype(np.int64), asked_values).astype(np.int64)
        used, numbers = _own(given, len(self._values))
        pairs = np.empty(len(made), PAIR)
        pairs["row"] = made.astype(np.uint32)
        parts = (made >> np.uint64(_PART_SHIFT)).astype(np.uint32) & 3
        pairs["slot"] = numbers[: len(made)] << 2 | parts
        names: dict[Name, int] = {}
        asked = [
            _ASKED.pack(row, names.setdefault(name, len(names)), value)
            for (row, name, _), value in zip(self.asked, numbers[len(made) :].tolist(), strict=True)
        ]
        head = Head(
            advertiser.serial,
            named(advertiser.id, _ENCODER.encode(advertiser)),
            tuple(self.documents),
        )
        return packed(
            head,
            Spoken(
                tuple(map(self._values.names.__getitem__, used.tolist())),
                tuple(names),
                tuple(sorted(self.looked_at)),
                tuple(sorted(self.also)),
            ),
            b"".join(self.rows),
            pairs.tobytes(),
            b"".join(self.creatives),
            b"".join(asked),
            bytes(self.line_items),
            bytes(self.caps),
        )


def _own(numbers: Array, most: int) -> tuple[Array, Array]:
    """The numbers that occur, all below ``most``, in the order in which they first do; and for each given its
    place among them. Without sorting: of what is assigned to one place the last stays."""
    at, count = np.empty(most, np.uint32), np.arange(len(numbers), dtype=np.uint32)
    at[numbers[::-1]] = count[::-1]
    used = numbers[at[numbers] == count]
    at[used] = count[: len(used)]
    return used, at[numbers]


def _shows(item: LineItem) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for creative in item.creatives:
        if creative.status == "active":
            found[creative.format] = found[f"{creative.format} {creative.size}"] = None
    return tuple(found)
