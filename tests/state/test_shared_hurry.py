"""Whoever hangs is asked by nobody else; and who has less time than others waits for less."""

import asyncio
from collections.abc import Iterator

import pytest
from remote import Remote
from servers.proxy import FAIR, Proxy, Weather
from servers.redis_server import Redis
from servers.server import ground
from test_shared_losses import ANNA, exposure

from adserver.domain.admission import Away
from adserver.state.shared.keys import Who
from adserver.state.shared.person import Known

NOW_MS = 10_000
_TOGETHER = 50


@pytest.fixture(scope="module")
def own() -> Iterator[Redis]:
    """One to be stopped."""
    with ground() as path, Redis(path / "redis") as server:
        yield server


def test_a_redis_that_hangs_is_asked_by_those_of_one_deadline_alone(own: Redis) -> None:
    remote = Remote(own.url, deadline_s=0.1).wait()

    async def ask() -> list[Known | BaseException]:
        asked = (remote.state.look_at(Who(ANNA, None), None, NOW_MS) for _ in range(_TOGETHER))
        return await asyncio.gather(*asked, return_exceptions=True)

    own.pause()
    try:
        first, *others = (remote.run(ask()) for _ in range(20))
    finally:
        own.resume()
    assert all(isinstance(one, Away) for one in first)
    assert all(isinstance(one, Away) for found in others for one in found)
    assert remote.counts["missed server"] == _TOGETHER
    remote.wait()
    assert remote.look(ANNA, None).exposures.outstanding(ANNA) == 0
    remote.close()


@pytest.fixture
def far(own: Redis) -> Iterator[tuple[Remote, Proxy]]:
    """An answer takes a fifth of a second."""
    with Proxy(own.port) as between:
        remote = Remote(f"redis://127.0.0.1:{between.port}/0").wait()
        between.weather = Weather(delay_s=0.2)
        yield remote, between
        remote.close()


def test_a_request_waits_no_longer_than_it_has_time(far: tuple[Remote, Proxy]) -> None:
    remote, _ = far
    look = remote.state.look_at
    with pytest.raises(Away):
        remote.run(look(Who(ANNA, None), None, NOW_MS, NOW_MS + 20))
    assert remote.run(look(Who(ANNA, None), None, NOW_MS)).exposures.outstanding(ANNA) == 0
    assert remote.run(look(Who(ANNA, None), None, NOW_MS, NOW_MS + 10_000)).answer == b""
    assert remote.counts == {"missed request": 1, "took": 2}


def test_what_came_too_late_for_a_request_is_taken_back(far: tuple[Remote, Proxy]) -> None:
    remote, between = far
    ident = b"%016d" % 1
    known = remote.unknown(ident, exposure(), ())
    with pytest.raises(Away):
        remote.run(remote.state.propose(known, b"", NOW_MS + 20))
    between.weather = FAIR
    assert remote.look(ANNA, None).exposures.outstanding(ANNA) == 0
    assert remote.counts["again away"] == 1
