"""One tier of the auction at one placement, best score first: exactly as if everything had been scored.

Line items stand in *sources*, each in an order in which their scores here cannot rise above a known bound:
those of which nothing is known in the order of the snapshot (of one pricing model they all earn the
placement's own rate), those of which something is in the order of the best they could be anywhere.
Whichever source has the highest bound is read; what was read and is above every bound is given out. So
nothing is read that could not have been among the best. Source: the threshold algorithm, Fagin, Lotem and
Naor, PODS 2001.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import Final, Protocol

import numpy as np
from msgspec import Struct

from adserver.engine.draw import Positions

Scored = tuple[int, Positions]
"""A score, and ascending positions that have it."""

NOTHING: Final = -1.0
"""The bound of a source that is used up."""


class Source(Protocol):
    """``bound``: no score of what is left is above it."""

    @property
    def bound(self) -> float: ...

    def read(self, least: float) -> Iterable[Scored]:
        """At least the next of it; no further than to where bounds are below ``least``."""
        ...


def best_first(sources: Sequence[Source]) -> Iterator[Positions]:
    """Groups of equal score, each with all its positions in ascending order. Lazy."""
    waiting = Waiting()
    while True:
        bounds = sorted(((source.bound, number) for number, source in enumerate(sources)), reverse=True)
        highest, number = bounds[0]
        yield from waiting.above(highest)
        if highest < 0:
            return
        second = bounds[1][0] if len(bounds) > 1 else NOTHING
        for score, positions in sources[number].read(max(second, waiting.best)):
            waiting.add(score, positions)


class Waiting:
    """Positions read before their turn. ``scores``: theirs, negative, a heap."""

    __slots__ = ("_positions", "scores")

    def __init__(self) -> None:
        self.scores: list[int] = []
        self._positions: dict[int, list[Positions]] = {}

    @property
    def best(self) -> float:
        return -self.scores[0] if self.scores else NOTHING

    def add(self, score: int, positions: Positions) -> None:
        """Ascending ones, none of which waits already."""
        if score in self._positions:
            self._positions[score].append(positions)
        else:
            self._positions[score] = [positions]
            heappush(self.scores, -score)

    def above(self, bound: float) -> Iterator[Positions]:
        """Let go who is worth more than that, best first: groups of equal score, ascending."""
        while self.scores and -self.scores[0] > bound:
            yield _merged(self._positions.pop(-heappop(self.scores)))


class Common:
    """Line items of which nothing is known, run by run. ``split``: a run by score; ``behind``: the bound of
    what stands behind a run."""

    def __init__(
        self, runs: Iterator[Positions], split: Callable[[Positions], Iterable[Scored]],
        behind: Callable[[int], float],
    ) -> None:  # fmt: skip
        self.bound = float("inf")
        self._runs = runs
        self._split = split
        self._behind = behind

    def read(self, least: float) -> Iterable[Scored]:
        run = next(self._runs, None)
        self.bound = NOTHING if run is None else self._behind(int(run[0]))
        return () if run is None else self._split(run)


class Ranked(Struct, frozen=True):
    """Line items of one pricing model, the one that could be best first; ``tops``: what bounds each score,
    over the placement's rate; ``places``: (chunk, bit) of each."""

    tops: list[float]
    places: list[tuple[int, int]]


class Known:
    """Line items of which something is known. ``factor``: the placement's rate over the prior one;
    ``matches``: by chunk, the bits of those that match; ``score``: of a place."""

    def __init__(
        self, ranked: Ranked, factor: float, matches: Mapping[int, int], score: Callable[[int, int], Scored]
    ) -> None:
        self._ranked = ranked
        self._factor = factor
        self._matches = matches
        self._score = score
        self._next = 0
        self.bound = self._top()

    def read(self, least: float) -> Iterable[Scored]:
        tops, places, matches = self._ranked.tops, self._ranked.places, self._matches
        lowest = max(least, 0.0) / self._factor
        for number in range(self._next, len(tops)):
            if tops[number] < lowest and number > self._next:
                self._next = number
                break
            chunk, bit = places[number]
            if matches[chunk] >> bit & 1:
                self._next = number + 1
                self.bound = self._top()
                return (self._score(chunk, bit),)
        else:
            self._next = len(tops)
        self.bound = self._top()
        return ()

    def _top(self) -> float:
        return (
            self._ranked.tops[self._next] * self._factor if self._next < len(self._ranked.tops) else NOTHING
        )


def _merged(parts: list[Positions]) -> Positions:
    if len(parts) == 1:
        return parts[0]
    if all(len(part) == 1 for part in parts):
        return sorted(part[0] for part in parts)
    return np.sort(np.concatenate(parts))
