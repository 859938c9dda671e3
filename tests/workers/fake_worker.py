"""A worker whose app is small: the real line to the parent, the real HTTP server, small use cases behind it,
and answers that say which process gave them.

What it does wrong is told by files in its data folder: ``unfit-<number>``, ``unread``, ``endless`` (its end
never comes; it has ``FAKE_END_S`` for it).
"""

import asyncio
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from small_server import SmallAdServer, World

from adserver.building.builder import NotBuilt
from adserver.domain import limits
from adserver.engine.snapshot import Snapshot
from adserver.services.ask import Ask, Asker, Terms
from adserver.serving import CannotServe
from adserver.telemetry.families import Family, families
from adserver.workers.child import work
from adserver.workers.given import Given


class Telling(SmallAdServer):
    """The snapshot of an answer is the pid of who gave it, and the revision that is live there."""

    live = 0

    def decide(self, ask: Ask, asker: Asker, terms: Terms) -> Any:
        encoded = super().decide(ask, asker, terms)
        body = encoded.body.replace(b'"r1"', b'"%d %d"' % (os.getpid(), self.live))
        return type(encoded)(encoded.status, body)


class FakeApp:
    """ASGI, lifespan included, as ``App``."""

    def __init__(self, given: Given) -> None:
        self._given = given
        (data := given.settings.data / f"of-{given.worker.number}").mkdir(exist_ok=True)
        self.server = Telling()
        self.world = World(data, server=self.server)
        self.asgi = self.world.app(sums=given.sums, changed=given.builder.look)
        self.why: CannotServe | None = None
        self._snapshot: Snapshot | None = None

    def stop_waiting(self) -> None:
        self._given.builder.give_up()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self.asgi(scope, receive, send)
            return
        await receive()
        try:
            await self._take()
        except NotBuilt as error:
            self.why = CannotServe(f"the catalogue cannot be served: {error}")
            await send({"type": "lifespan.startup.failed", "message": ""})
            return
        await send({"type": "lifespan.startup.complete"})
        following = asyncio.create_task(self._follow())
        await receive()
        following.cancel()
        if (self._given.settings.data / "endless").exists():
            await asyncio.Event().wait()
        await send({"type": "lifespan.shutdown.complete"})

    async def _take(self) -> bool:
        """Whether there may be more."""
        snapshot = await self._given.builder.newer()
        if snapshot is None:
            return False
        # As an app does, it keeps what it serves mapped.
        self._snapshot, self.server.live = snapshot, snapshot.revision
        return True

    async def _follow(self) -> None:
        more = True
        while more:
            try:
                more = await self._take()
            except NotBuilt:
                self.world.metrics.build_failed()


class Fake:
    def __init__(self, given: Given) -> None:
        reason = given.settings.data / f"unfit-{given.worker.number}"
        if reason.exists():
            raise CannotServe(reason.read_text())
        self.served = FakeApp(given)

    def count(self) -> Iterable[Family]:
        return families(self.served.world.metrics.registry)

    def unfit(self) -> CannotServe | None:
        return self.served.why


if __name__ == "__main__":
    if Path(os.environ["FAKE_DATA"], "unread").exists():
        sys.exit("the program cannot be read")
    limits.END_S = int(os.environ.get("FAKE_END_S", limits.END_S))  # type: ignore[misc]
    sys.exit(work(Fake))
