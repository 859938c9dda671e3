"""What a month comes to, in the micros that people pay.

The books count in nanos; a statement rounds down once per line item and month and carries the rest to the
next month. So after any number of months what was stated is what was billed, rounded down: nobody pays a
micro that was not earned, and none is lost. A month that is closed never changes; what moves in it
afterwards (a refund, an event that came late) is *adjusted* on the next that is open.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from adserver.domain.money import NANOS_PER_MICRO


class Billed(Struct, frozen=True, array_like=True):
    """Of one line item (or placement) and one month: what was counted and not found invalid, and what it
    cost. ``nanos`` are net of refunds."""

    subject: int
    impressions: int = 0
    viewable: int = 0
    clicks: int = 0
    conversions: int = 0
    nanos: int = 0


class Line(Struct, frozen=True, array_like=True):
    """``carried_nanos``: of the months before, less than a micro. ``adjusted_nanos``: what moved in closed
    months since they were stated. ``micros``: to be paid for this line, and the rest is carried on."""

    billed: Billed
    carried_nanos: int
    adjusted_nanos: int
    micros: int

    @property
    def rest_nanos(self) -> int:
        """What the next month begins with."""
        return self.carried_nanos + self.billed.nanos + self.adjusted_nanos - self.micros * NANOS_PER_MICRO


_NOTHING: Final[Mapping[int, int]] = {}


def lines(
    month: Iterable[Billed], carried: Mapping[int, int] = _NOTHING, adjusted: Mapping[int, int] = _NOTHING
) -> list[Line]:
    """The lines of a month, by subject: of everything that was billed in it or adjusted. ``carried`` and
    ``adjusted``: nanos by subject. A subject with nothing but a rest has no line; its rest stays."""
    billed = {one.subject: one for one in month}
    found = []
    for subject in sorted(billed.keys() | {subject for subject, nanos in adjusted.items() if nanos}):
        one, moved = billed.get(subject, Billed(subject)), adjusted.get(subject, 0)
        whole = carried.get(subject, 0) + one.nanos + moved
        found.append(Line(one, carried.get(subject, 0), moved, whole // NANOS_PER_MICRO))
    return found
