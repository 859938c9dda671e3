"""What a store in Redis may lose, and when: answers, room, its memory, its listeners. Whatever it was, an
exposure counts once, and is outstanding as long as it is and no longer."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from remote import Remote
from servers.redis_server import Redis

from adserver.domain import limits
from adserver.domain.admission import Away
from adserver.domain.caps import BoundCap, counted
from adserver.state.exposure import Exposure
from adserver.state.shared.keys import Who
from adserver.state.shared.mirror import RETOLD_MS, Mirror, Settled
from adserver.state.shared.paging import Paging
from adserver.state.shared.person import Page, known
from adserver.state.shared.store import SharedState
from adserver.state.shared.untold import Untold

ANNA, SESSION = b"anna".ljust(16, b"."), b"session".ljust(16, b".")
CAP = BoundCap("line_item:1", 3, 86_400_000)
BY_SESSION = BoundCap("session:line_item:2", 2, 86_400_000, session=True)
BEGAN_MS, RENDER_MS = 10_000, 5_000


class Clock:
    def __init__(self) -> None:
        self.now_ms = BEGAN_MS

    def __call__(self) -> int:
        return self.now_ms


def exposure(cap: BoundCap = CAP, who: bytes = ANNA, session: bytes | None = None) -> Exposure:
    ends_ms = BEGAN_MS + RENDER_MS
    return Exposure(who, session, counted((cap,), "impression"), ends_ms, ends_ms)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def remote(redis_server: Redis, clock: Clock) -> Iterator[Remote]:
    with served(redis_server, clock) as one:
        yield one


@contextmanager
def served(redis: Redis, clock: Clock, deadline_s: float = 2.0) -> Iterator[Remote]:
    one = Remote(redis.url, now=clock, deadline_s=deadline_s).wait()
    try:
        yield one
    finally:
        if redis.running:
            redis.resume()
            redis.configure("maxmemory", "0")
        one.close()


def counter(remote: Remote, cap: BoundCap = CAP, session: bytes | None = None) -> list[int]:
    """[outstanding, times confirmed]: as Redis has it."""
    found = remote.look(ANNA, session).exposures._counters.get(session if cap.session else ANNA, {})
    return found.get(cap.counter, [0])


def keys(redis: Redis, kind: str) -> list[str]:
    return [key.decode() for key in redis.ask("KEYS", "s*") if key.decode().split("}")[1].startswith(kind)]


# -- outstanding, and no longer --------------------------------------------------------------------


def test_what_is_outstanding_is_known_as_long_as_what_counts_it(
    remote: Remote, redis_server: Redis, clock: Clock
) -> None:
    """Else nobody would find it to end it, and it counted as long as its counter is moved."""
    remote.grant(b"a" * 16, exposure(), (CAP,))
    remote.confirm(b"a" * 16, ANNA, (), BEGAN_MS)
    remote.settled()
    remote.grant(b"b" * 16, exposure(BoundCap("line_item:3", 1, 1000)))
    (counters,), lasting = keys(redis_server, "c"), [*keys(redis_server, "o"), *keys(redis_server, "x")]
    assert len(lasting) == 2
    for key in lasting:
        assert redis_server.ask("PTTL", key) >= redis_server.ask("PTTL", counters) - 1000
    assert counter(remote) == [0, BEGAN_MS]


def test_nothing_is_half_done_where_there_is_no_room(
    remote: Remote, redis_server: Redis, clock: Clock
) -> None:
    remote.grant(b"a" * 16, exposure(), (CAP,))
    clock.now_ms += RENDER_MS + 1
    redis_server.configure("maxmemory", "1")
    with pytest.raises(Away, match="OOM"):
        remote.look(ANNA, None)
    redis_server.configure("maxmemory", "0")
    remote.wait()
    assert counter(remote) == [0]


def test_a_server_without_room_is_not_there(remote: Remote, redis_server: Redis) -> None:
    redis_server.configure("maxmemory", "1")
    with pytest.raises(Away, match="OOM"):
        remote.grant(b"a" * 16, exposure(), (CAP,))
    told = len(remote.told)
    with pytest.raises(TimeoutError):
        remote.wait(patience_s=0.5)
    assert len(remote.told) <= told + 1, "nor does it come and go"
    redis_server.configure("maxmemory", "0")
    assert counter(remote.wait()) == [0]


@pytest.mark.parametrize("cancelled", [False, True], ids=["late", "cancelled"])
def test_what_nobody_waited_for_is_taken_back(redis_server: Redis, clock: Clock, cancelled: bool) -> None:
    who = Who(ANNA, None, b"r" * 16)
    with served(redis_server, clock, 0.2) as remote:
        found = known((0, (), (), (), b""), who, None, remote.mirror.windows, clock(), remote.paging)
        found.exposures.give(granted_of(b"a" * 16), exposure())
        redis_server.pause()
        proposed = remote.begin_to(remote.state.propose(found, b"answer"))
        if cancelled:
            remote.call(lambda: None)
            proposed.cancel()
        with pytest.raises((Away, asyncio.CancelledError, Exception)):
            proposed.result(10)
        redis_server.resume()
        remote.wait()
        assert counter(remote) == [0]
        assert remote.run(remote.state.look_at(who, None, clock())).answer == b""


def granted_of(ident: bytes) -> Any:
    from adserver.domain.admission import Granted

    one = exposure()
    return Granted(ident, one.counts, one.expires_ms, one.kept_ms, (CAP,))


def test_what_comes_after_it_was_taken_back_is_not_granted(remote: Remote) -> None:
    """By another connection, the slower one."""
    found = remote.unknown(b"a" * 16, exposure(), (CAP,))
    remote.call(remote.state.withdraw, found, b"")
    remote.settled()
    assert remote.run(remote.state.propose(found, b"")) is not None
    assert counter(remote) == [0]


# -- what it has yet to hear -----------------------------------------------------------------------


@pytest.mark.slow
def test_much_that_waited_is_heard_in_time(redis_server: Redis, clock: Clock) -> None:
    """In one batch it would take longer than the deadline, again and again."""
    with served(redis_server, clock, 0.025) as remote:
        redis_server.pause()
        remote.wait(there=False)
        counts = counted((BoundCap("line_item:9", 3, 1000, "click"),), "click")

        def click() -> None:
            for number in range(10_000):
                remote.mirror.move(number.to_bytes(16, "big"), 2, number.to_bytes(16, "big"), counts, 10_000)

        remote.call(click)
        redis_server.resume()
        remote.wait()
        assert len(keys(redis_server, "c")) == 10_000


@pytest.mark.slow
def test_what_was_too_much_is_added_anew(
    remote: Remote, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.grant(b"a" * 16, exposure(), (CAP,))
    before = remote.state._nodes.of(ANNA).generation
    monkeypatch.setattr(limits, "STATE_UNTOLD", 5)
    redis_server.pause()
    remote.wait(there=False)
    remote.confirm(b"a" * 16, ANNA, (), BEGAN_MS)
    for number in range(9):
        remote.move(
            b"%16d" % number, 2, ANNA, counted((BoundCap("line_item:9", 3, 1000, "click"),), "click"), 1
        )
    redis_server.resume()
    assert counter(remote.wait()) == [0, BEGAN_MS]
    assert remote.state._nodes.of(ANNA).generation != before


def test_what_was_not_heard_stays_where_redis_refused_one_before() -> None:
    first, second = (Settled(Who(ANNA, None), "release", name * 16) for name in (b"a", b"b"))
    untold = Untold()
    assert untold.put(first)
    assert untold.put(second)
    untold.heard(second)
    assert untold.some() == [first, second]
    untold.heard(first)
    assert untold.some() == [second]


@pytest.mark.slow
def test_a_clean_end_leaves_what_was_not_heard(remote: Remote, redis_server: Redis, clock: Clock) -> None:
    remote.grant(b"a" * 16, exposure(), (CAP,))
    redis_server.pause()
    remote.wait(there=False)
    remote.confirm(b"a" * 16, ANNA, (), BEGAN_MS)
    remote.run(remote.state.leave())
    taken_up(remote, remote.mirror.dump())
    redis_server.resume()
    remote.wait()
    clock.now_ms += RENDER_MS + 1
    assert counter(remote) == [0, BEGAN_MS]


@pytest.mark.parametrize("later_ms", [0, RETOLD_MS + 1])
def test_after_a_kill_nothing_counts_twice(
    remote: Remote, redis_server: Redis, clock: Clock, later_ms: int
) -> None:
    remote.grant(b"a" * 16, exposure(), (CAP,))
    remote.confirm(b"a" * 16, ANNA, (), BEGAN_MS)
    remote.settled()
    for key in keys(redis_server, "t") if later_ms else ():
        redis_server.ask("DEL", key)  # by now
    clock.now_ms += later_ms
    read = Mirror()
    read.grant(b"a" * 16, exposure())
    read.confirm(b"a" * 16, ANNA, (), BEGAN_MS)
    remote.stop()
    remote.mirror = read
    remote.begin()
    remote.wait()
    assert counter(remote) == [0, BEGAN_MS]


def test_one_that_was_alone_tells_everything(remote: Remote, redis_server: Redis) -> None:
    from adserver.state.memory import MemoryState

    alone = MemoryState()
    alone.grant(b"a" * 16, exposure())
    alone.confirm(b"a" * 16, ANNA, (), BEGAN_MS)
    remote.stop()
    taken_up(remote, alone.dump())
    assert counter(remote.wait()) == [0, BEGAN_MS]


def taken_up(remote: Remote, dumped: bytes) -> None:
    remote.stop()
    remote.mirror = Mirror()
    remote.mirror.load(dumped)
    remote.begin()


# -- adding ----------------------------------------------------------------------------------------


def test_nothing_is_added_by_a_server_without_room(remote: Remote, redis_server: Redis) -> None:
    remote.grant(b"a" * 16, exposure(), (CAP,))
    remote.confirm(b"a" * 16, ANNA, (), BEGAN_MS)
    remote.settled()
    redis_server.ask("FLUSHALL")
    # All that is small fits; what is known of people does not.
    redis_server.ask("CONFIG", "SET", "maxmemory", "1")
    remote.wait(there=False)
    with pytest.raises(TimeoutError):
        remote.wait(patience_s=0.5)
    redis_server.configure("maxmemory", "0")
    assert counter(remote.wait()) == [0, BEGAN_MS]


def test_what_a_process_added_before_it_was_killed_is_added_anew(redis_server: Redis, clock: Clock) -> None:
    """It is not known how far it came, nor what became of ads since."""
    workers = [Remote(redis_server.url, number, clock, 2) for number in range(2)]
    try:
        for worker in workers:
            worker.wait()
        first, second = workers
        first.grant(b"a" * 16, exposure(), (CAP,))
        second.stop()
        redis_server.ask("FLUSHALL")
        while not keys(redis_server, "c"):
            time.sleep(0.01)
        first.stop()
        (generation,) = redis_server.ask("KEYS", "adserver:added:*")
        redis_server.ask("DEL", generation.decode())
        first.confirm(b"a" * 16, ANNA, (), BEGAN_MS)
        first.begin()
        second.begin()
        clock.now_ms += RENDER_MS + 1
        assert counter(first.wait()) == [0, BEGAN_MS]
    finally:
        for worker in workers:
            worker.close()


def test_counters_of_both_kinds_come_back(remote: Remote, redis_server: Redis) -> None:
    """Of whoever has no name, and is their session."""
    both = counted((CAP, BY_SESSION), "impression")
    ends_ms = BEGAN_MS + RENDER_MS
    who = Exposure(SESSION, SESSION, both, ends_ms, ends_ms + 1000)
    remote.grant(b"a" * 16, who, (CAP, BY_SESSION))
    remote.confirm(b"a" * 16, SESSION, (), BEGAN_MS)
    # Then they give their name.
    named = Exposure(ANNA, SESSION, both, ends_ms, ends_ms + 1000)
    remote.grant(b"b" * 16, named, (CAP, BY_SESSION))
    remote.settled()
    redis_server.ask("FLUSHALL")
    remote.wait(there=False)
    remote.wait()
    nameless = remote.look(SESSION, SESSION).exposures._counters[SESSION]
    assert nameless[CAP.counter] == [0, BEGAN_MS]
    assert counter(remote) == [1]
    assert counter(remote, BY_SESSION, SESSION) == [1, BEGAN_MS]


# -- beside ----------------------------------------------------------------------------------------


def test_one_that_is_left_while_it_connects_ends(redis_server: Redis) -> None:
    def nobody(_: str) -> None: ...

    async def leave() -> None:
        state = SharedState(redis_server.url, Mirror(), Paging(), 0, (0,), 1.0, lambda: 1, nobody)
        task = asyncio.create_task(state.stay())
        await asyncio.sleep(0)
        await state.leave()
        await asyncio.wait_for(task, 20)

    asyncio.run(leave())


def test_pages_of_an_earlier_life_are_forgotten() -> None:
    paging = Paging()
    for number in range(4):
        paging.follow(ANNA, Page(b"feed", number, number or -1, b"old", b"", 1000, 0), 0)
    paging.follow(ANNA, Page(b"feed", 2, -1, b"new", b"", 1000, 0), 1500)
    account = paging.find_any(b"feed")
    assert account is not None
    assert (account.pages, account.next_page) == ({2: b"new"}, 3)
