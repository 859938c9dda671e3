"""All workers, as the parent leads them: who accepts where, what is told to whom, and one after the other
renewed.

Until all have served once, one that cannot is the end of all: an operator has something to mend. From then on
nothing ends them but the parent: who dies is started again, and meanwhile another accepts in its place.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Final

from adserver.building.child import Told
from adserver.databases import Unusable
from adserver.domain import limits
from adserver.domain.workers import Peer
from adserver.serving import CannotServe, end_within
from adserver.settings import Settings
from adserver.telemetry.logs import Log
from adserver.workers.counting import Counting
from adserver.workers.force import Force
from adserver.workers.ground import Ground
from adserver.workers.messages import (
    Built,
    Count,
    Counted,
    Joined,
    Listen,
    Look,
    Sum,
    Summed,
    Took,
    ToParent,
    Unfit,
    Unmapped,
    told_of,
)
from adserver.workers.numbers import Numbers
from adserver.workers.process import Process
from adserver.workers.sockets import accepting
from adserver.workers.worker import NotRead, Worker

CHILD: Final = "adserver.workers.child"


class Team:
    """One worker for each socket of its ``ground``. ``catalogue``: (revision, digest) of what is to be
    served; ``module``: what a worker runs."""

    def __init__(
        self, settings: Settings, ground: Ground, catalogue: tuple[int, str], module: str = CHILD
    ) -> None:
        self._settings = settings
        self._ground, sockets = ground, ground.sockets
        self._log = Log("adserver.workers")
        self._force = Force(settings.data, self._built, self._log, settings.database)
        self._catalogue = catalogue
        self._numbers = Numbers(len(sockets))
        self._counting = Counting(self._count)
        start = partial(Process.started, module, ground.descriptors)
        self.workers = [Worker(number, self, start) for number in range(len(sockets))]
        self._listening: dict[int, tuple[int, ...]] = {}
        self._proven: set[int] = set()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._rolling = asyncio.Lock()

    # -- from the beginning to the end ---------------------------------------------------------------

    async def serve(self) -> None:
        """Until ``end``. Raises CannotServe."""
        await asyncio.to_thread(self._force.take_up, *self._catalogue)
        self._do(self._force.follow())
        self._do(self._follow_others())
        keeping = []
        try:
            for worker in self.workers:
                keeping.append(asyncio.create_task(worker.keep()))
                # The first makes what the data folder lacks; the others find it.
                if not worker.number:
                    await self._either(worker.opened.wait())
            await self._over
        finally:
            end_within(limits.END_S + limits.GRACEFUL_S)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*(worker.end() for worker in self.workers))
            await asyncio.gather(*keeping)
            await self._force.end()

    async def _either(self, what: Coroutine[None, None, object]) -> None:
        """Until it has come about, or all is over."""
        task = asyncio.create_task(what)
        await asyncio.wait((task, self._over), return_when=asyncio.FIRST_COMPLETED)
        task.cancel()

    def end(self) -> None:
        """All of them, in order. May be called by a signal's handler."""
        if not self._over.done():
            self._over.set_result(None)

    def renew(self) -> None:
        """Restart all, one after the other, without losing a request. May be called by a signal's handler."""
        self._do(self._renew())

    async def _renew(self) -> None:
        async with self._rolling:
            for worker in self.workers:
                try:
                    await worker.renew()
                except NotRead as error:
                    what = "the program cannot be read; all serve on as before"
                    self._log.warning(what, reason=str(error))
                    return
            self._log.info("all workers were renewed")

    def _do(self, what: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._log.failure("the parent failed at something", error)

    # -- what workers tell ---------------------------------------------------------------------------

    @property
    def _alive(self) -> list[int]:
        return [worker.number for worker in self.workers if worker.alive]

    @property
    def _serving(self) -> list[int]:
        return [worker.number for worker in self.workers if worker.serving]

    def beginning(self, worker: Worker) -> None:
        self._numbers.began(worker.number)
        worker.say(self._ground.begin(worker.number, told_of(self._settings)))
        if self._force.last is not None:
            worker.say(Built(self._force.last))

    def said(self, worker: Worker, message: ToParent) -> None:
        match message:
            case Took(image, stores):
                self._force.took(worker.number, image, stores, self._alive)
            case Unmapped(image):
                self._force.unmapped(image)
            case Look():
                self._force.look()
            case Counted(families):
                self._numbers.counted(worker.number, families)
                self._counting.told(worker.number)
            case Sum():
                self._do(self._sum(worker))
            case Unfit(reason):
                self._log.warning(f"worker {worker.number} cannot serve", reason=reason)
                self._fail(worker, reason)

    def moved(self, worker: Worker) -> None:
        if worker.serving:
            self._proven.add(worker.number)
        shares = accepting(self._serving, len(self.workers))
        for number, numbers in shares.items():
            if self._listening.get(number) != numbers:
                self.workers[number].say(Listen(numbers))
        self._listening = shares

    def lost(self, worker: Worker, code: int) -> None:
        self._numbers.lost(worker.number)
        self._counting.told(worker.number)
        self._force.lost(worker.number, self._alive)
        if worker.leaving or self._over.done():
            return
        self._log.warning(f"worker {worker.number} ended", worker=worker.number, code=code)
        self._fail(worker, f"worker {worker.number} ended with {code} before it served")

    def _fail(self, worker: Worker, reason: str) -> None:
        """One that never served never will."""
        if worker.number not in self._proven and not self._over.done():
            self._over.set_exception(CannotServe(reason))

    # -- what they are told --------------------------------------------------------------------------

    async def _follow_others(self) -> None:
        """On other machines. Two with the name of one would speak for each other: then this one ends."""
        try:
            await self._ground.mine.follow(self._joined, self._unheard)
        except Unusable as error:
            if not self._over.done():
                self._over.set_exception(CannotServe(str(error)))

    def _unheard(self, why: str) -> None:
        self._log.warning("nothing is heard of other machines: the database is away", reason=why)

    def _joined(self, peers: tuple[Peer, ...]) -> None:
        for worker in self.workers:
            worker.say(Joined(peers))

    def _built(self, told: Told) -> None:
        """That there is nothing newer only one need say."""
        serving = self._serving
        for worker in self.workers:
            if not told.error or not worker.serving or worker.number == serving[0]:
                worker.say(Built(told))

    def _count(self) -> list[int]:
        for number in self._serving:
            self.workers[number].say(Count())
        return self._serving

    async def _sum(self, worker: Worker) -> None:
        await self._counting.round()
        worker.say(Summed(self._numbers.total(self._serving)))
