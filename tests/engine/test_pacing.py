"""The plan to date: a straight line from nothing to everything."""

from hypothesis import given
from hypothesis import strategies as st

from adserver.engine.pacing import plan_to_date, reached_ms

TIMES = st.integers(0, 10**13)


@given(st.integers(0, 10**18), TIMES, TIMES, TIMES, TIMES)
def test_it_grows_from_nothing_to_everything(total: int, start: int, end: int, one: int, other: int) -> None:
    early, late = sorted((one, other))
    plans = [plan_to_date(total, start, end, at) for at in (early, late)]
    assert 0 <= plans[0] <= plans[1] <= total
    if start < end:
        assert plan_to_date(total, start, end, start) == 0
        assert plan_to_date(total, start, end, min(start - 1, one)) == 0
    assert plan_to_date(total, start, end, max(end, one)) == total


def test_half_way_is_half() -> None:
    assert plan_to_date(1000, 0, 100, 50) == 500
    assert plan_to_date(999, 0, 100, 50) == 499


def test_a_flight_of_no_length_is_over() -> None:
    assert plan_to_date(10, 5, 5, 0) == 10


@given(st.integers(1, 10**18), st.integers(0, 10**13), st.integers(1, 10**11), st.integers(0, 10**18))
def test_what_is_done_is_reached_at_the_first_instant(total: int, start: int, length: int, done: int) -> None:
    end, done = start + length, min(done, total)
    at_ms = reached_ms(total, start, end, done)
    assert start <= at_ms <= end
    assert plan_to_date(total, start, end, at_ms) >= done
    if start < at_ms < end:
        assert plan_to_date(total, start, end, at_ms - 1) < done
