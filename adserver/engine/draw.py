"""Chance from a seed: every draw is a pure function of the request's seed and what is drawn (law 5)."""

from collections.abc import Callable, Iterator, Sequence
from math import log

import numpy as np
from numpy.typing import NDArray

from adserver.engine.compiled import kernel

Positions = Sequence[int] | NDArray[np.int64]
"""Few or many of them."""

_MASK = 0xFFFF_FFFF_FFFF_FFFF


def plain_mix(seed: int, salt: int) -> int:
    """64 well-mixed bits of (seed, salt): the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    z = (seed + (salt + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def mixed(seeds: NDArray[np.int64]) -> NDArray[np.uint64]:
    """``mix(seed, 0)`` of many seeds."""
    z = seeds.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def plain_below(seed: int, salt: int, n: int) -> int:
    """A whole number in [0, n), n < 2**64: half-open, and unbiased up to n / 2**64."""
    return (plain_mix(seed, salt) * n) >> 64


mix, below = (plain_mix, plain_below) if kernel is None else (kernel.mix, kernel.below)


def pick(weights: Sequence[int], seed: int, salt: int) -> int:
    """An index with probability proportional to its weight, by half-open ranges: equal weights get equal
    shares. Inclusive ranges, as seen elsewhere, split two equal weights 67/33. The sum must be > 0."""
    ticket = below(seed, salt, sum(weights))
    for index, weight in enumerate(weights):
        ticket -= weight
        if ticket < 0:
            return index
    raise ValueError("weights must have a positive sum")


def shuffled(positions: Positions, seed: int) -> Iterator[int]:
    """A uniformly random order, drawn as far as it is read (Fisher-Yates from the front): of many
    positions, those not read cost nothing. ``moved`` is what differs from the given order."""
    n, moved = len(positions), dict[int, int]()
    for i in range(n):
        j = i + below(seed, i, n - i)
        drawn = moved.get(j, j)
        moved[j] = moved.get(i, i)
        yield int(positions[drawn])


def weighted_order(positions: list[int], weight: Callable[[int], float], seed: int) -> list[int]:
    """Draws without replacement, proportional to weight: order by exponential arrival times
    (Efraimidis and Spirakis, 2006). A weight of 0 or less comes last."""
    return sorted(positions, key=lambda position: arrival(position, weight(position), seed))


def arrival(position: int, weight: float, seed: int) -> tuple[float, int]:
    """When a position comes in a weighted draw, whoever else is drawn: any scale, earliest first."""
    u = (mix(seed, position) + 1) / (_MASK + 2)
    return (-log(u) / weight if weight > 0 else float("inf"), position)
