"""A Redis server as this process knows it: there or away, and what it has yet to hear.

While it is away it is looked for every ``LOOK_S``, and it is there again when it has answered within the
deadline: so this is a breaker too. It is there once both agree on a generation (``agreement``).
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from hiredis import ReplyError

from adserver.domain.admission import Away
from adserver.state.shared import commands
from adserver.state.shared.agreement import IN_DOUBT, LOOK_S, MISSED, Agreement, Ground
from adserver.state.shared.dialling import SHAKE_S, Address, Met, NotRedis, meet
from adserver.state.shared.keys import Keys
from adserver.state.shared.mirror import Told
from adserver.state.shared.timing import ASK, Timing
from adserver.state.shared.untold import Untold
from adserver.state.shared.wire import Wire, Word
from adserver.state.shared.worker import Worker

_BEAT_S: Final = 0.5

Words = list[Word]


class Node:
    """``claims``: what it is the one to be asked for, as it said itself; may raise Away or NotRedis; ``told``
    is said why it is away, or "" when it is there, each time that changes."""

    def __init__(
        self, address: Address, worker: Worker, claims: "Callable[[Node, Met], Ground]",
        told: Callable[[str], None] = lambda _: None, clustered: bool = False,
    ) -> None:  # fmt: skip
        self.address = address
        self.generation = ""
        self.untold = Untold()
        self._worker = worker
        self._claims = claims
        self.told = told
        self._clustered = clustered
        self._timing = Timing(worker.clock)
        self._agreement = Agreement(worker, self.untold, self._timing)
        self._ended = False
        self._dialled: Wire | None = None
        self._wire: Wire | None = None
        self._gone = asyncio.Event()
        self._why: str | None = None

    @property
    def there(self) -> bool:
        return self._wire is not None

    @property
    def in_doubt(self) -> bool:
        """Whether it is there, and does not know yet what every worker does."""
        return self._wire is not None and self._wire.in_doubt

    @property
    def doubted(self) -> bool:
        """Whether another generation is needed."""
        return self._agreement.doubted

    async def ask(self, words: Words) -> Any:
        """Its reply. Raises Away."""
        reply = await self._asked(words)
        if isinstance(reply, ReplyError):
            # Out of memory, or the scripts are gone: all of it is agreed on again.
            self.close(str(reply))
            raise Away(str(reply))
        return reply

    def _asked(self, words: Words) -> "asyncio.Future[Any]":
        """Raises Away."""
        if wrong := self._timing.wrong:
            self.close(wrong)
        if self._wire is None:
            raise Away(self._why or "not asked yet")
        return self._wire.ask(words)

    def close(self, why: str) -> None:
        """Give the connection up, and agree anew."""
        if self._wire is not None:
            self._wire.close(why)

    def part(self, why: str) -> None:
        """The same, also where nothing is agreed on yet."""
        if self._dialled is not None:
            self._dialled.close(why)

    def doubt(self) -> None:
        """It will never hear of something: another generation is needed."""
        self._agreement.doubted = True
        self.close(MISSED)

    def end(self) -> None:
        """For good: ``keep`` returns."""
        self._ended = True
        self.part("ended")

    async def keep(self) -> None:
        """Connect, and again whenever it was lost, until ended."""
        while not self._ended:
            wire: Wire | None = None
            try:
                wire = self._dialled = await self.address.wire(self._new)
                if self._ended:
                    break
                await self._meet(wire)
            except (Away, NotRedis, OSError, TimeoutError) as error:
                self._say(str(error) or "no connection in time")
            else:
                await self._watch(wire)
            finally:
                self._wire = None
                if wire is not None:
                    wire.close()
            await asyncio.sleep(LOOK_S)

    async def _meet(self, wire: Wire) -> None:
        met = await meet(wire, self.address, self._clustered)
        if self._worker.clocks:
            self._timing.hear(await wire.ask(ASK))
            self._timing.check()
        ground = self._claims(self, met)
        self.generation = await self._agreement.reach(wire, ground)
        self._wire = wire
        # What came while the rest was being told.
        self._send(self.untold)
        self._say_how()

    async def _watch(self, wire: Wire) -> None:
        """Until it is lost; also where nobody asks anything."""
        while not self._gone.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), _BEAT_S)
            # Without an answer it is lost, and with one it has heard all until now.
            wire.ask([b"SET", wire.record.seen(self._worker.number), self._worker.clock()])
            if self._worker.clocks:
                wire.ask(ASK).add_done_callback(self._hear_time)
            if wrong := self._timing.wrong:
                self.close(wrong)
            if self.there:
                self._say_how()

    def _hear_time(self, reply: "asyncio.Future[Any]") -> None:
        if not reply.cancelled() and reply.exception() is None:
            self._timing.hear(reply.result())

    def _new(self) -> Wire:
        self._gone.clear()
        return Wire(SHAKE_S, self._lost)

    def _lost(self, why: str) -> None:
        if self._wire is not None and not self._ended:
            self._say(why)
        self._wire = None
        self._gone.set()

    def _say_how(self) -> None:
        self._say(IN_DOUBT if self.in_doubt else "")

    def _say(self, why: str) -> None:
        if why != self._why:
            self._why = why
            self.told(why)

    # -- what becomes of ads -----------------------------------------------------------------------

    def tell(self, told: Told) -> None:
        """In order, heard now or later. Not of whom all that is known is still to be added."""
        if self._agreement.covers(told.who.root):
            return
        if not self.untold.put(told):
            self.doubt()
        elif self.there:
            self._send((told,))

    def _send(self, some: Iterable[Told]) -> None:
        now_ms = self._worker.clock()
        for told in some:
            words = commands.tell(Keys(told.who, self.generation), told, now_ms)
            self._asked(words).add_done_callback(partial(self._settled, told))

    def _settled(self, told: Told, reply: "asyncio.Future[Any]") -> None:
        if reply.cancelled() or reply.exception() is not None:
            return
        if isinstance(reply.result(), ReplyError):
            self.close(str(reply.result()))
        else:
            self.untold.heard(told)
