"""What a run is remembered by: counts of each hour, feeds by prefix, and how every planned line item stood at
the end of each hour and of each of its campaign's days. The plans are the server's own (``services.plans``).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from msgspec import Struct

from adserver.app import App
from adserver.domain.catalogue import Catalogue
from adserver.domain.decision import EventKind
from adserver.domain.inventory import FeedPolicy
from adserver.engine import localtime
from adserver.engine.snapshot import Entry
from adserver.services import plans
from adserver.services.allotment import hurries
from adserver.simulation.config import Config
from adserver.simulation.traffic import HOUR_MS, end_ms

BUCKET: Final = 50
"""Items of a feed's prefix counted together."""
BUCKETS: Final = 8
"""The last one holds everything behind."""
_LAST_MS: Final = 1
_LACKING: Final = {
    "paced": "paced",
    **dict.fromkeys(
        ("reservation_limit", "overloaded", "disk_full", "state_unavailable", "feed_cap"), "server"
    ),
}
"""Reasons to leave a place empty that are no lack of demand, or not at once."""


class Standing(Struct, frozen=True):
    """A line item at an instant, in the unit of its plan; billed and held in the budget that is planned.
    ``held_back``: it might have served, but for its plan, goal or budget; ``hurries``: by the allocation plan
    it does not keep its pace."""

    at_ms: int
    line_item: int
    done: int
    planned: int
    billed_nanos: int
    held_nanos: int
    held_back: bool
    hurries: bool


class Record:
    """``hours``: hour's start -> what was counted; ``feeds``: (placement, bucket) -> counts; ``lacking``: of
    places in feeds that stayed empty, how many for want of ``demand``, how many because those who might have
    had them were ``paced``, how many by the ``server``; ``sure``:
    (visit, page, placement) -> ads of guaranteed line items that were shown there, and ``shares`` those of
    them whose goal is a share; ``hourly``
    and ``daily``: how line items stood (daily: just before midnight in their campaign's time zone)."""

    def __init__(self, config: Config, app: App, catalogue: Catalogue) -> None:
        self.hours: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self.feeds: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        self.lacking: Counter[str] = Counter()
        self.sure: Counter[tuple[int, int, int]] = Counter()
        self.shares: Counter[tuple[int, int, int]] = Counter()
        self.hourly: list[Standing] = []
        self.daily: list[Standing] = []
        self._config, self._app = config, app
        self._zones = sorted({campaign.timezone for campaign in catalogue.campaigns})
        self._policies = {
            placement.full_id: placement.feed or FeedPolicy()
            for publisher in catalogue.publishers
            for placement in publisher.placements
        }

    def looks(self) -> Iterator[tuple[int, Callable[[], None]]]:
        """When to look how line items stand, and what does it."""
        start_ms, last_ms = self._config.start_ms, end_ms(self._config)
        for at_ms in range(start_ms + HOUR_MS, last_ms + 1, HOUR_MS):
            yield at_ms - _LAST_MS, partial(self._look, self.hourly, None)
        for zone in self._zones:
            at_ms = localtime.day_span(zone, start_ms)[2]
            while at_ms <= last_ms:
                yield at_ms - _LAST_MS, partial(self._look, self.daily, zone)
                at_ms = localtime.day_span(zone, at_ms)[2]

    def _look(self, into: list[Standing], zone: str | None) -> None:
        """At the line items of a time zone's campaigns; None: of all."""
        now_ms, snapshot = self._app.clock(), self._app.world.snapshot
        for campaign in snapshot.campaigns.values():
            for item in campaign.line_items if zone in (None, campaign.timezone) else ():
                found = self._standing(snapshot.by_serial[item.serial], now_ms)
                if found is not None:
                    into.append(found)

    def _standing(self, entry: Entry, now_ms: int) -> Standing | None:
        item, budgets = entry.line_item, self._app.states.budgets
        flight, standing = item.flight, budgets.standing(item.serial, now_ms)
        if standing is None or now_ms < (flight.start_ms or 0) or now_ms >= (flight.end_ms or now_ms + 1):
            return None
        plan = plans.to_date(entry, standing, self._app.states.traffic, now_ms)
        if plan is None:
            return None
        own = standing.accounts[1 if item.budget.daily_nanos is not None else 0]
        traffic, allotment = self._app.states.traffic, self._app.states.hot.allotment
        held_back = plans.drop(entry, budgets, traffic, allotment, now_ms) is not None
        money = own.billed_nanos, own.held_nanos
        return Standing(now_ms, item.serial, *plan, *money, held_back, hurries(allotment, item.serial))

    # -- what happens ------------------------------------------------------------------------------

    @property
    def _hour(self) -> Counter[str]:
        now_ms = self._app.clock()
        return self.hours[now_ms - (now_ms - self._config.start_ms) % HOUR_MS]

    def asked(self) -> None:
        self._hour["decisions"] += 1

    def lost(self) -> None:
        """A page asked for while nothing reached the server."""
        self._hour["lost"] += 1

    def happened(self, kind: EventKind) -> None:
        self._hour[kind.name.lower()] += 1

    def answered(self, placement: str, slot: dict[str, Any]) -> None:
        """One placement's entry of an answer."""
        hour, ads = self._hour, slot["ads"]
        hour["placements"] += 1
        hour["filled"] += bool(ads)
        hour["ads"] += len(ads)
        if slot["no_fill"] is not None:
            hour[f"no_fill {slot['no_fill']}"] += 1
        if "feed" in slot:
            self.lacking[_LACKING.get(slot["no_fill"], "demand")] += slot["unfilled"]
            self._page(placement, slot["feed"], [ad["position"] for ad in ads])

    def _page(self, placement: str, feed: dict[str, Any], positions: list[int]) -> None:
        policy = self._policies[placement]
        share, start, end = policy.max_share, feed["start_position"], feed["next_position"]
        while start < end:
            bucket = min(start // BUCKET, BUCKETS - 1)
            until = end if bucket == BUCKETS - 1 else min(end, (bucket + 1) * BUCKET)
            allowed = [share.num * (items + policy.head_start) // share.den for items in (start, until)]
            counts = self.feeds[placement, bucket]
            counts["items"] += until - start
            counts["sponsored"] += sum(start <= position < until for position in positions)
            counts["allowed"] += allowed[1] - allowed[0]
            start = until
