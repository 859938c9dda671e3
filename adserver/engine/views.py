"""Placements as requests see them: what each kind of placement can show of the line items."""

from collections.abc import Iterable, Iterator

from adserver.domain import limits
from adserver.domain.campaign import Creative
from adserver.domain.exchange import ExchangeRates, Exchanges
from adserver.domain.inventory import Blocks, Placement, Publisher
from adserver.engine.checks import Name
from adserver.engine.entries import Entries, Entry
from adserver.engine.image import Sections
from adserver.engine.index import ADVERTISER, INCLUDE, LABEL, SHOWS, SOLD, Index
from adserver.engine.kept import Kept
from adserver.engine.names import Table
from adserver.engine.postings import Posting

_Kind = tuple[str, frozenset[str], frozenset[str]]


class Standing(dict[int, int]):
    """Chunk -> the line items that are active, in one of these currencies, not of a blocked advertiser or
    label, and have a creative of these formats and sizes. A superset of what may stand: blocks of domains
    and categories hit single creatives, and are asked of candidates."""

    __slots__ = ("_blocked", "_shown", "_sold")

    def __init__(
        self, index: Index, publisher: Publisher, formats: frozenset[str], sizes: frozenset[str],
        currencies: tuple[str, ...],
    ) -> None:  # fmt: skip
        shown = [f"{f} {size}" for f in formats for size in (*sizes, "fluid")] if sizes else formats
        blocked = publisher.blocked
        self._sold = _of(index, SOLD, currencies)
        self._shown = _of(index, SHOWS, shown)
        self._blocked = _of(index, ADVERTISER, blocked.advertisers) + _of(index, LABEL, blocked.labels)

    def __missing__(self, chunk: int) -> int:
        bits = self[chunk] = self.sold(chunk) & self.shown(chunk) & self.unblocked(chunk)
        return bits

    @property
    def sells(self) -> bool:
        """Whether anything is sold in the currencies at all."""
        return bool(self._sold)

    def sold(self, chunk: int) -> int:
        """Active, in one of the currencies."""
        bits = 0
        for posting in self._sold:
            bits |= posting[chunk]
        return bits

    def shown(self, chunk: int) -> int:
        """With a creative of these formats and sizes."""
        bits = 0
        for posting in self._shown:
            bits |= posting[chunk]
        return bits

    def unblocked(self, chunk: int) -> int:
        """Not of a blocked advertiser or label."""
        bits = -1
        for posting in self._blocked:
            bits &= ~posting[chunk]
        return bits


class Fit:
    """What a kind of placement can show of the line items, told by its publisher, formats and sizes alone;
    placements alike share one. ``creatives(position)`` may stand there; ``chunks`` are worth a look, of those
    in the publisher's currency; ``exchanges``: what others are worth in it, None where there are no rates."""

    def __init__(
        self,
        index: Index,
        entries: Entries,
        publisher: Publisher,
        formats: frozenset[str],
        sizes: frozenset[str],
        rates: ExchangeRates | None = None,
    ) -> None:
        self.publisher = publisher
        self.formats = formats
        self.sizes = sizes
        self.chunks = Standing(index, publisher, formats, sizes, (publisher.currency,))
        self.exchanges = None if rates is None else Exchanges(rates, publisher.currency)
        self._index = index
        self._abroad: dict[tuple[str, ...], Standing] = {}
        self._entries = entries
        self._known: Kept[int, tuple[Creative, ...]] = Kept(limits.FITTING_KEPT)

    def standing(self, currencies: tuple[str, ...]) -> Standing:
        """Of line items in these currencies: one, or all that some day's rates know, which bounds them."""
        found = self._abroad.get(currencies)
        if found is None:
            own = self.publisher, self.formats, self.sizes
            found = self._abroad[currencies] = Standing(self._index, *own, currencies)
        return found

    def creatives(self, position: int) -> tuple[Creative, ...]:
        found = self._known.young.get(position) or self._known.get(position)
        if found is None:
            creatives = self._entries[position].line_item.creatives
            found = self._known.put(position, self.fitting(creatives))
        return found

    def fitting(self, creatives: tuple[Creative, ...]) -> tuple[Creative, ...]:
        return tuple(filter(self._takes, creatives))

    def blocks(self, position: int) -> bool:
        """Whether it is the publisher's blocks that leave no creative."""
        shown = any(map(self._shows, self._entries[position].line_item.creatives))
        return shown and not self.creatives(position)

    def _takes(self, creative: Creative) -> bool:
        return self._shows(creative) and not blocks_creative(self.publisher.blocked, creative)

    def _shows(self, creative: Creative) -> bool:
        if creative.status != "active" or creative.format not in self.formats:
            return False
        return not self.sizes or creative.size == "fluid" or creative.size in self.sizes


