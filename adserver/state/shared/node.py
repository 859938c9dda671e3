"""A Redis server as this process knows it: there or away, and of which generation.

A store that may have lost writes (it was restarted, failed over, emptied) must not be believed: somebody's
full counters may be gone. It is known by the run of the server, and by a key, the *generation*, for which
every batch asks (``wire``). Whoever finds another run than the generation is of, or none, begins another
(``scripts/begin.lua``): all keys of people bear its name, so it begins empty; and it comes into force once
every worker has added what it knows. Until then nobody is admitted.

While it is away it is looked for every ``LOOK_S``, and it is there again when it has answered within the
deadline: so this is a breaker too.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import hiredis

from adserver.domain.admission import Away
from adserver.state.shared import commands, scripts
from adserver.state.shared.adding import Adding
from adserver.state.shared.dialling import SHAKE_S, Address, NotRedis, meet
from adserver.state.shared.keys import Keys
from adserver.state.shared.mirror import Mirror
from adserver.state.shared.paging import Paging
from adserver.state.shared.untold import Untold
from adserver.state.shared.wire import GENERATION, Wire, Word

LOOK_S: Final = 0.1
_BEAT_S: Final = 0.5
_RUN: Final = b"adserver:run"
_ADDED: Final = b"adserver:added:"
_BEGUN: Final = b"adserver:adding:"
_SEEN: Final = b"adserver:seen:"
_MISSED: Final = "it has missed too much"

Clock = Callable[[], int]
Words = list[Word]


class Node:
    """``worker``: this process, among ``workers``, all that share the state; ``told`` is said why it is away,
    or "" when it is there, each time that changes; ``untold`` is what it has to hear before,
    which is nothing where all that this process knows begins to be added to another generation."""

    def __init__(
        self, address: Address, mirror: Mirror, paging: Paging, worker: int, workers: Collection[int],
        deadline_s: float, clock: Clock, told: Callable[[str], None], untold: Untold,
    ) -> None:  # fmt: skip
        self.generation = ""
        self._address = address
        self._mirror = mirror
        self._paging = paging
        self._worker = worker
        self._workers = workers
        self._deadline_s = deadline_s
        self._clock = clock
        self._told = told
        self._untold = untold
        self._adding: Adding | None = None
        self.doubted = False
        self._ended = False
        self._dialled: Wire | None = None
        self._wire: Wire | None = None
        self._gone = asyncio.Event()
        self._why: str | None = None

    def takes(self, root: bytes) -> bool:
        """Whether what becomes of somebody's ads must be told: not where all that is known of them is still
        to be added."""
        return self._adding is None or not self._adding.covers(root)

    @property
    def there(self) -> bool:
        return self._wire is not None

    def ask(self, words: Words) -> "asyncio.Future[Any]":
        """Raises Away."""
        if self._wire is None:
            raise Away(self._why or "not asked yet")
        return self._wire.ask(words)

    def close(self, why: str) -> None:
        """Give the connection up, and agree anew."""
        if self._wire is not None:
            self._wire.close(why)

    def doubt(self) -> None:
        """It will never hear of something: another generation is needed."""
        self.doubted = True
        self.close(_MISSED)

    def end(self) -> None:
        """For good: ``keep`` returns."""
        self._ended = True
        if self._dialled is not None:
            self._dialled.close("ended")

    async def keep(self) -> None:
        """Connect, and again whenever it was lost, until ended."""
        while not self._ended:
            wire: Wire | None = None
            try:
                wire = self._dialled = await self._address.wire(self._new)
                if self._ended:
                    break
                await self._agree(wire)
            except (Away, NotRedis, OSError, TimeoutError) as error:
                self._say(str(error) or "no connection in time")
            else:
                await self._watch(wire)
            finally:
                self._wire = None
                if wire is not None:
                    wire.close()
            await asyncio.sleep(LOOK_S)

    async def _watch(self, wire: Wire) -> None:
        """Until it is lost; also where nobody asks anything."""
        while not self._gone.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), _BEAT_S)
            # Without an answer it is lost, and that is all there is to know.
            wire.ask([b"PING"])

    def _new(self) -> Wire:
        self._gone.clear()
        return Wire(SHAKE_S, self._lost)

    def _lost(self, why: str) -> None:
        if self._wire is not None and not self._ended:
            self._say(why)
        self._wire = None
        self._gone.set()

    def _say(self, why: str) -> None:
        if why != self._why:
            self._why = why
            self._told(why)

    # -- generations -------------------------------------------------------------------------------

    async def _agree(self, wire: Wire) -> None:
        """Until a generation is in force that has what this process knows."""
        run = await meet(wire, self._address)
        while True:
            found, of = (_text(one) for one in await _ask(wire, b"MGET", GENERATION, _RUN))
            if not found or of != run or self.doubted:
                next_name, before = _named(), found.rstrip("?")
                found = await _run(wire, "begin", [GENERATION, _RUN], found, run, next_name)
                self.doubted = False
                await _ask(wire, b"DEL", _added(before), _begun(before))
            name = found.rstrip("?")
            await self._add(wire, name)
            if found != name:
                found = await _run(wire, "live", [GENERATION, _added(name)], found, name, *self._workers)
            if found == name:
                break
            await asyncio.sleep(LOOK_S)
        self.generation = wire.generation = name
        await self._catch_up(wire)
        wire.deadline_s = self._deadline_s
        # Where it cannot be written to (no room, no disk, too few replicas) it is of no use.
        await _ask(wire, b"SET", _SEEN + b"%d" % self._worker, self._clock())
        if self.doubted:
            raise Away(_MISSED)
        self._wire = wire
        self._say("")

    async def _catch_up(self, wire: Wire) -> None:
        """What it has yet to hear, so much at a time as it takes in."""
        while some := self._untold.some():
            now_ms = self._clock()
            await _all(wire, (commands.tell(Keys(one.who, self.generation), one, now_ms) for one in some))
            for told in some:
                self._untold.heard(told)

    async def _add(self, wire: Wire, name: str) -> None:
        """What this process knows, once a generation."""
        if await _ask(wire, b"SISMEMBER", _added(name), self._worker):
            return
        adding = self._adding
        if adding is None or adding.generation != name:
            if not await _ask(wire, b"SADD", _begun(name), self._worker):
                # An earlier life of this worker did, and nobody knows how far it came and what was so then.
                self.doubted = True
                raise Away("an earlier process ended before it had added what it knew")
            adding = self._adding = Adding(self._mirror, self._paging, self._worker, self._clock, name)
            self._untold.clear()
        while some := adding.some():
            await _all(wire, some)
            adding.added()
        await _ask(wire, b"SADD", _added(name), self._worker)
        self._adding = None


def _named() -> str:
    """A name no generation had before, whatever the clock says; short as it stands in every key."""
    return secrets.token_urlsafe(6)


def _added(name: str) -> bytes:
    return _ADDED + name.encode()


def _begun(name: str) -> bytes:
    return _BEGUN + name.encode()


def _text(reply: bytes | None) -> str:
    return "" if reply is None else reply.decode()


async def _ask(wire: Wire, *words: Word) -> Any:
    """Raises Away, NotRedis."""
    (reply,) = await _all(wire, [words])
    return reply


async def _all(wire: Wire, asked: Iterable[Sequence[Word]]) -> list[Any]:
    """The same of several, none of which may have failed."""
    replies = await asyncio.gather(*(wire.ask(words) for words in asked))
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise NotRedis(str(reply))
    return replies


async def _run(wire: Wire, script: str, keys: list[bytes], *words: Word) -> str:
    return _text(await _ask(wire, b"EVALSHA", scripts.load(script).sha, len(keys), *keys, *words))
