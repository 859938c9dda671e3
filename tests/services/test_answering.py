"""Errands answered in tasks of their own: so many at once, and nothing said of what cannot be done."""

import asyncio

import msgspec
import pytest

from adserver.domain.changes import Unread
from adserver.services.answering import Answering
from adserver.services.refusals import Refused


def test_what_is_one_too_many_hears_nothing() -> None:
    async def play() -> None:
        answering, open_ = Answering(), asyncio.Event()

        async def act() -> str:
            await open_.wait()
            return "done"

        begun = [answering.begin(act, 2) for _ in range(3)]
        assert [task is None for _, task in begun] == [False, False, True]
        open_.set()
        await asyncio.gather(*(task for _, task in begun if task is not None))
        assert [passed.said for passed, _ in begun] == [msgspec.msgpack.encode("done")] * 2 + [b""]
        assert answering.begin(act, 1)[1] is not None, "there is room again"

    asyncio.run(play())


@pytest.mark.parametrize("wrong", [Refused(503, "away"), Unread("away")])
def test_what_cannot_be_done_now_is_not_answered(wrong: Exception) -> None:
    async def play() -> None:
        async def act() -> None:
            raise wrong

        passed, task = Answering().begin(act, 1)
        assert task is not None
        await task
        assert passed.said == b""

    asyncio.run(play())
