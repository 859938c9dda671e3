"""A frozen snapshot of the catalogue: an image (``image``), served from in place.

Line items are in rank order with the index over them; whatever is asked of them is read or decoded from the
image when it is asked, and kept within bounds. So a snapshot opens at once however large it is, costs a
process what it touches, and goes when the last request leaves it: swapped by one assignment.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final, Generic, TypeVar
from zlib import crc32

import msgspec
import msgspec.inspect
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from adserver.domain import limits
from adserver.domain.campaign import Advertiser, Campaign, Creative, LineItem
from adserver.domain.caps import BoundCap
from adserver.domain.exchange import ExchangeRates
from adserver.domain.inventory import Audience, Publisher
from adserver.engine.checks import Name
from adserver.engine.entries import Decoded, Entries, Entry
from adserver.engine.image import ImageError, Sections
from adserver.engine.index import COUNTER, INCLUDE, Index, Restricted
from adserver.engine.kept import Kept
from adserver.engine.names import Table
from adserver.engine.people import People
from adserver.engine.places import Places, Store
from adserver.engine.postings import CHUNK
from adserver.engine.views import Fit, View, Views, blocks_creative, blocks_entry, parent_domains, static_drop
from adserver.engine.vocabulary import Vocabulary

__all__ = [
    "Entry", "Fit", "Snapshot", "View", "blocks_creative", "blocks_entry", "parent_domains", "static_drop",
]  # fmt: skip

T = TypeVar("T")
Bits = Mapping[int, int]
"""Chunk -> bits, of all chunks that have any."""


class Heading(Struct, frozen=True):
    """``required``: the names whose required values the index knows (``engine/checks``); ``stores``: the
    files in which blocks lie, none where the image holds them; ``looked_at``: all that line items ask of
    requests by name, None where these are too many."""

    revision: int
    size: int
    dimensions: tuple[Restricted, ...]
    required: tuple[Name, ...]
    stores: tuple[str, ...]
    looked_at: tuple[Name, ...] | None = ()


_HEADING: Final = msgspec.msgpack.Decoder(Heading)
_ADVERTISER: Final = msgspec.msgpack.Decoder(Advertiser)
_AUDIENCE: Final = msgspec.msgpack.Decoder(Audience)
_CAMPAIGN: Final = msgspec.msgpack.Decoder(Campaign)
_PUBLISHER: Final = msgspec.msgpack.Decoder(Publisher)
_RATES: Final = msgspec.msgpack.Decoder(ExchangeRates)


_WRITTEN: Final = (Heading, LineItem, BoundCap, Advertiser, Audience, Campaign, Publisher, ExchangeRates)
SHAPE: Final = crc32(repr(msgspec.inspect.multi_type_info(_WRITTEN)).encode()).to_bytes(4, "little")
"""Of the documents in an image: one with other fields than this program's is another version too."""


class BySerial(Mapping[int, T], Generic[T]):
    """Serials in order; ``make`` gives what the one in a row stands for."""

    def __init__(self, serials: memoryview, make: Callable[[int], T]) -> None:
        self._serials = serials
        self._make = make

    def __len__(self) -> int:
        return len(self._serials)

    def __iter__(self) -> Iterator[int]:
        return iter(self._serials)

    def __getitem__(self, serial: int) -> T:
        row = bisect_left(self._serials, serial)
        if row == len(self._serials) or self._serials[row] != serial:
            raise KeyError(serial)
        return self._make(row)


class Derived(Mapping[str, T], Generic[T]):
    """What ``make`` says of the names of a table; of whom it says None, nothing is there."""

    def __init__(self, names: Mapping[str, object], make: Callable[[str], T | None]) -> None:
        self._names = names
        self._make = make

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names if self._make(name) is not None)

    def __getitem__(self, name: str) -> T:
        found = self._make(name) if name in self._names else None
        if found is None:
            raise KeyError(name)
        return found


