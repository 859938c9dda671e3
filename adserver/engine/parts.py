"""Bids of which only a part counts (``pacing.counted``), and the order that they change.

A part is at most the whole, so the snapshot's order still bounds every score: who counts whole stands where
he stood, and who counts in part only moves back. A run without one of these is passed on as it is; of the
others those who count in part wait, by what of them counts, until the walk comes to what is not worth more.
So what nobody waits for costs one look a run, however many count in part elsewhere.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from adserver.engine.auction import NOTHING, Scored, Waiting
from adserver.engine.draw import Positions
from adserver.engine.entries import Entries
from adserver.engine.pacing import UNIT
from adserver.engine.ranking import AUCTION, LEVELS

_FEW: Final = 24
"""Positions that are quicker looked at one by one."""


class Parts:
    """Of the line items of a snapshot, in thousandths. ``multipliers``: by serial, also of such as are not in
    it or not in the auction; ``told``: by position, of those that are."""

    def __init__(self, entries: Entries, multipliers: Mapping[int, int]) -> None:
        self._entries = entries
        told = np.array(list(multipliers.items()), np.int64).reshape(-1, 2)
        positions, mine = entries.positions_of(told[:, 0])
        bids = np.asarray(entries.tiers)[positions] // LEVELS == AUCTION
        positions, counted = positions[bids], told[mine, 1][bids]
        self.told: dict[int, int] = dict(zip(positions.tolist(), counted.tolist(), strict=True))
        if self.told:
            self.thousandths = np.full(len(entries), UNIT, np.int32)
            self.thousandths[positions] = counted
            self._runs = set(np.asarray(entries.runs)[positions].tolist())

    def of(self, earned: int, position: int) -> int:
        """As much of it as counts."""
        return earned * self.told.get(position, UNIT) // UNIT

    def moved_back(self, runs: Iterator[Positions]) -> Iterator[Positions]:
        """Matches run by run (``runs.runs``), those of the auction best first instead: ascending positions of
        equal score. Lazy: a run is read when nobody who waits is worth more than the one before."""
        entries, told, waiting = self._entries, self.told, Waiting()
        somebody, tier = waiting.scores, -1
        for run in runs:
            whole = run[0] not in told if len(run) == 1 else self._whole(run)
            if whole and not somebody:
                yield run
                continue
            score, here = entries.scores[run[0]], entries.tiers[run[0]]
            yield from waiting.above(score if here == tier else NOTHING)
            tier = here
            if whole and waiting.best < score:
                yield run
                continue
            for counts, positions in self._apart(run, score):
                waiting.add(counts, positions)
            yield from waiting.above(score - 1)
        yield from waiting.above(NOTHING)

    def _whole(self, run: Positions) -> bool:
        if len(run) > _FEW:
            return self._entries.runs[run[0]] not in self._runs
        return self.told.keys().isdisjoint(run)

    def _apart(self, run: Positions, score: int) -> Iterator[Scored]:
        """A run by score, a score perhaps repeated."""
        if self._whole(run):
            yield score, run
        elif len(run) <= _FEW:
            whole = [position for position in run if position not in self.told]
            if whole:
                yield score, whole
            for position in run:
                if position in self.told:
                    yield self.of(score, position), (position,)
        else:
            positions, counted = np.asarray(run), self.thousandths[run]
            for part in np.unique(counted):
                yield score * int(part) // UNIT, positions[counted == part]
