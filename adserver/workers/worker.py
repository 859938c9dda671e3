"""One worker: its process, started again when it ends, and replaced when it is to be renewed."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Final, Protocol

from adserver.domain import limits
from adserver.workers.messages import Leave, Loaded, Opened, Serving, ToParent, ToWorker
from adserver.workers.process import Process

PAUSE_S: Final = 0.5
PAUSE_MAX_S: Final = 10.0
STEADY_S: Final = 10.0
"""Who served for so long and dies is started again at once; else after a pause that grows."""


class NotRead(Exception):
    """The program of a successor cannot be read."""


class Team(Protocol):
    """Who is told of it."""

    def beginning(self, worker: "Worker") -> None:
        """A process of this worker waits for what it is to do."""
        ...

    def said(self, worker: "Worker", message: ToParent) -> None: ...
    def moved(self, worker: "Worker") -> None:
        """It began, or ceased, to serve."""
        ...

    def lost(self, worker: "Worker", code: int) -> None:
        """Its process has ended; it did not have to unless it was ``leaving``."""
        ...


class Worker:
    """``start``: makes a process for it. ``serving``: it accepts connections; ``leaving``: it was told to
    end, and another process takes its place."""

    def __init__(self, number: int, team: Team, start: Callable[[], Awaitable[Process]]) -> None:
        self.number = number
        self.serving = self.leaving = False
        self.opened = asyncio.Event()
        self.ready = asyncio.Event()
        self._team = team
        self._start = start
        self._process: Process | None = None
        self._successor: Process | None = None
        self._ending = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None

    def say(self, message: ToWorker) -> None:
        if self._process is not None:
            self._process.say(message)

    async def keep(self) -> None:
        """Keep it running until it is ended."""
        pause_s = 0.0
        while not self._ending.is_set():
            began = monotonic()
            await self._live()
            if self.leaving or monotonic() - began > STEADY_S:
                pause_s = 0.0
            else:
                pause_s = min(max(2 * pause_s, PAUSE_S), PAUSE_MAX_S)
            self.leaving = False
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), pause_s)

    async def _live(self) -> None:
        """One process, from its beginning to its end."""
        process, self._successor = self._successor, None
        if process is None:
            process = await self._start()
        self._process = process
        if self._ending.is_set():
            process.ask_to_end()
        self._team.beginning(self)
        hearing = asyncio.create_task(self._hear(process))
        code = await process.gone()
        # It may have said much before it ended; a child of its own may hold the line's end and say nothing.
        await asyncio.wait([hearing], timeout=1.0)
        hearing.cancel()
        self._process = None
        self._cease()
        self._team.lost(self, code)

    async def _hear(self, process: Process) -> None:
        while (message := await process.heard()) is not None:
            if isinstance(message, Opened):
                self.opened.set()
            elif isinstance(message, Serving):
                self.serving = True
                self.ready.set()
                self._team.moved(self)
            elif not isinstance(message, Loaded):
                self._team.said(self, message)

    def _cease(self) -> None:
        self.ready.clear()
        if self.serving:
            self.serving = False
            self._team.moved(self)

    async def renew(self) -> None:
        """Have another process take its place, once its program is read, and wait until that serves. Raises
        NotRead; then nothing has changed."""
        successor = await self._start()
        if await successor.heard() is None:
            raise NotRead(f"ended with {await successor.gone()}")
        if self._ending.is_set():
            successor.kill()
            return
        self._successor = successor
        self.leaving = True
        self._cease()
        self.say(Leave())
        await self.ready.wait()

    async def end(self) -> None:
        """For good, in order if it can."""
        self._ending.set()
        for process in (self._process, self._successor):
            if process is not None:
                process.ask_to_end()
        process = self._process
        if process is not None:
            try:
                await asyncio.wait_for(asyncio.shield(process.gone()), limits.END_S)
            except TimeoutError:
                process.kill()
