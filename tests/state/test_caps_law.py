"""Law 2, against a checker that knows nothing but the law: any mix of grants, impressions, expiries,
releases, late impressions and restarts, looked at in every instant where a window can change. One machine
over every store; where several decide, whatever one of them believes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from itertools import count
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from servers.redis_cluster import RedisCluster
from servers.redis_server import Redis
from stores import (
    ANNA,
    BEN,
    EVENING,
    KEEP_MS,
    MORNING,
    RENDER_MS,
    Caps,
    Clock,
    Memory,
    Shared,
    Store,
    shared,
)

from adserver.domain.caps import BoundCap
from adserver.state.shared.keys import tag

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

    def __init__(self, who: bytes, session: bytes, caps: Caps, at_ms: int) -> None:
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
    """The store is asked as a decision asks; the model says what the answer must be: not only no more than
    the law allows, but also no less. ``opens``: an empty store."""

    opens: ClassVar[Callable[[Clock], AbstractContextManager[Store]]]

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 10_000
        self.ids = count(1)
        self.shown: dict[bytes, Shown] = {}
        self.opened = ExitStack()
        self.store = self.opened.enter_context(type(self).opens(lambda: self.now_ms))

    def teardown(self) -> None:
        self.opened.close()

    @initialize(caps=st.sets(st.sampled_from(CAPS), min_size=1))
    def begin(self, caps: set[BoundCap]) -> None:
        self.caps = tuple(caps)

    def total(self, who: bytes, session: bytes, cap: BoundCap, at_ms: int) -> int:
        return sum(
            shown.counts(cap, at_ms)
            for shown in self.shown.values()
            if self.counts_for(shown, who, session, cap)
        )

    def counts_for(self, shown: Shown, who: bytes, session: bytes, cap: BoundCap) -> bool:
        return shown.session == session if cap.session else shown.who == who

    @rule(ms=st.one_of(st.integers(0, 60), st.sampled_from((RENDER_MS, RENDER_MS + 1, 1000, 2999, 5000))))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    def room(self, who: bytes, session: bytes) -> bool:
        return all(self.total(who, session, cap, self.now_ms) < cap.limit for cap in self.caps)

    @rule(
        who=st.sampled_from((ANNA, BEN)), session=st.sampled_from((MORNING, EVENING)), times=st.integers(1, 4)
    )
    def decide(self, who: bytes, session: bytes, times: int) -> None:
        for _ in range(times):
            full = any(self.store.full(cap, who, session) for cap in self.caps)
            assert full is not self.room(who, session)
            self.grant(who, session, knowing=True)

    @rule(who=st.sampled_from((ANNA, BEN)), session=st.sampled_from((MORNING, EVENING)))
    def propose(self, who: bytes, session: bytes) -> None:
        """Whoever decides knows nothing: the store does."""
        self.grant(who, session, knowing=False)

    def grant(self, who: bytes, session: bytes, knowing: bool) -> None:
        ident, room = next(self.ids).to_bytes(16, "big"), self.room(who, session)
        assert self.store.grant(ident, who, session, self.caps, knowing) is room
        if room:
            self.shown[ident] = Shown(who, session, self.caps, self.now_ms)

    @rule(who=st.sampled_from((ANNA, BEN)), session=st.sampled_from((MORNING, EVENING)))
    def guess(self, who: bytes, session: bytes) -> None:
        """A worker that is alone knows what is known to all."""
        if not isinstance(self.store, Shared) or len(self.store.workers) > 1:
            return
        (alone,) = self.store.workers
        guessed, known = alone.guess(who, session), alone.look(who, session)
        if guessed is None:
            return
        assert guessed.exposures.outstanding(who) == known.exposures.outstanding(who)
        for cap in self.caps:
            full = [one.exposures.full(cap, who, session, self.now_ms) for one in (guessed, known)]
            # What one session saw of two people is one here, so that it is taken for full sooner.
            assert full[0] == full[1] or (cap.session and full[0])

    def pick(self, draw: Any, wanted: Any) -> bytes | None:
        found = [ident for ident, shown in self.shown.items() if wanted(shown)]
        return draw.draw(st.sampled_from(found)) if found else None

    @rule(data=st.data())
    def render(self, data: Any) -> None:
        """In time, too late, or after a release: it was seen, so it counts from now on."""
        ident = self.pick(data, lambda shown: shown.confirmed_ms is None and self.kept(shown))
        if ident is not None:
            shown = self.shown[ident]
            self.store.confirm(ident, shown.who, self.caps)
            shown.confirmed_ms = self.now_ms

    def kept(self, shown: Shown) -> bool:
        """A session is remembered for as long as a token may name the exposure, and no longer."""
        return shown.gone_ms is None and self.now_ms <= shown.ends_ms + KEEP_MS

    @rule(data=st.data())
    def click(self, data: Any) -> None:
        """Told once, as each kind of event of an ad is."""
        ident = self.pick(data, lambda shown: self.kept(shown) and not shown.clicks)
        if ident is not None:
            shown = self.shown[ident]
            self.store.click(ident, shown.who, self.caps)
            shown.clicks.append(self.now_ms)

    @rule(data=st.data())
    def release(self, data: Any) -> None:
        ident = self.pick(data, lambda shown: shown.confirmed_ms is None and shown.gone_ms is None)
        if ident is not None:
            shown, released = self.shown[ident], self.store.release(ident)
            assert not self.store.release(ident)
            if self.now_ms <= shown.ends_ms:
                assert released
            if released:
                shown.gone_ms = self.now_ms

    @rule()
    def restart(self) -> None:
        self.store.restart()

    @rule()
    def forget(self) -> None:
        self.store.forget()

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


def holds(opens: Callable[[Clock], AbstractContextManager[Store]], examples: int) -> None:
    machine = type("Law2Of", (Law2,), {"opens": staticmethod(opens)})
    # The server is the test's, and is emptied for each example.
    much = settings(
        max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=much)


def test_law_2_in_memory() -> None:
    holds(lambda clock: nullcontext(Memory(clock)), 150)


@pytest.mark.parametrize("workers", [1, 2])
def test_law_2_in_redis(redis_server: Redis, workers: int) -> None:
    def opens(clock: Clock) -> AbstractContextManager[Store]:
        redis_server.ask("FLUSHALL")
        return shared(redis_server.url, clock, workers)

    holds(opens, 15)


@pytest.mark.slow
def test_law_2_in_a_redis_cluster(redis_cluster: RedisCluster) -> None:
    def opens(clock: Clock) -> AbstractContextManager[Store]:
        redis_cluster.empty()
        return shared(redis_cluster.url, clock)

    assert len({redis_cluster.master_of(f"{{{tag(who).decode()}}}") for who in (ANNA, BEN, MORNING)}) > 1
    holds(opens, 5)
