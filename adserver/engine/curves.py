"""Curves: how much of a plan is wanted when, whoever comes.

A curve is a weight of time. It multiplies the traffic that is expected of a time (``services.traffic``), so a
weight twice as high is twice the share of those who come then, and equal weights are even pacing. Where no
traffic is known, the plan to date is the curve's integral (``pacing.plan_to_date``).

* ``frontloaded`` falls in a straight line from 3/2 of the even pace, when its time begins, to 1/2 when it
  ends: 5/8 of the plan are due in the first half of it. Its time is the flight, or the day of a daily budget.
* ``hourly`` has a weight for each local hour of its campaign, the same every day; nothing serves in an hour
  of weight 0.

Pure; cost O(1). Instants in milliseconds since the epoch, weights on any scale.
"""

from typing import Final, Protocol

from msgspec import Struct

from adserver.domain.campaign import LineItem
from adserver.engine import localtime

_HOUR_MS: Final = 3600_000
_RAMP: Final = 1000


class Curve(Protocol):
    """Hashable, and equal where it says the same."""

    def weight(self, at_ms: int) -> int: ...

    def until(self, at_ms: int) -> int:
        """The integral of the weight over time, from some beginning to ``at_ms``; scale and beginning are
        the curve's own."""
        ...


class Ramp(Struct, frozen=True):
    """From 3/2 to 1/2 between two instants."""

    start_ms: int
    end_ms: int

    def weight(self, at_ms: int) -> int:
        span = self.end_ms - self.start_ms
        return 3 * _RAMP // 2 - _RAMP * (at_ms - self.start_ms) // span if span > 0 else _RAMP

    def until(self, at_ms: int) -> int:
        gone = at_ms - self.start_ms
        return gone * (3 * (self.end_ms - self.start_ms) - gone)


class Hours(Struct, frozen=True):
    """24 weights of the hours on the wall in ``timezone``."""

    weights: tuple[int, ...]
    timezone: str

    def weight(self, at_ms: int) -> int:
        return self.weights[localtime.hour_of_week(self.timezone, at_ms) % 24]

    def until(self, at_ms: int) -> int:
        day, start_ms, _ = localtime.day_span(self.timezone, at_ms)
        hour = localtime.hour_of_week(self.timezone, at_ms) % 24
        whole = day * sum(self.weights) + sum(self.weights[:hour])
        return whole * _HOUR_MS + self.weights[hour] * ((at_ms - start_ms) % _HOUR_MS)


def of(item: LineItem, timezone: str, start_ms: int, end_ms: int) -> Curve | None:
    """That of a line item whose plan is over [start, end) in all; None: even."""
    if item.pacing == "hourly":
        return Hours(item.hours, timezone)
    return Ramp(start_ms, end_ms) if item.pacing == "frontloaded" else None


def wants(item: LineItem, timezone: str, at_ms: int) -> bool:
    """Whether an ``hourly`` line item wants anything at this hour."""
    return Hours(item.hours, timezone).weight(at_ms) > 0
