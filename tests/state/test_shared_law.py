"""Workers that propose at once: whatever they believe, the script grants an exposure exactly where the law
allows one."""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from msgspec import structs
from remote import Remote
from servers.redis_server import Redis
from stores import ANNA, BEN, RENDER_MS

from adserver.domain.admission import Granted
from adserver.domain.caps import BoundCap, counted
from adserver.domain.request import FeedAsk
from adserver.state.exposure import Exposure
from adserver.state.feeds import Account
from adserver.state.shared.keys import Who

CAP = BoundCap("line_item:1", 3, 60_000)
COUNTS = counted((CAP,), "impression")


def exposure(who: bytes = ANNA) -> Exposure:
    return Exposure(who, None, COUNTS, 10_000 + RENDER_MS, 10_000 + RENDER_MS)


def granted(workers: list[Remote], who: bytes, times: int) -> int:
    """How many of so many proposals at once, by all workers, of somebody of whom nobody knows anything."""
    done = 0

    def ask(worker: Remote, number: int) -> Future[Any]:
        ident = bytes((workers.index(worker),)) + who[:4] + number.to_bytes(11, "big")
        return worker.begin_to(worker.state.propose(worker.unknown(ident, exposure(who), (CAP,)), b""))

    asked = [ask(worker, number) for number in range(times) for worker in workers]
    for future in asked:
        done += future.result(20) is None
    return done


@pytest.fixture
def two(redis_server: Redis) -> Iterator[list[Remote]]:
    workers = [Remote(redis_server.url, number, workers=2) for number in range(2)]
    for worker in workers:
        worker.wait()
    yield workers
    for worker in workers:
        worker.close()


def test_a_thousand_at_once_get_as_many_as_the_cap_says(two: list[Remote]) -> None:
    for number in range(20):
        assert granted(two, number.to_bytes(16, "big"), 100) == CAP.limit


def test_an_id_is_answered_once(two: list[Remote]) -> None:
    """Whoever comes second is told what the first one answered, and grants nothing."""
    who = Who(ANNA, None, b"r" * 16)
    said = []
    for worker, ident in zip(two, (b"a" * 16, b"b" * 16), strict=True):
        found = worker.unknown(ident, exposure(), (CAP,))
        asked = structs.replace(found, who=who)
        said.append(worker.run(worker.state.propose(asked, b"of " + ident)))
    first, second = said
    assert first is None
    assert second is not None
    assert second.answer == b"of " + b"a" * 16
    assert two[0].look(ANNA, None).exposures.outstanding(ANNA) == 1


def test_a_page_is_laid_out_once(two: list[Remote]) -> None:
    """Whoever knew of no page before it comes second is told which there are."""
    account, who = b"f" * 16, Who(ANNA, None)
    said = []
    for worker, answered in zip(two, (b"one", b"two"), strict=True):
        asked = structs.replace(
            worker.unknown(b"a" * 16, exposure(), ()), ask=FeedAsk("main", 0, 20, account)
        )
        asked.exposures.granted.clear()
        asked.feeds.take_up(account, Account({0: answered}, 1, b"", 10_000, 60_000))
        said.append(worker.run(worker.state.propose(asked, b"")))
    first, second = said
    assert first is None
    assert second is not None
    assert (second.expected, second.who) == (1, who)
    found = second.feeds.find_any(account)
    assert found is not None
    assert found.pages == {0: b"one"}


def test_what_redis_forgot_is_added_by_everybody(two: list[Remote], redis_server: Redis) -> None:
    for worker, ident in zip(two, (b"a" * 16, b"b" * 16), strict=True):
        worker.grant(ident, exposure(), (CAP,))
        worker.confirm(ident, ANNA, (), 10_001)
        worker.settled()
    redis_server.ask("FLUSHALL")
    two[0].wait(there=False)
    for worker in two:
        worker.wait()
        (counter,) = worker.look(ANNA, None).exposures._counters[ANNA].values()
        assert counter == [0, 10_001, 10_001]
    assert granted(two, ANNA, 10) == 1


def test_nobody_is_admitted_before_everybody_has_added(redis_server: Redis) -> None:
    first = Remote(redis_server.url, 0, workers=2)
    second = Remote(redis_server.url, 1, workers=2)
    try:
        second.wait()
        second.grant(b"b" * 16, exposure(), (CAP,))
        second.stop()
        redis_server.ask("FLUSHALL")
        first.wait(there=False)
        with pytest.raises(TimeoutError):
            first.wait(patience_s=0.5)
        second.begin()
        first.wait()
        assert granted([first], ANNA, 10) == 2
    finally:
        first.close()
        second.close()


def test_who_is_known_elsewhere_too_is_asked_about(two: list[Remote]) -> None:
    first, second = two
    first.grant(b"a" * 16, exposure(), (BoundCap("line_item:1", 1, 60_000),))
    guessed = second.guess(ANNA, None)
    assert guessed is not None and guessed.exposures.outstanding(ANNA) == 0
    cap = BoundCap("line_item:1", 1, 60_000)
    guessed.exposures.give(Granted(b"b" * 16, COUNTS, 20_000, 20_000, (cap,)), exposure())
    instead = second.run(second.state.propose(guessed, b""))
    assert instead is not None and not instead.guessed
    assert instead.exposures.full(cap, ANNA, None, 10_000)
    assert second.guess(ANNA, None) is None
    assert second.guess(BEN, None) is not None
    assert first.guess(ANNA, None) is not None
