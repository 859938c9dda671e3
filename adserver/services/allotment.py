"""The plan in force, as decisions look into it: weights of guaranteed line items, which of them hurry
(``engine.allocation``), and multipliers of bids (``bidding``)."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

UNIT: Final = 1000
"""Weights are kept in thousandths."""
_MOVED: Final = 32
"""A weight that moved by less than a 32nd stays as it was told."""

Allotment = dict[int, int]
"""Line item -> its weight in the plan in force, in thousandths of impressions a day; below 0, as much, of one
that hurries."""


def weight_of(allotment: Mapping[int, int], serial: int) -> float | None:
    """None: the plan has nothing of it."""
    weight = allotment.get(serial)
    return None if weight is None else abs(weight) / UNIT


def hurries(allotment: Mapping[int, int], serial: int) -> bool:
    """Whether its pace is not to hold it back."""
    return allotment.get(serial, 0) < 0


def follow(allotment: Allotment, told: Iterable[tuple[int, int]]) -> None:
    """Another plan is in force: what it says of line items, 0 for those it no longer has."""
    for serial, weight in told:
        if weight:
            allotment[serial] = weight
        else:
            allotment.pop(serial, None)


def moved(
    before: Mapping[int, int], found: Mapping[int, float], hurried: Collection[int] = ()
) -> Iterable[tuple[int, int]]:
    """(line item, weight) of what is worth telling, by line item."""
    for serial in sorted({*before, *found}):
        old = before.get(serial, 0)
        # Who gives way everywhere has a weight still: without one he would be drawn by all that he wants.
        new = max(round(found[serial] * UNIT), 1) if serial in found else 0
        if serial in hurried:
            new = -new
        if new != old and (new * old <= 0 or abs(new - old) * _MOVED > abs(old)):
            yield serial, new
