"""The one place that knows everything: settings -> stores -> use cases -> ASGI app -> server."""

import asyncio
import gc
import os
import secrets as chance
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from maxminddb import InvalidDatabaseError

from adserver import recovery
from adserver.api import asgi, openrtb
from adserver.api.ports import Services
from adserver.catalog import documents, folder
from adserver.catalog import secrets as catalog_secrets
from adserver.catalog.keys import Key, Keys
from adserver.catalog.secrets import BadSecrets
from adserver.catalog.store import Store
from adserver.catalog.tables import Unusable
from adserver.clock import Clock, WallClock
from adserver.domain.changes import Conflict, Invalid
from adserver.geography import MaxMindFile
from adserver.ledger.disk import JournalBusy
from adserver.ledger.journal import Journal
from adserver.ledger.ledger import Ledger
from adserver.ledger.poster import Poster
from adserver.ledger.reader import Reader
from adserver.ledger.segments import Damage
from adserver.services.answer import AdServer
from adserver.services.deciding import Kept
from adserver.services.delivery import Delivery
from adserver.services.events import EventRecorder
from adserver.services.manage import Manage
from adserver.services.normalise import Normaliser
from adserver.services.pseudonyms import Pseudonyms
from adserver.services.publishing import Publishing
from adserver.services.receipts import Receipts
from adserver.services.render import Renderer
from adserver.services.serve import Decisions, Outcome
from adserver.services.sold import SoldFinder
from adserver.services.upkeep import CHECKPOINT_S, DURABLE_S, FOLLOW_S, POST_S, SWEEP_S, LoopLag, Upkeep
from adserver.services.withdrawing import Withdrawal
from adserver.services.world import World
from adserver.settings import Settings
from adserver.telemetry import logs
from adserver.telemetry.metrics import Metrics
from adserver.tokens import Signer

_DAYS_KEPT = 3
_DAY_MS = 86_400_000


