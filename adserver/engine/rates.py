"""Rates learned from what was delivered: how often an impression of a line item is clicked, seen, or followed
by a conversion, at a placement.

Few impressions tell little, so every rate is shrunk towards the one above it: a placement's towards the
prior, a line item's *lift* (its events over those its placements would have given anybody) towards 1, and
what a line item did at one placement towards its lift times that placement's rate. Each is the mean of a
beta (for lifts: gamma) posterior, whose prior weighs as much as some number of events: one click on one
impression moves a rate by a twentieth, not to 100 %. Source: Agarwal et al., Estimating rates of rare
events at multiple resolutions, KDD 2007; the lifts as in DuMouchel, Bayesian data mining in large
frequency tables, 1999.

How many events the priors of lifts and of cells weigh is learned too, by the method of moments: what line
items differ by beyond what chance makes of alike ones is how far a lift is to be believed. Where all are
clicked alike a few clicks less than expected are bad luck, and whoever took them for a bad rate would serve
the line item no more and never learn better (``docs/WHY.md``).

Whole numbers throughout, in parts per million, so the same counts give the same rates anywhere. Cost:
linear in the rows of the ledger's ``shown``.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from msgspec import Struct

from adserver.domain.books import Shown

PER_MILLION: Final = 1_000_000

_Key = TypeVar("_Key")
_Cells = dict[tuple[int, int], tuple[int, int]]
"""(line item, placement) -> (impressions, events)."""


class Kind(Struct, frozen=True):
    """``prior``: the rate where nothing is known; ``events``: how many of them the prior weighs, at least;
    ``most``: no rate is above. Rates in parts per million of impressions."""

    prior: int
    events: int
    most: int

    @property
    def impressions(self) -> int:
        """How many impressions the prior weighs."""
        return self.events * PER_MILLION // self.prior


_HEAVIEST: Final = 20
"""How many times as much the prior weighs where all seem to be alike."""

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
    weight = _weight(kind, (_expected(counts, key, placements, lifts) for key in counts))
    impressions = kind.impressions * weight // kind.events
    cells, peaks = {}, dict(lifts)
    for (line_item, placement), (shown, events) in counts.items():
        own = placements[placement]
        expected = own * lifts[line_item] // PER_MILLION
        rate = (events * PER_MILLION + impressions * expected) // (shown + impressions)
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
    sums: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for (line_item, placement), (impressions, events) in counts.items():
        own = placements[placement]
        for number, one in enumerate((events, impressions * own, _noise(impressions, own))):
            sums[line_item][number] += one
    weight = _weight(kind, sums.values()) * PER_MILLION
    return {
        line_item: (events * PER_MILLION + weight) * PER_MILLION // (expected + weight)
        for line_item, (events, expected, _) in sums.items()
    }


def _expected(
    counts: _Cells, key: tuple[int, int], placements: dict[int, int], lifts: dict[int, int]
) -> tuple[int, int, int]:
    """As ``_weight`` takes it, of a cell."""
    (impressions, events), (line_item, placement) = counts[key], key
    rate = min(placements[placement] * lifts[line_item] // PER_MILLION, PER_MILLION)
    return events, impressions * rate, _noise(impressions, rate)


def _noise(impressions: int, rate: int) -> int:
    """The variance of a binomial, in millionths."""
    return impressions * rate * (PER_MILLION - rate) // PER_MILLION


def _weight(kind: Kind, rows: Iterable[Sequence[int]]) -> int:
    """Events that a gamma prior around 1 weighs, which is 1 / its variance: squares of what was expected,
    over those of what came besides, without what chance has of them. ``rows``: events, what was expected of
    them and its variance, in millionths. Before there is evidence it is ``kind.events``, which counts as one
    row of as many."""
    squares, beyond = kind.events**2 * PER_MILLION**2, kind.events * PER_MILLION**2
    for events, expected, noise in rows:
        squares += expected**2
        beyond += (events * PER_MILLION - expected) ** 2 - noise * PER_MILLION
    most = kind.events * _HEAVIEST
    return most if beyond <= 0 else max(kind.events, min(squares // beyond, most))
