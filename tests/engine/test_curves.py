"""Curves: weights of time, and their integrals."""

from hypothesis import given
from hypothesis import strategies as st

from adserver.engine.curves import Hours, Ramp
from adserver.engine.pacing import plan_to_date

HOUR_MS = 3600_000
DAY_MS = 24 * HOUR_MS
MIDNIGHT_MS = 1_780_264_800_000
"""2026-06-01T00:00 in Paris, a Monday."""
PARIS = "Europe/Paris"

STEP_MS = 900_000
STEPS = st.integers(0, 400)
WEIGHTS = st.lists(st.integers(0, 1000), min_size=24, max_size=24).filter(any).map(tuple)


def to_date(curve: Hours | Ramp, start: int, end: int, at: int, total: int = 10**9) -> int:
    return plan_to_date(total, MIDNIGHT_MS + start, MIDNIGHT_MS + end, MIDNIGHT_MS + at, curve)


def test_frontloaded_is_five_eighths_at_half_time() -> None:
    ramp = Ramp(MIDNIGHT_MS, MIDNIGHT_MS + 10 * DAY_MS)
    assert to_date(ramp, 0, 10 * DAY_MS, 5 * DAY_MS, 1000) == 625
    assert (ramp.weight(MIDNIGHT_MS), ramp.weight(MIDNIGHT_MS + 10 * DAY_MS)) == (1500, 500)


@given(STEPS, STEPS, STEPS)
def test_frontloaded_is_never_behind_even(length: int, one: int, other: int) -> None:
    end = (length + 1) * STEP_MS
    ramp, total = Ramp(MIDNIGHT_MS, MIDNIGHT_MS + end), 10**9
    early, late = (min(at * STEP_MS, end) for at in sorted((one, other)))
    assert to_date(ramp, 0, end, early) <= to_date(ramp, 0, end, late) <= total
    assert plan_to_date(total, 0, end, early) <= to_date(ramp, 0, end, early)
    assert to_date(ramp, 0, end, end) == total


@given(WEIGHTS, STEPS, STEPS, STEPS)
def test_hours_are_the_sum_of_their_weights(
    weights: tuple[int, ...], start: int, length: int, place: int
) -> None:
    """Against counting quarter hours one by one."""
    hours, first, steps = Hours(weights, PARIS), start * STEP_MS, length + 1
    each = [hours.weight(MIDNIGHT_MS + first + step * STEP_MS) for step in range(steps)]
    done = min(place, length)
    expected = 10**9 * sum(each[:done]) // sum(each) if sum(each) else 0
    assert to_date(hours, first, first + steps * STEP_MS, first + done * STEP_MS) == expected


def test_an_hour_is_that_on_the_wall() -> None:
    nine = Hours(tuple(int(hour == 9) for hour in range(24)), PARIS)
    assert [nine.weight(MIDNIGHT_MS + hour * HOUR_MS) for hour in (8, 9, 10)] == [0, 1, 0]
    assert to_date(nine, 0, DAY_MS, 9 * HOUR_MS + HOUR_MS // 4, 100) == 25
    winter_ms = 193 * DAY_MS + HOUR_MS
    assert nine.weight(MIDNIGHT_MS + winter_ms + 9 * HOUR_MS) == 1


def test_where_nothing_is_wanted_nothing_is_due() -> None:
    nine = Hours(tuple(int(hour == 9) for hour in range(24)), PARIS)
    assert to_date(nine, 12 * HOUR_MS, 20 * HOUR_MS, 18 * HOUR_MS) == 0
