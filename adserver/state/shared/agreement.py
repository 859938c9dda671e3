"""What a node and this process agree on before anybody is asked about: a *generation*.

A store that may have lost writes (it was restarted, failed over, emptied) must not be believed: somebody's
full counters may be gone. It is known by the run of the server, and by a key, the generation, for which every
batch asks (``wire``). Whoever finds another run than the generation is of, or none, begins another
(``scripts/begin.lua``): all keys of people bear its name, so it begins empty; and it comes into force once
every worker has added what it knows. Until then nobody is admitted, but where the operator has it otherwise
(``Worker.in_doubt``): there a worker goes on once it has added what it knows itself.
"""

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

import hiredis
from msgspec import Struct

from adserver.domain.admission import Away
from adserver.state.shared import commands, scripts
from adserver.state.shared.adding import Adding
from adserver.state.shared.chart import home_of, slot_of
from adserver.state.shared.dialling import NotRedis
from adserver.state.shared.keys import Keys, Record
from adserver.state.shared.timing import Timing
from adserver.state.shared.untold import Untold
from adserver.state.shared.wire import Wire, Word
from adserver.state.shared.worker import Worker

LOOK_S: Final = 0.1
_AT_ONCE: Final = 500
MISSED: Final = "it has missed too much"
_SLACK_MS: Final = 60_000
"""So much earlier than it was told may something have been."""
IN_DOUBT: Final = "not every worker has told it what it knows"


class Ground(Struct, frozen=True):
    """What a node is the one to be asked for. ``run``: of the server, and what else makes it another ground;
    ``slots`` and ``epoch``: of a cluster (``chart``); None: everybody's; ``home``: the slot of its record;
    ``owned``: with those that are on their way elsewhere."""

    run: str
    slots: frozenset[int] | None = None
    epoch: int = 0
    home: int = 0
    owned: frozenset[int] = frozenset()

    @property
    def record(self) -> Record:
        return Record() if self.slots is None else Record(home_of(self.home))

    def has(self, root: bytes) -> bool:
        return self.slots is None or slot_of(root) in self.slots

    def strays(self) -> list[bytes]:
        """Where a record might be of when its home was another."""
        return [Record(home_of(slot)).generation for slot in self.owned if slot != self.home]


class Agreement:
    """``untold``: what the node has to hear before, which is nothing where all that this process knows begins
    to be added to another generation; ``doubted``: it will never hear of something, so another is needed;
    ``timing``: asked before it hears of anything by the clock."""

    def __init__(self, worker: Worker, untold: Untold, timing: Timing) -> None:
        self.doubted = False
        self._worker = worker
        self._untold = untold
        self._timing = timing
        self._adding: Adding | None = None
        self._met = False

    def covers(self, root: bytes) -> bool:
        """Whether all that is known of somebody is still to be added."""
        return self._adding is not None and self._adding.covers(root)

    async def reach(self, wire: Wire, ground: Ground) -> str:
        """The generation in force, once it has what this process knows and has heard all that waited. Raises
        Away, NotRedis."""
        record = ground.record
        await self._remember(wire, record)
        while True:
            found, of = (_text(one) for one in await _ask(wire, b"MGET", record.generation, record.run))
            if not found or of != ground.run or self.doubted:
                found = await self._begin(wire, ground, found)
            name = found.rstrip("?")
            await self._add(wire, ground, name)
            if found != name:
                keys = [record.generation, record.added(name)]
                found = await _run(wire, "live", keys, found, name, *self._worker.all)
            if found == name or self._worker.in_doubt:
                break
            await asyncio.sleep(LOOK_S)
        wire.record, wire.generation, wire.in_doubt = record, name, found != name
        await self._catch_up(wire, name)
        wire.deadline_s = self._worker.deadline_s
        # Where it cannot be written to (no room, no disk, too few replicas) it is of no use.
        await _ask(wire, b"SET", record.seen(self._worker.number), self._worker.clock())
        if self.doubted:
            raise Away(MISSED)
        return name

    async def _remember(self, wire: Wire, record: Record) -> None:
        """What an earlier life of this process had left to tell and this one does not know any more."""
        if self._met:
            return
        seen_ms = int(await _ask(wire, b"GET", record.seen(self._worker.number)) or 0)
        forgotten_ms = self._worker.mirror.forgotten_ms
        self.doubted |= 0 < forgotten_ms > seen_ms - _SLACK_MS
        self._met = True

    async def _begin(self, wire: Wire, ground: Ground, found: str) -> str:
        """Another generation than was found, or what another worker began meanwhile. The ground may be again
        what it once was, but no record of then is left."""
        record, before = ground.record, found.rstrip("?")
        await _delete(wire, ground.strays())
        found = await _run(wire, "begin", [record.generation, record.run], found, ground.run, _named())
        self.doubted = False
        await _ask(wire, b"DEL", record.added(before), record.begun(before))
        return found

    async def _catch_up(self, wire: Wire, name: str) -> None:
        """What it has yet to hear, so much at a time as it takes in."""
        while some := self._untold.some():
            self._timing.check()
            now_ms = self._worker.clock()
            await _all(wire, (commands.tell(Keys(one.who, name), one, now_ms) for one in some))
            for told in some:
                self._untold.heard(told)

    async def _add(self, wire: Wire, ground: Ground, name: str) -> None:
        """What this process knows of the people there, once a generation."""
        record, number = ground.record, self._worker.number
        if await _ask(wire, b"SISMEMBER", record.added(name), number):
            return
        adding = self._adding
        if adding is None or adding.generation != name:
            if not await _ask(wire, b"SADD", record.begun(name), number):
                # An earlier life of this worker did, and nobody knows how far it came and what was so then.
                self.doubted = True
                raise Away("an earlier process ended before it had added what it knew")
            adding = self._adding = Adding(self._worker, name, ground.has)
            self._untold.clear()
        while some := adding.some():
            self._timing.check()
            await _all(wire, some)
            adding.added()
        await _ask(wire, b"SADD", record.added(name), number)
        self._adding = None


def _named() -> str:
    """A name no generation had before, whatever the clock says; short as it stands in every key."""
    return secrets.token_urlsafe(6)


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


async def _delete(wire: Wire, keys: list[bytes]) -> None:
    """Those that are there: of a slot on its way some are not (ASK). Raises Away, NotRedis."""
    for first in range(0, len(keys), _AT_ONCE):
        replies = await asyncio.gather(*(wire.ask((b"DEL", key)) for key in keys[first : first + _AT_ONCE]))
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError) and not str(reply).startswith("ASK "):
                raise NotRedis(str(reply))


async def _run(wire: Wire, script: str, keys: list[bytes], *words: Word) -> str:
    return _text(await _ask(wire, b"EVALSHA", scripts.load(script).sha, len(keys), *keys, *words))
