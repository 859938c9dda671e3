"""Pacing: how much of a plan should be done by now.

A plan is spread over the days of a flight, evenly or by a curve (``curves``), and within a day by the traffic
that is expected of it: at night, when few come, little is asked for, and a line item with room to choose does
not take every visitor of the small hours only to keep up with a clock (Agarwal et al., Budget pacing for
targeted online advertisements at LinkedIn, KDD 2014). A plan may have any shape, as in Xu et al. (Smart
pacing for effective online ad campaign optimization, KDD 2015); their throttling by bands of response is not
taken, for who ranks first is the auction's to say. The day is cut into steps. Let R be what is still
expected behind a step, and c what came in it, both times the curve's weight: the step is due the share
c / (c + R) of whatever was left of the plan before it. So

* if all comes as expected, what is due is the share of the day's traffic so far;
* a step in which nobody came (an outage) is due nothing, and what it leaves is spread over all that is still
  expected, in proportion: nothing is caught up with in a burst;
* less or more traffic than expected moves what is due with it; the last step is due all that is left.

Throttling is left to whoever compares what is done with what is due: ahead of it waits, behind it competes.
All whole numbers, of ``ONE``; no state, no clock: what came and what is expected are arguments.
"""

from collections.abc import Iterable
from typing import Final

from adserver.engine.curves import Curve

ONE: Final = 1 << 40
"""All of a plan."""
UNIT: Final = 1000
"""All of a bid."""
LEAST: Final = 250
"""No bid counts less than this in the auction, so nobody loses to one of less than a fourth of his own."""
_RANGE: Final = 12
_REST: Final = 2
_LAST: Final = 8


def plan_to_date(total: int, start_ms: int, end_ms: int, now_ms: int, curve: Curve | None = None) -> int:
    """What ``total``, spread evenly or by a curve over [start, end), amounts to by now; 0 before, ``total``
    after."""
    if now_ms >= end_ms or end_ms <= start_ms:
        return total
    if curve is not None:
        return _by_curve(total, curve, start_ms, end_ms, max(now_ms, start_ms))
    return total * max(0, now_ms - start_ms) // (end_ms - start_ms)


def _by_curve(total: int, curve: Curve, start_ms: int, end_ms: int, now_ms: int) -> int:
    """Nothing where the curve wants nothing."""
    before = curve.until(start_ms)
    whole = curve.until(end_ms) - before
    return min(max(total * (curve.until(now_ms) - before) // whole, 0), total) if whole > 0 else 0


def reached_ms(total: int, start_ms: int, end_ms: int, done: int) -> int:
    """The first instant at which the plan to date is at least ``done``: the end at the latest."""
    if total <= 0 or done >= total:
        return end_ms
    return start_ms + -(-done * (end_ms - start_ms) // total)


def left_behind(left: int, came: int, rest: int) -> int:
    """What is left of a plan behind a step (of ``ONE``, rounded up): ``left`` before it, ``came`` in it, and
    ``rest`` still expected behind it."""
    if came <= 0:
        return left
    return -(-left * rest // (came + rest))


def left_after(steps: Iterable[tuple[int, int]], expected: int) -> int:
    """What is left of a whole plan behind steps of (came, was expected), where ``expected`` is all that was
    expected of the plan's time, those steps included."""
    left, rest = ONE, expected
    for came, was_expected in steps:
        rest -= was_expected
        left = left_behind(left, came, rest)
    return left


def counted(total: int, planned: int, done: int) -> int:
    """How much of its bid counts in the auction, in thousandths: all of it for whoever is a twelfth of the
    ``total`` (two hours of a day) behind what is ``planned`` to date, or half of what is to come before the
    last eighth; ``LEAST`` for whoever is not behind. So nobody ends a plan behind it for want of rank."""
    behind, enough = planned - done, min(total // _RANGE, (total - total // _LAST - planned) // _REST)
    if behind <= 0:
        return LEAST
    return UNIT if behind >= enough else LEAST + (UNIT - LEAST) * behind // enough


def due(total: int, left: int) -> int:
    """How much of ``total`` should be done when ``left`` (of ``ONE``) may still be: rounded down."""
    return total * (ONE - left) // ONE
