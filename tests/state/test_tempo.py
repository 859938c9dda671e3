"""Tempo: nobody under the limit is too fast, everybody well above it is, and what is kept is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from adserver.state.tempo import Fading, Tempo

NOW_MS = 1_780_315_200_000
STEPS = st.lists(st.sampled_from([0, 1, 999, 1000, 7_500, 30_000, 59_999, 60_000, 60_001]), max_size=60)


@given(STEPS, st.integers(1, 7))
def test_who_keeps_to_the_limit_in_every_minute_is_never_too_fast(steps: list[int], limit: int) -> None:
    """Whatever the minute: a window (t - 60 s, t] with more than ``limit`` events is waited out."""
    tempo, now_ms, times = Tempo[bytes](limit, 100), NOW_MS, list[int]()
    for step in steps:
        now_ms += step
        if sum(at > now_ms - 60_000 for at in times) < limit:
            times.append(now_ms)
            assert not tempo.exceeds(b"anna", now_ms, True)
        else:
            tempo.exceeds(b"anna", now_ms, False)


@given(st.integers(1, 300), st.integers(0, 60_000))
def test_the_limit_at_once_and_one_more(limit: int, offset: int) -> None:
    tempo, now_ms = Tempo[bytes](limit, 100), NOW_MS + offset
    assert not any(tempo.exceeds(b"anna", now_ms, True) for _ in range(limit))
    assert not tempo.exceeds(b"anna", now_ms, False), "as it stands it is the limit"
    assert tempo.exceeds(b"anna", now_ms, True)
    assert tempo.exceeds(b"anna", now_ms, False)
    assert not tempo.exceeds(b"bert", now_ms, True)


@given(st.integers(1, 50), st.integers(1, 40))
def test_faster_than_the_limit_for_long_is_too_fast_all_along(limit: int, more: int) -> None:
    """At any steady pace above the limit: exceeded within a time, and from then on."""
    tempo, told = Tempo[int](limit, 100), list[bool]()
    for number in range(8 * limit * (limit + more) // more + 60):
        told.append(tempo.exceeds(7, NOW_MS + number * 60_000 // (limit + more), True))
    assert told[-1] and told == sorted(told), "once too fast, too fast until slower"


@given(
    st.integers(1, 3), st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from([0, 900, 60_000]), st.lists(st.sampled_from([1, 2, 3, None])))),
)  # fmt: skip
def test_a_run_of_events_is_what_they_are_one_by_one(
    limit: int, most: int, runs: list[tuple[int, list[int | None]]]
) -> None:
    together, alone, now_ms = Tempo[int](limit, most), Tempo[int](limit, most), NOW_MS
    for step, keys in runs:
        now_ms += step
        fast = [place for place, key in enumerate(keys) if key and alone.exceeds(key, now_ms, True)]
        assert together.exceeding(keys, now_ms) == fast
        assert (together._young, together._old, together._gone) == (alone._young, alone._old, alone._gone)


@given(st.integers(1, 20))
def test_a_minute_of_quiet_mends_all_but_one(limit: int) -> None:
    tempo = Tempo[int](limit, 100)
    for _ in range(10 * limit):
        tempo.exceeds(7, NOW_MS, True)
    later = NOW_MS + 60_000
    assert not any(tempo.exceeds(7, later, True) for _ in range(limit - 1))
    assert tempo.exceeds(7, later, True)


def test_a_clock_that_stands_still_or_a_limit_that_is_large() -> None:
    tempo = Tempo[int](999_999_999, 100)
    assert not any(tempo.exceeds(7, NOW_MS, True) for _ in range(1000))


def test_what_nobody_touched_is_forgotten_and_no_sooner() -> None:
    fading = Fading[int](1000, 100)
    fading.put(1, 11, NOW_MS)
    for step in range(1, 11):
        fading.put(2, step, NOW_MS + step * 100)
    assert fading.get(1) == 11
    for step in range(11, 40):
        fading.put(2, step, NOW_MS + step * 100)
    assert fading.get(1) is None and fading.get(2) == 39


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0, 1, 400, 1001, 5000])), max_size=200))
def test_kept_as_long_as_promised(puts: list[tuple[int, int]]) -> None:
    fading, now_ms, latest = Fading[int](1000, 1000), NOW_MS, dict[int, tuple[int, int]]()
    for number, (key, step) in enumerate(puts):
        now_ms += step
        fading.put(key, number, now_ms)
        latest[key] = (number, now_ms)
        for known, (value, at_ms) in latest.items():
            assert fading.get(known) in ((value,) if now_ms - at_ms <= 1000 else (value, None))


@given(st.lists(st.tuples(st.sampled_from([0, 600, 5000]), st.lists(st.integers(0, 9)))))
def test_a_run_is_put_as_one_by_one(runs: list[tuple[int, list[int]]]) -> None:
    together, alone, now_ms = Fading[int](1000, 4), Fading[int](1000, 4), NOW_MS
    for step, keys in runs:
        now_ms += step
        together.put_all(keys, now_ms, now_ms)
        for key in keys:
            alone.put(key, now_ms, now_ms)
        assert (together._young, together._old, together._gone) == (alone._young, alone._old, alone._gone)


def test_a_crowd_makes_no_table_larger() -> None:
    fading = Fading[int](60_000, 50)
    for number in range(10_000):
        fading.put(number, number, NOW_MS)
        assert len(fading) <= 150
        assert fading.get(number) == number
