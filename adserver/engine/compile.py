"""Catalogue -> image. Pure: the same catalogue gives the same image, byte for byte, whatever the compiler
compiled before.

Python is needed for the line items of advertisers whose documents changed; all the rest is NumPy over what
was kept of the others. "Changed" is told by identity: documents are frozen, and the catalog gives the same
object for the same document.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from adserver.domain.campaign import Advertiser, Campaign
from adserver.domain.catalogue import Catalogue
from adserver.domain.inventory import Audience, Publisher
from adserver.engine import people
from adserver.engine.assemble import campaign_sections, entry_sections, posting_sections, ranked
from adserver.engine.image import Image, Piece
from adserver.engine.names import Named, blob_sections, named
from adserver.engine.rows import Block, block
from adserver.engine.snapshot import SHAPE, Heading, Snapshot
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
        self._blobs: dict[int, tuple[object, Named]] = {}
        self._members: tuple[object, dict[str, Piece]] = (None, {})

    def compile(self, catalogue: Catalogue) -> Image:
        """Raises KeyError for a campaign of an advertiser that is not there."""
        given = ranked(self._of(catalogue))
        postings, dimensions, required = posting_sections(given, self._values)
        heading = Heading(catalogue.revision, len(given.rows), dimensions, required)
        image = Image({
            "shape": SHAPE,
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

        def table(name: str, documents: Iterable[Any]) -> tuple[dict[str, Piece], npt.NDArray[np.intp]]:
            return blob_sections(name, [self._named(document, before) for document in documents])

        publishers, order = table("publishers", catalogue.publishers)
        return {
            **table("advertisers", catalogue.advertisers)[0],
            **table("audiences", catalogue.audiences)[0],
            **publishers,
            **_placements([catalogue.publishers[number] for number in order.tolist()]),
        }

    def _named(
        self, document: Advertiser | Publisher | Audience, before: Mapping[int, tuple[object, Named]]
    ) -> Named:
        kept = before.get(id(document))
        if kept is None:
            name = document.full_id if isinstance(document, Audience) else document.id
            kept = (document, named(name, msgspec.msgpack.encode(document)))
        self._blobs[id(document)] = kept  # the document too: its id is not another's then
        return kept[1]

    def _people(self, members: Mapping[bytes, tuple[str, ...]]) -> Mapping[str, Piece]:
        if self._members[0] is not members:
            self._members = (members, people.sections(members))
        return self._members[1]

    def _tidy(self, used: int) -> None:
        """Values come and go; a compiler that runs for months must not keep them all."""
        if len(self._values) > 2 * used + _FORGOTTEN:
            self._values, self._blocks = Values(), {}


def _placements(publishers: Sequence[Publisher]) -> dict[str, Piece]:
    """Serials in order; for each the publisher's row and the placement's number there."""
    found = sorted(
        (placement.serial, row, number)
        for row, publisher in enumerate(publishers)
        for number, placement in enumerate(publisher.placements)
    )
    table = np.array(found, np.int64).reshape(-1, 3)
    return {"placement_serials": table[:, 0], "placements": table[:, 1:].astype(np.uint32)}
