"""What guaranteed line items may have: a seeded sample of requests, each as those it could go to.

Sampled as for diagnosis (``samples``): requests whose seed is below a threshold that halves when an hour has
more than its share, so the sample is fair and bounded, and whoever is not in it costs a comparison. Of a
sampled request the index is asked once more, without the bits of who is paced or spent at the moment; whom
the person has capped is left out, so caps are in the plan as they bind. Kept for a day, in memory alone:
after a restart it begins anew, and the plan that the journal has stays in force until there is enough.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from itertools import takewhile
from typing import Final, Protocol

from msgspec import Struct

from adserver.domain import limits
from adserver.engine import ranking
from adserver.engine.entries import Entry
from adserver.engine.postings import CHUNK, full_chunks
from adserver.engine.rules import passes_request
from adserver.engine.shortlist import Walk, share_of
from adserver.services.samples import HOUR_MS, SEEDS
from adserver.services.serve import Outcome
from adserver.services.slate import PlacementSlate

DAY_MS: Final = 24 * HOUR_MS
_SETTLED_MS: Final = 18 * HOUR_MS

Part = tuple[int, tuple[int, ...]]
"""Places for ads, and the serials of the line items that may have them."""


class _Hour(Struct):
    """Each request kept stands for ``1 << shift``."""

    shift: int
    requests: dict[int, tuple[Part, ...]]


class Traffic(Protocol):
    def part_of_day(self, hours: Collection[int], since_ms: int, now_ms: int) -> float:
        """How much of a day's traffic these hours have seen, as far as they lie in [since, now)."""
        ...


class Supply:
    """``clock``: what hours are told by."""

    def __init__(self, clock: Callable[[], int], traffic: Traffic) -> None:
        self._clock = clock
        self._traffic = traffic
        self._hours: dict[int, _Hour] = {}
        self._below = SEEDS
        self._since_ms = clock()

    def take(self, outcome: Outcome) -> None:
        """Of every decision; most are not kept."""
        request = outcome.request
        if request.seed >= self._below and request.now_ms // HOUR_MS in self._hours:
            return
        if not outcome.slates or request.mode != "live" or request.invalid_traffic:
            return
        hour = self._hours.get(request.now_ms // HOUR_MS)
        if hour is None:
            hour = self._begin(request.now_ms // HOUR_MS)
        hour.requests[request.seed] = _parts(outcome)
        while len(hour.requests) > limits.SUPPLY_PER_HOUR:
            hour.shift += 1
            hour.requests = {s: parts for s, parts in hour.requests.items() if s < SEEDS >> hour.shift}
        self._below = SEEDS >> hour.shift

    def is_settled(self) -> bool:
        """In less, a night may look like scarcity, and hardly anybody's caps are reached."""
        return self._clock() - self._since_ms >= _SETTLED_MS

    def kinds(self) -> list[tuple[float, tuple[int, ...]]]:
        """Places a day, and the line items that may have them: of the last day, or of what is known of it.
        Empty where that is too little."""
        now_ms = self._clock()
        counts: Counter[tuple[int, ...]] = Counter()
        recent = {at: hour for at, hour in self._hours.items() if at > now_ms // HOUR_MS - 24}
        if sum(len(hour.requests) for hour in recent.values()) < limits.SUPPLY_LEAST:
            return []
        for hour in recent.values():
            for places, mine in (part for parts in hour.requests.values() for part in parts):
                counts[mine] += places << hour.shift
        # An hour in which nobody came tells of an outage: it is not among them.
        seen = self._traffic.part_of_day(recent, self._since_ms, now_ms)
        return [(count / seen, mine) for mine, count in counts.items() if mine]

    def _begin(self, at: int) -> _Hour:
        """With twice the last one's rate: traffic may have gone."""
        before = self._hours.get(at - 1)
        for old in [old for old in self._hours if old <= at - 24]:
            del self._hours[old]
        hour = self._hours[at] = _Hour(max(before.shift - 1, 0) if before is not None else 0, {})
        return hour


def _parts(outcome: Outcome) -> tuple[Part, ...]:
    slots = outcome.decision.slots
    return tuple(
        (len(slots[number].ads) + slots[number].unfilled, tuple(_eligible(outcome, slate)))
        for number, slate in enumerate(outcome.slates)
        if slate is not None
    )


def _eligible(outcome: Outcome, slate: PlacementSlate) -> Iterable[int]:
    """Serials of the guaranteed line items, ascending, whatever their plans and budgets say now."""
    snapshot, context, capped = outcome.serving.snapshot, slate.context, slate.left_out
    walk = Walk(snapshot, full_chunks(len(snapshot.entries)), context, _alike, 0)
    guaranteed = takewhile(lambda entry: entry.tier // ranking.LEVELS < ranking.AUCTION, walk.entries())
    return sorted(
        entry.line_item.serial
        for entry in guaranteed
        if not share_of(entry)
        and not capped.get(entry.position // CHUNK, 0) >> entry.position % CHUNK & 1
        and passes_request(entry, context)
    )


def _alike(entry: Entry, now_ms: int) -> float:
    return 1.0
