"""The HTTP server of a worker: it listens where its parent says, and leaves when it is told to."""

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import uvicorn

from adserver.domain.workers import ALONE, Worker
from adserver.serving import BACKLOG, Served, Server
from adserver.telemetry.families import Family
from adserver.telemetry.logs import Log
from adserver.workers.handed import Handed
from adserver.workers.link import Link
from adserver.workers.messages import (
    Built,
    Count,
    Counted,
    Joined,
    Leave,
    Listen,
    Serving,
    Summed,
    ToWorker,
)
from adserver.workers.sums import Sums

_LOOK_S: Final = 0.05
_LOG: Final = Log("adserver.workers")


class WorkerServer(Server):
    """``sockets``: of all workers, by their numbers; ``count``: all numbers of this process."""

    def __init__(
        self, config: uvicorn.Config, app: Served, link: Link, handed: Handed, sums: Sums,
        sockets: Sequence[socket.socket], count: Callable[[], Iterable[Family]], worker: Worker = ALONE,
    ) -> None:  # fmt: skip
        super().__init__(config, app)
        self._link = link
        self._handed = handed
        self._sums = sums
        self._sockets = sockets
        self._count = count
        self._fleet = worker.fleet
        self._open: dict[int, asyncio.AbstractServer] = {}
        self._leaving: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        hearing = asyncio.create_task(self._hear())
        try:
            await super().serve([])
        finally:
            hearing.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """It listens on nothing yet: the parent says on what."""
        await super().startup([])
        self._link.say(Serving())

    async def _hear(self) -> None:
        """Until the parent is gone, or cannot be followed any more: then so are we, as if it had told us."""
        try:
            async for message in self._link.heard():
                await self._take(message)
        except Exception as error:
            _LOG.failure("the parent is heard no more", error)
        self._sums.give_up()
        self.end()

    async def _take(self, message: ToWorker) -> None:
        match message:
            case Joined(peers):
                if self._fleet is not None:
                    self._fleet.learn(peers)
            case Built(told):
                self._handed.take(told)
            case Listen(numbers):
                await self._listen(numbers)
            case Leave():
                self._leaving = asyncio.create_task(self._leave())
            case Count():
                self.tell()
            case Summed(families):
                self._sums.take(families)

    def tell(self) -> None:
        """All numbers of this process, so that they outlive it."""
        self._link.say(Counted(tuple(self._count())))

    async def _listen(self, numbers: Iterable[int]) -> None:
        """Accept on these sockets and no others. They stay open: only our doubles of them are closed."""
        if self.should_exit:
            return
        for number in self._open.keys() - set(numbers):
            self._open.pop(number).close()
        for number in sorted(set(numbers) - self._open.keys()):
            double = self._sockets[number].dup()
            loop = asyncio.get_running_loop()
            self._open[number] = await loop.create_server(self._connection, sock=double, backlog=BACKLOG)
        self.servers = list(self._open.values())  # type: ignore[arg-type]

    def _connection(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def _leave(self) -> None:
        """Every connection ends where no request can be lost, at the latest when it would be let go anyway;
        then we do."""
        await self._listen(())
        connections: set[Any] = self.server_state.connections
        # What was just accepted is among them a turn later.
        await asyncio.sleep(_LOOK_S)
        while connections:
            for one in tuple(connections):
                if not one.leaving:
                    one.leave()
            await asyncio.sleep(_LOOK_S)
        self.should_exit = True
