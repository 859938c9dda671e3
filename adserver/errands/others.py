"""The end at which a worker brings to the others what is theirs.

What is brought within one turn of the loop goes together, and is answered together: what may have to wait
for a database at its home goes alone, so that nothing else waits with it. What is not answered when a
connection ends is brought again, in the same order, as soon as somebody listens there; nothing waits for
longer than ``limits.PASSED_WAITS_S``, and no more than ``limits.PASSED_WAITING``.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import msgspec
from msgspec import Struct

from adserver.domain import limits
from adserver.domain.errands import Answered, Brought, Errand
from adserver.domain.verdicts import Passed
from adserver.errands.frames import Broken, Frames, Sockets, framed

_ANSWERED: Final = msgspec.msgpack.Decoder(Answered)
_AGAIN_S: Final = 0.05
"""Between two knocks at a door that nobody opens."""


class Others:
    """Of one worker, on one loop. ``failed`` is told what was not understood."""

    def __init__(self, sockets: Sockets, failed: Callable[[str, Exception], None]) -> None:
        self._sockets = sockets
        self._failed = failed
        self._ways = dict[int, _Way]()

    def bring(
        self, home: int, errand: Errand, passed: Passed, alone: bool = False
    ) -> asyncio.Future[None] | None:
        """Done when ``passed`` has its verdict. None where too much waits already: it was given up."""
        way = self._ways.get(home)
        if way is None:
            way = self._ways[home] = _Way(self._sockets.path(home), self._failed)
        return way.bring(errand, passed, alone)

    @property
    def waiting(self) -> int:
        """Events on their way."""
        return sum(way.waiting for way in self._ways.values())

    async def end(self) -> None:
        """What waits is given up."""
        for way in self._ways.values():
            await way.end()


class _Load(Struct, eq=False):
    """Some errands that go together. ``left``: nothing is added to it any more."""

    number: int
    errands: list[Errand]
    passed: list[Passed]
    done: asyncio.Future[None]
    left: bool = False


class _Way(asyncio.Protocol):
    """To one worker, whoever listens there. ``_loads``: those not answered, in order."""

    def __init__(self, path: str, failed: Callable[[str, Exception], None]) -> None:
        self._path = path
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._loads = dict[int, _Load]()
        self._next: _Load | None = None
        self._number = 0
        self._transport: asyncio.Transport | None = None
        self._knocking: asyncio.Task[None] | None = None
        self.waiting = 0

    def bring(self, errand: Errand, passed: Passed, alone: bool) -> asyncio.Future[None] | None:
        if self.waiting >= limits.PASSED_WAITING:
            passed.give_up()
            return None
        load = None if alone else self._next
        if load is None:
            load = self._begin()
            if not alone:
                self._next = load
        load.errands.append(errand)
        load.passed.append(passed)
        self.waiting += 1
        if len(load.errands) == limits.PASSED_TOGETHER:
            self._next = None
        return load.done

    def _begin(self) -> _Load:
        self._number += 1
        load = _Load(self._number, [], [], self._loop.create_future())
        self._loads[load.number] = load
        self._loop.call_soon(self._leave, load)
        self._loop.call_later(limits.PASSED_WAITS_S, self._give_up, load)
        return load

    def _leave(self, load: _Load) -> None:
        if self._next is load:
            self._next = None
        load.left = True
        if self._transport is not None:
            self._write(load)
        elif self._knocking is None:
            self._knocking = self._loop.create_task(self._knock())

    def _write(self, load: _Load) -> None:
        assert self._transport is not None
        self._transport.write(framed(Brought(load.number, load.errands)))

    async def _knock(self) -> None:
        """Until somebody opens, or nothing waits any more."""
        try:
            while self._loads:
                try:
                    await self._loop.create_unix_connection(lambda: self, self._path)
                    return
                except OSError:
                    await asyncio.sleep(_AGAIN_S)
        finally:
            self._knocking = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._frames = Frames()
        for load in self._loads.values():
            if load.left:
                self._write(load)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._loads and self._knocking is None and not self._loop.is_closed():
            self._knocking = self._loop.create_task(self._knock())

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._frames.received(data):
                self._answered(_ANSWERED.decode(frame))
        except (Broken, msgspec.MsgspecError) as error:
            self._failed("a worker was not understood", error)
            assert self._transport is not None
            self._transport.abort()

    def _answered(self, answered: Answered) -> None:
        load = self._loads.pop(answered.number, None)
        if load is None:
            return
        for passed, verdict in zip(load.passed, answered.verdicts, strict=True):
            passed.reach(verdict)
        for place, said in answered.said.items():
            load.passed[place].said = said
        self._end(load)

    def _give_up(self, load: _Load) -> None:
        if self._loads.pop(load.number, None) is None:
            return
        for passed in load.passed:
            passed.give_up()
        self._end(load)

    def _end(self, load: _Load) -> None:
        self.waiting -= len(load.errands)
        if not load.done.done():
            load.done.set_result(None)

    async def end(self) -> None:
        for load in list(self._loads.values()):
            self._give_up(load)
        if self._knocking is not None:
            await self._knocking
        if self._transport is not None:
            self._transport.close()