class View:
    """A placement as a request sees it: its own formats and sizes, perhaps narrowed further. ``required``:
    the names whose values the index knows (``engine/checks``)."""

    def __init__(self, placement: Placement, fit: Fit, required: tuple[Name, ...] = ()) -> None:
        self.placement = placement
        self.publisher = fit.publisher
        self.required = required
        self.fit = fit
        self.formats, self.sizes, self.chunks = fit.formats, fit.sizes, fit.chunks
        self.fits = fit.creatives
        """Position -> the creatives of the line item there that may stand here."""
        self.facts = {
            "publishers": (fit.publisher.id,),
            "placements": (placement.full_id,),
            "surfaces": (placement.surface,),
            "formats": tuple(sorted(fit.formats)),
        }

    def blocks(self, position: int) -> bool:
        return self.fit.blocks(position)


class Views:
    """Those of all placements, made when asked for."""

    def __init__(
        self,
        given: Sections,
        index: Index,
        entries: Entries,
        publishers: Table[Publisher],
        required: tuple[Name, ...],
        rates: ExchangeRates | None = None,
    ) -> None:
        self.serials = given.numbers("placement_serials", "q")
        self._places = given.numbers("placements", "I")
        self._index = index
        self._entries = entries
        self._publishers = publishers
        self._required = required
        self._rates = rates
        self._placements: Kept[str, dict[str, Placement]] = Kept(limits.OWNERS_KEPT)
        self._fits: Kept[_Kind, Fit] = Kept(limits.VIEWS_KEPT)
        self._views: Kept[tuple[object, ...], View] = Kept(limits.VIEWS_KEPT)

    def view(
        self, publisher: str, placement: str, formats: tuple[str, ...] = (), sizes: tuple[str, ...] = ()
    ) -> View | None:
        """The placement, narrowed to the request's formats and sizes; None if there is none."""
        key = (publisher, placement, formats, sizes)
        found = self._views.young.get(key) or self._views.get(key)
        if found is None:
            made = self._make(publisher, placement, formats, sizes)
            if made is None:
                return None
            found = self._views.put(key, made)
        return found

    def of(self, publisher: str) -> list[View]:
        """Those of a publisher, as they are."""
        views = (self.view(publisher, placement) for placement in self._of(publisher))
        return [view for view in views if view is not None]

    def at(self, row: int) -> View:
        """Of the placement whose serial is ``serials[row]``."""
        owner, number = self._places[2 * row], self._places[2 * row + 1]
        publisher = self._publishers.at(owner)
        view = self.view(publisher.id, publisher.placements[number].id)
        assert view is not None
        return view

    def imagined(
        self, placement: Placement, publisher: Publisher, formats: tuple[str, ...], sizes: tuple[str, ...]
    ) -> View:
        """A placement that the catalogue does not have, narrowed like ``view``; not kept."""
        left, fitting = _narrowed(placement, formats, sizes)
        fit = Fit(self._index, self._entries, publisher, left, fitting, self._rates)
        return View(placement, fit, self._required)

    def shed(self) -> Iterator[None]:
        """See ``Snapshot.shed``."""
        for kept in (self._views, self._fits):
            while kept.shed():
                yield

    def _of(self, publisher: str) -> dict[str, Placement]:
        found = self._placements.get(publisher)
        if found is None:
            owner = self._publishers.get(publisher)
            if owner is None:
                return {}
            found = self._placements.put(publisher, {p.id: p for p in owner.placements})
        return found

    def _make(
        self, publisher: str, placement: str, formats: tuple[str, ...], sizes: tuple[str, ...]
    ) -> View | None:
        whole = self._of(publisher).get(placement)
        if whole is None:
            return None
        left, fitting = _narrowed(whole, formats, sizes)
        return View(whole, self._fit(publisher, left, fitting), self._required)

    def _fit(self, publisher: str, formats: frozenset[str], sizes: frozenset[str]) -> Fit:
        kind = (publisher, formats, sizes)
        found = self._fits.get(kind)
        if found is None:
            made = Fit(self._index, self._entries, self._publishers[publisher], formats, sizes, self._rates)
            found = self._fits.put(kind, made)
        return found


def _narrowed(
    placement: Placement, formats: tuple[str, ...], sizes: tuple[str, ...]
) -> tuple[frozenset[str], frozenset[str]]:
    """What is left of its formats and sizes for a request that takes only these (empty: all)."""
    offered, extents, asked = frozenset(placement.formats), frozenset(placement.sizes), frozenset(sizes)
    left = offered & frozenset(formats) if formats else offered
    fitting = (asked & extents if extents else asked) if sizes else extents
    return (frozenset(), fitting) if sizes and not fitting else (left, fitting)


def _of(index: Index, dimension: str, values: Iterable[str]) -> list[Posting]:
    found = (index.postings(dimension, value)[INCLUDE] for value in values)
    return [posting for posting in found if posting is not None]


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


def static_drop(entry: Entry, publisher: Publisher, currencies: tuple[str, ...]) -> str | None:
    """The first rule between a line item and a publisher that no request can change, but for the day by whose
    rates these ``currencies`` can be compared."""
    if not entry.active:
        return "status"
    if entry.campaign.currency not in currencies:
        return "currency"
    if blocks_entry(publisher.blocked, entry):
        return "publisher.blocked"
    return None


def parent_domains(domain: str) -> list[str]:
    """``a.news.example`` -> itself, ``news.example``, ``example``."""
    labels = domain.casefold().strip(".").split(".")
    return [".".join(labels[i:]) for i in range(len(labels))]
