"""A kill -9 after Redis agreed and before the journal heard of it: Redis knows what nobody was given, and
nobody can read back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from servers.redis_server import Redis
from test_sharing import REQUEST, Shared, names, shared
from test_state_doubt import known, page, until
from world import BROWSER

from adserver.domain.decision import EventKind
from adserver.ledger.journal import Journal
from adserver.ledger.verify import verify
from adserver.services.calls import Call
from adserver.sharing import share

HOUR_MS = 3_600_000
ONCE = {**REQUEST, "id": "once", "user": {"id": "u-8"}, "session": "s-8"}
TWICE = {**REQUEST, "id": "twice", "user": {"id": "u-9"}, "session": "s-9"}


class Killed(BaseException):
    """It goes no further."""


def killed(*_: Any) -> None:
    raise Killed


@asynccontextmanager
async def life(world: Shared) -> AsyncIterator[None]:
    """That ends without a word."""
    state = world.app.shared = share(world.app)
    assert state is not None
    staying = asyncio.create_task(state.stay())
    await until(lambda: known(world))
    yield
    staying.cancel()
    await asyncio.gather(staying, return_exceptions=True)


async def kill(asked: Any) -> None:
    """As it journals what it was asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "append", killed)
        with pytest.raises(Killed):
            await asked


async def shown(world: Shared, decision: Any) -> list[str]:
    found = []
    for ad in decision["ads"]:
        token = ad["impression_url"].rpartition("/")[2]
        verdict = await world.app.recorder.record(token, EventKind.IMPRESSION, Call(user_agent=BROWSER))
        found.append(f"{verdict.status.name.lower()} {verdict.billed}")
    return found


def again(world: Shared) -> None:
    """Another life."""
    world.clock.ms += 1000
    world.restart()


def test_what_nobody_was_given_is_decided_anew(tmp_path: Path, redis_server: Redis) -> None:
    """And what somebody was given is not: also where it was the last."""

    async def play(world: Shared) -> None:
        async with life(world):
            given = [await page(world, number) for number in range(2)]
            assert [names(one) for one in given] == [["a"], []]
            answered = await world.ask(ONCE)
            assert names(answered) == ["a"]
        again(world)
        async with life(world):
            # For which Redis is asked, whatever is known here.
            await page(world, 1, mode="dry_run")
            assert [await page(world, number) for number in range(2)] == given
            assert await world.ask(ONCE) == answered
            await kill(page(world, 2))
            await kill(world.ask(TWICE))
            await kill(page(world, 0, "s-2"))
        again(world)
        async with life(world):
            given.append(await page(world, 2))
            given.append(await page(world, 3))
            assert [await page(world, number) for number in range(4)] == given
            new = await page(world, 0, "s-2")
            assert new["feed"]["start_position"] == 0
            answered = await world.ask(TWICE)
            assert answered["no_fill"] == "frequency_capped", "until what nobody was given expires"
        again(world)
        world.clock.ms += HOUR_MS
        async with life(world):
            shown_later = await world.ask(TWICE)
            assert await shown(world, shown_later) == ["accepted True"]
            assert [await page(world, number) for number in range(4)] == given

    async def main() -> None:
        redis_server.ask("FLUSHALL")
        with shared(tmp_path / "world", redis_server) as world:
            await play(world)
            await asyncio.to_thread(world.tick)
            world.restart()

    asyncio.run(main())
    assert verify(tmp_path / "world" / "data", report=lambda line: None) == []


@pytest.mark.parametrize("back_ms", [0, HOUR_MS], ids=["", "the clock set back"])
def test_two_that_ask_at_once_are_given_the_same(tmp_path: Path, redis_server: Redis, back_ms: int) -> None:
    async def main() -> None:
        redis_server.ask("FLUSHALL")
        with shared(tmp_path / "world", redis_server) as world:
            async with life(world):
                world.clock.ms -= back_ms
                for asked in (lambda: page(world, 0), lambda: world.ask(ONCE)):
                    first, *others = await asyncio.gather(*(asked() for _ in range(8)))
                    assert names(first) == ["a"]
                    assert others == [first] * 7

    asyncio.run(main())
