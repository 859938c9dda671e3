"""Publish campaigns: when the catalog moved, take the new snapshot and swap it in.

Building happens elsewhere (``Builder``); the swap itself is a few assignments on the event loop and walks no
line items: what each promises is journalled when it is sold (``promises``). What the snapshot before had
kept is let go a little in each turn of the loop, decisions in between. A catalogue that cannot be built
leaves the last good snapshot in service, is logged, and moves a metric.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from adserver.clock import Clock
from adserver.engine.snapshot import Snapshot
from adserver.services.promises import Promises
from adserver.services.world import World


class Builder(Protocol):
    """Whoever follows the catalog and builds."""

    async def newer(self) -> Snapshot | None:
        """The next snapshot, once there is one; the first at once. None when there will be no more. Raises
        whatever building raises."""
        ...


class Publishing:
    """``failed`` is told of every snapshot that could not be built."""

    def __init__(
        self,
        world: World,
        promises: Promises,
        clock: Clock,
        failed: Callable[[Exception], None],
    ) -> None:
        self._world = world
        self._promises = promises
        self._clock = clock
        self._failed = failed
        self.live_since_ms = 0

    async def begin(self, builder: Builder) -> None:
        """The first snapshot, before anything is served. Raises what building raises."""
        snapshot = await builder.newer()
        if snapshot is not None:
            await self._prepare(snapshot)
            self.put_live(snapshot)

    async def follow(self, builder: Builder) -> bool:
        """Wait for the next snapshot and take it; whether there may be another."""
        try:
            snapshot = await builder.newer()
            if snapshot is not None:
                await self._prepare(snapshot)
        # Whatever the catalogue holds, the server goes on with what it has.
        except Exception as error:
            self._failed(error)
            return True
        if snapshot is None:
            return False
        former = self._world.serving
        self.put_live(snapshot)
        for _ in former.shed():
            await asyncio.sleep(0)
        return True

    async def _prepare(self, snapshot: Snapshot) -> None:
        """More may be learned while a thread applies what was."""
        while not self._world.prepared(snapshot):
            await asyncio.to_thread(self._world.prepare, snapshot)

    def put_live(self, snapshot: Snapshot) -> None:
        """Bind to its terms from now on, and swap."""
        now_ms = self._clock()
        self._promises.follow(snapshot, now_ms)
        self._world.swap(snapshot)
        self.live_since_ms = now_ms

    def settle(self) -> None:
        """Journal what found no room at a swap."""
        self._promises.settle(self._clock())
