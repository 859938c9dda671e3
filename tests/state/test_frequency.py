"""Counters of exposures in memory: windows to the millisecond, and what is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import ANNA, BEN, EVENING, KEEP_MS, MORNING, RENDER_MS

from adserver.domain import limits
from adserver.domain.caps import BoundCap, Counted, counted
from adserver.domain.records import CapTerms, LineItemTerms
from adserver.state.exposure import Exposure
from adserver.state.frequency import Exposures
from adserver.state.memory import MemoryState

CAP = BoundCap("line_item:1", 1, 1000)
COUNTS = counted((CAP,), "impression")


def granted(state: Exposures, at_ms: int, ident: bytes = b"1" * 16, who: bytes | None = ANNA) -> None:
    state.grant(ident, Exposure(who, None, COUNTS, at_ms + RENDER_MS, at_ms + RENDER_MS))


def test_the_window_is_half_open_to_the_millisecond() -> None:
    state = Exposures()
    granted(state, 0)
    state.confirm(b"1" * 16, ANNA, COUNTS, 500)
    assert state.full(CAP, ANNA, None, 1499)
    assert not state.full(CAP, ANNA, None, 1500)


def test_an_exposure_is_outstanding_through_its_last_millisecond() -> None:
    state = Exposures()
    granted(state, 0)
    state.sweep(RENDER_MS)
    assert state.full(CAP, ANNA, None, RENDER_MS)
    state.sweep(RENDER_MS + 1)
    assert not state.full(CAP, ANNA, None, RENDER_MS + 1)


def test_an_outstanding_exposure_counts_however_old_it_is() -> None:
    state = Exposures()
    short = BoundCap("line_item:1", 1, 10)
    granted(state, 0)
    assert state.full(short, ANNA, None, RENDER_MS)


@given(st.lists(st.integers(0, 10_000), max_size=30), st.integers(1, 5000))
def test_times_out_of_order_never_free_a_cap_early(times: list[int], per_ms: int) -> None:
    """A clock set back counts an event later, never earlier than it was."""
    state = Exposures()
    counts = (Counted("line_item:1", per_ms),)
    for at_ms in times:
        state.count(ANNA, None, counts, at_ms)
    now_ms = max(times, default=0)
    for limit in range(1, len(times) + 2):
        cap = BoundCap("line_item:1", limit, per_ms)
        truly = sum(now_ms - per_ms < at_ms <= now_ms for at_ms in times)
        assert state.full(cap, ANNA, None, now_ms) or truly < limit


def test_a_session_is_remembered_as_long_as_its_exposure_is_kept() -> None:
    """A cap per session counts what comes after the expiry too: a late impression, a click."""
    cap = BoundCap("line_item:1", 1, 10**6, "impression", session=True)
    click = BoundCap("line_item:1", 1, 10**6, "click", session=True)
    state = Exposures()
    state.grant(b"1" * 16, Exposure(ANNA, MORNING, counted((cap,), "impression"), RENDER_MS, KEEP_MS))
    state.sweep(RENDER_MS + 1)
    assert state.session_of(b"1" * 16) == MORNING
    state.confirm(b"1" * 16, ANNA, counted((cap,), "impression"), RENDER_MS + 1)
    state.count(ANNA, state.session_of(b"1" * 16), counted((click,), "click"), RENDER_MS + 2)
    assert state.full(cap, ANNA, MORNING, RENDER_MS + 2)
    assert state.full(click, ANNA, MORNING, RENDER_MS + 2)
    assert not state.full(cap, ANNA, EVENING, RENDER_MS + 2)
    state.sweep(KEEP_MS + 1)
    assert len(state) == 0


def test_an_impression_after_its_expiry_ends_no_other_exposure() -> None:
    cap, exposures = BoundCap("line_item:1", 2, 1000, session=True), Exposures()
    counts = counted((cap,), "impression")
    exposures.grant(b"first", Exposure(None, MORNING, counts, 100, 5000))
    exposures.sweep(101)
    exposures.grant(b"second", Exposure(None, MORNING, counts, 1000, 1000))
    exposures.confirm(b"first", None, (), 200)
    assert exposures.full(cap, None, MORNING, 300)


def test_nobody_is_never_full_and_leaves_no_trace() -> None:
    state = Exposures()
    granted(state, 0, who=None)
    assert not state.full(CAP, None, None, 0)
    assert state.people == 0
    state.sweep(RENDER_MS + 1)
    assert len(state) == 0


def test_people_are_forgotten_when_nothing_counts_any_more() -> None:
    state = Exposures()
    for number in range(1000):
        who = number.to_bytes(16, "big")
        granted(state, 0, who, who)
        state.confirm(who, who, COUNTS, 1)
    assert state.people == 1000
    later = 91 * 86_400_000
    for _ in range(10):
        state.sweep(later)
        state.forget(later)
    assert (state.people, len(state)) == (0, 0)


def test_what_still_counts_is_not_forgotten() -> None:
    state = Exposures()
    quarter = BoundCap("line_item:1", 1, 90 * 86_400_000)
    counts = counted((quarter,), "impression")
    state.count(ANNA, None, counts, 1000)
    for now_ms in range(1000, 1000 + quarter.per_ms, quarter.per_ms // 7):
        state.forget(now_ms)
    assert state.full(quarter, ANNA, None, 999 + quarter.per_ms)


def test_a_window_that_grew_keeps_who_was_counted_before() -> None:
    state = Exposures()
    for per_ms, at_ms in ((1000, 0), (5000, 900)):
        cap = BoundCap("line_item:1", 1, per_ms)
        state.count(ANNA, None, counted((cap,), "impression"), at_ms)
    state.forget(5899)
    assert state.full(cap, ANNA, None, 5899)


def test_a_window_that_shrank_and_grew_again_sees_what_it_saw() -> None:
    """The longer cap was in force when each was shown, or before; law 2 counts them all."""
    state = Exposures()
    for per_ms, at_ms in ((5000, 0), (1000, 2000), (1000, 4000)):
        cap = BoundCap("line_item:1", 3, per_ms)
        state.count(ANNA, None, counted((cap,), "impression"), at_ms)
    longest = BoundCap("line_item:1", 3, 5000)
    assert state.full(longest, ANNA, None, 4999)
    assert not state.full(longest, ANNA, None, 5000)


def test_no_more_times_are_kept_than_a_limit_can_ask_for() -> None:
    state = Exposures()
    widest = BoundCap("line_item:1", limits.CAP_LIMIT_MAX, 10**9)
    for at_ms in range(2 * limits.CAP_LIMIT_MAX):
        state.count(ANNA, None, counted((widest,), "impression"), at_ms)
    assert state.full(widest, ANNA, None, 2 * limits.CAP_LIMIT_MAX)
    assert len(state._counters[ANNA]["line_item:1"]) == 1 + limits.CAP_LIMIT_MAX


def test_reservations_of_a_person_are_counted() -> None:
    state = MemoryState()
    for number in range(5):
        granted(state, 0, number.to_bytes(16, "big"))
    assert (state.outstanding(ANNA), state.outstanding(BEN), state.outstanding(None)) == (5, 0, 0)
    state.release((0).to_bytes(16, "big"))
    state.confirm((1).to_bytes(16, "big"), ANNA, COUNTS, 5)
    assert state.outstanding(ANNA) == 3
    again = MemoryState()
    again.load(state.dump())
    assert again.outstanding(ANNA) == 3
    again.sweep(RENDER_MS + 1)
    assert again.outstanding(ANNA) == 0


@pytest.mark.parametrize("event", ["impression", "viewable", "click"])
def test_counted_names_each_counter_once_with_its_longest_window(event: str) -> None:
    caps = tuple(BoundCap("campaign:1", 1, per_ms, event) for per_ms in (10, 30, 20))  # type: ignore[arg-type]
    (found,) = counted(caps, event)
    assert found.keep_ms == 30
    assert counted(caps, "hide") == ()


def longer(at_ms: int, per_ms: int) -> LineItemTerms:
    caps = (CapTerms("line_item:1", 1, per_ms, "impression"),)
    return LineItemTerms(at_ms, 1, 1, "a/b/c", 1, 1, "EUR", "UTC", "cpm", 1, caps)


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_longer_window_looks_back_as_far_as_the_shorter_one(forgotten: bool) -> None:
    """Whether a tick has forgotten what was over by then or not (law 5)."""
    state = MemoryState()
    state.promise(longer(0, 1000))
    for who, at_ms in ((ANNA, 5000), (BEN, 5500)):
        state.count(who, None, (Counted("line_item:1", 1000),), at_ms)
    if forgotten:
        state.forget(6200)
    cap = BoundCap("line_item:1", 1, 10_000)
    before = [state.full(cap, who, None, 6200) for who in (ANNA, BEN)]
    state.promise(longer(6200, 10_000))
    assert before == [state.full(cap, who, None, 6200) for who in (ANNA, BEN)] == [False, True]
    again = MemoryState()
    again.load(state.dump())
    assert [again.full(cap, who, None, 15_000) for who in (ANNA, BEN)] == [False, True]
    assert not again.full(cap, BEN, None, 15_500)
