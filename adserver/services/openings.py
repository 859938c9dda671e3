"""What of a placement would have to be otherwise for a request that it could not fill: the change that helps
most, proved like the counterfactuals of line items.

The sampled request is decided again as the server is now, for a person nobody knows, with one setting of the
placement or of its publisher lifted altogether; what then wins tells how far it needs to be lifted, and with
just that it is decided once more. What only more demand would fill has no change, nor has the cap of a feed,
which is promised to its readers.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from adserver.domain.campaign import FORMATS, Creative
from adserver.domain.inventory import Blocks, Placement, Publisher
from adserver.domain.request import PlacementAsk
from adserver.engine.rules import Context
from adserver.engine.snapshot import Entry, View, parent_domains
from adserver.services.rehearsal import Rehearsal, Rehearse
from adserver.services.slate import Winner


class Place(NamedTuple):
    """A placement, as it is or as it would be."""

    placement: Placement
    publisher: Publisher


class Opening(Struct, frozen=True):
    """``told``: ``change`` names the place in the publisher's file. ``floor_micros``: the highest floor that
    lets it be filled, where that is what is changed."""

    told: dict[str, Any]
    place: Place
    floor_micros: int | None = None


class Won(NamedTuple):
    """Who would have had the first of the places that were empty."""

    entry: Entry
    creative: Creative
    earns_micros: int


class Elsewhere(Rehearsal):
    """A decision in which one placement, of the request's ``number``, is another."""

    def __init__(self, rehearse: Rehearse, number: int, place: Place | None) -> None:
        super().__init__(rehearse.request, rehearse.serving, rehearse.kept, None)
        self._instead = rehearse.request.placements[number]
        self._place = place

    def _view(self, ask: PlacementAsk) -> View | None:
        if ask is not self._instead or self._place is None:
            return super()._view(ask)
        return self.serving.snapshot.imagined(*self._place, ask.formats, ask.sizes)


class Openings:
    """Of one placement, request by request."""

    def __init__(self, view: View) -> None:
        self._as_it_is = Place(view.placement, view.publisher)
        self._found = Counter[bytes]()
        self._floors = list[int]()
        self.tried = 0

    def try_all(self, rehearse: Rehearse, number: int) -> Iterator[None]:
        """One request that was not filled. In turns, each a rehearsal or two."""
        self.tried += 1
        before = _winners(rehearse, number, None)
        if before is None or len(before) >= rehearse.request.placements[number].count:
            return
        for kind, lifted in _lifted(self._as_it_is):
            yield
            won = _gained(rehearse, number, lifted, before)
            opening = None if won is None else _OPENINGS[kind](self._as_it_is, won)
            if opening is not None and _gained(rehearse, number, opening.place, before) is not None:
                self._found[msgspec.json.encode(opening.told)] += 1
                if opening.floor_micros is not None:
                    self._floors.append(opening.floor_micros)

    def best(self, prices: bool) -> dict[str, Any] | None:
        """The change that helps most, and how many of the requests tried. A floor that is low enough for all
        of them; not told where ``prices`` are not."""
        if not self._found:
            return None
        found, times = self._found.most_common(1)[0]
        told = msgspec.json.decode(found)
        if told["change"] == "floor":
            told["to_micros"] = min(self._floors) if prices else None
        return {**told, "helps": times, "tried": self.tried}


def _winners(rehearse: Rehearse, number: int, place: Place | None) -> dict[int, Won] | None:
    """By line item; None where the placement was not decided."""

    def look(rehearsal: Rehearsal) -> dict[int, Won] | None:
        slate = rehearsal.slates[number]
        if slate is None:
            return None
        return {winner.entry.line_item.serial: _won(winner, slate.context) for winner in slate.winners}

    return Elsewhere(rehearse, number, place).play(look)


def _won(winner: Winner, context: Context) -> Won:
    return Won(winner.entry, winner.creative, context.earns(winner.entry))


def _gained(rehearse: Rehearse, number: int, place: Place, before: dict[int, Won]) -> Won | None:
    """Who has a place more than before; None where nobody has."""
    then = _winners(rehearse, number, place) or {}
    if len(then) <= len(before):
        return None
    return next(won for serial, won in then.items() if serial not in before)


# -- settings, lifted and as far as needed ---------------------------------------------------------


def _lifted(place: Place) -> Iterator[tuple[str, Place]]:
    """Each setting that may keep somebody out, as if there were none."""
    placement, publisher = place
    if placement.floor_micros:
        yield "floor", Place(replace(placement, floor_micros=0), publisher)
    if publisher.blocked != Blocks():
        yield "blocked", Place(placement, replace(publisher, blocked=Blocks()))
    if placement.sizes:
        yield "sizes", Place(replace(placement, sizes=()), publisher)
    if not set(FORMATS) <= set(placement.formats):
        yield "formats", Place(replace(placement, formats=FORMATS), publisher)


def _floor(place: Place, won: Won) -> Opening:
    placement, publisher = place
    told = {"change": "floor", "from_micros": placement.floor_micros, "currency": publisher.currency}
    lowered = replace(placement, floor_micros=won.earns_micros)
    return Opening(told, Place(lowered, publisher), won.earns_micros)


def _blocked(place: Place, won: Won) -> Opening | None:
    """The first entry of the publisher's blocks that hits it."""
    placement, publisher = place
    blocks, entry, creative = publisher.blocked, won.entry, won.creative
    categories = [part for one in creative.categories for part in (one, one.split("-")[0])]
    hits = {
        "advertisers": (entry.campaign.advertiser,),
        "labels": entry.campaign.labels,
        "domains": tuple(parent_domains(creative.advertiser_domain)),
        "categories": tuple(categories),
    }
    for name, values in hits.items():
        listed: frozenset[str] = getattr(blocks, name)
        for value in values:
            if value in listed:
                left = replace(blocks, **{name: listed - {value}})
                told = {"change": "blocked", "remove": {name: value}}
                return Opening(told, Place(placement, replace(publisher, blocked=left)))
    return None


def _sizes(place: Place, won: Won) -> Opening:
    sizes = (*place.placement.sizes, won.creative.size)
    told = {"change": "sizes", "add": won.creative.size}
    return Opening(told, Place(replace(place.placement, sizes=sizes), place.publisher))


def _formats(place: Place, won: Won) -> Opening:
    formats = (*place.placement.formats, won.creative.format)
    told = {"change": "formats", "add": won.creative.format}
    return Opening(told, Place(replace(place.placement, formats=formats), place.publisher))


_OPENINGS: Final[dict[str, Callable[[Place, Won], Opening | None]]] = {
    "floor": _floor,
    "blocked": _blocked,
    "sizes": _sizes,
    "formats": _formats,
}
