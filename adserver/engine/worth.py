"""What line items are worth at a placement: prior scores times what was learned of them there.

The snapshot is ordered by prior scores, which neither requests nor learning change; the *score* is what a
thousand impressions are expected to earn at this placement. Beside the snapshot stands what the auction
needs to stop early and yet exactly (``auction``): bounds follow the rates at once, whatever the snapshot was
built with. Where nothing is learned, or nothing is sold by what can be learned, scores are the prior ones
and all of this costs nothing; else a few arrays, made when rates or snapshot change.

Of a bid whose budget is being spent ahead of its time only a part counts in the auction (``pacing.counted``):
the score is that part. No bid counts more than whole, so bounds stay bounds.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adserver.domain.campaign import MODELS
from adserver.engine import postings
from adserver.engine.auction import NOTHING, Common, Known, Ranked, Scored, Source
from adserver.engine.draw import Positions
from adserver.engine.entries import MODEL_SHIFT, Entries
from adserver.engine.parts import Parts
from adserver.engine.ranking import is_auction
from adserver.engine.rates import PER_MILLION, Learned, Rates

_CPM: Final = MODELS.index("cpm")
_SLACK: Final = 1 + 1e-9
"""Bounds are floats, scores whole numbers: a bound may be too high, never too low."""
_FEW: Final = 24
"""Positions that are quicker looked at one by one."""


class Worth:
    """The line items of a snapshot under ``rates``. ``learned``: whether scores differ from prior ones; only
    then is there the rest. ``tiers``: those there are, in order; ``others``: a bitmap of all line items but
    those of the auction of which something is known. ``weighed``: whether of some bids only a part counts."""

    def __init__(self, entries: Entries, rates: Rates) -> None:
        self.rates = rates
        self._entries = entries
        self._rates: dict[int, Learned] = {
            MODELS.index("vcpm"): rates.viewable,
            MODELS.index("cpc"): rates.clicks,
            MODELS.index("cpa"): rates.conversions,
        }
        self._models = models = (np.asarray(entries.flags) >> MODEL_SHIFT).astype(np.uint8)
        self.learned = rates.number > 0 and bool(np.any(models != _CPM))
        self.weigh({})
        self.tiers = list[int]()
        if self.learned:
            self._learn(models)

    def weigh(self, multipliers: Mapping[int, int]) -> None:
        """Let bids of line items (by serial) count so many thousandths; those of all others count whole.
        Takes effect at once: between two decisions."""
        self.parts = Parts(self._entries, multipliers)
        self.weighed = bool(self.parts.told)

    def _stretches(self) -> dict[int, tuple[int, int]]:
        """Tier -> where it begins and ends."""
        tiers = np.asarray(self._entries.tiers)
        bounds = [0, *(np.flatnonzero(tiers[1:] != tiers[:-1]) + 1).tolist(), len(tiers)]
        return {int(tiers[start]): (start, end) for start, end in pairwise(bounds)}

    def _learn(self, models: NDArray[np.uint8]) -> None:
        stretches = self._stretches()
        auctions = {tier: stretch for tier, stretch in stretches.items() if is_auction(tier)}
        self.tiers = list(stretches)
        self._known: dict[int, list[tuple[int, Ranked]]] = {tier: [] for tier in auctions}
        common = np.ones(len(models), bool)
        for model, learned in self._rates.items():
            positions, peaks = _peaks(self._entries, learned)
            mine = models[positions] == model
            positions, peaks = positions[mine], peaks[mine]
            for tier, (start, end) in auctions.items():
                here = (positions >= start) & (positions < end)
                common[positions[here]] = False
                self._rank(tier, model, positions[here], peaks[here])
        self.others = _chunks(common)
        self._tops = [self._highest(common & (models == m), auctions) for m in range(len(MODELS))]

    @cached_property
    def every_tier(self) -> list[int]:
        """As ``tiers``, whatever was learned."""
        return [int(tier) for tier in np.unique(np.asarray(self._entries.tiers))]

    def score(self, position: int, placement: int) -> int:
        """What ranks: of what a thousand impressions are expected to earn at a placement (its serial), in
        micros, as much as counts."""
        return self.counted(self.of(self._entries.scores[position], position, placement), position)

    def counted(self, earned: int, position: int) -> int:
        """As much of it as counts in the auction."""
        return self.parts.of(earned, position) if self.weighed else earned

    def of(self, prior: int, position: int, placement: int) -> int:
        """Micros a thousand impressions are expected to earn at a placement, of a line item that is as the
        one there but for its prior score."""
        entries = self._entries
        learned = self._rates.get(entries.flags[position] >> MODEL_SHIFT) if self.learned else None
        if learned is None:
            return prior
        return prior * learned.rate(entries.serials[position], placement) // learned.kind.prior

    def sources(
        self, tier: int, placement: int, runs: Iterator[Positions], matches: Mapping[int, int]
    ) -> list[Source]:
        """A tier of the auction at a placement. ``runs``: of those of its ``others`` that match; ``matches``:
        by chunk, the bits of all that do."""
        if not self.learned:
            return [Common(runs, lambda run: self._split(run, placement), partial(self._prior_behind, tier))]
        factors = [1.0] * len(MODELS)
        for model, learned in self._rates.items():
            factors[model] = learned.of_placement(placement) / learned.kind.prior
        tops, entries = list(zip(self._tops, factors, strict=True)), self._entries

        def behind(position: int) -> float:
            _, end = entries.run_of(position)
            if end == len(entries) or entries.tiers[end] != tier:
                return NOTHING
            return max(float(top[end]) * factor for top, factor in tops)

        def score(chunk: int, bit: int) -> Scored:
            position = chunk * postings.CHUNK + bit
            return self.score(position, placement), (position,)

        known = (Known(ranked, factors[model], matches, score) for model, ranked in self._known[tier])
        return [Common(runs, lambda run: self._split(run, placement), behind), *known]

    def _prior_behind(self, tier: int, position: int) -> float:
        """The prior score of the run behind, which is the best of them: none counts more than that."""
        entries = self._entries
        _, end = entries.run_of(position)
        return NOTHING if end == len(entries) or entries.tiers[end] != tier else entries.scores[end]

    def _split(self, run: Positions, placement: int) -> Iterator[Scored]:
        """A run (of one prior score) by score, a score perhaps repeated: those of one pricing model of whose
        bids the same share counts have the same."""
        if len(run) <= _FEW:
            for position in run:
                yield self.score(position, placement), (position,)
            return
        kinds = self._models[run].astype(np.int32)
        if self.weighed:
            kinds += self.parts.thousandths[run] * len(MODELS)
        for kind in np.unique(kinds):
            alike = np.asarray(run)[kinds == kind]
            yield self.score(int(alike[0]), placement), alike

    def _rank(self, tier: int, model: int, positions: NDArray[np.intp], peaks: NDArray[np.float64]) -> None:
        if len(positions):
            tops = _above(np.asarray(self._entries.scores)[positions]) * peaks
            order = np.argsort(-tops, kind="stable")
            chunks, bits = np.divmod(positions[order], postings.CHUNK)
            places = list(zip(chunks.tolist(), bits.tolist(), strict=True))
            ranked = Ranked(tops[order].tolist(), places)
            self._known[tier].append((model, ranked))

    def _highest(self, mine: NDArray[np.bool_], auctions: dict[int, tuple[int, int]]) -> NDArray[np.float64]:
        """By position: the highest prior score of ``mine`` there or behind in its tier."""
        worth = np.where(mine, _above(np.asarray(self._entries.scores)), 0.0)
        for start, end in auctions.values():
            worth[start:end] = np.maximum.accumulate(worth[start:end][::-1])[::-1]
        return worth


def _above(scores: NDArray[np.int64]) -> NDArray[np.float64]:
    """Prior scores for bounds: they were rounded down by less than a micro."""
    above: NDArray[np.float64] = (scores.astype(np.float64) + 1.0) * _SLACK
    return above


def _peaks(entries: Entries, learned: Learned) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Positions of line items of which something is known, and how far each gets above a placement's rate."""
    told = np.array(list(learned.peaks.items()), np.int64).reshape(-1, 2)
    positions, here = entries.positions_of(told[:, 0])
    return positions, told[here, 1] / PER_MILLION


def _chunks(bits: NDArray[np.bool_]) -> list[int]:
    """A bitmap, in the index's chunks."""
    return [
        int.from_bytes(
            np.packbits(bits[start : start + postings.CHUNK], bitorder="little").tobytes(), "little"
        )
        for start in range(0, len(bits), postings.CHUNK)
    ]
