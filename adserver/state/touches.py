"""Touches in memory: the clicks and views that conversions may be owed to.

A person's are found by pseudonym, a click also by its event id: without consent nobody has a pseudonym. All
are packed in buckets by when they run out (views' by the hour, clicks' by the day), so forgetting them is
dropping a bucket, and a conversion looks once into each. What there is no room for goes too, the oldest
first, and is counted: conversions owed to it are owed to nobody then. Cost: some 1.5 µs an event, 200 bytes a
touch.

They are state like any other: made again from the journal, where whose they were can be erased.
"""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from adserver.domain import ids, limits
from adserver.domain.attribution import Touch, window_ms
from adserver.domain.conversions import Converted
from adserver.domain.decision import EventKind
from adserver.domain.records import LineItemTerms, Recorded, Reversed
from adserver.domain.told import Accepted
from adserver.octets import compiled
from adserver.state.seen import Seen

_HOUR_MS: Final = 3600_000
_DAY_MS: Final = 24 * _HOUR_MS
_PACKED: Final = struct.Struct(">16sBQQIIIHQ2sB")
_NOWHERE: Final = bytes(2)
_CLICK: Final = int(EventKind.CLICK)
_VIEW: Final = int(EventKind.IMPRESSION)
_LEAST_DROPPED: Final = 16
"""One in so many of what may be kept goes at once when there is no room."""
_MOST_BYTES: Final = limits.TOUCHES_PER_PERSON * _PACKED.size
_LONGEST_MS: Final = (
    limits.CLICK_WINDOW_MS_MAX
    + limits.CONVERSION_LATE_MS
    + limits.RENDER_WITHIN_MS_MAX
    + limits.CLICK_EXTRA_MS
)
"""From a decision until nothing is owed to it any more."""


class Touches:
    """``dropped``: how many there was no room for."""

    def __init__(self, most: int = limits.TOUCHES_KEPT) -> None:
        self._views = _Buckets(_HOUR_MS, most)
        self._clicks = _Buckets(_DAY_MS, most)
        self._clicked = _Buckets(_DAY_MS, most)
        self._gone = Seen()
        self._billed = Seen()

    @property
    def dropped(self) -> int:
        return self._views.dropped + self._clicks.dropped + self._clicked.dropped

    def recorded(self, event: Recorded, subject: bytes | None, terms: LineItemTerms | None) -> None:
        """``terms``: those the event happened under; nothing is owed to what nobody promised."""
        window = window_ms(event, terms) if terms is not None else 0
        if not window:
            return
        at_ms, until_ms = event.at_ms, event.at_ms + window
        country = event.country.encode("ascii") if event.country else _NOWHERE
        packed = _PACKED.pack(
            event.event_id, event.kind, at_ms, until_ms, event.line_item, event.creative, event.placement,
            event.day, event.conversion_nanos, country, event.device,
        )  # fmt: skip
        if event.kind != _CLICK:
            if subject is not None:
                self._views.add(subject, packed, at_ms, until_ms)
            return
        self._clicks.add(event.event_id, packed, at_ms, until_ms)
        if subject is not None:
            self._clicked.add(subject, packed, at_ms, until_ms)

    def viewed(self, run: list[Accepted], at_ms: int, terms: dict[int, LineItemTerms]) -> None:
        """``recorded`` of accepted impressions that are no tests. ``terms``: by line item."""
        if compiled is not None and self._views.has_room(len(run), at_ms):
            self._views.count(
                *compiled.touched(
                    run, at_ms, terms, self._views.buckets, _HOUR_MS, limits.CONVERSION_LATE_MS, _MOST_BYTES
                )
            )
            return
        add, pack = self._views.add, _PACKED.pack
        for told, _, _, conversion_nanos, _ in run:
            subject, promised = told[12], terms.get(told[4])
            if promised is None or subject is None or not promised.view_window_ms:
                continue
            until_ms = at_ms + promised.view_window_ms
            packed = pack(
                told[0], _VIEW, at_ms, until_ms, told[4], told[5], told[6], told[8], conversion_nanos,
                told[13].encode("ascii") or _NOWHERE, told[14],
            )  # fmt: skip
            add(subject, packed, at_ms, until_ms)

    def converted(self, conversion: Converted) -> None:
        if conversion.touch is not None and conversion.billed_nanos:
            self._billed.add(conversion.touch, ids.minted_ms(conversion.touch) + _LONGEST_MS)

    def taken_back(self, found: Reversed) -> None:
        """Nothing is owed to it from now on."""
        if found.kind != EventKind.CONVERSION:
            key = found.event_id + bytes((found.kind,))
            self._gone.add(key, ids.minted_ms(found.event_id) + _LONGEST_MS)

    def click(self, event_id: bytes) -> list[Touch]:
        """The click on an ad, if it counts."""
        return self._standing(self._clicks.of(event_id))

    def of(self, subject: bytes) -> list[Touch]:
        """A person's, in no order."""
        found = self._standing(self._views.of(subject))
        return found + self._standing(self._clicked.of(subject))

    def is_billed(self, event_id: bytes) -> bool:
        """Whether an ad was billed for a conversion."""
        return event_id in self._billed

    def _standing(self, touches: Iterator[Touch]) -> list[Touch]:
        return [touch for touch in touches if touch.event_id + bytes((touch.kind,)) not in self._gone]

    def sweep(self, now_ms: int) -> None:
        for kept in (self._views, self._clicks, self._clicked):
            kept.sweep(now_ms)
        self._gone.sweep(now_ms)
        self._billed.sweep(now_ms)

    def dump(self) -> bytes:
        kept = [buckets.buckets for buckets in (self._views, self._clicks, self._clicked)]
        return msgspec.msgpack.encode((kept, self._gone.dump(), self._billed.dump()))

    def load(self, dumped: bytes) -> None:
        """Nothing: of a version that kept none."""
        if dumped:
            kept, gone, billed = msgspec.msgpack.decode(
                dumped, type=tuple[list[dict[int, dict[bytes, bytes]]], bytes, bytes]
            )
            for buckets, loaded in zip((self._views, self._clicks, self._clicked), kept, strict=True):
                buckets.load(loaded)
            self._gone.load(gone)
            self._billed.load(billed)


