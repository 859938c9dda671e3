"""Errands that take a while: each is answered by a task of its own, while others are judged."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import msgspec

from adserver.domain.changes import Unread
from adserver.domain.verdicts import Passed
from adserver.services.passing import Taken
from adserver.services.refusals import Refused

_ENCODE: Final = msgspec.msgpack.Encoder().encode


class Answering:
    """The tasks of one kind of errand."""

    def __init__(self) -> None:
        self._tasks = set[asyncio.Task[None]]()

    def begin(self, act: Callable[[], Awaitable[Any]], most: int) -> Taken:
        """What ``act`` gives is said when it is there; nothing, where ``most`` are at work."""
        passed = Passed()
        if len(self._tasks) >= most:
            return passed, None
        task = asyncio.get_running_loop().create_task(_answer(act, passed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return passed, task


async def _answer(act: Callable[[], Awaitable[Any]], passed: Passed) -> None:
    # Who hears nothing knows that it cannot be done now, and is told so by whom it asked (``passing.said``).
    with suppress(Refused, Unread):
        passed.said = _ENCODE(await act())
