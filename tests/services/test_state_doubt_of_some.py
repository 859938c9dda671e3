"""One master of a Redis Cluster lost what it knew, while one of two workers has not told it again: that is a
doubt about its people alone. What is capped stops for them, or goes on by what is known, as the operator has
it; nobody else notices."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from servers.redis_cluster import RedisCluster
from servers.redis_server import Redis
from test_sharing import REQUEST, Shared, names, shared
from test_state_doubt import WHY, known, page, sharing, until
from world import OPERATOR

from adserver.state.shared.chart import slot_of


def people(world: Shared, cluster: RedisCluster, master: Redis) -> tuple[list[str], list[str]]:
    """Two of whom a master has everything, and two of whom it has nothing: their own and their session's."""
    names, slots = world.app.names, cluster.slots_of(master)
    theirs, others = list[str](), list[str]()
    for who in (f"u-{number}" for number in range(100)):
        both = {
            slot_of(one) in slots for one in (names.person("gazette", who), names.session("gazette", who))
        }
        if len(both) == 1:
            (theirs if True in both else others).append(who)
    return theirs[:2], others[:2]


async def asked(world: Shared, who: str) -> Any:
    return await world.ask({**REQUEST, "user": {"id": who}, "session": who, **WHY}, OPERATOR)


def played(
    tmp_path: Path, cluster: RedisCluster, doubt: str,
    play: Callable[[Shared, list[str], list[str]], Coroutine[Any, Any, None]],
) -> None:  # fmt: skip
    """By one of two workers, when the other, which showed the first of all of them what is capped, is not
    there. Once it is back, everybody is capped as if nothing had happened."""

    async def main() -> None:
        with shared(tmp_path / "one", cluster, doubt) as one:
            (tmp_path / "two" / "data").mkdir(parents=True)
            shutil.copy(tmp_path / "one" / "data" / "secrets.json", tmp_path / "two" / "data")
            master = cluster.masters()[0]
            theirs, others = people(one, cluster, master)
            with shared(tmp_path / "two", cluster, doubt) as two:
                async with sharing(one, 0):
                    async with sharing(two, 1):
                        await until(lambda: known(one) and known(two))
                        for who in (theirs[0], others[0]):
                            assert names(await asked(two, who)) == ["a"]
                    master.ask("FLUSHALL")
                    await until(lambda: not known(one))
                    await play(one, theirs, others)
                    async with sharing(two, 1):
                        await until(lambda: known(one) and known(two))
                        for who in (theirs[0], others[0], others[1]):
                            told = await asked(one, who)
                            assert told["no_fill"] == "frequency_capped"
                            assert "state_doubt" not in str(told["explain"])
                        assert (await page(one, 0, theirs[1]))["feed"]["page"] == 0

    asyncio.run(main())


async def nobody_else_notices(world: Shared, others: list[str]) -> None:
    capped, new = [await asked(world, who) for who in others]
    assert capped["no_fill"] == "frequency_capped"
    assert names(new) == ["a"]
    assert "state_doubt" not in str((capped, new))
    assert (await page(world, 0, others[0]))["feed"]["page"] == 0


def test_what_is_capped_stops(tmp_path: Path, redis_cluster: RedisCluster) -> None:
    async def play(one: Shared, theirs: list[str], others: list[str]) -> None:
        for who in theirs:
            assert (await asked(one, who))["no_fill"] == "state_unavailable"
            assert (await page(one, 0, who))["no_fill"] == "state_unavailable"
        await nobody_else_notices(one, others)

    played(tmp_path, redis_cluster, "stop", play)


def test_or_it_goes_on_by_what_is_known_and_says_so(tmp_path: Path, redis_cluster: RedisCluster) -> None:
    async def play(one: Shared, theirs: list[str], others: list[str]) -> None:
        state = one.app.shared
        assert state is not None
        await until(lambda: state.there)
        for who in theirs:
            told = await asked(one, who)
            assert names(told) == ["a"]
            assert [entry["state_doubt"] for entry in told["explain"]] == [True]
            assert (await asked(one, who))["no_fill"] == "frequency_capped", "no more than once more"
            assert (await page(one, 0, who))["no_fill"] == "state_unavailable"
        await nobody_else_notices(one, others)

    played(tmp_path, redis_cluster, "serve", play)
