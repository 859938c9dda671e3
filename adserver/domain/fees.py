"""Flat fees: what a day of a line item costs, to whom it goes, and how the journal holds it.

A fee is for a local day of the campaign. A price for the whole flight is spread over its days so that they
add up to it exactly. A day's fee goes to the placements that showed the line item, by their impressions of
that day, and to the nano: each gets its part rounded down, and the nanos that are left go to those that lost
most by it (Hamilton's method; of equals the first). Beyond ``limits.FEE_PARTS`` placements those that showed
most share it.
"""

from collections.abc import Mapping

from msgspec import Struct

from adserver.domain import limits

Part = tuple[int, int, int]
"""(placement, its impressions of the day, its nanos of the fee)."""


class Accrued(Struct, frozen=True, array_like=True, tag=9):
    """The fee of one day of a line item, once, when the day was over and no ad of it could be shown any
    more. ``start_ms``: the instant the day began; ``unbilled``: an ``Unbilled``, 0 where the ``parts`` are
    billed; else they are what was given for free."""

    line_item: int
    day: int
    start_ms: int
    at_ms: int
    unbilled: int
    parts: tuple[Part, ...]

    @property
    def nanos(self) -> int:
        return sum(nanos for _, _, nanos in self.parts)

    @property
    def billed_nanos(self) -> int:
        return 0 if self.unbilled else self.nanos


def of_day(price_nanos: int, days: int, day: int) -> int:
    """What the day number ``day`` (from 0) of so many costs; the parts of all days are the price. Of no
    ``days`` the price is a day's. Outside of them nothing is left to pay."""
    if not days:
        return price_nanos
    if not 0 <= day < days:
        return 0
    return price_nanos * (day + 1) // days - price_nanos * day // days


def split(nanos: int, shown: Mapping[int, int]) -> tuple[Part, ...]:
    """A fee by impressions at each placement, of which there are some: the largest part first."""
    most = sorted(shown, key=lambda placement: (-shown[placement], placement))[: limits.FEE_PARTS]
    shown = {placement: shown[placement] for placement in most}
    total = sum(shown.values())
    whole = {placement: nanos * count // total for placement, count in shown.items()}
    left = nanos - sum(whole.values())
    by_loss = sorted(shown, key=lambda placement: (-(nanos * shown[placement] % total), placement))
    for placement in by_loss[:left]:
        whole[placement] += 1
    parts = [(placement, shown[placement], part) for placement, part in whole.items()]
    return tuple(sorted(parts, key=lambda part: (-part[2], part[0])))


def fee_id(start_ms: int, line_item: int, placement: int = 0, index: int = 0) -> bytes:
    """The id of the event that a part of a fee is, the same whoever accrues it: like any event's it begins
    with a time, that of the day's beginning, and ends with an index. Of no placement: of the whole fee, which
    budgets hold."""
    return b"".join(
        number.to_bytes(size, "big")
        for number, size in ((start_ms, 6), (line_item, 4), (placement, 4), (index, 2))
    )
