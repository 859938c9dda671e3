"""The allocation plan: how guaranteed line items share the traffic they compete for, one number each.

Supply comes in kinds: so many impressions a day that the same line items may have. Demand is what a line item
still wants of a day. Every impression is drawn among those that may have it in proportion to weights w, so of
a kind with s impressions the line item j gets

    s * w_j / (sum of w over all that may have it)

The plan is the w for which every line item gets its demand. It is found by scaling each weight by demand over
delivery, over and over (iterative scaling; Deming and Stephan 1940). A line item gets more weight the less
else it may have. One that gets all it wants where nobody else competes loses weight round by round and gives
way elsewhere; where demand exceeds supply, the weights of all that compete for it grow against the others'.
So who has other traffic leaves the contested to those who have not, and who is narrow is not starved.

State is O(1) a line item and a draw costs what it did: a compact plan in the sense of Chen et al. (Ad serving
using a compact allocation plan, EC 2012) and SHALE (Bharadwaj et al., KDD 2012), whose duals are logarithms
here. That whoever is ahead of his plan waits is pacing's part; only the shares of those who do not are here.

A forecast may be wrong, and who waited for traffic that does not come has missed what he let go. So the plan
is made a second time of what is ``sure`` of the traffic: whoever would then get less than he wants *hurries*,
which is to say that pacing does not hold him back. What he takes ahead of his pace brings him back into what
is sure, so he runs ahead by as much as is at risk and no more. Of those who hurry, whoever has a frequency
cap goes first: a person who comes again is of no use to him, and still is to the others.

Pure. Cost: linear in the matches a round, ``_ROUNDS`` rounds at most, twice; tiers one behind the other, each
on what those before it leave.
"""

from collections.abc import Collection, Mapping, Sequence
from math import sqrt
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

_ROUNDS: Final = 200
_STEP: Final = 4.0
"""A weight changes by this factor at most in a round."""
_TINY: Final = 1e-9
_FAR: Final = 1000.0
"""No weight is so many times the median, or so small a part of it: who cannot have what he wants would gain
weight for ever, and beside him all others would be alike."""
_NEAR: Final = 0.002
_ASTRAY: Final = 0.2
"""So much of the traffic may go astray in a day, and in more of them its root's multiple (a random walk)."""
_SURE: Final = (0.6, 0.7)
"""A forecast may be wrong by 30 % from the first hour on; with an outage of two hours and a day too busy to
learn from it is 0.7 * 22 / 24 * 0.95."""
_FIRST: Final = 12.0
"""The weight of who has a cap, among those who hurry: more would leave what is narrow without any."""
_WHOLE: Final = 0.99
"""Who would get so much of what he wants has it."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Wanted(Struct, frozen=True):
    """Of a line item: its tier, how many impressions a day it still wants, for how many days, and whether
    some cap bounds what a person is shown of it."""

    tier: int
    daily: float
    days: float
    capped: bool


class Plan(NamedTuple):
    """``weights``: of each tier they add up to what it wants, but for who has a cap and hurries. ``hurried``:
    those not to be held back."""

    weights: dict[int, float]
    hurried: Collection[int]


def plan(kinds: Sequence[tuple[float, Sequence[int]]], wanted: Mapping[int, Wanted]) -> Plan:
    """``kinds``: impressions a day, and the line items (any ids) that may have them; those not ``wanted``
    are left out."""
    ids = sorted(wanted)
    places = {ident: place for place, ident in enumerate(ids)}
    supply = np.array([count for count, _ in kinds], dtype=np.float64)
    pairs = [(row, places[ident]) for row, (_, mine) in enumerate(kinds) for ident in mine if ident in places]
    found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    demand = np.array([wanted[ident].daily for ident in ids], dtype=np.float64)
    tiers = np.array([wanted[ident].tier for ident in ids], dtype=np.int64)
    weight, _ = _divided(supply, found, demand, tiers, demand)
    risked = demand / np.array([sure(wanted[ident].days) for ident in ids], dtype=np.float64)
    _, got = _divided(supply, found, risked, tiers, weight)
    short = (weight > 0) & (got < risked * _WHOLE)
    capped = np.array([wanted[ident].capped for ident in ids], dtype=np.bool_)
    weight = np.where(short & capped, weight * _FIRST, weight)
    return Plan(
        {ident: float(mine) for ident, mine in zip(ids, weight, strict=True) if mine > 0},
        {ident for ident, is_short in zip(ids, short, strict=True) if is_short},
    )


def sure(days: float) -> float:
    """Of the traffic expected in the ``days`` to come, so much comes even if the forecast is wrong."""
    least, most = _SURE
    return min(max(1 - _ASTRAY * sqrt(days), least), most)


def _divided(left: Floats, found: Ints, demand: Floats, tiers: Ints, began: Floats) -> tuple[Floats, Floats]:
    """The weights, tier by tier, and what each gets by them. ``began``: weights to begin with."""
    given, had = np.zeros(len(demand)), np.zeros(len(demand))
    for tier in np.unique(tiers):
        rows, columns = found[tiers[found[:, 1]] == tier].T
        mine = np.where(tiers == tier, demand, 0.0)
        solved, got, taken = _solved(left, rows, columns, mine, began)
        left = left - taken
        whole = solved.sum()
        given += solved * (mine.sum() / whole) if whole else 0.0
        had += np.minimum(got, mine)
    return given, had


def _solved(
    left: Floats, rows: Ints, columns: Ints, demand: Floats, began: Floats
) -> tuple[Floats, Floats, Floats]:
    """The weights of one tier, 0 where nothing is wanted or may be had; what each gets, and what all of it
    takes of each kind."""
    wants = (demand > 0) & (_sums(columns, left[rows], len(demand)) > 0)
    weight = np.where(wants, began, 0.0)
    for _ in range(_ROUNDS):
        whole = np.maximum(_sums(rows, weight[columns], len(left)), _TINY)
        share = weight[columns] * (left / whole)[rows]
        got = np.maximum(_sums(columns, share, len(demand)), _TINY)
        factor = np.where(wants, np.clip(demand / got, 1 / _STEP, _STEP), 1.0)
        weight = weight * factor
        middle = float(np.median(weight[wants])) if wants.any() else 1.0
        weight = np.where(wants, np.clip(weight / middle, 1 / _FAR, _FAR), 0.0)
        if np.abs(factor - 1).max(initial=0.0) < _NEAR:
            break
    used = np.minimum(demand / got, 1.0)
    return weight, got, _sums(rows, share * used[columns], len(left))


def _sums(places: Ints, values: Floats, size: int) -> Floats:
    return np.bincount(places, values, size).astype(np.float64, copy=False)
