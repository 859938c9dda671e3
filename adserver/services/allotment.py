"""The allocation plan in force, as decisions look into it: weights of guaranteed line items."""

from collections.abc import Iterable, Mapping
from typing import Final

from adserver.domain.records import Planned

UNIT: Final = 1000
"""Weights are kept in thousandths."""
_MOVED: Final = 32
"""A weight that moved by less than a 32nd stays as it was told."""

Allotment = dict[int, int]
"""Line item -> its weight in the plan in force, in thousandths of impressions a day."""


def follow(allotment: Allotment, planned: Planned) -> None:
    """Another plan is in force: what it says of line items, 0 for those it no longer has."""
    for serial, weight in planned.weights:
        if weight:
            allotment[serial] = weight
        else:
            allotment.pop(serial, None)


def moved(before: Mapping[int, int], found: Mapping[int, float]) -> Iterable[tuple[int, int]]:
    """(line item, weight) of what is worth telling, by line item."""
    for serial in sorted({*before, *found}):
        old, new = before.get(serial, 0), round(found.get(serial, 0.0) * UNIT)
        if new != old and (not new or not old or abs(new - old) * _MOVED > old):
            yield serial, new
