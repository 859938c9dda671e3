"""A frozen snapshot of the catalogue: line items in rank order, the index over them, and per placement
what can be known before a request. Built once per revision, swapped by one assignment.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from adserver.domain.campaign import Campaign, Creative, LineItem
from adserver.domain.caps import BoundCap, Counted
from adserver.domain.catalogue import Catalogue
from adserver.domain.inventory import Blocks, Placement, Publisher
from adserver.domain.targeting import Clause
from adserver.engine.checks import Check, Name
from adserver.engine.index import CHUNK, Index

_VIEWS_MAX: Final = 512
"""Narrowed views kept: requests may name any formats and sizes, memory may not follow them."""


class Entry(Struct, frozen=True, eq=False):
    """A line item in rank order, with what the engine derives from its surroundings. ``run`` is the same
    for neighbours whose order chance decides: a guaranteed tier, or equal bids of one auction tier."""

    position: int
    line_item: LineItem
    campaign: Campaign
    advertiser: int
    tier: int
    score: int
    run: int
    active: bool
    clauses: dict[str, Clause]
    caps: tuple[BoundCap, ...]
    creative_caps: tuple[BoundCap, ...]
    """Caps of scope creative, their ``key`` without the identity: it is the candidate creative's."""
    counts: tuple[Counted, ...]
    """The counters an exposure moves (creatives' excepted)."""
    checks: tuple[Check, ...] = ()
    """Targeting that is asked of candidates, one by one."""

    @property
    def capped(self) -> bool:
        return bool(self.caps or self.creative_caps)