class Snapshot:
    """``members``: pseudonym -> audiences; ``creatives``: serial -> (creative, entry); ``entries`` by
    position, ``positions`` by serial; ``required``: see ``Heading``; ``only_publisher``: where there is but
    one; ``stores``: the files beside the image that it needs. Nothing here refers back to the snapshot, so
    its image is let go with it."""

    def __init__(
        self, given: Sections, heading: Heading, places: Places, decoded: Decoded | None = None
    ) -> None:
        self.revision = heading.revision
        self.required = heading.required
        self.stores = heading.stores
        owners = limits.OWNERS_KEPT
        campaigns = Table(given, "campaigns", _CAMPAIGN, owners)
        audiences = Table(given, "audiences", _AUDIENCE, owners)
        publishers = Table(given, "publishers", _PUBLISHER, owners)
        self.advertisers: Mapping[str, Advertiser] = Table(given, "advertisers", _ADVERTISER, owners)
        self.publishers: Mapping[str, Publisher] = publishers
        self.only_publisher = publishers.at(0) if len(publishers) == 1 else None
        self.members = People(given)
        self.facets = Derived(audiences, partial(_facets, audiences))
        self.audience_publishers = Derived(audiences, partial(_publisher, audiences))
        self.entries = entries = Entries(given, places, campaigns, heading.required, decoded)
        self.index = Index(given, heading.size, heading.dimensions)
        self.vocabulary = Vocabulary(given, self.index.dimensions, heading.looked_at)
        self.campaigns = Derived(campaigns, _Campaigns(given, campaigns, entries))
        self._serials = given.numbers("serials.sorted", "q")
        serials, positions = self._serials, given.numbers("serials.positions", "I")
        self.by_serial: Mapping[int, Entry] = BySerial(serials, partial(_at, entries, positions))
        self.creatives = _creatives(given, entries)
        self.zones = sorted(
            name.removeprefix("hours:") for name in self.index.dimensions if name.startswith("hours:")
        )
        rates = _RATES.decode(given.bytes("rates")) if given.bytes("rates") else None
        self._views = Views(given, self.index, entries, publishers, heading.required, rates)
        self.view, self.views, self.imagined = self._views.view, self._views.of, self._views.imagined
        self.placements_by_serial: Mapping[int, View] = BySerial(self._views.serials, self._views.at)
        places_of = given.numbers("serials.positions", "I").__getitem__
        self.positions: Mapping[int, int] = BySerial(given.numbers("serials.sorted", "q"), places_of)
        self._capped = Kept[str, tuple[tuple[BoundCap, Bits], ...]](limits.COUNTERS_KEPT)

    @classmethod
    def open(
        cls,
        buffer: bytes | bytearray | memoryview,
        checked: bool = True,
        mapped: Callable[[str], Store] | None = None,
        decoded: Decoded | None = None,
    ) -> "Snapshot":
        """Of an image in memory or a mapped file, which stays mapped as long as the snapshot lives;
        ``checked``: not every byte of it needs to be read first; ``mapped`` gives the files it names, and
        raises what it will; what was ``decoded`` of these is taken over. Raises ImageError for anything but a
        whole image of this version."""
        given = Sections(buffer)
        if not checked:
            given.check()
        if given.bytes("shape") != SHAPE:
            raise ImageError("the image holds documents of another version of this program")
        heading = _HEADING.decode(given.bytes("heading"))
        if heading.stores and mapped is None:
            raise ImageError("the image's blocks are in files beside it")
        places = Places(given, [mapped(name) for name in heading.stores] if mapped else ())
        if not checked:
            places.check()
        return cls(given, heading, places, decoded)

    def absent(self, serials: set[int]) -> set[int]:
        """Those of the line items that are not there; some 100 ns each, whatever there is."""
        wanted, here = np.fromiter(serials, np.int64, len(serials)), np.frombuffer(self._serials, np.int64)
        if not len(here):
            return set(serials)
        rows = np.minimum(np.searchsorted(here, wanted), len(here) - 1)
        return set(wanted[here[rows] != wanted].tolist())

    def shed(self) -> Iterator[None]:
        """Let go of what was kept, a little each time it is asked: freed at once with the snapshot, it stops
        whoever held it last for milliseconds. Whoever still asks the snapshot has it made again."""
        yield from self.entries.shed()
        yield from self._views.shed()
        while self._capped.shed():
            yield
        for dimension in self.index.dimensions.values():
            while dimension.kept.shed():
                yield

    def capped(self, counter: str) -> tuple[tuple[BoundCap, Bits], ...]:
        """The caps on a counter (those of scope creative excepted), and the line items each binds."""
        found = self._capped.young.get(counter) or self._capped.get(counter)
        if found is None:
            found = self._capped.put(counter, self._caps_on(counter))
        return found

    def _caps_on(self, counter: str) -> tuple[tuple[BoundCap, Bits], ...]:
        bits = self._bound_by(counter)
        if not bits:
            return ()
        chunk = min(bits)
        first = chunk * CHUNK + (bits[chunk] & -bits[chunk]).bit_length() - 1
        # Whoever is bound by a counter is bound by the same caps on it.
        return tuple((cap, bits) for cap in self.entries.caps(first) if cap.counter == counter)

    def _bound_by(self, counter: str) -> Bits:
        key = counter.removeprefix("session:").partition("/")[0]
        scope, _, serial = key.partition(":")
        if scope != "line_item":
            shared = self.index.postings(COUNTER, counter)[INCLUDE]
            return {} if shared is None else shared.whole(self.index.chunks)
        position = self.positions.get(int(serial))
        if position is None:
            return {}
        chunk, bit = divmod(position, CHUNK)
        return {chunk: 1 << bit}


class _Campaigns:
    """Campaigns with their line items, which the image keeps apart."""

    def __init__(self, given: Sections, bare: Table[Campaign], entries: Entries) -> None:
        self._rows = given.numbers("campaign_rows", "I")
        self._positions = given.numbers("positions", "I")
        self._bare = bare
        self._entries = entries

    def __call__(self, name: str) -> Campaign:
        row = self._bare.names.row(name.encode())
        mine = self._positions[self._rows[2 * row] : self._rows[2 * row + 1]]
        return replace(self._bare.at(row), line_items=tuple(map(self._entries.line_item, mine)))


def _at(entries: Entries, positions: memoryview, row: int) -> Entry:
    return entries[positions[row]]


def _creatives(given: Sections, entries: Entries) -> Mapping[int, tuple[Creative, Entry]]:
    serials, positions = given.numbers("creatives.sorted", "q"), given.numbers("creatives.positions", "I")

    def make(row: int) -> tuple[Creative, Entry]:
        entry = entries[positions[row]]
        return next(c for c in entry.line_item.creatives if c.serial == serials[row]), entry

    return BySerial(serials, make)


def _facets(audiences: Table[Audience], name: str) -> dict[str, tuple[str, ...]] | None:
    return audiences[name].facets or None


def _publisher(audiences: Table[Audience], name: str) -> str | None:
    audience = audiences[name]
    return audience.owner if audience.owner_kind == "publisher" else None
