"""What a person takes in Redis: bytes of all their keys, and for how long they stay.

By ``MEMORY USAGE`` of Redis 7.0 on 64 bits, asserted with some room: somebody who was shown one ad with a cap
takes 0.4 KB; every further ad that is outstanding, and its counter, 0.14 KB, none of it when that is over;
every time that counts 11 bytes; every feed page its own bytes and 0.1 KB. Who is shown ten new line items a
day takes 1 to 3.5 KB, whether for a day or a quarter.
"""

from collections.abc import Iterator

import pytest
from remote import Remote
from servers.redis_server import Redis
from world import Ticks

from adserver.domain import limits
from adserver.domain.caps import BoundCap, counted
from adserver.domain.request import FeedAsk
from adserver.state.exposure import Exposure
from adserver.state.feeds import Account
from adserver.state.shared.keys import Who
from adserver.state.shared.person import Known, known

ANNA = b"annaannaannaanna"
NOON = 1_800_000_000_000
HOUR, DAY = 3600_000, 86_400_000
RENDER = 600_000
SLACK = 60_000


@pytest.fixture
def clock() -> Ticks:
    return Ticks(NOON)


@pytest.fixture
def worker(redis_server: Redis, clock: Ticks) -> Iterator[Remote]:
    remote = Remote(redis_server.url, 0, clock).wait()
    yield remote
    remote.close()


def cap(number: int, per_ms: int = DAY, limit: int = 3) -> BoundCap:
    return BoundCap(f"line_item:{number}", limit, per_ms)


def show(
    worker: Remote, clock: Ticks, number: int, per_ms: int = DAY, limit: int = 3, ident: int = 0
) -> bytes:
    """An exposure of Anna's, agreed on."""
    found = cap(number, per_ms, limit)
    counts = counted((found,), "impression")
    event_id = (ident or clock.ms * 1000 + number).to_bytes(16, "big")
    ends = clock.ms + RENDER
    worker.grant(event_id, Exposure(ANNA, None, counts, ends, ends), (found,))
    return event_id


def keys(redis: Redis) -> list[bytes]:
    return [key for key in redis.ask("KEYS", "s*{*}*") if isinstance(key, bytes)]


def size(redis: Redis) -> int:
    return sum(int(redis.ask("MEMORY", "USAGE", key.decode(), "SAMPLES", "0")) for key in keys(redis))


def lasts(redis: Redis) -> dict[str, int]:
    """Kind of key -> for how long it stays."""
    return {chr(key[key.index(b"}") + 1]): int(redis.ask("PTTL", key.decode())) for key in keys(redis)}


def test_bytes_of_exposures_and_counters(redis_server: Redis, worker: Remote, clock: Ticks) -> None:
    show(worker, clock, 1)
    first = size(redis_server)
    assert first <= 500
    for number in range(2, 102):
        show(worker, clock, number)
    hundred = size(redis_server)
    assert (hundred - first) / 100 <= 170, "a counter and what is outstanding on it"
    clock.ms += RENDER + 1
    worker.look(ANNA, None)
    assert keys(redis_server) == [], "nothing was shown"


def test_bytes_of_confirmed_times(redis_server: Redis, worker: Remote, clock: Ticks) -> None:
    for number in range(limits.CAP_LIMIT_MAX):
        event_id = show(worker, clock, 1, limit=limits.CAP_LIMIT_MAX, ident=number + 1)
        worker.confirm(event_id, ANNA, (), clock.ms)
    worker.settled()
    [counters] = [key for key in keys(redis_server) if key.endswith(b"c")]
    assert redis_server.ask("MEMORY", "USAGE", counters.decode()) <= 13 * limits.CAP_LIMIT_MAX


def test_bytes_of_feed_pages(redis_server: Redis, worker: Remote, clock: Ticks) -> None:
    page, account = b"p" * 400, b"f" * 16
    for number in range(50):
        asked = FeedAsk("main", number, 20, account)
        found = known(
            (0, (), (), (), b""), Who(ANNA, None), asked, worker.mirror.windows, clock.ms, worker.paging
        )
        if number:
            found = worker.run(worker.state.look_at(Who(ANNA, None), asked, clock.ms))
        pages = {number: page}
        found.feeds.take_up(account, Account(pages, number + 1, b"t" * 40, clock.ms, HOUR))
        assert worker.run(worker.state.propose(found, b"")) is None
    assert size(redis_server) <= 50 * (len(page) + 120) + 500
    assert lasts(redis_server)["f"] <= HOUR + SLACK


def test_a_request_id_is_kept_for_as_long_as_it_is_repeated(
    redis_server: Redis, worker: Remote, clock: Ticks
) -> None:
    who = Who(ANNA, None, b"r" * 16)
    found: Known = known((0, (), (), (), b""), who, None, worker.mirror.windows, clock.ms, worker.paging)
    assert worker.run(worker.state.propose(found, b"answer")) is None
    assert 0 < lasts(redis_server)["r"] <= limits.REPEAT_WINDOW_MS


def test_every_key_goes_by_itself(redis_server: Redis, worker: Remote, clock: Ticks) -> None:
    """By the longest window it holds, and what is outstanding no sooner than the counters it counts in."""
    show(worker, clock, 1, HOUR)
    found = lasts(redis_server)
    assert found.keys() == {"c", "o", "x"}
    assert HOUR < found["c"] <= HOUR + RENDER + SLACK
    for kind in ("o", "x"):
        assert found["c"] - SLACK <= found[kind] <= HOUR + RENDER + SLACK
    event_id = show(worker, clock, 2, DAY)
    assert lasts(redis_server)["c"] > DAY
    worker.confirm(event_id, ANNA, (), clock.ms)
    worker.settled()
    assert lasts(redis_server)["t"] > 0
    clock.ms += DAY // 2
    show(worker, clock, 1, HOUR)
    assert lasts(redis_server)["c"] > DAY - HOUR, "never for shorter than before"


def test_somebody_who_is_there_every_day_does_not_grow(
    redis_server: Redis, worker: Remote, clock: Ticks
) -> None:
    """Ninety days of ten new line items a day, each shown twice: what no window reaches any more is dropped,
    also where nobody ever looks."""
    sizes = []
    for day in range(90):
        for number in range(10):
            for again in range(2):
                ident = 1 + again + 2 * (number + 10 * day)
                event_id = show(worker, clock, 10 * day + number, DAY, ident=ident)
                worker.confirm(event_id, ANNA, (), clock.ms)
            clock.ms += 2 * HOUR
        worker.settled()
        clock.ms += 4 * HOUR
        sizes.append(size(redis_server))
    assert max(sizes) <= 4000
    assert min(sizes[60:]) <= 1.3 * min(sizes[:20]), "it does not grow any more"
    [counters] = [key for key in keys(redis_server) if key.endswith(b"c")]
    assert redis_server.ask("HLEN", counters.decode()) <= 64 + 10
