"""A Redis that lost what it knew, while one of two workers has not told it again: what is capped stops, or
goes on by what is known, as the operator has it."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from servers.redis_server import Redis
from test_sharing import PAGE, REQUEST, Shared, names, shared
from world import OPERATOR

from adserver.domain.workers import Worker
from adserver.sharing import share

pytestmark = pytest.mark.slow

SECOND = {**REQUEST, "user": {"id": "u-2"}, "session": "s-2"}
THIRD = {**REQUEST, "user": {"id": "u-3"}, "session": "s-3"}
WHY = {"explain": True, "mode": "live"}


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not so():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def known(world: Shared) -> bool:
    return world.app.metrics.sharing.known


@asynccontextmanager
async def sharing(world: Shared, number: int) -> AsyncIterator[None]:
    """While it does, as one of two."""
    world.app.worker = Worker(number, 2)
    state = world.app.shared = share(world.app)
    assert state is not None
    staying = asyncio.create_task(state.stay())
    try:
        yield
    finally:
        await state.leave()
        await staying


def played(
    tmp_path: Path, redis: Redis, doubt: str, play: Callable[[Shared, Shared], Coroutine[Any, Any, None]]
) -> None:
    """By two workers; the second showed the second person what is capped, and is not there when Redis loses
    everything. Then each plays its part."""

    async def main() -> None:
        redis.ask("FLUSHALL")
        with shared(tmp_path / "one", redis, doubt) as one:
            (tmp_path / "two" / "data").mkdir(parents=True)
            shutil.copy(tmp_path / "one" / "data" / "secrets.json", tmp_path / "two" / "data")
            with shared(tmp_path / "two", redis, doubt) as two:
                async with sharing(one, 0):
                    async with sharing(two, 1):
                        await until(lambda: known(one) and known(two))
                        assert names(await two.ask(SECOND)) == ["a"]
                        assert (await one.ask(SECOND))["no_fill"] == "frequency_capped"
                        assert names(await one.ask(REQUEST)) == ["a"]
                    redis.ask("FLUSHALL")
                    await until(lambda: not known(one))
                    await play(one, two)

    asyncio.run(main())


async def page(world: Shared, number: int, session: str = "s-1", **more: Any) -> Any:
    (feed,) = PAGE["placements"]
    placements = [{**feed, "feed": {**feed["feed"], "page": number}}]
    return await world.ask({**PAGE, "placements": placements, "session": session, **more}, OPERATOR)


def test_what_is_capped_stops(tmp_path: Path, redis_server: Redis) -> None:
    async def play(one: Shared, two: Shared) -> None:
        for _ in range(3):
            stopped = await one.ask({**SECOND, **WHY}, OPERATOR)
            assert (names(stopped), stopped["no_fill"]) == ([], "state_unavailable")
            await asyncio.sleep(0.1)
        async with sharing(two, 1):
            await until(lambda: known(one))
            for request in (REQUEST, SECOND):
                assert (await one.ask(request))["no_fill"] == "frequency_capped"
            assert names(await one.ask(THIRD)) == ["a"]

    played(tmp_path, redis_server, "stop", play)


def test_or_it_goes_on_by_what_is_known_and_says_so(tmp_path: Path, redis_server: Redis) -> None:
    """What the other worker showed is not: so once more it may be shown, but no more than that; and it counts
    again once it is told."""

    async def play(one: Shared, two: Shared) -> None:
        state = one.app.shared
        assert state is not None
        await until(lambda: state.there)
        own = await one.ask({**REQUEST, **WHY}, OPERATOR)
        assert own["no_fill"] == "frequency_capped", "what this one showed, it knows"
        new = await one.ask({**THIRD, **WHY}, OPERATOR)
        assert names(new) == ["a"]
        assert (await one.ask(THIRD))["no_fill"] == "frequency_capped"
        assert [entry["state_doubt"] for told in (own, new) for entry in told["explain"]] == [True, True]
        assert not known(one)
        async with sharing(two, 1):
            await until(lambda: known(one) and known(two))
            for request in (REQUEST, SECOND, THIRD):
                for world in (one, two):
                    told = await world.ask({**request, **WHY}, OPERATOR)
                    assert told["no_fill"] == "frequency_capped"
                    assert "state_doubt" not in str(told["explain"])

    played(tmp_path, redis_server, "serve", play)


@pytest.mark.parametrize("doubt", ["stop", "serve"])
def test_feeds_are_held_to_their_law_whatever_the_operator_says(
    tmp_path: Path, redis_server: Redis, doubt: str
) -> None:
    async def play(one: Shared, two: Shared) -> None:
        state = one.app.shared
        assert state is not None
        await until(lambda: state.there is (doubt == "serve"))
        assert (await page(one, 0))["no_fill"] == "state_unavailable"
        async with sharing(two, 1):
            await until(lambda: known(one))
            pages = [await page(one, 0), await page(one, 1)]
            redis_server.ask("FLUSHALL")
            await until(lambda: not known(one))
            await until(lambda: known(one))
        redis_server.ask("FLUSHALL")
        await until(lambda: not known(one) and state.there is (doubt == "serve"))
        assert [await page(one, 0), await page(one, 1)] == pages
        assert (await page(one, 2))["no_fill"] == "state_unavailable"

    played(tmp_path, redis_server, doubt, play)
