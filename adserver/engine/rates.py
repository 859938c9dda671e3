"""Rates learned from what was delivered: how often an impression of a line item is clicked, seen, or followed
by a conversion, at a placement.

Few impressions tell little, so every rate is shrunk towards the one above it: a placement's towards the
prior, a line item's *lift* (its events over those its placements would have given anybody) towards 1, and
what a line item did at one placement towards its lift times that placement's rate. Each is the mean of a
beta (for lifts: gamma) posterior, whose prior weighs as much as a fixed number of events: one click on one
impression moves a rate by a twentieth, not to 100 %. Source: Agarwal et al., Estimating rates of rare
events at multiple resolutions, KDD 2007; the lifts as in DuMouchel, Bayesian data mining in large
frequency tables, 1999.

Whole numbers throughout, in parts per million, so the same counts give the same rates anywhere. Cost:
linear in the rows of the ledger's ``shown``.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, TypeVar

from msgspec import Struct

from adserver.domain.books import Shown

PER_MILLION: Final = 1_000_000

_Key = TypeVar("_Key")
_Cells = dict[tuple[int, int], tuple[int, int]]
"""(line item, placement) -> (impressions, events)."""


class Kind(Struct, frozen=True):
    """``prior``: the rate where nothing is known; ``events``: how many of them the prior weighs;
    ``most``: no rate is above. Rates in parts per million of impressions."""

    prior: int
    events: int
    most: int

    @property
    def impressions(self) -> int:
        """How many impressions the prior weighs."""
        return self.events * PER_MILLION // self.prior


CLICKS: Final = Kind(prior=2_000, events=20, most=50_000)
VIEWABLE: Final = Kind(prior=600_000, events=60, most=PER_MILLION)
CONVERSIONS: Final = Kind(prior=100, events=20, most=50_000)


class Learned(Struct, frozen=True):
    """One kind of rate, by serials. ``lifts``: of line items, per million; ``cells``: of line items at
    placements where they were shown; ``peaks``: how far a line item gets above a placement's own rate
    wherever it is shown, per million, rounded up."""

    kind: Kind
    placements: dict[int, int] = {}
    lifts: dict[int, int] = {}
    cells: dict[tuple[int, int], int] = {}
    peaks: dict[int, int] = {}

    def rate(self, line_item: int, placement: int) -> int:
        """Expected events per million impressions."""
        found = self.cells.get((line_item, placement))
        if found is not None:
            return found
        lift = self.lifts.get(line_item, PER_MILLION)
        return min(self.of_placement(placement) * lift // PER_MILLION, self.kind.most)

    def of_placement(self, placement: int) -> int:
        """That of a line item nothing is known of."""
        return self.placements.get(placement, self.kind.prior)


class Rates(Struct, frozen=True):
    """``number`` names what they were learned from: the journal up to there (0: nothing), so they can be
    learned again. ``creatives``: (impressions, clicks) by the serial of the creative's version."""

    number: int = 0
    clicks: Learned = Learned(CLICKS)
    viewable: Learned = Learned(VIEWABLE)
    creatives: dict[int, tuple[int, int]] = {}
    conversions: Learned = Learned(CONVERSIONS)


def learn(number: int, rows: Iterable[Shown]) -> Rates:
    """Pure: the same counts in any order give the same rates."""
    clicks: _Cells = {}
    viewable: _Cells = {}
    conversions: _Cells = {}
    creatives: dict[int, tuple[int, int]] = {}
    for row in rows:
        key = row.line_item, row.placement
        _add(clicks, key, row.impressions, row.clicks)
        _add(viewable, key, row.impressions, row.viewable)
        _add(conversions, key, row.impressions, row.conversions)
        _add(creatives, row.creative, row.impressions, row.clicks)
    return Rates(
        number, _learned(CLICKS, clicks), _learned(VIEWABLE, viewable), creatives,
        _learned(CONVERSIONS, conversions),
    )  # fmt: skip


def _add(counts: dict[_Key, tuple[int, int]], key: _Key, impressions: int, events: int) -> None:
    """An event may be recorded whose impression was not: it counts as an impression too."""
    before, known = counts.get(key, (0, 0))
    counts[key] = before + max(impressions, events), known + events


def _learned(kind: Kind, counts: _Cells) -> Learned:
    placements = _placements(kind, counts)
    lifts = _lifts(kind, counts, placements)
    cells, peaks = {}, dict(lifts)
    for (line_item, placement), (impressions, events) in counts.items():
        own = placements[placement]
        expected = own * lifts[line_item] // PER_MILLION
        rate = (events * PER_MILLION + kind.impressions * expected) // (impressions + kind.impressions)
        rate = cells[line_item, placement] = min(rate, kind.most)
        peaks[line_item] = max(peaks[line_item], -(-rate * PER_MILLION // own))
    return Learned(kind, placements, lifts, cells, peaks)


def _placements(kind: Kind, counts: _Cells) -> dict[int, int]:
    sums: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    for (_, placement), (impressions, events) in counts.items():
        sums[placement][0] += impressions
        sums[placement][1] += events
    weight = kind.impressions
    return {
        placement: max(1, min(kind.most, (e * PER_MILLION + weight * kind.prior) // (n + weight)))
        for placement, (n, e) in sums.items()
    }


def _lifts(kind: Kind, counts: _Cells, placements: dict[int, int]) -> dict[int, int]:
    """(events + weight) / (expected events + weight), all per million."""
    sums: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    for (line_item, placement), (impressions, events) in counts.items():
        sums[line_item][0] += impressions * placements[placement]
        sums[line_item][1] += events
    weight = kind.events * PER_MILLION
    return {
        line_item: (events * PER_MILLION + weight) * PER_MILLION // (expected + weight)
        for line_item, (expected, events) in sums.items()
    }