class _Buckets:
    """Packed touches by key; ``buckets``: by when they run out, divided by the width."""

    def __init__(self, width_ms: int, most: int) -> None:
        self.buckets: dict[int, dict[bytes, bytes]] = {}
        self.dropped = 0
        self._width_ms = width_ms
        self._most = most
        self._count = 0
        self._next = 0

    def add(self, key: bytes, packed: bytes, at_ms: int, until_ms: int) -> None:
        if at_ms // self._width_ms > self._next:
            self.sweep(at_ms)
        number = (until_ms + limits.CONVERSION_LATE_MS) // self._width_ms
        bucket = self.buckets.get(number)
        if bucket is None:
            bucket = self.buckets[number] = {}
        before = bucket.get(key)
        if before is not None:
            packed = before + packed
        self._count += 1
        if len(packed) > _MOST_BYTES:
            packed = packed[_PACKED.size :]
            self._count -= 1
            self.dropped += 1
        bucket[key] = packed
        if self._count > self._most:
            self._drop()

    def has_room(self, number: int, at_ms: int) -> bool:
        """For so many more, without forgetting any before."""
        return at_ms // self._width_ms <= self._next and self._count + number <= self._most

    def count(self, added: int, dropped: int) -> None:
        """What was put into ``buckets``."""
        self._count += added
        self.dropped += dropped

    def of(self, key: bytes) -> Iterator[Touch]:
        for bucket in self.buckets.values():
            packed = bucket.get(key)
            if packed is not None:
                yield from map(_unpack, _PACKED.iter_unpack(packed))

    def sweep(self, now_ms: int) -> None:
        self._next = now_ms // self._width_ms
        for number in [number for number in self.buckets if number < self._next]:
            self._count -= _size(self.buckets.pop(number))

    def load(self, buckets: dict[int, dict[bytes, bytes]]) -> None:
        self.buckets = buckets
        self._count = sum(map(_size, buckets.values()))

    def _drop(self) -> None:
        """Those that run out first; of one bucket, those who came first."""
        excess = max(self._most // _LEAST_DROPPED, 1)
        while excess > 0:
            first = min(self.buckets)
            bucket = self.buckets[first]
            for key in list(islice(bucket, excess)):
                gone = len(bucket.pop(key)) // _PACKED.size
                self._count -= gone
                self.dropped += gone
                excess -= gone
            if not bucket:
                del self.buckets[first]


def _size(bucket: dict[bytes, bytes]) -> int:
    return sum(map(len, bucket.values())) // _PACKED.size


def _unpack(packed: tuple[bytes, int, int, int, int, int, int, int, int, bytes, int]) -> Touch:
    country = "" if packed[9] == _NOWHERE else packed[9].decode("ascii")
    return Touch(*packed[:9], country, packed[10])
