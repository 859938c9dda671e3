"""The engine alone: shortlist and admission in memory, with budgets and pacing, as a server runs them, but
without a journal."""

import asyncio
import secrets
from functools import partial
from random import Random
from typing import Final

import msgspec

from adserver import recovery
from adserver.bench.catalogue import SEED, Shape, creatives, publisher
from adserver.domain import ids
from adserver.domain.campaign import Advertiser, Budget, Campaign, FrequencyCap, LineItem, Pricing
from adserver.domain.catalogue import Catalogue
from adserver.domain.records import Personal, Record
from adserver.domain.request import PlacementAsk, Request
from adserver.domain.targeting import Targeting
from adserver.engine.snapshot import Snapshot
from adserver.services.ask import Ask, Asker, Terms
from adserver.services.deciding import Deciding
from adserver.services.kept import Kept
from adserver.services.normalise import Normaliser
from adserver.services.pseudonyms import Pseudonyms
from adserver.services.receipts import Receipts
from adserver.services.slate import PlacementSlate
from adserver.services.terms import InForce
from adserver.services.world import Serving

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
        self.states = recovery.fresh()
        self.states.budgets.follow(InForce(snapshot))
        self._serving = Serving(snapshot)
        states, receipts = self.states, Receipts(secrets.token_bytes(32))
        self._kept = Kept(
            states.exposures, states.feeds, states.budgets, Unwritten(), receipts, states.repeats,
            states.traffic, states.hot.tally, states.hot.fees,
        )  # fmt: skip

    def decide(self, request: Request) -> list[PlacementSlate]:
        """What is timed: shortlist, rules, budgets, pacing and admission of every placement."""
        deciding = Deciding(request, self._serving, self._kept, 0)
        deciding.fill()
        return [slate for slate in deciding.slates if slate is not None]

    def undo(self, slates: list[PlacementSlate]) -> None:
        for slate in slates:
            for winner in slate.winners:
                self.states.exposures.take_back(winner.event_id)
                self.states.budgets.void(winner.event_id)


class Unwritten:
    """A journal with room, and nothing in it."""

    open = True

    def append(self, record: Record, personal: Personal | None = None) -> None: ...
    def synced(self) -> asyncio.Future[None]:
        raise NotImplementedError


def requests(snapshot: Snapshot, number: int, seed: int = SEED + 1) -> list[Request]:
    """As the wire's requests come out of normalisation. The seed is not the catalogue's."""
    shape = Shape(seed)
    normaliser = Normaliser(
        Pseudonyms(secrets.token_bytes(32)), None, partial(shape.chance.getrandbits, 64), lambda ip: False
    )
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
