"""The plan to date: a straight line from nothing to everything, and by traffic."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from adserver.engine.pacing import (
    LEAST,
    ONE,
    UNIT,
    counted,
    due,
    left_after,
    left_behind,
    plan_to_date,
    reached_ms,
)

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


# -- by traffic ------------------------------------------------------------------------------------

COUNTS = st.integers(0, 10**9)
STEPS = st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=96)


def shares(steps: list[tuple[int, int]]) -> list[int]:
    """What is left behind each of them."""
    whole = sum(expected for _, expected in steps)
    return [left_after(steps[:number], whole) for number in range(len(steps) + 1)]


@given(STEPS)
def test_what_is_left_only_shrinks(steps: list[tuple[int, int]]) -> None:
    left = shares(steps)
    assert left[0] == ONE and left[-1] >= 0
    assert all(later <= earlier for earlier, later in pairwise(left))


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=96))
def test_as_expected_is_the_share_of_the_traffic_so_far(expected: list[int]) -> None:
    whole, so_far = sum(expected), 0
    for number, left in enumerate(shares([(one, one) for one in expected])):
        assert abs(left - ONE * (whole - so_far) / whole) <= number + 1
        so_far += expected[number] if number < len(expected) else 0


@given(STEPS, st.integers(1, 10**9))
def test_the_last_to_come_are_due_all_that_is_left(steps: list[tuple[int, int]], last: int) -> None:
    assert shares([*steps, (last, 5)])[-1] == 0


@given(st.lists(st.integers(1, 10**6), min_size=6, max_size=96), st.data())
def test_an_outage_is_due_nothing_and_is_made_up_for_in_proportion(
    expected: list[int], data: st.DataObject
) -> None:
    """No burst: behind it every step is due more than as planned, all of them by the same factor."""
    start = data.draw(st.integers(1, len(expected) - 2))
    end = data.draw(st.integers(start + 1, len(expected) - 1))
    left = shares([(0 if start <= place < end else one, one) for place, one in enumerate(expected)])
    assert left[start] == left[end]
    whole, behind = sum(expected), sum(expected[end:])
    factor = 1 + sum(expected[start:end]) / behind
    for place in range(end, len(expected)):
        planned = ONE * expected[place] / whole
        assert abs((left[place] - left[place + 1]) - planned * factor) <= len(expected) * factor + 1


@given(st.integers(0, 10**18), st.integers(0, ONE), st.integers(0, ONE))
def test_what_is_due_is_never_more_than_all(total: int, one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert 0 <= due(total, more) <= due(total, less) <= total
    assert (due(total, ONE), due(total, 0)) == (0, total)


def test_in_whole_numbers() -> None:
    assert left_behind(ONE, 0, 10) == ONE
    assert left_behind(ONE, 10, 0) == 0
    assert left_behind(ONE, 1, 2) == -(-ONE * 2 // 3)
    assert due(1000, left_behind(ONE, 1, 1)) == 500


def test_a_bid_counts_by_how_far_its_plan_is_behind() -> None:
    """Of 1200: whole from 100 behind on; towards the last 150 from half of what is to come before them."""
    shares = [counted(1200, 400, done) for done in (450, 400, 350, 301, 300, 0)]
    assert shares == [250, 250, 625, 992, 1000, 1000]
    assert [counted(1200, 1010, done) for done in (1010, 1000, 990)] == [250, 625, 1000]
    for planned in (1060, 1200):
        assert [counted(1200, planned, done) for done in (planned, planned - 1)] == [250, 1000]


@given(st.integers(0, 10**18), st.integers(0, 10**18), st.integers(0, 10**18), st.integers(0, 10**18))
def test_who_has_less_done_counts_no_less(total: int, planned: int, one: int, other: int) -> None:
    planned = min(planned, total)
    little, much = (counted(total, planned, done) for done in sorted((one, other)))
    assert LEAST <= much <= little <= UNIT
