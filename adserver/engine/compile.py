"""Catalogue -> image. Pure: the same catalogue gives the same image, byte for byte, whatever the compiler
compiled before.

Python is needed for the line items of advertisers whose documents changed: each has a block (``blocks``). All
the rest is NumPy over blocks, and what was put in order for the last image stays so (``order``, ``groups``).
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import is_
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from adserver.domain import limits
from adserver.domain.campaign import Advertiser, Campaign
from adserver.domain.catalogue import Catalogue
from adserver.domain.inventory import Audience, Publisher
from adserver.engine import people
from adserver.engine.assemble import (
    advertiser_sections,
    campaign_sections,
    dimensions,
    entry_sections,
    posting_sections,
    value_sections,
)
from adserver.engine.blocks import Block, Numbered, numbered
from adserver.engine.checks import Name
from adserver.engine.groups import Groups, grouped
from adserver.engine.image import Image, Piece, Section
from adserver.engine.names import Named, blob_sections, hash_of, named, order_of, sections
from adserver.engine.order import Ranked, ranked
from adserver.engine.rows import block as made
from adserver.engine.snapshot import SHAPE, Heading, Snapshot
from adserver.engine.values import Values
from adserver.engine.vocabulary import ALSO

_FORGOTTEN: Final = 100_000
"""Values that may have gone out of use before the assembler begins anew."""


def compile_snapshot(catalogue: Catalogue) -> Snapshot:
    """In memory, from scratch."""
    return Snapshot.open(bytes(Compiler().compile(catalogue)))


class Stored(Struct, frozen=True, eq=False):
    """Blocks that lie in files: their names, and by block the number of its file and where in it."""

    files: tuple[str, ...]
    places: npt.NDArray[np.int64]


class Assembler:
    """Blocks -> image. Keeps what it put in order for the last one. Not safe for several threads."""

    def __init__(self) -> None:
        self._ranked: Ranked | None = None
        self._groups: Groups | None = None
        self._begin_anew()
        self._blobs: dict[int, tuple[object, Named]] = {}
        self._members: tuple[object, dict[str, Piece]] = (None, {})

    def assemble(self, blocks: Sequence[Block], rest: Catalogue, stored: Stored | None = None) -> Image:
        """``blocks``: of all advertisers, by serial; ``rest``: a catalogue, whose advertisers and campaigns
        are not looked at. The image holds the blocks themselves unless they are ``stored``."""
        given, values = ranked(blocks, self._ranked), self._values
        each = self._number(blocks)
        found = grouped(given, each, values, self._groups)
        postings, bitmaps = posting_sections(found)
        restricted = dimensions(found, values, bitmaps)
        heading = Heading(
            rest.revision, len(given.rows), restricted, found.required,
            stored.files if stored else (), _looked_at(each),
        )  # fmt: skip
        self._ranked, self._groups = given, found
        image = Image({
            "shape": SHAPE,
            "heading": msgspec.msgpack.encode(heading),
            **entry_sections(given),
            **campaign_sections(given),
            **self._names(found),
            **postings,
            **_also(each),
            **advertiser_sections(given),
            **self._owners(rest),
            **self._people(rest.members),
            "rates": b"" if rest.rates is None else msgspec.msgpack.encode(rest.rates),
            **_blocks(blocks, stored),
        })  # fmt: skip
        if len(values) > 2 * len(found.numbers) + _FORGOTTEN:
            self._begin_anew()
        return image

    def _begin_anew(self) -> None:
        """Values come and go; who runs for months must not keep them all."""
        self._values = Values()
        self._numbered: dict[int, Numbered] = {}
        self._ranked, self._groups = None, None
        self._named: tuple[npt.NDArray[Any], dict[str, Piece]] | None = None

    def _number(self, blocks: Sequence[Block]) -> list[Numbered]:
        before = self._numbered
        found = [before.get(id(block)) or numbered(block, self._values) for block in blocks]
        self._numbered = {id(one.block): one for one in found}
        return found

    def _names(self, found: Groups) -> dict[str, Piece]:
        if self._named is None or not np.array_equal(self._named[0], found.numbers):
            self._named = (found.numbers, value_sections(found, self._values))
        return self._named[1]

    def _owners(self, rest: Catalogue) -> dict[str, Piece]:
        """Tables of publishers and audiences, and the way to placements by serial."""
        before, self._blobs = self._blobs, {}

        def table(name: str, documents: Iterable[Any]) -> tuple[dict[str, Piece], npt.NDArray[np.intp]]:
            return blob_sections(name, [self._blob(document, before) for document in documents])

        publishers, order = table("publishers", rest.publishers)
        return {
            **table("audiences", rest.audiences)[0],
            **publishers,
            **_placements([rest.publishers[number] for number in order.tolist()]),
        }

    def _blob(self, document: Publisher | Audience, before: Mapping[int, tuple[object, Named]]) -> Named:
        kept = before.get(id(document))
        if kept is None:
            name = document.full_id if isinstance(document, Audience) else document.id
            kept = (document, named(name, msgspec.msgpack.encode(document)))
        self._blobs[id(document)] = kept  # the document too: its id is not another's then
        return kept[1]

    def _people(self, members: Mapping[bytes, tuple[str, ...]]) -> dict[str, Piece]:
        if self._members[0] is not members:
            self._members = (members, people.sections(members))
        return self._members[1]


class Compiler:
    """Of whole catalogues: "changed" is told by identity, for documents are frozen, and the catalog gives the
    same object for the same document. Not safe for several threads."""

    def __init__(self) -> None:
        self._assembler = Assembler()
        self._values = Values()
        self._made: dict[str, _Made] = {}

    def compile(self, catalogue: Catalogue) -> Image:
        """Raises KeyError for a campaign of an advertiser that is not there."""
        campaigns: dict[str, list[Campaign]] = {advertiser.id: [] for advertiser in catalogue.advertisers}
        for campaign in catalogue.campaigns:
            campaigns[campaign.advertiser].append(campaign)
        before, self._made = self._made, {}
        for advertiser in catalogue.advertisers:
            name, mine = advertiser.id, campaigns[advertiser.id]
            kept = before.get(name)
            if kept is None or not kept.of(advertiser, mine):
                kept = _Made(advertiser, mine, made(self._values, advertiser, mine))
            self._made[name] = kept
        blocks = sorted((one.block for one in self._made.values()), key=lambda block: block.serial)
        return self._assembler.assemble(blocks, catalogue)


class _Made(Struct, frozen=True, eq=False):
    """A block, and what it was made of."""

    advertiser: Advertiser
    campaigns: list[Campaign]
    block: Block

    def of(self, advertiser: Advertiser, campaigns: list[Campaign]) -> bool:
        mine = self.campaigns
        same = self.advertiser is advertiser and len(mine) == len(campaigns)
        return same and all(map(is_, mine, campaigns))


def _blocks(blocks: Sequence[Block], stored: Stored | None) -> dict[str, Section]:
    """Where each lies (file, from where, how many bytes; 0 is the image itself), and what it must be."""
    table = np.zeros((len(blocks), 4), np.uint64)
    table[:, 2] = [block.sections.whole.nbytes for block in blocks]
    table[:, 3] = [block.sections.checksum for block in blocks]
    if stored is None:
        table[:, 1] = np.cumsum(table[:, 2]) - table[:, 2]
        return {"places": table, "blocks": [block.sections.whole for block in blocks]}
    table[:, 0], table[:, 1] = stored.places[:, 0] + 1, stored.places[:, 1]
    return {"places": table, "blocks": b""}


def _placements(publishers: Sequence[Publisher]) -> dict[str, Piece]:
    """Serials in order; for each the publisher's row and the placement's number there."""
    found = sorted(
        (placement.serial, row, number)
        for row, publisher in enumerate(publishers)
        for number, placement in enumerate(publisher.placements)
    )
    table = np.array(found, np.int64).reshape(-1, 3)
    return {"placement_serials": table[:, 0], "placements": table[:, 1:].astype(np.uint32)}


def _looked_at(blocks: Iterable[Numbered]) -> tuple[Name, ...] | None:
    found = frozenset[Name]().union(*(block.looked_at for block in blocks))
    return tuple(sorted(found)) if len(found) <= limits.NAMES_LOOKED_AT else None


def _also(blocks: Iterable[Numbered]) -> dict[str, Piece]:
    """Values that line items want and the index does not hold: the vocabulary does."""
    names = sorted(frozenset[bytes]().union(*(block.also for block in blocks)))
    hashes = np.array([hash_of(name) for name in names], np.uint32)
    order = order_of(names, hashes)
    return sections(ALSO, [names[number] for number in order.tolist()], hashes[order])
