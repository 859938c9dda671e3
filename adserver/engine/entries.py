"""Line items in rank order, decoded from the image when first looked at: those whose block the snapshot
before had, too, are taken over from there, at their new position."""

from bisect import bisect_left
from collections.abc import Iterator
from copy import copy
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr
from numpy.typing import NDArray

from adserver.domain import limits
from adserver.domain.campaign import Campaign, LineItem
from adserver.domain.caps import BoundCap, Counted, counted
from adserver.domain.records import LineItemTerms
from adserver.domain.targeting import Clause, Targeting
from adserver.engine import checks, ranking
from adserver.engine.binding import bound
from adserver.engine.checks import Check, Name
from adserver.engine.image import Sections
from adserver.engine.kept import Kept
from adserver.engine.names import Table
from adserver.engine.places import Places

ACTIVE: Final = 1
PARTIAL: Final = 2
"""Has an ``all`` clause of several values, of which the index holds one."""
CHECKED: Final = 4
"""Has targeting that is asked of candidates, one by one."""
CAPPED: Final = 8
MODEL_SHIFT: Final = 4
"""From this bit on: the number of the pricing model (``campaign.MODELS``)."""
ASKED: Final = PARTIAL | CHECKED
FOREVER: Final = 1 << 62
"""The end of a flight without one, in ms."""

_LINE_ITEM: Final = msgspec.msgpack.Decoder(LineItem)
_CAPS: Final = msgspec.msgpack.Decoder(tuple[BoundCap, ...])


class Entry(Struct, frozen=True, eq=False):
    """A line item in rank order, with what the engine derives from its surroundings. ``run`` is the same
    for neighbours whose order chance decides: a guaranteed tier, or equal bids of one auction tier.
    ``campaign`` is without its line items. Two entries of one position may be two objects."""

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

    # What follows from the others, made once because every candidate is asked for it.
    starts_ms: int = 0
    ends_ms: int = FOREVER
    hold_nanos: int = 0
    """What an exposure reserves at the full bid."""
    capped: bool = False
    by_session: bool = False
    """A cap of it counts sessions."""
    labelled: bool = False
    """Its campaign bears or excludes labels."""
    terms: LineItemTerms | None = None
    """What it promises, once somebody asked (``services.terms``)."""

    def __post_init__(self) -> None:
        flight, pricing, campaign = self.line_item.flight, self.line_item.pricing, self.campaign
        caps = (*self.caps, *self.creative_caps)
        force_setattr(self, "starts_ms", flight.start_ms or 0)
        force_setattr(self, "ends_ms", FOREVER if flight.end_ms is None else flight.end_ms)
        force_setattr(self, "hold_nanos", ranking.hold_nanos(pricing.model, pricing.amount_micros))
        force_setattr(self, "capped", bool(caps))
        force_setattr(self, "by_session", any(cap.session for cap in caps))
        force_setattr(self, "labelled", bool(campaign.labels or campaign.exclude_labels))


class Decoded:
    """Entries by where their line item lies in files of blocks (``Places.lies``), as the last snapshot that
    was asked had them: what one decodes, the next takes over."""

    def __init__(self) -> None:
        self._required: tuple[Name, ...] = ()
        self._kept: Kept[tuple[int, int], Entry] = Kept(limits.ENTRIES_KEPT)

    def under(self, required: tuple[Name, ...]) -> Kept[tuple[int, int], Entry]:
        """For a snapshot whose index knows required values of these names, which are part of an entry."""
        if required != self._required:
            self._required, self._kept = required, Kept(limits.ENTRIES_KEPT)
        return self._kept