class App:
    """An embedded server: everything in this process, under one data directory.

    Opening recovers: the journal's rest is posted, the hot state read back, the catalogue compiled.
    ``extra``: further pages, such as the demo's.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None, extra: tuple[Any, ...] = ()) -> None:
        self.settings = settings
        self.clock = clock or WallClock()
        self.log = logs.Log()
        self.metrics = Metrics()
        self.lag = LoopLag()
        self._open_stores(settings.data)
        self._recover()
        self._wire(extra)
        self.publishing.start()

    # -- opening -----------------------------------------------------------------------------------

    def _open_stores(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        secrets = catalog_secrets.load(data)
        self.names = Pseudonyms(secrets.pseudonym)
        self.signer = Signer(secrets.signing, secrets.current, secrets.mask)
        self.receipts = Receipts(secrets.receipt)
        self.journal = Journal(data / "journal", self.settings.segment_bytes)
        self.reader = Reader(data / "journal")
        if self.journal.cut_bytes:
            self.log.info("a torn tail was cut off the journal", bytes=self.journal.cut_bytes)
        self.ledger = Ledger(data / "ledger.sqlite")
        self.poster = Poster(self.reader, self.ledger, lambda: self.journal.synced_position)
        self.store = Store(data / "catalog.sqlite", self.names.person)
        self.keys = Keys(data / "catalog.sqlite")
        if self.settings.campaigns is not None:
            self.store.apply(folder.read_folder(self.settings.campaigns))

    def _recover(self) -> None:
        """What was written but not posted is posted; what was decided and is not over is outstanding."""
        Poster(self.reader, self.ledger).drain()
        states, trouble = recovery.recover(self.settings.data, self.journal.position)
        if trouble is not None:
            self.log.failure("the checkpoint is of no use; the whole journal was read", trouble)
        self.states = states
        self._today = self.clock() // _DAY_MS
        states.budgets.load(self.ledger.totals(), self.ledger.billed_accounts(self._today - _DAYS_KEPT))
        states.hot.sweep(self.clock())
        self._checkpointed = self.journal.position.segment
        self._renewal: asyncio.subprocess.Process | None = None

    # -- composing ---------------------------------------------------------------------------------

    def _wire(self, extra: tuple[Any, ...]) -> None:
        settings, clock = self.settings, self.clock
        self.world = World()
        self.sold = SoldFinder(self.world, self.store)
        states = self.states
        kept = Kept(
            states.exposures, states.feeds, states.budgets, self.journal, self.receipts, states.repeats
        )
        geography = MaxMindFile(settings.geoip) if settings.geoip is not None else None
        normaliser = Normaliser(self.names, geography, lambda: int.from_bytes(os.urandom(8), "big"))
        self.decisions = Decisions(
            self.world, kept, normaliser, clock, lambda: self.signer.current, _salt,
            self.lag.overloaded,
        )  # fmt: skip
        self.renderer = Renderer(self.signer, public_url(settings), self.sold)
        self.server = AdServer(self.decisions, self.renderer, states.budgets, self._served)
        self.recorder = EventRecorder(
            self.world, self.signer, states.exposures, states.budgets, self.journal, self.ledger, states.seen,
            states.filtered, states.released, self.sold, clock, _salt,
        )  # fmt: skip
        self.delivery = Delivery(self.world, states.budgets, clock)
        self.publishing = Publishing(
            self.store, self.world, self.journal, states.budgets, clock, self._build_failed
        )
        self.changed = asyncio.Event()
        self.manage = Manage(self.store, documents.parse_json, self.delivery, self.changed.set)
        self.asgi = asgi.build(self._services(extra), settings.trusted_proxies)
        self._watch()

    def _services(self, extra: tuple[Any, ...]) -> Services:
        return Services(
            server=self.server,
            recorder=self.recorder,
            receipts=self.receipts,
            manage=self.manage,
            find_key=self._find_key,
            metrics=self.metrics,
            log=self.log,
            ready=lambda: self.world.ready,
            auction=openrtb.Auction(
                self.server,
                self.renderer,
                Withdrawal(
                    self.states.exposures, self.states.budgets, self.journal, self.states.released, self.clock
                ),
                lambda: self.world.snapshot,
                self._find_key,
                public_url(self.settings),
                self.metrics.decided,
            ),
            extra=(*openrtb.routes(), *extra),
        )

    def _find_key(self, text: str) -> Key | None:
        return self.keys.find(text, self.clock())

    def _watch(self) -> None:
        def lag_bytes() -> float:
            written, posted = self.journal.position, self.ledger.position
            behind = (written.segment - posted.segment) * self.settings.segment_bytes
            return float(behind + written.offset - posted.offset)

        self.metrics.watch(
            lag_bytes,
            lambda: float(self.world.snapshot.revision),
            lambda: (self.clock() - self.publishing.live_since_ms) / 1000,
            lambda: float(self.journal.open),
            lambda: float(self.ledger.refused),
            lambda: self.lag.lag_s,
        )

    def _served(self, outcome: Outcome) -> None:
        metrics = self.metrics
        metrics.decision(outcome.request.mode)
        for slot in outcome.decision.slots:
            metrics.placement(len(slot.ads), slot.no_fill)
            if slot.feed is not None and slot.repeated is None and outcome.slates:
                metrics.feed_page(slot.feed.organic, slot.feed.sponsored)

    def _build_failed(self, error: Exception) -> None:
        self.metrics.build_failed()
        self.log.failure("the catalogue could not be compiled; the last good snapshot serves on", error)

    # -- running -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin the periodic duties, on the running loop."""
        self._upkeep = Upkeep(lambda name, error: self.log.failure(f"upkeep failed: {name}", error))
        self._upkeep.every(DURABLE_S, "durable", self._durable)
        self._upkeep.every(POST_S, "post", self._post)
        self._upkeep.every(SWEEP_S, "sweep", self._sweep)
        self._upkeep.every(CHECKPOINT_S, "checkpoint", self._renew_checkpoint)
        self._upkeep.every(0, "follow", self._follow)
        self._upkeep.every(0, "lag", self.lag.watch)
        # What was loaded so far lives as long as the process: the collector need not walk it again.
        gc.collect()
        gc.freeze()

    async def stop(self) -> None:
        """Post and checkpoint everything, then close. After it the directory can be opened again."""
        await self._upkeep.stop()
        await self.journal.durable()
        await asyncio.to_thread(self.poster.drain)
        await self._end_renewal()
        try:
            recovery.save(self.settings.data, self.states.hot, self.journal.position)
        except OSError as error:
            self.log.failure("no checkpoint was written; the next start reads more of the journal", error)
        self.close()

    def close(self) -> None:
        self.reader.close()
        self.journal.close()
        self.ledger.close()
        self.store.close()
        self.keys.close()

    async def _durable(self) -> None:
        if self.journal.position != self.journal.synced_position:
            await self.journal.durable()

    async def _post(self) -> None:
        while await asyncio.to_thread(self.poster.step):
            await asyncio.to_thread(self._mark_billed)
        if self.ledger.position >= self.journal.synced_position:
            self.states.seen.sweep(self.clock())

    def _mark_billed(self) -> None:
        for campaign in self.ledger.billed_campaigns():
            self.store.mark_billed(campaign)

    async def _sweep(self) -> None:
        now_ms = self.clock()
        self.states.hot.sweep(now_ms)
        today = now_ms // _DAY_MS
        if today != self._today:
            self._today = today
            self.states.budgets.forget_days(today - _DAYS_KEPT)
        serving = self.world.serving
        for position in list(serving.live.cleared):
            serving.live.set(position)

    async def _follow(self) -> None:
        """Soon after a change made here, and now and then for those made by other processes."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), FOLLOW_S)
        self.changed.clear()
        await self.publishing.follow()

    async def _renew_checkpoint(self) -> None:
        """In a child, whenever another segment was sealed; one child at a time."""
        if self._renewal is not None:
            if self._renewal.returncode is None:
                return
            if self._renewal.returncode:
                self.log.warning("the checkpoint was not renewed", code=self._renewal.returncode)
            self._renewal = None
        segment = self.journal.position.segment
        if segment > self._checkpointed:
            self._checkpointed = segment
            command = recovery.renewing(self.settings.data, segment)
            self._renewal = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL)

    async def _end_renewal(self) -> None:
        if self._renewal is not None and self._renewal.returncode is None:
            self._renewal.kill()
            await self._renewal.wait()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI, lifespan included."""
        if scope["type"] != "lifespan":
            await self.asgi(scope, receive, send)
            return
        await self._lifespan(receive, send)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})