class Fit:
    """What a kind of placement can show of the line items, told by its publisher, formats and sizes alone;
    placements alike share one. ``creatives(position)`` may stand there; ``chunks`` are worth a look."""

    def __init__(
        self,
        publisher: Publisher,
        entries: tuple[Entry, ...],
        formats: frozenset[str],
        sizes: frozenset[str],
        chunks: list[int] | None = None,
    ) -> None:
        self.publisher = publisher
        self.formats = formats
        self.sizes = sizes
        self._entries = entries
        self._known: dict[int, tuple[Creative, ...]] = {}
        self.chunks = self._build() if chunks is None else chunks

    def creatives(self, position: int) -> tuple[Creative, ...]:
        found = self._known.get(position)
        if found is None:
            creatives = self._entries[position].line_item.creatives
            found = tuple(filter(self._takes, creatives))
            # Most fit whole: no tuple of its own then.
            self._known[position] = found = creatives if len(found) == len(creatives) else found
        return found

    def blocks(self, position: int) -> bool:
        """Whether it is the publisher's blocks that leave no creative."""
        shown = any(map(self._shows, self._entries[position].line_item.creatives))
        return shown and not self.creatives(position)

    def narrowed(self, formats: frozenset[str], sizes: frozenset[str]) -> "Fit":
        """The same for fewer formats and sizes; its chunks remain a superset."""
        return Fit(self.publisher, self._entries, formats, sizes, self.chunks)

    def _takes(self, creative: Creative) -> bool:
        return self._shows(creative) and not blocks_creative(self.publisher.blocked, creative)

    def _shows(self, creative: Creative) -> bool:
        if creative.status != "active" or creative.format not in self.formats:
            return False
        return not self.sizes or creative.size == "fluid" or creative.size in self.sizes

    def _build(self) -> list[int]:
        chunks = [0] * -(-len(self._entries) // CHUNK)
        for position, entry in enumerate(self._entries):
            if static_drop(entry, self.publisher) is None and self.creatives(position):
                chunks[position // CHUNK] |= 1 << position % CHUNK
        return chunks


class View:
    """A placement as a request sees it: its own formats and sizes, perhaps narrowed further. ``required``:
    the names whose values the index knows (``engine/checks``)."""

    def __init__(self, placement: Placement, fit: Fit, required: tuple[Name, ...] = ()) -> None:
        self.placement = placement
        self.publisher = fit.publisher
        self.required = required
        self.fit = fit
        self.formats, self.sizes, self.chunks = fit.formats, fit.sizes, fit.chunks
        self.facts = {
            "publishers": (fit.publisher.id,),
            "placements": (placement.full_id,),
            "surfaces": (placement.surface,),
            "formats": tuple(sorted(fit.formats)),
        }

    def fits(self, position: int) -> tuple[Creative, ...]:
        """The creatives of the line item there that may stand here."""
        return self.fit.creatives(position)

    def blocks(self, position: int) -> bool:
        return self.fit.blocks(position)

    def narrowed(self, formats: tuple[str, ...], sizes: tuple[str, ...]) -> "View":
        """As a request sees it that takes only these formats and sizes (empty: all)."""
        left = self.formats & frozenset(formats) if formats else self.formats
        asked = frozenset(sizes)
        fitting = (asked & self.sizes if self.sizes else asked) if sizes else self.sizes
        if sizes and not fitting:
            left = frozenset[str]()
        return View(self.placement, self.fit.narrowed(left, fitting), self.required)


class Snapshot:
    """``members``: pseudonym -> audiences; ``creatives``: serial -> (creative, entry)."""

    def __init__(
        self, catalogue: Catalogue, entries: tuple[Entry, ...], index: Index, required: tuple[Name, ...] = ()
    ) -> None:
        self.revision = catalogue.revision
        self.entries = entries
        self.index = index
        self.members: Mapping[bytes, tuple[str, ...]] = catalogue.members
        self.facets = {a.full_id: a.facets for a in catalogue.audiences if a.facets}
        self.audience_publishers = {
            a.full_id: a.owner for a in catalogue.audiences if a.owner_kind == "publisher"
        }
        self.publishers = {publisher.id: publisher for publisher in catalogue.publishers}
        self.campaigns = {f"{c.advertiser}/{c.id}": c for c in catalogue.campaigns}
        self.advertisers = {advertiser.id: advertiser for advertiser in catalogue.advertisers}
        self.by_serial = {entry.line_item.serial: entry for entry in entries}
        self.creatives = {c.serial: (c, entry) for entry in entries for c in entry.line_item.creatives}
        self.zones = sorted(
            {name.removeprefix("hours:") for name in index.dimensions if name[:6] == "hours:"}
        )
        self._placements = _views(catalogue, entries, required)
        self.placements_by_serial = {v.placement.serial: v for v in self._placements.values()}
        self._narrowed: OrderedDict[tuple[object, ...], View] = OrderedDict()

    def view(
        self, publisher: str, placement: str, formats: tuple[str, ...] = (), sizes: tuple[str, ...] = ()
    ) -> View | None:
        """The placement, narrowed to the request's formats and sizes; None if there is none."""
        whole = self._placements.get((publisher, placement))
        if whole is None or not (formats or sizes):
            return whole
        key = (publisher, placement, formats, sizes)
        view = self._narrowed.get(key)
        if view is None:
            view = self._narrowed[key] = whole.narrowed(formats, sizes)
            if len(self._narrowed) > _VIEWS_MAX:
                self._narrowed.popitem(last=False)
        return view

    def views(self, publisher: str) -> list[View]:
        return [view for (owner, _), view in self._placements.items() if owner == publisher]


def _views(
    catalogue: Catalogue, entries: tuple[Entry, ...], required: tuple[Name, ...]
) -> dict[tuple[str, str], View]:
    """Every placement's; a publisher has few kinds of placements, and each kind's fit is built once."""
    views: dict[tuple[str, str], View] = {}
    for publisher in catalogue.publishers:
        kinds: dict[tuple[frozenset[str], frozenset[str]], Fit] = {}
        for placement in publisher.placements:
            kind = (frozenset(placement.formats), frozenset(placement.sizes))
            if kind not in kinds:
                kinds[kind] = Fit(publisher, entries, *kind)
            views[publisher.id, placement.id] = View(placement, kinds[kind], required)
    return views


def blocks_creative(blocks: Blocks, creative: Creative) -> bool:
    """Whether a block of domains or categories hits this creative. A blocked domain blocks its
    subdomains, a blocked category (``IAB7``) its subcategories (``IAB7-3``)."""
    if blocks.domains and any(d in blocks.domains for d in parent_domains(creative.advertiser_domain)):
        return True
    if not blocks.categories:
        return False
    return any(c in blocks.categories or c.split("-")[0] in blocks.categories for c in creative.categories)


def blocks_entry(blocks: Blocks, entry: Entry) -> bool:
    """Whether a block of advertisers or labels hits this line item."""
    if entry.campaign.advertiser in blocks.advertisers:
        return True
    return bool(blocks.labels) and not blocks.labels.isdisjoint(entry.campaign.labels)


def static_drop(entry: Entry, publisher: Publisher) -> str | None:
    """The first rule between a line item and a publisher that no request can change."""
    if not entry.active:
        return "status"
    if entry.campaign.currency != publisher.currency:
        return "currency"
    if blocks_entry(publisher.blocked, entry):
        return "publisher.blocked"
    return None


def parent_domains(domain: str) -> list[str]:
    """``a.news.example`` -> itself, ``news.example``, ``example``."""
    labels = domain.casefold().strip(".").split(".")
    return [".".join(labels[i:]) for i in range(len(labels))]
