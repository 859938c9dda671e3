"""A store that was away for longer than what it was to be told is remembered, by who died meanwhile."""

import time
from collections.abc import Iterator

import pytest
from remote import PATIENCE_S, Remote
from servers.proxy import FAIR, Proxy, Weather
from servers.redis_server import Redis
from test_shared_losses import ANNA, BEGAN_MS, CAP, Clock, counter, exposure

from adserver.state.exposure import Exposure
from adserver.state.shared.mirror import RETOLD_MS, Mirror

BRUNO = b"bruno".ljust(16, b".")
LATER_MS = RETOLD_MS + 600_000
FIRST, LAST = b"a" * 16, b"b" * 16


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def network(redis_server: Redis) -> Iterator[Proxy]:
    redis_server.ask("FLUSHALL")
    with Proxy(redis_server.port) as between:
        yield between


@pytest.fixture
def remote(network: Proxy, clock: Clock) -> Iterator[Remote]:
    one = Remote(f"redis://127.0.0.1:{network.port}/0", now=clock).wait()
    yield one
    network.weather = FAIR
    one.close()


def last(clock: Clock) -> Exposure:
    ends_ms = clock.now_ms + 5000
    return Exposure(BRUNO, None, exposure().counts, ends_ms, ends_ms)


def read(clock: Clock, checkpointed: bool) -> Mirror:
    """As recovery makes it."""
    mirror = Mirror()
    mirror.grant(FIRST, exposure())
    mirror.confirm(FIRST, ANNA, (), BEGAN_MS)
    mirror.grant(LAST, last(clock))
    mirror.confirm(LAST, BRUNO, (), clock.now_ms)
    if not checkpointed:
        return mirror
    again = Mirror()
    again.load(mirror.dump())
    return again


def again(remote: Remote, mirror: Mirror) -> None:
    """After a kill."""
    remote.stop()
    remote.mirror = mirror
    remote.begin()
    remote.wait()


@pytest.mark.parametrize("checkpointed", [False, True], ids=["journal", "checkpoint"])
def test_what_it_never_heard_is_not_lost_with_who_knew_it(
    remote: Remote, network: Proxy, clock: Clock, checkpointed: bool
) -> None:
    """The earlier of two impressions is not told again by itself."""
    remote.grant(FIRST, exposure(), (CAP,))
    network.weather = Weather(refuse=True)
    network.cut()
    remote.wait(there=False)
    remote.confirm(FIRST, ANNA, (), BEGAN_MS)
    clock.now_ms += LATER_MS
    remote.stop()
    network.weather = FAIR
    again(remote, read(clock, checkpointed))
    assert counter(remote) == [0, BEGAN_MS]


@pytest.mark.parametrize("checkpointed", [False, True], ids=["journal", "checkpoint"])
def test_what_it_heard_is_not_told_anew(
    remote: Remote, redis_server: Redis, clock: Clock, checkpointed: bool
) -> None:
    remote.grant(FIRST, exposure(), (CAP,))
    remote.confirm(FIRST, ANNA, (), BEGAN_MS)
    clock.now_ms += LATER_MS
    remote.settled()
    # That it heard so far is written down twice a second.
    deadline = time.monotonic() + PATIENCE_S
    while int(redis_server.ask("GET", "adserver:seen:0")) < clock.now_ms:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before = redis_server.ask("GET", "adserver:generation")
    again(remote, read(clock, checkpointed))
    assert redis_server.ask("GET", "adserver:generation") == before
    assert counter(remote) == [0, BEGAN_MS]