def public_url(settings: Settings) -> str:
    """What URLs are built from: never the Host header."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _salt() -> bytes:
    return chance.token_bytes(8)


def server_of(app: Callable[..., Any], settings: Settings) -> uvicorn.Server:
    """The HTTP server around an app, configured as this project needs it."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        backlog=2048,
    )
    return uvicorn.Server(config)


class CannotServe(Exception):
    """The server cannot start; the message says why and is for the operator."""


def bind(settings: Settings) -> tuple[socket.socket, Settings]:
    """Take the port before anything is opened: a port in use is found out at once, and port 0 becomes a
    number that URLs can name. Raises CannotServe."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise CannotServe(f"{settings.host}:{settings.port} cannot be used: {error.strerror}") from error
    return listening, msgspec.structs.replace(settings, port=listening.getsockname()[1])


def open_app(settings: Settings, extra: tuple[Any, ...] = ()) -> App:
    """Raises CannotServe for what an operator can mend."""
    try:
        return App(settings, extra=extra)
    except _MENDABLE as error:
        raise CannotServe(str(error)) from error


_MENDABLE = (JournalBusy, Damage, BadSecrets, Unusable, Invalid, Conflict, OSError, InvalidDatabaseError)


def serve(settings: Settings) -> None:
    """Serve until told to stop (SIGINT, SIGTERM). Raises CannotServe."""
    logs.configure(settings.log_level)
    listening, settings = bind(settings)
    app = open_app(settings)
    app.log.info("serving", url=public_url(settings), revision=app.world.snapshot.revision)
    # uvicorn ends gracefully on these and then raises them again, which would end the process by signal.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    server_of(app, settings).run(sockets=[listening])
