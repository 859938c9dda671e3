"""Group commit: one sync at a time, for everybody who waited when it began.

A sync costs the server some 50 µs of its processor and the disk a few times that, however many wait for it.
So it does not begin with the first who waits: as long as each turn of the loop brings more of them, and
they are fewer than a row of events and wait less than ``limits.SYNC_WAIT_MS``, it is put off by another
turn. Who is alone waits for two empty turns, a few µs. All who wait for one sync share one future. Syncs run
in a thread of their own: a pool's futures and locks cost more than the sync's own processor time.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Final

from msgspec import Struct

from adserver.domain import limits
from adserver.ledger import disk
from adserver.ledger.disk import Synced

_ENOUGH: Final = limits.JUDGED_IN_A_ROW


class Batch(Struct, frozen=True):
    """What a sync that begins now will prove, and the files and the directory it is of."""

    goal: Synced
    files: list[int]
    directory: Path | None


class Commits:
    """Of one journal, on one event loop. ``begin`` makes the batch of a sync, ``proved`` hears of its end."""

    def __init__(self, begin: Callable[[], Batch], proved: Callable[[Batch], None]) -> None:
        self._begin = begin
        self._proved = proved
        self._wanted: SimpleQueue[tuple[asyncio.AbstractEventLoop, Batch] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._flushing = self._closed = False
        self._joined = self._looked = 0
        self._until_s = 0.0

    def join(self, total: int) -> asyncio.Future[None]:
        """Done once the first ``total`` bytes are on disk; of everybody who joins until the next sync begins,
        so not to be cancelled."""
        if self._joined and self._waiters:
            self._joined += 1
            future = self._waiters[-1][1]
            self._waiters[-1] = total, future
            return future
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiters.append((total, future))
        self._joined, self._looked = 1, 0
        self._until_s = loop.time() + limits.SYNC_WAIT_MS / 1000
        if not self._flushing:
            self._flushing = True
            loop.call_soon(self._gather, loop)
        return future

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, unless this turn brought others and more may come."""
        if self._looked < self._joined < _ENOUGH and loop.time() < self._until_s:
            self._looked = self._joined
            loop.call_soon(self._gather, loop)
        else:
            self._flush(loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._closed:
            return
        self._joined = 0
        if self._thread is None:
            self._thread = Thread(target=self._run, name="journal sync", daemon=True)
            self._thread.start()
        self._wanted.put((loop, self._begin()))

    def _run(self) -> None:
        while wanted := self._wanted.get():
            loop, batch = wanted
            disk.flush(batch.files, batch.directory)
            try:
                loop.call_soon_threadsafe(self._flushed, loop, batch)
            except RuntimeError:
                # The loop is closed: nobody waits any more; who closes the journal syncs what was left.
                pass

    def _flushed(self, loop: asyncio.AbstractEventLoop, batch: Batch) -> None:
        self._proved(batch)
        self._flushing = bool(self._waiters) and not self._closed
        if self._flushing:
            self._gather(loop)

    def answer(self, total: int) -> None:
        """Of those who wait, all whose bytes are among the first ``total``, which are on disk."""
        waiters = self._waiters
        while waiters and waiters[0][0] <= total:
            future = waiters.popleft()[1]
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """The sync that runs is waited for, and no other begins."""
        self._closed = True
        if self._thread is not None:
            self._wanted.put(None)
            self._thread.join()
