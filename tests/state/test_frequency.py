"""Law 2, against a checker that knows nothing but the law: any mix of grants, impressions, expiries,
releases, late impressions and restarts, looked at in every instant where a window can change."""

from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from adserver.domain import limits
from adserver.domain.caps import BoundCap, Counted, counted
from adserver.domain.decision import EventKind
from adserver.domain.records import CapTerms, LineItemTerms
from adserver.state.exposure import Exposure
from adserver.state.frequency import Exposures
from adserver.state.memory import MemoryState

ANNA, BEN = b"anna" * 4, b"ben." * 4
MORNING, EVENING = b"morn" * 4, b"even" * 4
RENDER_MS = 900
KEEP_MS = 5000

CAPS = (
    BoundCap("line_item:1", 2, 1000),
    BoundCap("line_item:1", 3, 5000),
    BoundCap("campaign:1", 4, 3000),
    BoundCap("advertiser:1", 1, 50),
    BoundCap("line_item:1", 2, 4000, "click"),
    BoundCap("line_item:1", 1, 10**6, "impression", session=True),
)


class Shown:
    """What the law knows of an exposure."""

    def __init__(self, who: bytes, session: bytes, caps: tuple[BoundCap, ...], at_ms: int) -> None:
        self.who, self.session, self.caps = who, session, caps
        self.decided_ms, self.ends_ms = at_ms, at_ms + RENDER_MS
        self.confirmed_ms: int | None = None
        self.clicks: list[int] = []
        self.gone_ms: int | None = None

    def counts(self, cap: BoundCap, at_ms: int) -> int:
        """Outstanding + confirmed in (t - per, t], of this exposure, under this cap."""
        if cap not in self.caps:
            return 0
        if cap.event == "click":
            return sum(at_ms - cap.per_ms < click <= at_ms for click in self.clicks)
        if self.confirmed_ms is not None and self.confirmed_ms <= at_ms:
            return at_ms - cap.per_ms < self.confirmed_ms
        if self.gone_ms is not None and self.gone_ms <= at_ms:
            return 0
        return self.decided_ms <= at_ms <= self.ends_ms


class Law2(RuleBasedStateMachine):
    """``admits`` is asked as admission asks; the model says what the answer must be: not only no more than
    the law allows, but also no less."""

    most_clicks = 1000

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 10_000
        self.state: Any = Exposures()
        self.ids = count(1)
        self.shown: dict[bytes, Shown] = {}

    @initialize(caps=st.sets(st.sampled_from(CAPS), min_size=1))
    def begin(self, caps: set[BoundCap]) -> None:
        self.caps = tuple(caps)

    def total(self, who: bytes, session: bytes, cap: BoundCap, at_ms: int) -> int:
        return sum(
            shown.counts(cap, at_ms)
            for shown in self.shown.values()
            if (shown.session == session if cap.session else shown.who == who)
        )

    @rule(ms=st.one_of(st.integers(0, 60), st.sampled_from((RENDER_MS, RENDER_MS + 1, 1000, 2999, 5000))))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    @rule(
        who=st.sampled_from((ANNA, BEN)), session=st.sampled_from((MORNING, EVENING)), times=st.integers(1, 4)
    )
    def decide(self, who: bytes, session: bytes, times: int) -> None:
        for _ in range(times):
            self.state.sweep(self.now_ms)
            full = any(self.state.full(cap, who, session, self.now_ms) for cap in self.caps)
            room = all(self.total(who, session, cap, self.now_ms) < cap.limit for cap in self.caps)
            assert full is not room
            if room:
                self.grant(who, session)

    def grant(self, who: bytes, session: bytes) -> None:
        ident = next(self.ids).to_bytes(16, "big")
        counts = counted(self.caps, "impression")
        ends_ms = self.now_ms + RENDER_MS
        self.state.grant(ident, Exposure(who, session, counts, ends_ms, ends_ms + KEEP_MS))
        self.shown[ident] = Shown(who, session, self.caps, self.now_ms)

    def pick(self, draw: Any, wanted: Any) -> bytes | None:
        found = [ident for ident, shown in self.shown.items() if wanted(shown)]
        return draw.draw(st.sampled_from(found)) if found else None

    @rule(data=st.data())
    def render(self, data: Any) -> None:
        """In time, too late, or after a release: it was seen, so it counts from now on."""
        ident = self.pick(data, lambda shown: shown.confirmed_ms is None and self.kept(shown))
        if ident is not None:
            shown = self.shown[ident]
            self.state.confirm(ident, shown.who, counted(self.caps, "impression"), self.now_ms)
            shown.confirmed_ms = self.now_ms

    def kept(self, shown: Shown) -> bool:
        """A session is remembered for as long as a token may name the exposure, and no longer."""
        return shown.gone_ms is None and self.now_ms <= shown.ends_ms + KEEP_MS

    @rule(data=st.data())
    def click(self, data: Any) -> None:
        ident = self.pick(data, lambda shown: self.kept(shown) and len(shown.clicks) < self.most_clicks)
        if ident is not None:
            shown = self.shown[ident]
            counts = counted(self.caps, "click")
            self.state.move(ident, EventKind.CLICK, shown.who, counts, self.now_ms)
            shown.clicks.append(self.now_ms)

    @rule(data=st.data())
    def release(self, data: Any) -> None:
        ident = self.pick(data, lambda shown: shown.confirmed_ms is None and shown.gone_ms is None)
        if ident is not None:
            shown, released = self.shown[ident], self.state.release(ident)
            assert not self.state.release(ident)
            if self.now_ms <= shown.ends_ms:
                assert released
            if released:
                shown.gone_ms = self.now_ms

    @rule()
    def restart(self) -> None:
        dumped = self.state.dump()
        self.state = Exposures()
        self.state.load(dumped)

    @rule()
    def forget(self) -> None:
        self.state.forget(self.now_ms)

    @invariant()
    def the_law_holds_at_every_instant(self) -> None:
        """A window's count only changes where one of its ends meets an event, or now."""
        if not self.shown:
            return
        times = {self.now_ms}
        for shown in self.shown.values():
            times |= {shown.decided_ms, shown.confirmed_ms or shown.decided_ms}
        for cap in self.caps:
            if cap.event != "impression":
                continue  # Clicks come when they come: they bound what is decided after them.
            late = self.late_ones(cap)
            for at_ms in times:
                for who in (ANNA, BEN):
                    for session in (MORNING, EVENING):
                        most = cap.limit + late
                        assert self.total(who, session, cap, at_ms) <= most

    def late_ones(self, cap: BoundCap) -> int:
        """Impressions after the expiry cannot be prevented."""
        return sum(
            shown.confirmed_ms is not None and shown.confirmed_ms > shown.ends_ms
            for shown in self.shown.values()
        )


TestLaw2 = Law2.TestCase
TestLaw2.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


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
