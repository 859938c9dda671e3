"""How much traffic comes when: counted from what is journalled, expected from what was counted.

The counts are of placements asked for by decisions that the journal has, in steps of a quarter of an hour
(time zones differ by no less). So they come back after a restart by reading the journal again, and stand at
any place of it as they stood then (law 5). What is expected of a step is the mean of the same quarter of the
week in the weeks before, or, in the first week, of the same quarter of the day; times in which nobody came
are left out of a mean, for they tell of outages. A day is paced by traffic from the second day on
(Agarwal et al., Budget pacing for targeted online advertisements at LinkedIn, KDD 2014; see ``pacing``).
"""

from collections.abc import Collection, Iterable
from typing import Final

import msgspec
from msgspec import Struct

from adserver.engine import pacing
from adserver.engine.curves import Curve

STEP_MS: Final = 900_000
_MINUTE_MS: Final = 60_000
_HOUR: Final = 4
_DAY: Final = 96
_DAY_MS: Final = _DAY * STEP_MS
_WEEK: Final = 7 * _DAY
_WEEKS: Final = 4
_KEPT: Final = (_WEEKS + 1) * _WEEK
_LATELY: Final = 24
"""Steps by which the level of today's traffic is judged against what was expected: six hours."""
_LEVEL: Final = 1024
_LEVELS: Final = (_LEVEL // 4, _LEVEL * 4)
_FEW: Final = 4
"""Where somebody is expected in less than a fourth of the steps, little is known, or little happens."""
_FINISH: Final = 24
"""A plan ends a 24th of its time early, a day's at 23:00: what was out of reach until then, or held and not
rendered, has the last hour to be made up for (the paper above paces a day over 22 hours). Hours of weight 0
are not of its time."""
_WINDOWS: Final = 1024


class Course(Struct, frozen=True):
    """Where a plan over some stretch of time should stand. ``left``: of ``pacing.ONE``; ``rest``: expected to
    come until its end, and ``rate``: in a step from now, both in the same unit."""

    left: int
    rest: int
    rate: int


_OVER: Final = Course(0, 0, 0)


class Window(Struct):
    """A stretch of time, as far as it does not change within a step: ``left`` before the step, expected
    ``here`` in it and ``behind`` it; what comes counts ``weight``. ``end``: the step by which all is due."""

    left: int
    here: int
    behind: int
    weight: int
    end: int


class Traffic:
    """``count`` in the order of time."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._step = 0
        self._windows: dict[tuple[int, int, Curve | None], Window | None] = {}

    def count(self, at_ms: int, placements: int) -> None:
        step = at_ms // STEP_MS
        if step not in self._counts:
            self._forget(step - _KEPT)
        self._counts[step] = self._counts.get(step, 0) + placements

    def course(self, start_ms: int, end_ms: int, now_ms: int, curve: Curve | None = None) -> Course | None:
        """Of a plan over [start, end), a day or less; None outside of it, and while too little is known of
        such times."""
        if not start_ms <= now_ms < end_ms:
            return None
        step = now_ms // STEP_MS
        if step != self._step or len(self._windows) >= _WINDOWS:
            self._step = step
            self._windows.clear()
        key = start_ms // STEP_MS, -(-end_ms // STEP_MS), curve
        if key not in self._windows:
            self._windows[key] = self._window(*key)
        window = self._windows[key]
        if window is None:
            return None
        return self._now(window, now_ms) if step < window.end else _OVER

    def days(self, now_ms: int, end_ms: int) -> float:
        """How much traffic is still to come before ``end_ms``, in days: the last of them by what is expected
        of it, or by the clock where nothing is."""
        rest_ms = end_ms - now_ms
        if rest_ms >= _DAY_MS:
            return rest_ms / _DAY_MS
        now, end = now_ms // STEP_MS, end_ms // STEP_MS
        expected = [self._expected(step) for step in range(now, now + _DAY)]
        whole = sum(expected)
        return sum(expected[: max(end - now, 0)]) / whole if whole else max(rest_ms, 0) / _DAY_MS

    def part_of_day(self, hours: Collection[int], since_ms: int, now_ms: int) -> float:
        """How much of a day's traffic these hours (since the epoch) have seen, as far as they lie in [since,
        now): by what is expected of the same hours of the day to come, or by the clock while too little is
        known. A minute at least, by the clock."""
        seen_ms = {
            step: min(now_ms, (step + 1) * STEP_MS) - max(since_ms, step * STEP_MS)
            for hour in hours
            for step in range(hour * _HOUR, (hour + 1) * _HOUR)
        }
        seen_ms = {step: ms for step, ms in seen_ms.items() if ms > 0}
        now = now_ms // STEP_MS
        if self._counts and now - next(iter(self._counts)) >= _DAY:
            whole = sum(map(self._expected, range(now + 1, now + 1 + _DAY))) * STEP_MS
            seen = sum(self._expected(step + _DAY) * ms for step, ms in seen_ms.items())
            if seen and whole:
                return seen / whole
        return max(sum(seen_ms.values()), _MINUTE_MS) / _DAY_MS

    def _now(self, window: Window, now_ms: int) -> Course:
        ahead_ms = STEP_MS - now_ms % STEP_MS
        rest = window.here * ahead_ms // STEP_MS + window.behind
        came = self._counts.get(self._step, 0) * _LEVEL * window.weight
        return Course(pacing.left_behind(window.left, came, rest), rest, window.here)

    def _window(self, start: int, end: int, curve: Curve | None) -> Window | None:
        """``start``, ``end``: steps."""
        if not self._counts or start - next(iter(self._counts)) < _DAY:
            return None
        weights = _weights(start, end, curve)
        expected = {step: self._expected(step) * weight for step, weight in weights.items()}
        whole, known = sum(expected.values()), sum(map(bool, expected.values()))
        if not known or known * _FEW < len(weights):
            return None
        level, counts, now = self._level(), self._counts, self._step
        # What came is weighed against what the level says of the rest.
        past = (
            (counts.get(step, 0) * _LEVEL * weight, expected[step] * level)
            for step, weight in weights.items()
            if step < now
        )
        left = pacing.left_after(past, whole * level)
        here = expected.get(now, 0) * level
        behind = sum(amount for step, amount in expected.items() if step > now) * level
        return Window(left, here, behind, weights.get(now, 0), max(weights) + 1)

    def _expected(self, step: int) -> int:
        counts = self._counts
        known = [counts[at] for at in _before(step, _WEEK, _WEEKS) if at in counts]
        if not known:
            known = [counts[at] for at in _before(step, _DAY, 7) if at in counts]
        return sum(known) // len(known) if known else 0

    def _level(self) -> int:
        """How much more or less came lately than was expected then."""
        lately = [step for step in range(self._step - _LATELY, self._step) if step in self._counts]
        came, expected = sum(self._counts[step] for step in lately), sum(map(self._expected, lately))
        least, most = _LEVELS
        return min(max(came * _LEVEL // expected, least), most) if expected else _LEVEL

    def _forget(self, before: int) -> None:
        while self._counts and (oldest := next(iter(self._counts))) < before:
            del self._counts[oldest]

    # -- checkpoints -------------------------------------------------------------------------------

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(self._counts)

    def load(self, dumped: bytes) -> None:
        self._counts = msgspec.msgpack.decode(dumped, type=dict[int, int]) if dumped else {}
        self._windows.clear()


def _before(step: int, period: int, times: int) -> Iterable[int]:
    """The same place in the periods before, the latest first."""
    return (step - period * number for number in range(1, times + 1))


def _weights(start: int, end: int, curve: Curve | None) -> dict[int, int]:
    """Of the steps of a plan's time in which anything is wanted, without those it ends early."""
    steps = range(start, end)
    weights = {step: curve.weight(step * STEP_MS) if curve is not None else 1 for step in steps}
    wanted = [step for step in steps if weights[step] > 0]
    return {step: weights[step] for step in wanted[: len(wanted) - len(wanted) // _FINISH]}
