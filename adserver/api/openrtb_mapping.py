"""Which placement an imp lands on: the one whose id is its ``tagid``, else one whose ``openrtb`` names its
medium and size. All imps of a request are decided together, so with one publisher (issue 2, point 8).

The tables are made once per snapshot; an imp costs a few dictionary look-ups however many placements there
are. Feeds take no imps: their pages are asked for by those who know them.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from adserver.api.openrtb_imps import Imp, Size
from adserver.domain.deals import OPEN, Market
from adserver.domain.inventory import OpenRtbMedia, Placement, Publisher
from adserver.engine.snapshot import Snapshot

FORMATS: Final = {"banner": ("image", "html"), "video": ("video",), "native": ("native",)}
"""OpenRTB's media -> our formats."""


class Place(Struct, frozen=True):
    """An imp on a placement, with what may stand there. ``sizes`` empty: not narrowed by the imp; ``market``:
    the deals in the placement's currency."""

    imp: Imp
    placement: Placement
    formats: tuple[str, ...]
    sizes: tuple[str, ...]
    market: Market = OPEN


class _Desk:
    """A publisher's placements as an exchange finds them."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.tags: dict[str, Placement] = {}
        self._media: dict[tuple[str, str], tuple[int, Placement]] = {}
        for number, placement in enumerate(publisher.placements):
            self.tags[placement.id] = self.tags[placement.full_id] = placement
            self._claim(number, placement)

    def _claim(self, number: int, placement: Placement) -> None:
        """``""`` stands for an imp that says no size, ``"*"`` for a placement that takes any."""
        media = placement.openrtb
        if media is None or placement.surface == "feed":
            return
        for medium in media.formats:
            for size in ("", *(media.sizes or ("*",))):
                self._media.setdefault((medium, size), (number, placement))

    def place(self, imp: Imp, by_tag_alone: bool = False) -> Place | None:
        currency = self.publisher.currency
        market = imp.market(currency) if imp.offers or imp.private else OPEN
        # In a private market the imp's own floor binds nobody.
        if (market.private and not market.deals) or (
            not market.private and imp.currency not in ("", currency)
        ):
            return None
        tagged = self.tags.get(imp.tag) if imp.tag is not None else None
        if tagged is not None:
            return _offer(imp, market, tagged, None)
        found = None if by_tag_alone else self._claimed(imp)
        return _offer(imp, market, found, found.openrtb) if found is not None else None

    def _claimed(self, imp: Imp) -> Placement | None:
        """The publisher's first placement that names a medium and size of the imp."""
        claims = []
        for medium, pairs in imp.media:
            for size in (*map(_written, pairs), "*") if pairs else ("",):
                claim = self._media.get((medium, size))
                if claim is not None:
                    claims.append(claim)
        return min(claims, key=lambda claim: claim[0])[1] if claims else None


def _offer(imp: Imp, market: Market, placement: Placement, named: OpenRtbMedia | None) -> Place | None:
    """What both sides take, within what the placement is ``named`` for; None where that is nothing."""
    if placement.surface == "feed":
        return None
    formats, sizes, any_size = list[str](), dict[str, None](), False
    for medium, pairs in imp.media:
        offered = [form for form in FORMATS[medium] if form in placement.formats]
        if not offered or (named is not None and medium not in named.formats):
            continue
        fitting = [size for size in map(_written, pairs) if _takes(placement, named, size)]
        if pairs and not fitting:
            continue
        formats += offered
        sizes.update(dict.fromkeys(fitting))
        any_size = any_size or (not pairs and medium != "native")
    if not formats:
        return None
    return Place(imp, placement, tuple(formats), () if any_size else tuple(sizes), market)


def _takes(placement: Placement, named: OpenRtbMedia | None, size: str) -> bool:
    if named is not None and named.sizes and size not in named.sizes:
        return False
    return not placement.sizes or size in placement.sizes


def _written(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


class Mapping:
    """``of(snapshot)`` gives the tables; the last ones are kept as long as their snapshot lives."""

    def __init__(self) -> None:
        self._desks: dict[str, _Desk] = {}
        self._of: weakref.ref[Snapshot] | None = None

    def places(
        self,
        snapshot: Snapshot,
        imps: Sequence[Imp],
        named: Iterable[str],
        currencies: frozenset[str],
        allowed: Callable[[Publisher], bool],
    ) -> list[Place]:
        """Where the imps of a request land, in their order, all with one publisher. ``named``: ids of
        publishers the request speaks of, tried first; ``currencies``: those accepted, empty: any."""
        desks = self._open(snapshot)
        ours = [
            desk
            for desk in desks.values()
            if allowed(desk.publisher) and (not currencies or desk.publisher.currency in currencies)
        ]
        known = [desks[name] for name in dict.fromkeys(named) if name in desks and desks[name] in ours]
        for desk in (*known, *_in_turn(imps, ours)):
            places = [place for imp in imps if (place := desk.place(imp)) is not None]
            if places:
                return places
        return []

    def _open(self, snapshot: Snapshot) -> dict[str, _Desk]:
        if self._of is None or self._of() is not snapshot:
            publishers = sorted(snapshot.publishers.values(), key=lambda publisher: publisher.id)
            self._desks = {publisher.id: _Desk(publisher) for publisher in publishers}
            self._of = weakref.ref(snapshot)
        return self._desks


def _in_turn(imps: Sequence[Imp], desks: Sequence[_Desk]) -> Iterator[_Desk]:
    """Who takes the first imp that anybody takes: by its tag before by its kind, then by name."""
    for imp in imps:
        for by_tag_alone in (True, False):
            for desk in desks:
                if desk.place(imp, by_tag_alone) is not None:
                    yield desk
                    return
