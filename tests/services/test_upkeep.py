"""Duties: each at its own pace, none in the others' way, and none that is over turned again."""

import asyncio
from itertools import count

from adserver.services import upkeep
from adserver.services.upkeep import Upkeep

TURNS = 1000
"""Of the loop: in which whoever spins is seen."""


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def test_one_that_is_over_has_no_more_turns() -> None:
    """What it waited for was ended, and gives it nothing to wait for: it would take the whole processor for
    as long as the server's end takes."""
    heard = []

    async def play() -> None:
        duties = Upkeep(lambda name, error: None)

        async def hear() -> bool:
            heard.append(len(heard))
            return len(heard) < 3

        duties.keep("hear", hear)
        await turns()
        await duties.stop()

    asyncio.run(play())
    assert heard == [0, 1, 2]


def test_one_that_fails_at_once_rests_and_goes_on() -> None:
    failed = list[str]()

    async def play() -> None:
        duties = Upkeep(lambda name, error: failed.append(f"{name}: {error}"))

        async def hear() -> bool:
            raise ValueError("nothing to hear")

        async def look() -> None:
            raise ValueError("nothing to see")

        duties.keep("hear", hear)
        duties.every(0, "look", look)
        await turns()
        assert sorted(failed) == ["hear: nothing to hear", "look: nothing to see"]
        await asyncio.wait_for(duties.stop(), 20)

    asyncio.run(play())
    assert len(failed) == 2, "who is stopped while it rests does not try again"


def test_who_goes_on_lets_the_others_have_their_turns() -> None:
    async def play() -> int:
        duties, number = Upkeep(lambda name, error: None), count()

        async def go_on() -> bool:
            next(number)
            return True

        duties.keep("go on", go_on)
        await turns()
        await duties.stop()
        return next(number)

    assert TURNS // 2 <= asyncio.run(play()) <= TURNS + 2


def test_the_loop_is_watched_for_as_long_as_there_is_one() -> None:
    assert asyncio.run(upkeep.LoopLag().watch())
