"""The one place that knows everything: settings -> stores -> use cases -> ASGI app -> server."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from adserver import lifespan, offering, recovery, screens, sharing
from adserver.addresses import Addresses
from adserver.api import asgi
from adserver.billed import is_billed
from adserver.building.builder import Builder, Following
from adserver.catalog import documents, folder, opening
from adserver.catalog import secrets as catalog_secrets
from adserver.catalog.keys import Keys
from adserver.catalog.store import Store
from adserver.clock import Clock, WallClock
from adserver.collector import settle
from adserver.domain.workers import ALONE, Worker
from adserver.doors import Doors
from adserver.duties import DAY_MS, DAYS_KEPT, Duties
from adserver.engine.compile import compile_snapshot
from adserver.geography import MaxMindFile
from adserver.ledger import journals
from adserver.ledger.journal import Journal
from adserver.ledger.place import place_of
from adserver.ledger.poster import Poster
from adserver.ledger.reader import Reader
from adserver.lessee import open_books
from adserver.near import near
from adserver.posting.clerk import Clerk
from adserver.salts import Chance, Salts, Seeds
from adserver.services.answer import AdServer
from adserver.services.attributing import Attribution
from adserver.services.converting import Conversions
from adserver.services.crediting import Crediting
from adserver.services.delivery import Delivery
from adserver.services.diagnosis import Diagnosis
from adserver.services.events import EventRecorder
from adserver.services.impressions import Impressions
from adserver.services.invalidating import Invalidation
from adserver.services.kept import Kept
from adserver.services.manage import Manage
from adserver.services.marked import Marked
from adserver.services.normalise import Normaliser
from adserver.services.planning import Planning
from adserver.services.promises import Promises
from adserver.services.pseudonyms import Pseudonyms
from adserver.services.publishing import Publishing
from adserver.services.rates import Learning
from adserver.services.receipts import Receipts
from adserver.services.render import Renderer
from adserver.services.samples import Samples
from adserver.services.serve import Decisions, Outcome
from adserver.services.sharing import SharedDecisions
from adserver.services.stating import Statements
from adserver.services.supply import Supply
from adserver.services.upkeep import LoopLag
from adserver.services.wallets import Wallets
from adserver.services.world import World
from adserver.services.writing import Writer
from adserver.settings import Settings
from adserver.telemetry import logs
from adserver.telemetry.metrics import Metrics
from adserver.tokens import Signer
from adserver.watching import watch
from adserver.workers.given import Given


class App:
    """An embedded server: everything in this process, under one data directory.

    Opening recovers: the journal's rest is posted, the hot state read back. Then nothing is live yet:
    ``start`` has a child build the catalogue and follows it, ``build`` builds it here, once. ``extra``:
    further pages, such as the demo's. ``chance``: 64 random bits for each request. ``worker``: which of
    several on one directory this is, ``parent``: what it has of the process that started them.
    """

    def __init__(
        self, settings: Settings, clock: Clock | None = None, extra: tuple[Any, ...] = (),
        chance: Chance | None = None, worker: Worker = ALONE, parent: Given | None = None,
    ) -> None:  # fmt: skip
        sharing.check(settings.redis)
        self.settings = settings
        self.worker, self.given = worker, parent
        self.clock = clock or WallClock()
        self._chance = chance or Seeds(worker.number)
        self.log = logs.Log()
        self.metrics = Metrics()
        self.lag = LoopLag()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.world = World()
        self.unfit: Exception | None = None
        self._open_stores(settings.data)
        self._recover()
        url = settings.database
        self.builder: Following = parent.builder if parent else Builder(settings.data, self.store, url)
        self.sums = None if parent is None else parent.sums
        self.clerk = Clerk(
            settings.data, self.ledger, people_days=settings.people_days, url=url,
            number=worker.number, leased=self.lessee is not None,
        )  # fmt: skip
        self._wire(extra)
        self.learning.start()

    # -- opening -----------------------------------------------------------------------------------

    def _open_stores(self, data: Path) -> None:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        url = self.settings.database
        catalog, books = opening.place_of(data, url), place_of(data, url)
        secrets = catalog_secrets.load(data, catalog)
        self.names = Pseudonyms(secrets.pseudonym)
        self.signer = Signer(secrets.signing, secrets.current, secrets.mask)
        self.receipts = Receipts(secrets.receipt)
        written = journals.folder_of(data, self.worker.number)
        self.journal = Journal(written, self.settings.segment_bytes)
        self.reader = Reader(written)
        if self.journal.cut_bytes:
            self.log.info("a torn tail was cut off the journal", bytes=self.journal.cut_bytes)
        self._books, self.ledger, self._join = open_books(self.settings, books, self.worker, self.clock())
        self.store = Store(catalog, self.names.person, partial(is_billed, self))
        self.keys = Keys(catalog)
        if self.settings.campaigns is not None and self.worker.is_first:
            self.store.apply(folder.read_folder(self.settings.campaigns))

    def _recover(self) -> None:
        """What was written but not posted is posted; what was decided and is not over is outstanding."""
        self.post()
        recovery.belong(self.journal.position, self.ledger.position)
        data, worker = self.settings.data, self.worker
        self.lessee = None if self._join is None else self._join(self.store.revision())
        made = recovery.fresh if self.lessee is None else self.lessee.begin
        begun = partial(made, mirrored=bool(self.settings.redis))
        states, trouble = recovery.recover(data, self.journal.position, number=worker.number, begun=begun)
        if trouble is not None:
            self.log.failure("the checkpoint is of no use; the whole journal was read", trouble)
        self.states, states.hot.fees.keeps = states, worker.keeps
        self._books.describe(states.hot.terms.values())
        today = self.clock() // DAY_MS
        billed = None if self.lessee is None else self.lessee.billed
        recovery.take_books(states, self.ledger, today - DAYS_KEPT, billed)
        states.hot.sweep(self.clock())

    # -- composing ---------------------------------------------------------------------------------

    def _wire(self, extra: tuple[Any, ...]) -> None:
        settings, clock, salts = self.settings, self.clock, Salts()
        self.near = near(self)
        states, hot, repeats = self.states, self.states.hot, self.states.repeats
        owns = None if self.lessee is None else self.worker.owns
        journal = Promises(self.journal, states.budgets, states.exposures, hot.terms, hot.identities, owns)
        self.promises = journal
        self.kept = Kept(
            states.exposures, states.feeds, states.budgets, journal, self.receipts, repeats, states.traffic,
            hot.tally, hot.fees, hot.allotment,
        )  # fmt: skip
        geography = MaxMindFile(settings.geoip) if settings.geoip is not None else None
        self.addresses = Addresses(settings.data_centres)
        normaliser = Normaliser(self.names, geography, self._chance, self.addresses.hosted)
        deciding = SharedDecisions if settings.redis else Decisions
        self.decisions = deciding(
            self.world, self.kept, normaliser, clock, lambda: self.signer.current, salts, self.lag.overloaded,
        )  # fmt: skip
        self.shared = sharing.share(self)
        self.samples, self.supply, self.marked = Samples(clock), Supply(clock, states.traffic), Marked(clock)
        self.renderer = Renderer(self.signer, settings.base_url, self.near.sold)
        self.writer = Writer(self.signer, settings.base_url, self.near.sold)
        self.server = AdServer(self.decisions, self.writer, self._served)
        screen, happened = screens.screen(self), self.samples.event
        self.recorder = EventRecorder(
            self.world, self.signer, screen, states.exposures, states.budgets, journal, self.near.ledger,
            states.seen, states.filtered, states.released, self.near.sold, clock, salts, happened,
            hot.touched, owns, self.near.check,
        )  # fmt: skip
        self.impressions = Impressions(
            self.near.read, self.recorder, screen, states.exposures, states.budgets, journal, states.seen,
            states.released, clock, salts, self.samples.shown, hot.viewed,
        )  # fmt: skip
        self.attribution = Attribution(
            states.touches, states.budgets, journal, self.ledger, states.seen, clock
        )
        invalidation = Invalidation(
            self.journal, self.ledger, states.budgets, hot, clock, lambda: self.journal.position
        )
        self.doors = Doors(self, invalidation)
        self.diagnosis = Diagnosis(self.world, self.kept, self.samples, self.marked)
        self.delivery = Delivery(self.world, states.budgets, states.traffic, hot.allotment, hot.fees, clock)
        self.learning = Learning(self.ledger, self.world)
        self.planning = Planning(
            self.world, self.supply, states.budgets, states.traffic, self.journal, hot.allotment,
            self.samples.rendered, hot.multipliers, clock,
        )  # fmt: skip
        self.invalidation = self.doors.invalidation
        self.conversions = Conversions(self.world, self.names, self.doors.settling, clock)
        self.statements = Statements(self.journal, self.ledger, self.world, clock)
        self.wallets = Wallets(self.world, states.budgets)
        self.crediting = Crediting(
            self.journal, self.ledger, states.budgets, self.world, clock, lambda: self.journal.position
        )
        self.publishing = Publishing(self.world, self.promises, clock, self._build_failed)
        self.manage = Manage(self.store, documents.parse_json, self.delivery, self.builder.look)
        self.asgi = asgi.build(offering.services(self, extra), settings.trusted_proxies)
        watch(self)

    def _served(self, outcome: Outcome) -> None:
        self.samples.take(outcome)
        self.planning.take(outcome)
        metrics = self.metrics
        metrics.decision(outcome.request.mode)
        for slot in outcome.decision.slots:
            metrics.placement(len(slot.ads), slot.no_fill)
            if slot.feed is not None and slot.repeated is None and outcome.slates:
                metrics.feed_page(slot.feed.organic, slot.feed.sponsored)

    def _build_failed(self, error: Exception) -> None:
        self.metrics.build_failed()
        self.log.failure("no new snapshot; the last good one serves on", error)

    # -- running -----------------------------------------------------------------------------------

    def build(self) -> None:
        """Take up the catalogue as it is, built here: for a server within another program, and small."""
        self.publishing.put_live(compile_snapshot(self.store.load()))

    def post(self) -> None:
        """Post here what the journal holds, all of it on disk: at the start, and for a server within another
        program. One that serves has it done by a child."""
        Poster(self.reader, self._books, lambda: self.journal.synced_position).drain()
        self.ledger.moved(self._books.position)

    @property
    def refused(self) -> int:
        """Events the journal billed and the books must not: 0, or something is wrong."""
        return self._books.refused + self.clerk.refused

    async def start(self) -> None:
        """Begin to serve, on the running loop. Who built here is not followed. Raises NotBuilt."""
        self._duties = Duties(self)
        self._loop = asyncio.get_running_loop()
        if not self.world.ready:
            await self.publishing.begin(self.builder)
            self._duties.follow(self.builder)
        self._books.close()
        await self.clerk.begin()
        self._duties.begin()
        await self.doors.open()
        settle()

    def stop_waiting(self) -> None:
        """Told to end before there was anything to serve: wait no more. A signal's handler may say so."""
        if self._loop is not None and not self.world.ready:
            self._loop.call_soon_threadsafe(self.builder.give_up)

    async def stop(self) -> None:
        """Post and checkpoint everything, then close. After it the directory can be opened again."""
        await self._duties.end()
        self.close()

    def close(self) -> None:
        for part in (
            self.reader, self.journal, self.ledger, self._books, self.store, self.keys, self.doors, self.near
        ):  # fmt: skip
            part.close()
        if self.lessee is not None:
            self.lessee.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI, lifespan included."""
        if scope["type"] != "lifespan":
            await self.asgi(scope, receive, send)
            return
        await lifespan.live(self, receive, send)
