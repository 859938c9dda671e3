"""What every store of people's state keeps to: memory, a real Redis and a Redis Cluster."""

from collections.abc import Iterator
from typing import Any

import pytest
from remote import Remote
from stores import ANNA, BEN, EVENING, MORNING, RENDER_MS, Memory, Shared, Store, shared
from test_feeds import IDLE, NOW, answer, ask
from world import Ticks

from adserver.domain import limits
from adserver.domain.caps import BoundCap
from adserver.domain.feeds import Ahead, Standing
from adserver.state.shared.keys import Who

SERVERS = {"redis": "redis_server", "cluster": "redis_cluster"}
"""The fixture whose ``url`` it is."""


@pytest.fixture
def clock() -> Ticks:
    return Ticks(NOW)


@pytest.fixture(params=["memory", "redis", pytest.param("cluster", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, clock: Ticks) -> Iterator[Store]:
    if request.param == "memory":
        yield Memory(clock)
    else:
        with shared(request.getfixturevalue(SERVERS[request.param]).url, clock) as opened:
            yield opened


@pytest.fixture
def workers(redis_server: Any, clock: Ticks) -> Iterator[list[Remote]]:
    with shared(redis_server.url, clock) as opened:
        yield list(opened.workers)


CAP = BoundCap("line_item:1", 2, 10_000)
OFTEN = BoundCap("campaign:1", 250, 10_000)
CLICKS = BoundCap("line_item:1", 1, 10_000, "click")
A_SESSION = BoundCap("line_item:1", 1, 10_000, "impression", session=True)


def name(number: int) -> bytes:
    return number.to_bytes(16, "big")


def ahead(store: Store, page: int, account: bytes = ANNA) -> int:
    """Which page it would be."""
    with pytest.raises(Ahead) as found:
        store.turn(page, account)
    return found.value.expected_page


class TestState:
    # -- caps --------------------------------------------------------------------------------------

    @pytest.mark.parametrize("knowing", [True, False])
    def test_as_many_as_the_cap_says(self, store: Store, knowing: bool) -> None:
        granted = [store.grant(name(n), ANNA, MORNING, (CAP, OFTEN), knowing) for n in range(4)]
        assert granted == [True, True, False, False]
        assert store.full(CAP, ANNA, MORNING) and not store.full(OFTEN, ANNA, MORNING)
        assert store.grant(name(9), BEN, MORNING, (CAP, OFTEN), knowing), "others are others"
        assert (store.outstanding(ANNA), store.outstanding(BEN)) == (2, 1)

    def test_a_window_ends_to_the_millisecond(self, store: Store, clock: Ticks) -> None:
        for number in range(2):
            store.grant(name(number), ANNA, MORNING, (CAP,))
            store.confirm(name(number), ANNA, (CAP,))
            clock.ms += 100
        clock.ms = NOW + CAP.per_ms - 1
        assert store.full(CAP, ANNA, MORNING)
        clock.ms += 1
        assert not store.full(CAP, ANNA, MORNING)
        assert store.grant(name(2), ANNA, MORNING, (CAP,), knowing=False)
        assert store.full(CAP, ANNA, MORNING)

    def test_what_is_not_shown_in_time_counts_no_more(self, store: Store, clock: Ticks) -> None:
        for number in range(2):
            store.grant(name(number), ANNA, MORNING, (CAP,))
        clock.ms += RENDER_MS
        assert store.full(CAP, ANNA, MORNING) and store.outstanding(ANNA) == 2
        clock.ms += 1
        assert not store.full(CAP, ANNA, MORNING) and store.outstanding(ANNA) == 0
        store.confirm(name(0), ANNA, (CAP,))
        assert store.grant(name(2), ANNA, MORNING, (CAP,), knowing=False), "shown late, it is one"
        assert not store.grant(name(3), ANNA, MORNING, (CAP,), knowing=False)

    def test_what_is_released_counts_no_more(self, store: Store) -> None:
        for number in range(2):
            store.grant(name(number), ANNA, MORNING, (CAP,))
        assert store.release(name(0)) and not store.release(name(0))
        assert store.outstanding(ANNA) == 1 and not store.full(CAP, ANNA, MORNING)
        store.confirm(name(1), ANNA, (CAP,))
        assert not store.release(name(1)), "it was shown"
        assert store.outstanding(ANNA) == 0
        assert store.grant(name(2), ANNA, MORNING, (CAP,)) and store.full(CAP, ANNA, MORNING)

    def test_clicks_count_when_they_come(self, store: Store, clock: Ticks) -> None:
        assert store.grant(name(0), ANNA, MORNING, (CLICKS,))
        assert not store.full(CLICKS, ANNA, MORNING)
        store.click(name(0), ANNA, (CLICKS,))
        assert store.full(CLICKS, ANNA, MORNING)
        assert not store.grant(name(1), ANNA, MORNING, (CLICKS,), knowing=False)
        clock.ms += CLICKS.per_ms
        assert store.grant(name(2), ANNA, MORNING, (CLICKS,), knowing=False)

    def test_a_session_has_counters_of_its_own(self, store: Store) -> None:
        assert store.grant(name(0), ANNA, MORNING, (A_SESSION,))
        assert not store.grant(name(1), ANNA, MORNING, (A_SESSION,), knowing=False)
        assert store.grant(name(2), ANNA, EVENING, (A_SESSION,), knowing=False)

    @pytest.mark.parametrize("knowing", [True, False])
    def test_nobody_has_more_outstanding_than_anybody_may(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, knowing: bool
    ) -> None:
        monkeypatch.setattr(limits, "OUTSTANDING_PER_PERSON", 5)
        granted = [store.grant(name(n), ANNA, MORNING, (), knowing) for n in range(7)]
        assert granted == [True] * 5 + [False] * 2
        assert store.release(name(0)) and store.grant(name(7), ANNA, MORNING, (), knowing)

    def test_nothing_is_forgotten_by_whoever_begins_anew(self, store: Store) -> None:
        for number in range(2):
            store.grant(name(number), ANNA, MORNING, (CAP,))
        store.confirm(name(0), ANNA, (CAP,))
        store.restart()
        assert store.full(CAP, ANNA, MORNING) and store.outstanding(ANNA) == 1
        assert store.release(name(1)) and not store.full(CAP, ANNA, MORNING)

    # -- request ids -------------------------------------------------------------------------------

    @pytest.mark.parametrize("knowing", [True, False])
    def test_an_id_has_one_answer(self, store: Store, knowing: bool) -> None:
        said = [store.repeat(ANNA, b"r" * 16, text, knowing) for text in (b"one", b"two")]
        assert said == [b"one", b"one"]
        assert store.repeat(ANNA, b"s" * 16, b"two") == b"two"

    # -- feeds -------------------------------------------------------------------------------------

    def test_an_unknown_account_begins_with_page_0(self, store: Store) -> None:
        assert store.turn(0, ANNA) == Standing()
        assert ahead(store, 1) == 0

    def test_pages_follow_and_are_answered_again(self, store: Store) -> None:
        pages = [store.answer(number, ANNA) for number in range(3)]
        assert [store.turn(number, ANNA) for number in range(3)] == pages
        assert ahead(store, 4) == 3
        standing = store.turn(3, ANNA)
        assert isinstance(standing, Standing)
        assert (standing.track.next, standing.track.sponsored) == (63, 3)
        assert pages[2].slot.feed is not None and standing.receipt == pages[2].slot.feed.receipt

    def test_accounts_are_apart(self, store: Store) -> None:
        store.answer(0, ANNA)
        store.answer(1, ANNA)
        store.answer(0, BEN)
        assert ahead(store, 2, BEN) == 1
        assert isinstance(store.turn(2, ANNA), Standing)

    def test_an_idle_account_begins_anew(self, store: Store, clock: Ticks) -> None:
        first = store.answer(0, ANNA)
        clock.ms += IDLE
        assert store.turn(0, ANNA) == first
        clock.ms += 1
        assert ahead(store, 1) == 0
        anew = store.answer(0, ANNA)
        assert anew != first and store.turn(0, ANNA) == anew
        assert ahead(store, 2) == 1

    def test_it_goes_on_with_its_receipt(self, store: Store, clock: Ticks) -> None:
        first = store.answer(0, ANNA).slot.feed
        assert first is not None
        clock.ms += IDLE + 1
        went_on = store.turn(1, ANNA, first.receipt)
        assert isinstance(went_on, Standing) and went_on.continued and went_on.track.next == 21


def test_who_goes_on_from_anothers_page_says_so(workers: list[Remote]) -> None:
    """Its journal does not have that page."""
    continued = []
    for number in range(3):
        known = [
            worker.run(worker.state.look_at(Who(ANNA, None), ask(number, ANNA), NOW)) for worker in workers
        ]
        if number:
            turns = [one.feeds.turn(ask(number, ANNA), NOW) for one in known]
            continued.append([turn.continued for turn in turns if isinstance(turn, Standing)])
        worker, mine = workers[number % 2], known[number % 2]
        answer(mine.feeds, number, ANNA)
        assert worker.run(worker.state.propose(mine, b"")) is None
        worker.call(worker.state.keep, mine)
    assert continued == [[False, True], [True, False]]


def test_a_page_that_two_lay_out_is_the_firsts(workers: list[Remote]) -> None:
    """Both began from the same; whoever comes second is told the page as it was answered."""
    first, second = workers
    asked = ask(0, ANNA)
    known = [worker.run(worker.state.look_at(Who(ANNA, None), asked, NOW)) for worker in workers]
    theirs = answer(known[0].feeds, 0, ANNA)[0]
    answer(known[1].feeds, 0, ANNA)
    assert first.run(first.state.propose(known[0], b"")) is None
    instead = second.run(second.state.propose(known[1], b""))
    assert instead is not None and instead.feeds.turn(asked, NOW) == theirs


def test_a_guess_of_an_account_is_never_a_page_too_few(workers: list[Remote]) -> None:
    """What another worker answered is not known here: then Redis is asked."""
    Shared(workers, lambda: NOW).answer(0, ANNA)
    knows = [worker.guess(ANNA, None, ask(1, ANNA)) is not None for worker in workers]
    assert sorted(knows) == [False, True]
