"""What every store of feed accounts keeps to, asked through a small common face: memory, and a real Redis
that two workers ask in turn, so that none of them knows alone where an account goes on."""

from collections.abc import Iterator
from itertools import cycle
from typing import Any, Protocol

import pytest
from remote import Remote
from servers.redis_server import Redis
from test_feeds import ANNA, BEN, IDLE, NOW, RECEIPTS, answer, ask

from adserver.domain.feeds import Ahead, Answered, Standing
from adserver.state.feeds import FeedAccounts
from adserver.state.shared.keys import Who
from adserver.state.shared.person import Known


class Store(Protocol):
    def answer(self, page: int, account: bytes = ANNA, now_ms: int = NOW) -> Answered: ...
    def turn(
        self, page: int, account: bytes = ANNA, now_ms: int = NOW, receipt: str | None = None
    ) -> Any: ...


class Memory:
    def __init__(self) -> None:
        self.feeds = FeedAccounts()

    def answer(self, page: int, account: bytes = ANNA, now_ms: int = NOW) -> Answered:
        return answer(self.feeds, page, account, now_ms)[0]

    def turn(self, page: int, account: bytes = ANNA, now_ms: int = NOW, receipt: str | None = None) -> Any:
        return self.feeds.turn(ask(page, account, receipt), now_ms, RECEIPTS.standing)


class Shared:
    """Each question is another worker's. A page is of whom its account is named after."""

    def __init__(self, workers: list[Remote]) -> None:
        self.workers = workers
        self._next = cycle(workers)

    def look(
        self, page: int, account: bytes, now_ms: int, receipt: str | None = None
    ) -> tuple[Remote, Known]:
        worker, asked = next(self._next), ask(page, account, receipt)
        for one in self.workers:
            one.settled()
        return worker, worker.run(worker.state.look_at(Who(account, None), asked, now_ms))

    def answer(self, page: int, account: bytes = ANNA, now_ms: int = NOW) -> Answered:
        worker, known = self.look(page, account, now_ms)
        found = answer(known.feeds, page, account, now_ms)[0]
        assert worker.run(worker.state.propose(known, b"")) is None
        worker.call(worker.state.keep, known)
        return found

    def turn(self, page: int, account: bytes = ANNA, now_ms: int = NOW, receipt: str | None = None) -> Any:
        _, known = self.look(page, account, now_ms, receipt)
        return known.feeds.turn(ask(page, account, receipt), now_ms, RECEIPTS.standing)


@pytest.fixture
def workers(redis_server: Redis) -> Iterator[list[Remote]]:
    both = [Remote(redis_server.url, number, lambda: NOW, workers=2) for number in range(2)]
    for worker in both:
        worker.wait()
    yield both
    for worker in both:
        worker.close()


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Store:
    return Memory() if request.param == "memory" else Shared(request.getfixturevalue("workers"))


def ahead(store: Store, page: int, account: bytes = ANNA, now_ms: int = NOW) -> int:
    """Which page it would be."""
    with pytest.raises(Ahead) as found:
        store.turn(page, account, now_ms)
    return found.value.expected_page


class TestFeedAccounts:
    def test_an_unknown_account_begins_with_page_0(self, store: Store) -> None:
        assert store.turn(0) == Standing()
        assert ahead(store, 1) == 0

    def test_pages_follow_and_are_answered_again(self, store: Store) -> None:
        pages = [store.answer(number) for number in range(3)]
        assert [store.turn(number) for number in range(3)] == pages
        assert ahead(store, 4) == 3
        standing = store.turn(3)
        assert isinstance(standing, Standing)
        assert (standing.track.next, standing.track.sponsored, standing.continued) == (63, 3, False)
        assert pages[2].slot.feed is not None and standing.receipt == pages[2].slot.feed.receipt

    def test_accounts_are_apart(self, store: Store) -> None:
        store.answer(0)
        store.answer(1)
        store.answer(0, BEN)
        assert ahead(store, 2, BEN) == 1
        assert isinstance(store.turn(2), Standing)

    def test_an_idle_account_begins_anew(self, store: Store) -> None:
        first = store.answer(0)
        assert store.turn(0, now_ms=NOW + IDLE) == first
        later = NOW + IDLE + 1
        assert ahead(store, 1, now_ms=later) == 0
        anew = store.answer(0, now_ms=later)
        assert anew != first and store.turn(0, now_ms=later) == anew
        assert ahead(store, 2, now_ms=later) == 1

    def test_it_goes_on_with_its_receipt(self, store: Store) -> None:
        first = store.answer(0).slot.feed
        assert first is not None
        went_on = store.turn(1, now_ms=NOW + IDLE + 1, receipt=first.receipt)
        assert isinstance(went_on, Standing) and went_on.continued and went_on.track.next == 21


def test_a_page_that_two_lay_out_is_the_firsts(workers: list[Remote]) -> None:
    """Both began from the same; whoever comes second is told the page as it was answered."""
    first, second = workers
    asked = ask(0)
    known = [worker.run(worker.state.look_at(Who(ANNA, None), asked, NOW)) for worker in workers]
    theirs = answer(known[0].feeds, 0)[0]
    answer(known[1].feeds, 0)
    assert first.run(first.state.propose(known[0], b"")) is None
    instead = second.run(second.state.propose(known[1], b""))
    assert instead is not None and instead.feeds.turn(asked, NOW) == theirs


def test_a_guess_of_an_account_is_never_a_page_too_few(workers: list[Remote]) -> None:
    """What another worker answered is not known here: then Redis is asked."""
    shared = Shared(workers)
    shared.answer(0)
    knows = [worker.guess(ANNA, None, ask(1)) is not None for worker in workers]
    assert sorted(knows) == [False, True]