class Entries:
    """All entries by position. What a walk asks of every position is in arrays: ``tiers``, ``scores``,
    ``runs``, ``serials`` and ``flags``, indexed by position; ``starts`` by run; ``auction``: where the
    auction's begin, and where they end;
    ``sorted_serials`` are all serials in order, each one's position in ``sorted_positions``."""

    def __init__(
        self, given: Sections, places: Places, campaigns: Table[Campaign], required: tuple[Name, ...],
        decoded: "Decoded | None" = None,
    ) -> None:  # fmt: skip
        self.tiers = given.numbers("tiers", "H")
        self.scores = given.numbers("scores", "q")
        self.runs = given.numbers("runs", "I")
        self.starts = given.numbers("starts", "I")
        self.serials = given.numbers("serials", "q")
        self.flags = given.numbers("flags", "H")
        self.sorted_serials = given.numbers("serials.sorted", "q")
        self.sorted_positions = given.numbers("serials.positions", "I")
        self.auction = (
            bisect_left(self.tiers, ranking.AUCTION * ranking.LEVELS),
            bisect_left(self.tiers, (ranking.AUCTION + 1) * ranking.LEVELS),
        )
        self._campaign = given.numbers("campaign_of", "I")
        self._block = given.numbers("block_of", "I")
        self._advertisers = given.numbers("block_serials", "q")
        self._item_at = given.numbers("line_item_at", "I")
        self._caps_at = given.numbers("caps_at", "I")
        self._places = places
        self._campaigns = campaigns
        self._required = required
        self._kept: Kept[int, Entry] = Kept(limits.ENTRIES_KEPT)
        self._decoded = Decoded().under(required) if decoded is None else decoded.under(required)

    def __len__(self) -> int:
        return len(self.tiers)

    def __iter__(self) -> Iterator[Entry]:
        return map(self._decode, range(len(self)))

    def __getitem__(self, position: int) -> Entry:
        found = self._kept.young.get(position) or self._kept.get(position)
        if found is None:
            if not 0 <= position < len(self):
                raise IndexError(position)
            found = self._kept.put(position, self._taken(position))
        return found

    def shed(self) -> Iterator[None]:
        """See ``Snapshot.shed``."""
        while self._kept.shed():
            yield

    def run_of(self, position: int) -> tuple[int, int]:
        """(first, end) of the positions among which chance decides, with this one."""
        run = self.runs[position]
        return self.starts[run], self.starts[run + 1]

    def positions_of(self, serials: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Where those of them are that are here, and which of them are."""
        known = np.asarray(self.sorted_serials)
        rows = np.searchsorted(known, serials)
        here = rows < len(known)
        here[here] = known[rows[here]] == serials[here]
        return np.asarray(self.sorted_positions)[rows[here]].astype(np.intp), here

    def line_item(self, position: int) -> LineItem:
        at = self._item_at
        return _LINE_ITEM.decode(
            self._places.bytes(self._block[position], at[2 * position], at[2 * position + 1])
        )

    def caps(self, position: int) -> tuple[BoundCap, ...]:
        first, end = self._caps_at[2 * position], self._caps_at[2 * position + 1]
        return _CAPS.decode(self._places.bytes(self._block[position], first, end)) if first < end else ()

    def _taken(self, position: int) -> Entry:
        """As it was in another snapshot of the same block, or decoded."""
        place = self._places.lies(self._block[position], self._item_at[2 * position])
        if not place[0]:
            return self._decode(position)
        former = self._decoded.get(place)
        entry = self._decode(position) if former is None else self._moved(former, position)
        return self._decoded.put(place, entry)

    def _moved(self, former: Entry, position: int) -> Entry:
        """All of an entry but these follows from its block."""
        entry = copy(former)
        force_setattr(entry, "position", position)
        force_setattr(entry, "tier", self.tiers[position])
        force_setattr(entry, "score", self.scores[position])
        force_setattr(entry, "run", self.runs[position])
        force_setattr(entry, "active", bool(self.flags[position] & ACTIVE))
        return entry

    def _decode(self, position: int) -> Entry:
        item, caps = self.line_item(position), self.caps(position)
        campaign = self._campaigns.at(self._campaign[position])
        flags = self.flags[position]
        asked = checks.of(item.targeting) if flags & CHECKED else ()
        return Entry(
            position=position,
            line_item=item,
            campaign=campaign,
            advertiser=self._advertisers[self._block[position]],
            tier=self.tiers[position],
            score=self.scores[position],
            run=self.runs[position],
            active=bool(flags & ACTIVE),
            clauses=clauses(item.targeting, campaign.timezone) | checks.indexed(asked, self._required),
            caps=caps,
            creative_caps=tuple(bound(c, "creative") for c in item.frequency_caps if c.scope == "creative"),
            counts=counted(caps, "impression"),
            checks=asked,
        )


def clauses(targeting: Targeting, timezone: str) -> dict[str, Clause]:
    """Those the index holds. Day parts join the other dimensions: one dimension per time zone, its value
    the hour of the week."""
    found = checks.held(targeting)
    if targeting.hours is not None:
        found[f"hours:{timezone}"] = Clause(any=tuple(str(hour) for hour in sorted(targeting.hours)))
    return found
