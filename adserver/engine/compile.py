"""Catalogue -> image. Pure: the same catalogue gives the same image, byte for byte, whatever the compiler
compiled before.

Python is needed for the line items of advertisers whose documents changed; all the rest is NumPy over what
was kept of the others. "Changed" is told by identity: documents are frozen, and the catalog gives the same
object for the same document.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from adserver.domain.campaign import Campaign
from adserver.domain.catalogue import Catalogue
from adserver.domain.inventory import Publisher
from adserver.engine import people
from adserver.engine.assemble import campaign_sections, entry_sections, posting_sections, ranked
from adserver.engine.image import Image, Piece
from adserver.engine.names import blob_sections, order_of_names
from adserver.engine.rows import Block, block
from adserver.engine.snapshot import Heading, Snapshot
from adserver.engine.values import Values

_FORGOTTEN: Final = 100_000
"""Values that may have gone out of use before the compiler begins anew."""


def compile_snapshot(catalogue: Catalogue) -> Snapshot:
    """In memory, from scratch."""
    return Snapshot.open(bytes(Compiler().compile(catalogue)))


class Compiler:
    """Keeps what it made of the last catalogue's documents. Not safe for several threads."""

    def __init__(self) -> None:
        self._values = Values()
        self._blocks: dict[str, Block] = {}
        self._blobs: dict[int, tuple[object, bytes]] = {}
        self._members: tuple[object, dict[str, Piece]] = (None, {})

    def compile(self, catalogue: Catalogue) -> Image:
        """Raises KeyError for a campaign of an advertiser that is not there."""
        given = ranked(self._of(catalogue))
        postings, dimensions, required = posting_sections(given, self._values)
        heading = Heading(catalogue.revision, len(given.rows), dimensions, required)
        image = Image({
            "heading": msgspec.msgpack.encode(heading),
            **entry_sections(given),
            **campaign_sections(given),
            **postings,
            **self._owners(catalogue),
            **self._people(catalogue.members),
        })  # fmt: skip
        self._tidy(len(postings["postings"]))
        return image

    def _of(self, catalogue: Catalogue) -> Sequence[Block]:
        """The blocks of all advertisers that have campaigns, by serial."""
        owners = {advertiser.id: advertiser for advertiser in catalogue.advertisers}
        campaigns: dict[str, list[Campaign]] = defaultdict(list)
        for campaign in catalogue.campaigns:
            campaigns[campaign.advertiser].append(campaign)
        blocks: dict[str, Block] = {}
        for name, mine in campaigns.items():
            kept, owner = self._blocks.get(name), owners[name]
            same = kept is not None and kept.made_of(owner, mine)
            blocks[name] = kept if same and kept is not None else block(self._values, owner, mine)
        self._blocks = blocks
        return sorted(blocks.values(), key=lambda one: one.advertiser.serial)

    def _owners(self, catalogue: Catalogue) -> Mapping[str, Piece]:
        """Tables of advertisers, publishers and audiences, and the way to placements by serial."""
        before, self._blobs = self._blobs, {}

        def blobs(documents: Mapping[str, Any]) -> dict[str, bytes]:
            return {name: self._blob(document, before) for name, document in documents.items()}

        publishers = {one.id: one for one in catalogue.publishers}
        return {
            **blob_sections("advertisers", blobs({one.id: one for one in catalogue.advertisers})),
            **blob_sections("publishers", blobs(publishers)),
            **blob_sections("audiences", blobs({one.full_id: one for one in catalogue.audiences})),
            **_placements(publishers),
        }

    def _blob(self, document: object, before: Mapping[int, tuple[object, bytes]]) -> bytes:
        kept = before.get(id(document))
        blob = kept[1] if kept is not None else msgspec.msgpack.encode(document)
        self._blobs[id(document)] = (document, blob)  # the object too: its id is not another's then
        return blob

    def _people(self, members: Mapping[bytes, tuple[str, ...]]) -> Mapping[str, Piece]:
        if self._members[0] is not members:
            self._members = (members, people.sections(members))
        return self._members[1]

    def _tidy(self, used: int) -> None:
        """Values come and go; a compiler that runs for months must not keep them all."""
        if len(self._values) > 2 * used + _FORGOTTEN:
            self._values, self._blocks = Values(), {}


def _placements(publishers: Mapping[str, Publisher]) -> dict[str, Piece]:
    """Serials in order; for each the publisher's row and the placement's number there."""
    order = order_of_names([name.encode() for name in publishers])
    each = list(publishers.values())
    found = sorted(
        (placement.serial, row, number)
        for row, owner in enumerate(order.tolist())
        for number, placement in enumerate(each[owner].placements)
    )
    table = np.array(found, np.int64).reshape(-1, 3)
    return {"placement_serials": table[:, 0], "placements": table[:, 1:].astype(np.uint32)}
