"""The engine alone: shortlist and admission in memory, with budgets and pacing, without a journal."""

import secrets
from functools import partial
from itertools import count
from random import Random
from typing import Final

import msgspec

from adserver import recovery
from adserver.bench.catalogue import SEED, Shape, creatives, publisher
from adserver.domain import ids
from adserver.domain.admission import Slate
from adserver.domain.campaign import Advertiser, Budget, Campaign, FrequencyCap, LineItem, Pricing
from adserver.domain.catalogue import Catalogue
from adserver.domain.decision import NoFill
from adserver.domain.request import PlacementAsk, Request
from adserver.domain.targeting import Targeting
from adserver.engine import draw, rules
from adserver.engine.live import Live
from adserver.engine.rates import Rates
from adserver.engine.shortlist import Walk
from adserver.engine.snapshot import Entry, Snapshot
from adserver.engine.worth import Worth
from adserver.services import plans
from adserver.services.ask import Ask, Asker, Terms
from adserver.services.exclusions import Company
from adserver.services.normalise import Normaliser
from adserver.services.pseudonyms import Pseudonyms
from adserver.services.slate import PlacementSlate
from adserver.services.terms import InForce

NOON_MS: Final = 1_780_315_200_000
"""2026-06-01T12:00:00Z, a Monday."""
WORST_CAPPED: Final = 5_000
WORST_TIED: Final = 10_000
WORST_COUNT: Final = 40
WORST_PLACEMENTS: Final = ("p0", "p5", "p10", "p15")


class Engine:
    """A snapshot with fresh state beside it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.live = Live(len(snapshot.entries))
        self.worth = Worth(snapshot.entries, Rates())
        self.states = recovery.fresh()
        self.states.budgets.follow(InForce(snapshot))

    def decide(self, request: Request) -> list[PlacementSlate]:
        """What is timed: shortlist, rules, budgets, pacing and admission of every placement."""
        company, indexes = Company(), count(1)
        open_chunks, slates = self._open_chunks(request), []
        facts = rules.everywhere(request, self.snapshot.zones, self.snapshot.required)
        common = self.snapshot.index.common(facts)
        for number, ask in enumerate(request.placements):
            view = self.snapshot.view(request.publisher, ask.id, ask.formats, ask.sizes)
            assert view is not None
            context = rules.context(request, ask, view, self.snapshot.zones, self.worth, facts)
            walk = Walk(self.snapshot, open_chunks, context, self._need, number, common)
            slates.append(
                PlacementSlate(
                    context, walk.entries(), company, partial(self._drop, request.now_ms),
                    partial(self._reserve, request.now_ms), indexes, draw.mix(request.seed, number),
                    ask.count, None, {},
                )
            )  # fmt: skip
        asked: list[Slate[Entry]] = [*slates]
        self.states.exposures.admit(request.subject, request.session, asked, request.now_ms)
        return slates

    def _open_chunks(self, request: Request) -> list[int]:
        """As ``services.deciding`` finds them."""
        exposures, chunks = self.states.exposures, self.live.chunks
        exposures.sweep(request.now_ms)
        capped = exposures.capped_out(request.subject, request.session, request.now_ms, self.snapshot)
        if capped:
            chunks = list(chunks)
            for chunk, bits in capped.items():
                chunks[chunk] &= ~bits
        return chunks

    def undo(self, slates: list[PlacementSlate]) -> None:
        for slate in slates:
            for winner in slate.winners:
                self.states.exposures.take_back(winner.event_id)
                self.states.budgets.void(winner.event_id)

    def _need(self, entry: Entry, now_ms: int) -> float:
        return plans.need(entry, self.states.budgets, now_ms)

    def _drop(self, now_ms: int, entry: Entry) -> rules.Drop | None:
        drop = plans.drop(entry, self.states.budgets, now_ms)
        if drop is not None and drop.reason is NoFill.BUDGET_EXHAUSTED:
            self.live.clear(entry.position, drop.reason)
        return drop

    def _reserve(self, now_ms: int, event: bytes, entry: Entry, hold_nanos: int, expires_ms: int) -> bool:
        serial = entry.line_item.serial
        return self.states.budgets.reserve(event, serial, hold_nanos, now_ms, expires_ms)


def requests(snapshot: Snapshot, number: int, seed: int = SEED + 1) -> list[Request]:
    """As the wire's requests come out of normalisation. The seed is not the catalogue's."""
    shape = Shape(seed)
    normaliser = Normaliser(Pseudonyms(secrets.token_bytes(32)), None, partial(shape.chance.getrandbits, 64))
    asker, terms = Asker(), Terms()
    asks = (msgspec.convert(shape.request(), Ask) for _ in range(number))
    return [normaliser.request(ask, asker, terms, snapshot, NOON_MS) for ask in asks]


# -- the worst request -----------------------------------------------------------------------------


def worst_catalogue(capped: int = WORST_CAPPED, tied: int = WORST_TIED) -> Catalogue:
    """``capped`` line items of the best bids, a cap of one a day each, then ``tied`` of one lower bid. Each
    is a campaign of its own, so that none keeps another out."""
    campaigns = []
    for serial in range(1, capped + tied + 1):
        best = serial <= capped
        item = LineItem(
            id="l",
            full_id=f"brand/c{serial}/l",
            serial=serial,
            priority="auction",
            pricing=Pricing("cpm", 20_000_000 - serial * 100 if best else 1_000_000),
            creatives=creatives(4 * serial)[:1],
            targeting=Targeting(),
            budget=Budget(10**16, 10**15),
            pacing="even",
            frequency_caps=(FrequencyCap(1, 86_400_000),) if best else (),
        )
        campaigns.append(Campaign(f"c{serial}", "brand", serial, "EUR", "UTC", (item,)))
    return Catalogue(1, (Advertiser("brand", 1),), tuple(campaigns), (publisher(),))


def worst_requests(engine: Engine, number: int, each: int = WORST_COUNT) -> list[Request]:
    """One person, who has seen everything that has a cap."""
    person, seeds = b"p" * 16, Random(SEED)
    for entry in engine.snapshot.entries:
        engine.states.exposures.count(person, None, entry.counts, NOON_MS)
    asks = tuple(PlacementAsk(name, count=each) for name in WORST_PLACEMENTS)
    drawn = (seeds.getrandbits(64) for _ in range(number))
    return [
        Request(ids.mint(NOON_MS, seed, 0), NOON_MS, seed, "gazette", asks, {}, subject=person)
        for seed in drawn
    ]
