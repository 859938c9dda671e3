"""What the embedded server does beside serving (``services.upkeep`` runs it): make writes durable, post,
follow the catalog, forget what ran out, renew the checkpoint."""

import asyncio
import gc
import subprocess
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from adserver import recovery
from adserver.addresses import BadList
from adserver.building.builder import Following
from adserver.databases import AWAY, reason
from adserver.domain.books import Position
from adserver.domain.changes import Unread, Unwritten
from adserver.near import FOLLOW_S
from adserver.posting.clerk import NotPosted
from adserver.services.accruing import Accruing
from adserver.services.upkeep import (
    BURY_S,
    CHECKPOINT_S,
    DURABLE_S,
    FORGET_S,
    HEAR_S,
    LEARN_S,
    LEASE_S,
    LOOK_S,
    MARK_S,
    PLAN_S,
    POST_S,
    SWEEP_S,
    TELL_S,
    Upkeep,
)

if TYPE_CHECKING:
    from adserver.app import App

DAY_MS: Final = 86_400_000
_THREADS: Final = 32
"""Of a server with a database, some of which may wait for it."""
DAYS_KEPT: Final = 3
"""Day accounts of budgets are kept for as long as a token of that day may come (48 h and some)."""


class Duties:
    """The duties of one app."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self.accruing = Accruing(app.promises, app.states.hot.fees, app.states.budgets, app.clock)
        self._upkeep = Upkeep(self._failed)
        self._today = app.clock() // DAY_MS
        self._marked = Position()
        self._posted_at = (app.journal.position, app.clock())
        self._checkpointed = app.journal.position.segment
        self._away = False
        self._renewal: asyncio.subprocess.Process | None = None

    def _failed(self, name: str, error: Exception) -> None:
        # That a database is away is told by who follows its keys.
        if self._app.near.follow is None or not isinstance(error, (Unread, Unwritten, *AWAY)):
            self._app.log.failure(f"upkeep failed: {name}", error)

    def begin(self) -> None:
        """On the running loop."""
        every = self._upkeep.every
        every(DURABLE_S, "durable", self._durable)
        every(TELL_S, "tell of requests", self._tell)
        every(POST_S, "ask for posting", self._ask)
        self._upkeep.keep("post", self._hear)
        every(LEARN_S, "learn rates", self._learn)
        every(SWEEP_S, "accrue flat fees", self._accrue)
        every(PLAN_S, "plan allocation", self._plan)
        every(MARK_S, "mark billed campaigns", self._mark_billed)
        every(SWEEP_S, "sweep", self._sweep)
        every(CHECKPOINT_S, "checkpoint", self._renew_checkpoint)
        every(FORGET_S, "forget the catalogue's history", self._forget)
        every(LOOK_S, "look at the list of data centres", self._look)
        if self._app.near.follow is not None:
            every(FOLLOW_S, "follow the keys", self._app.near.follow)
            # A database that is hung holds threads for a while: others are to find one.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        self._upkeep.keep("measure the loop's lag", self._app.lag.watch)
        if self._app.shared is not None:
            self._upkeep.keep("stay with the shared state", self._app.shared.stay)
        if self._app.lessee is not None:
            every(LEASE_S, "lease", self._lease)
            every(HEAR_S, "hear of what others delivered", self._hear_of_others)
            every(BURY_S, "bury who is gone", self._bury)

    def follow(self, builder: Following) -> None:
        """Take every snapshot it builds, on the running loop."""

        self._upkeep.keep("follow the catalog", lambda: self._app.publishing.follow(builder))

    async def end(self) -> None:
        """Stop, post what is left, and leave a checkpoint. Neither is needed to start again."""
        app = self._app
        await app.builder.end()
        await app.doors.shut()
        await self._tell()
        await app.journal.durable()
        posted = False
        try:
            await app.clerk.finish(app.journal.synced_position)
            posted = True
        # A ledger without room is posted at the next start.
        except NotPosted as error:
            app.log.failure("not everything was posted; the next start goes on with it", error)
        await app.clerk.end()
        if app.shared is not None:
            await app.shared.leave()
        await self._upkeep.stop()
        await self._end_renewal()
        if posted and app.lessee is not None:
            await self._unless_away(asyncio.to_thread(app.lessee.leave, app.clock()))
        try:
            recovery.save(app.settings.data, app.states.hot, app.journal.position, app.worker.number)
        except OSError as error:
            app.log.failure("no checkpoint was written; the next start reads more of the journal", error)

    async def turn(self) -> None:
        """Everything of it once, posting here: for whoever lets time pass himself."""
        await self._accrue()
        await self._tell()
        await self._durable()
        self._app.post()
        await self._learn()
        await self._plan()
        await self._sweep()
        if self._app.lessee is not None:
            await self._lease()
            await self._hear_of_others()

    async def _durable(self) -> None:
        journal = self._app.journal
        if journal.position != journal.synced_position:
            await journal.durable()

    async def _lease(self) -> None:
        app = self._app
        assert app.lessee is not None
        await self._unless_away(app.lessee.turn(app.states, app.clock()))

    async def _hear_of_others(self) -> None:
        app = self._app
        if app.lessee is not None:
            await self._unless_away(app.lessee.hear(lambda: app.journal.position, app.clock()))

    async def _bury(self) -> None:
        app = self._app
        if app.lessee is not None and app.worker.is_first:
            await self._unless_away(asyncio.to_thread(app.lessee.bury, app.clock()))

    async def _unless_away(self, act: Awaitable[None]) -> None:
        """The ledger may be away, which is said once: what is leased must do until the next turns."""
        try:
            await act
            self._away = False
        except (DBAPIError, Unread, *AWAY) as error:
            if not self._away:
                self._app.log.warning("what is leased must do: the ledger is away", reason=reason(error))
            self._away = True

    async def _tell(self) -> None:
        self._app.states.hot.tally.tell(self._app.promises, self._app.clock())

    async def _accrue(self) -> None:
        self.accruing.accrue()

    async def _ask(self) -> None:
        self._app.clerk.ask(self._app.journal.synced_position)

    async def _hear(self) -> bool:
        app = self._app
        try:
            return await app.clerk.hear()
        except NotPosted as error:
            app.metrics.posting_failed()
            app.log.warning("events wait in the journal to be posted", reason=str(error))
            return True

    def sweep_seen(self) -> None:
        """Forget events, but none that the ledger does not know yet: what was written by some instant is
        posted, so what ran out before that is."""
        app = self._app
        written, at_ms = self._posted_at
        if app.ledger.position >= written:
            app.states.seen.sweep(at_ms)
            self._posted_at = (app.journal.position, app.clock())

    async def _mark_billed(self) -> None:
        """Currency and time zone of a campaign are fixed once something of it was billed."""
        app = self._app
        if app.ledger.position != self._marked:
            position = app.ledger.position
            await asyncio.to_thread(lambda: app.store.mark_billed(app.ledger.billed_campaigns()))
            self._marked = position

    async def _learn(self) -> None:
        await self._app.learning.follow()

    async def _plan(self) -> None:
        await self._app.planning.renew()

    async def _forget(self) -> None:
        await asyncio.to_thread(self._app.store.forget, self._app.clock())

    async def _sweep(self) -> None:
        app, now_ms = self._app, self._app.clock()
        app.states.hot.sweep(now_ms)
        self.sweep_seen()
        today = now_ms // DAY_MS
        if today != self._today:
            self._today = today
            app.states.budgets.forget_days(today - DAYS_KEPT)
            # Circles that lived long before they came loose (``App.start``).
            gc.collect()
        app.world.serving.live.look_again()
        app.publishing.settle()

    async def _look(self) -> None:
        app = self._app
        if not app.addresses.look():
            return
        try:
            await asyncio.to_thread(app.addresses.reload)
            app.log.info("the list of data centres was read again", networks=app.addresses.listed)
        except BadList as error:
            app.metrics.list_failed()
            app.log.warning("data centres are told by the last good list", reason=str(error))

    async def _renew_checkpoint(self) -> None:
        """In a child, whenever another segment was sealed; one child at a time."""
        app = self._app
        if self._renewal is not None:
            if self._renewal.returncode is None:
                return
            if self._renewal.returncode:
                app.log.warning("the checkpoint was not renewed", code=self._renewal.returncode)
            self._renewal = None
        segment = app.journal.position.segment
        if segment > self._checkpointed:
            self._checkpointed = segment
            command = recovery.renewing(app.settings.data, segment, app.worker.number, app.shared is not None)
            self._renewal = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL)

    async def _end_renewal(self) -> None:
        if self._renewal is not None and self._renewal.returncode is None:
            self._renewal.kill()
            await self._renewal.wait()
