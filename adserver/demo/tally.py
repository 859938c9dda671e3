"""What the demo's server counts beside its metrics: for the table on the terminal and the page's panel."""

from collections import Counter
from typing import Any, Protocol

from adserver.domain import money
from adserver.domain.books import LineItemTotals
from adserver.domain.decision import NoFill
from adserver.engine.snapshot import Snapshot
from adserver.services.serve import Outcome


class Tally:
    """Told of every outcome. ``cap_stops``: how often a frequency cap stopped a candidate."""

    def __init__(self) -> None:
        self.decisions = 0
        self.placements = 0
        self.filled = 0
        self.ads = 0
        self.cap_stops = 0
        self.no_fill: Counter[str] = Counter()
        self.feeds: dict[str, list[int]] = {}

    def take(self, outcome: Outcome) -> None:
        self.decisions += 1
        publisher = outcome.request.publisher
        for slot in outcome.decision.slots:
            if slot.repeated is not None:
                continue
            self.placements += 1
            self.filled += bool(slot.ads)
            self.ads += len(slot.ads)
            if slot.no_fill is not None:
                self.no_fill[str(slot.no_fill)] += 1
            if slot.feed is not None and outcome.slates:
                counts = self.feeds.setdefault(f"{publisher}/{slot.placement_id}", [0, 0])
                counts[0] += slot.feed.organic
                counts[1] += slot.feed.sponsored
        for slate in outcome.slates:
            if slate is not None:
                drops = slate.drops.values()
                self.cap_stops += sum(drop.reason is NoFill.FREQUENCY_CAPPED for drop in drops)

    def told(self) -> dict[str, Any]:
        return {
            "decisions": self.decisions,
            "placements": self.placements,
            "filled": self.filled,
            "ads": self.ads,
            "cap_stops": self.cap_stops,
            "no_fill": dict(self.no_fill),
            "feeds": {name: {"organic": o, "sponsored": s} for name, (o, s) in self.feeds.items()},
        }


class Books(Protocol):
    def totals(self, line_item: int) -> tuple[LineItemTotals, int] | None: ...


def spend(snapshot: Snapshot, books: Books) -> dict[str, str]:
    """Currency -> what was billed so far, as a decimal string."""
    nanos: Counter[str] = Counter()
    for campaign in snapshot.campaigns.values():
        for item in campaign.line_items:
            known = books.totals(item.serial)
            if known is not None:
                nanos[campaign.currency] += known[0].billed_nanos
    return {name: money.format_micros(money.floor_micros(amount)) for name, amount in sorted(nanos.items())}
