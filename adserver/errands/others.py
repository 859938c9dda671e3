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
from adserver.errands.frames import Broken, Frames, framed
from adserver.errands.reach import Reach
from adserver.errands.shake import Visitor

_ANSWERED: Final = msgspec.msgpack.Decoder(Answered)
_SAID: Final = msgspec.msgpack.Decoder(bytes)
_AGAIN_S: Final = 0.05
"""Between two knocks at a door that nobody opens."""
_SILENT: Final = 3
"""Who lets so many patiences pass without an answer is not there; one who asks others himself may be slow."""


class Others:
    """Of one worker, on one loop. ``failed`` is told what was not understood."""

    def __init__(self, reach: Reach, failed: Callable[[str, Exception], None]) -> None:
        self._reach = reach
        self._failed = failed
        self._ways = dict[int, _Way]()

    def bring(
        self, home: int | None, errand: Errand, passed: Passed, alone: bool = False,
        within_s: float = limits.PASSED_WAITS_S,
    ) -> asyncio.Future[None] | None:  # fmt: skip
        """Done when ``passed`` has its verdict. None where too much waits already, or nobody is known whose
        it is: it was given up. ``within_s``: of one that goes alone, when it is."""
        if home is None:
            passed.give_up()
            return None
        way = self._ways.get(home)
        if way is None:
            way = self._ways[home] = _Way(home, self._reach, self._failed)
        return way.bring(errand, passed, alone, within_s)

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

    def __init__(self, home: int, reach: Reach, failed: Callable[[str, Exception], None]) -> None:
        self._home = home
        self._reach = reach
        self._failed = failed
        self._made: asyncio.Transport | None = None
        self._visitor: Visitor | None = None
        self._refused = False
        self._heard_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._loads = dict[int, _Load]()
        self._next: _Load | None = None
        self._number = 0
        self._transport: asyncio.Transport | None = None
        self._knocking: asyncio.Task[None] | None = None
        self.waiting = 0

    def bring(
        self, errand: Errand, passed: Passed, alone: bool, within_s: float
    ) -> asyncio.Future[None] | None:
        if self.waiting >= limits.PASSED_WAITING:
            passed.give_up()
            return None
        load = None if alone else self._next
        if load is None:
            load = self._begin(within_s if alone else limits.PASSED_WAITS_S)
            if not alone:
                self._next = load
        load.errands.append(errand)
        load.passed.append(passed)
        self.waiting += 1
        if len(load.errands) == limits.PASSED_TOGETHER:
            self._next = None
        return load.done

    def _begin(self, within_s: float) -> _Load:
        self._number += 1
        load = _Load(self._number, [], [], self._loop.create_future())
        self._loads[load.number] = load
        self._loop.call_soon(self._leave, load)
        self._loop.call_later(within_s, self._give_up, load)
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
        if len(self._loads) == 1:
            self._heard_s = self._loop.time()
        self._transport.write(framed(Brought(load.number, load.errands)))

    async def _knock(self) -> None:
        """Until somebody opens, or nothing waits any more."""
        try:
            while self._loads:
                if self._refused:
                    await asyncio.sleep(_AGAIN_S)
                try:
                    await self._reach.connect(self._home, self)
                    return
                except OSError:
                    self._refused = True
        finally:
            self._knocking = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made = cast(asyncio.Transport, transport)
        self._frames, self._visitor = Frames(), self._reach.visitor(self._home)
        if self._visitor is None:
            self._enter()
        else:
            self._refused, self._frames.most = True, limits.DOOR_SHAKE_BYTES
            self._loop.call_later(limits.DOOR_SHAKE_S, self._turn_away, self._visitor)

    def _turn_away(self, visitor: Visitor) -> None:
        """Nobody made sure of us."""
        if self._visitor is visitor and self._made is not None:
            self._made.abort()

    def _shake(self, said: bytes) -> None:
        assert self._made is not None
        assert self._visitor is not None
        answer = self._visitor.hear(said)
        if answer is None:
            self._visitor = None
            self._enter()
        else:
            self._made.write(framed(answer))

    def _enter(self) -> None:
        """Somebody listens there, and is whom we look for."""
        self._transport, self._refused, self._frames.most = self._made, False, limits.FRAME_BYTES
        self._heard_s = self._loop.time()
        for load in self._loads.values():
            if load.left:
                self._write(load)

    def connection_lost(self, error: Exception | None) -> None:
        self._made = self._transport = self._visitor = None
        if self._loads and self._knocking is None and not self._loop.is_closed():
            self._knocking = self._loop.create_task(self._knock())

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._frames.received(data):
                if self._visitor is None:
                    self._answered(_ANSWERED.decode(frame))
                else:
                    self._shake(_SAID.decode(frame))
        except (Broken, msgspec.MsgspecError) as error:
            self._failed("a worker was not understood", error)
            assert self._made is not None
            self._made.abort()

    def _answered(self, answered: Answered) -> None:
        self._heard_s = self._loop.time()
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
        silent_s = self._loop.time() - self._heard_s
        if self._transport is not None and silent_s >= _SILENT * limits.PASSED_WAITS_S:
            # A machine that is gone without a word: what is written to it waits in the kernel, and here.
            self._transport.abort()

    def _end(self, load: _Load) -> None:
        self.waiting -= len(load.errands)
        if not load.done.done():
            load.done.set_result(None)

    async def end(self) -> None:
        for load in list(self._loads.values()):
            self._give_up(load)
        if self._knocking is not None:
            await self._knocking
        if self._made is not None:
            self._made.close()
