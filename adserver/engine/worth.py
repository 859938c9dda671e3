"""What line items are worth at a placement: prior scores times what was learned of them there.

The snapshot is ordered by prior scores, which neither requests nor learning change; the *score* is what a
thousand impressions are expected to earn at this placement. ``bounds`` make the early stop exact: no line
item of a position's tier, there or behind, has a higher score. A bound is the highest of one for each
pricing model (of one model, a placement's rate is common to all): the highest prior score there or behind,
each times how far its line item gets above a placement's rate anywhere. So bounds follow the rates at
once, whatever the snapshot was built with. Source: the threshold algorithm, Fagin, Lotem and Naor, PODS
2001.

Where nothing is learned, or nothing is sold by what can be learned, scores are the prior ones and all of
this costs nothing; else three arrays of floats, made when rates or snapshot change.
"""

from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adserver.domain.campaign import MODELS
from adserver.engine.draw import Positions
from adserver.engine.entries import MODEL_SHIFT, Entries
from adserver.engine.ranking import is_auction
from adserver.engine.rates import PER_MILLION, Learned, Rates

_CPM: Final = MODELS.index("cpm")
_OWN: Final = len(MODELS)
"""The kind of line items of which something is known; the others' kind is their pricing model."""
_SLACK: Final = 1 + 1e-9
"""Bounds are floats, scores whole numbers: a bound may be too high, never too low."""
_FEW: Final = 24
"""Positions that are quicker looked at one by one."""

Bound = Callable[[int], float]


class Worth:
    """The line items of a snapshot under ``rates``. ``learned``: whether scores differ from prior ones."""

    def __init__(self, entries: Entries, rates: Rates) -> None:
        self.rates = rates
        self._entries = entries
        self._models: dict[int, Learned] = {
            MODELS.index("vcpm"): rates.viewable,
            MODELS.index("cpc"): rates.clicks,
        }
        models = (np.asarray(entries.flags) >> MODEL_SHIFT).astype(np.uint8)
        self.learned = rates.number > 0 and bool(np.any(models != _CPM))
        if self.learned:
            self._kinds = models.copy()
            known, _ = _peaks(entries, rates.clicks)
            self._kinds[known[models[known] != _CPM]] = _OWN
            self._tops = [self._highest(model, models) for model in range(len(MODELS))]

    def score(self, position: int, placement: int) -> int:
        """Micros a thousand impressions are expected to earn at a placement (its serial)."""
        entries = self._entries
        prior = entries.scores[position]
        learned = self._models.get(entries.flags[position] >> MODEL_SHIFT) if self.learned else None
        if learned is None:
            return prior
        return prior * learned.rate(entries.serials[position], placement) // learned.kind.prior

    def groups(self, runs: Iterable[Positions], placement: int) -> Iterator[Positions]:
        """The runs of one tier of the auction as groups of equal score, best score first, each with all
        its positions in ascending order. Lazy: a run is read when nothing read so far is sure to be best."""
        if not self.learned:
            yield from runs
            return
        bound, waiting, scores = self.bounds(placement), dict[int, list[Positions]](), list[int]()
        for run in runs:
            for score, positions in self._split(run, placement):
                if score not in waiting:
                    heappush(scores, -score)
                waiting.setdefault(score, []).append(positions)
            _, end = self._entries.run_of(run[0])
            behind = bound(end) if self._same_tier(run[0], end) else -1.0
            while scores and -scores[0] > behind:
                yield _merged(waiting.pop(-heappop(scores)))
        # Bounds of what does not match hold nothing back any more.
        while scores:
            yield _merged(waiting.pop(-heappop(scores)))

    def _same_tier(self, one: int, other: int) -> bool:
        tiers = self._entries.tiers
        return other < len(tiers) and tiers[one] == tiers[other]

    def _split(self, run: Positions, placement: int) -> Iterator[tuple[int, Positions]]:
        """A run (of one prior score) by score: (score, ascending positions), a score perhaps repeated.
        Those of which nothing is known share their pricing model's rate and are not asked one by one."""
        if len(run) <= _FEW:
            for position in run:
                yield self.score(position, placement), (position,)
            return
        kinds = self._kinds[run]
        for kind in range(len(MODELS)):
            alike = np.asarray(run)[kinds == kind]
            if len(alike):
                yield self.score(alike[0], placement), alike
        for position in np.asarray(run)[kinds == _OWN].tolist():
            yield self.score(position, placement), (position,)

    def bounds(self, placement: int) -> Bound:
        """For a placement: position -> what no score there or behind, in its tier, is above."""
        factors = [1.0] * len(MODELS)
        for model, learned in self._models.items():
            factors[model] = learned.of_placement(placement) / learned.kind.prior
        tops = list(zip(self._tops, factors, strict=True))
        return lambda position: max(float(top[position]) * factor for top, factor in tops) * _SLACK

    def _highest(self, model: int, models: NDArray[np.uint8]) -> NDArray[np.float64]:
        """By position: the highest prior score of this model there or behind in its tier, each times its
        line item's peak. (Scores were rounded down by less than a micro: hence the one.)"""
        worth = np.where(models == model, np.asarray(self._entries.scores) + 1.0, 0.0)
        learned = self._models.get(model)
        if learned is not None:
            known, peaks = _peaks(self._entries, learned)
            worth[known] *= peaks
        for start, end in _auctions(np.asarray(self._entries.tiers)):
            worth[start:end] = np.maximum.accumulate(worth[start:end][::-1])[::-1]
        return worth


def _peaks(entries: Entries, learned: Learned) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Positions of line items of which something is known, and how far each gets above a placement's rate."""
    told = np.array(list(learned.peaks.items()), np.int64).reshape(-1, 2)
    serials = np.asarray(entries.sorted_serials)
    rows = np.searchsorted(serials, told[:, 0])
    here = rows < len(serials)
    here[here] = serials[rows[here]] == told[here, 0]
    positions = np.asarray(entries.sorted_positions)[rows[here]].astype(np.intp)
    return positions, told[here, 1] / PER_MILLION


def _auctions(tiers: NDArray[np.uint16]) -> Iterator[tuple[int, int]]:
    """Where the tiers of the auction begin and end."""
    bounds = [0, *(np.flatnonzero(tiers[1:] != tiers[:-1]) + 1).tolist(), len(tiers)]
    for start, end in pairwise(bounds):
        if start < end and is_auction(int(tiers[start])):
            yield start, end


def _merged(parts: list[Positions]) -> Positions:
    return parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts))
