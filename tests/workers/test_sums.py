"""The numbers of all workers, asked of a parent."""

import asyncio

import pytest

from adserver.workers.sums import PATIENCE_S, Sums


def test_nobody_waits_for_a_parent_that_is_gone() -> None:
    async def play() -> None:
        asked = list[int]()
        sums = Sums(lambda: asked.append(1))
        waiting = [asyncio.create_task(sums.exposition()) for _ in range(2)]
        await asyncio.sleep(0)
        sums.give_up()
        done, _ = await asyncio.wait(waiting, timeout=PATIENCE_S / 2)
        assert [type(one.exception()) for one in done] == [TimeoutError] * 2, "at once"
        with pytest.raises(TimeoutError):
            await sums.exposition()
        assert asked == [1], "who asks later asks nobody"

    asyncio.run(play())
