"""Publish campaigns: when the catalog moved, compile a snapshot and swap it in.

Compiling happens in a thread; the swap itself is a few assignments on the event loop and walks no line
items: what each promises is journalled when it is sold (``promises``). A catalogue that cannot be compiled
leaves the last good snapshot in service, is logged, and moves a metric.
"""

import asyncio
from collections.abc import Callable

from adserver.clock import Clock
from adserver.engine.compile import compile_snapshot
from adserver.engine.snapshot import Snapshot
from adserver.services.ports import Catalog
from adserver.services.promises import Promises
from adserver.services.world import World


class Publishing:
    """``failed`` is told of every snapshot that could not be built."""

    def __init__(
        self,
        catalog: Catalog,
        world: World,
        promises: Promises,
        clock: Clock,
        failed: Callable[[Exception], None],
    ) -> None:
        self._catalog = catalog
        self._world = world
        self._promises = promises
        self._clock = clock
        self._failed = failed
        self._lock = asyncio.Lock()
        self._tried = -1
        self.live_since_ms = 0

    async def follow(self) -> bool:
        """Take up the newest revision if it is not the one in service; whether it changed."""
        async with self._lock:
            self._promises.settle(self._clock())
            revision = await asyncio.to_thread(self._catalog.revision)
            if revision == self._tried:
                return False
            self._tried = revision
            try:
                snapshot = await asyncio.to_thread(self._build)
            # Whatever the catalogue holds, the server goes on with what it has.
            except Exception as error:
                self._failed(error)
                return False
            self.put_live(snapshot)
            return True

    def start(self) -> None:
        """The first snapshot, before anything is served. Raises what building raises."""
        self._tried = self._catalog.revision()
        self.put_live(self._build())

    def _build(self) -> Snapshot:
        return compile_snapshot(self._catalog.load())

    def put_live(self, snapshot: Snapshot) -> None:
        """Bind to its terms from now on, and swap."""
        now_ms = self._clock()
        self._promises.follow(snapshot, now_ms)
        self._world.swap(snapshot)
        self.live_since_ms = now_ms
