"""Random sessions with everything a decision may depend on, and the replay of all that they journalled."""

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from random_session import Session
from world import OPERATOR, World, campaign, publisher

from adserver import replaying
from adserver.building.history import snapshot_at
from adserver.domain.books import Position
from adserver.domain.campaign import Creative, LineItem
from adserver.domain.deals import Deal, Market
from adserver.domain.decision import Decision
from adserver.domain.records import Decided
from adserver.engine.snapshot import Snapshot
from adserver.ledger.reader import Reader
from adserver.replaying import Replayed
from adserver.services.ask import Terms

Ask = dict[str, Any]


class Snapshots:
    """Those of former revisions, each compiled once."""

    def __init__(self) -> None:
        self._made: dict[int, Snapshot] = {}

    def __call__(self, data: Path, revision: int) -> Snapshot:
        if revision not in self._made:
            self._made[revision] = snapshot_at(data, revision)
        return self._made[revision]


def journalled(data: Path) -> list[Decision]:
    with closing(Reader(data / "journal")) as reader:
        records = [record for _, record, _ in reader.read(Position())]
    return [record.decision for record in records if isinstance(record, Decided)]


def replay_all(world: World) -> list[Replayed]:
    """Of every decision in the journal."""
    data, snapshots = world.app.settings.data, Snapshots()
    return [replaying.replay(data, one.request_id, snapshots) for one in journalled(data)]


def played(world: World, session: Session, steps: int, restarts: bool = True) -> list[Replayed]:
    """What comes of replaying a session of so many steps."""
    for number in range(1, steps + 1):
        session.step()
        if restarts and number % 40 == 0:
            world.restart(clean=number % 80 == 0)
    return replay_all(world)


def told(replayed: list[Replayed]) -> list[Any]:
    """What is not identical, and in what."""
    return [one.difference or one.reason for one in replayed if one.outcome != "identical"]


# -- a world of many rules -------------------------------------------------------------------------

PUBLISHERS = [
    publisher(
        "gazette",
        placements=[
            {"id": "top", "formats": ["image", "html"], "floor": "0.20"},
            {"id": "side", "auction": "second_price", "render_within": "3m"},
            {"id": "news", "surface": "feed", "feed": {"max_share": "0.4", "min_gap": 1}},
        ],
        blocked={"labels": ["spirits"]},
    )
]
FANS = {"audience": "fans", "advertiser": "acme", "user_space": "gazette", "users": ["u-1"]}
CONDITIONS = (
    'section = "sport" and user.age >= 30',
    'page.words > 100 or theme = "dark"',
    'device.language = "fr" and page.keywords contains "tennis"',
    "geo.lat > 45 and not placement.quiet",
    'theme like "d*"',
)
TARGETS: tuple[Ask, ...] = (
    {},
    {},
    {"segments": {"any": ["a", "b"]}},
    {"segments": {"none": ["c"]}, "countries": ["FR", "DE"]},
    {"keywords": {"all": ["tennis", "france"]}},
    {"devices": ["mobile"], "languages": ["fr"]},
    {"radius": [{"lat": "48.86", "lon": "2.33", "metres": 20_000}]},
    {"os_versions": [">=16.4"]},
    {"urls": ["https://news.example/*/sport"]},
    {"domains": ["*.news.example", "news.example"]},
    {"deals": ["gold", "silver"]},
    *({"custom": condition} for condition in CONDITIONS),
)


def catalogue(chance: random.Random, turn: int) -> list[Ask]:
    return [
        campaign(
            f"{owner}/{number}",
            *(line_item(chance, owner, f"l{index}") for index in range(chance.randint(1, 4))),
            labels=chance.choice([[], ["cars"], ["spirits"]]),
            budget=chance.choice([{}, {"daily": f"{2 + turn}.00"}, {"lifetime": "9.00"}]),
        )
        for owner in ("acme", "bolt", "corn")
        for number in ("one", "two")
    ]


def line_item(chance: random.Random, owner: str, name: str) -> Ask:
    tier = chance.choice(("auction", "auction", "auction", "sponsorship", "standard", "house"))
    model = "cpm" if tier != "auction" else chance.choice(("cpm", "cpm", "vcpm", "cpc"))
    amount = chance.choice(("100.00", "100.00", "200.00", "300.00"))
    item: Ask = {
        "id": name,
        "priority": tier,
        "pricing": {"model": model, "amount": "1.00" if model == "cpc" else amount},
        "targeting": {"audiences": ["fans"]} if owner == "acme" and name == "l0" else chance.choice(TARGETS),
        "creatives": [{"id": f"{name}-{kind}", "format": kind} for kind in ("image", "html", "native")],
        "rotation": chance.choice(("weighted", "optimise")),
    }
    if chance.random() < 0.4:
        item["frequency_caps"] = [
            {"limit": chance.randint(1, 3), "per": chance.choice(("1h", "1d", "session"))}
        ]
    if tier in ("sponsorship", "standard"):
        share = tier == "sponsorship" and chance.random() < 0.7
        item["goal"] = {"share": "0.5"} if share else {"impressions": chance.randint(5, 40)}
        item["flight"] = {"start": "2026-05-30T00:00:00Z", "end": "2026-06-09T00:00:00Z"}
    elif chance.random() < 0.5:
        item["budget"] = {"daily": chance.choice(("0.50", "1.00", "3.00"))}
    item["pacing"] = chance.choice(("even", "asap", "frontloaded", [*range(24)]))
    return item


class Rich(Session):
    """Asks for everything, of a catalogue that changes."""

    def documents(self) -> dict[str, list[Ask]]:
        return {"publishers": PUBLISHERS, "audiences": [FANS], "campaigns": catalogue(self.chance, 0)}

    def ask(self) -> None:
        chance = self.chance
        names = chance.sample(("top", "side", "nowhere"), chance.randint(1, 2))
        places = [self._place(name) for name in names]
        request = {"placements": places, **self.who(), **self._said()}
        if chance.random() < 0.2:
            request["mode"] = chance.choice(("test", "dry_run"))
        terms = self._terms(len(places)) if chance.random() < 0.3 else None
        self.take(self.world.decide(request, asker=OPERATOR, terms=terms))

    def _place(self, name: str) -> Ask:
        chance = self.chance
        place: Ask = {"id": name, "count": chance.randint(1, 4)}
        if chance.random() < 0.2:
            place["formats"] = ["html"]
        if chance.random() < 0.2:
            place["floor"] = chance.choice(("0.50", "150.00"))
        if chance.random() < 0.3:
            place["properties"] = {"quiet": True, "theme": "light"}
        return place

    def _said(self) -> Ask:
        chance, said = self.chance, dict[str, Any]()
        if chance.random() < 0.7:
            said["geo"] = {
                "country": chance.choice(("FR", "US")),
                "lat": chance.choice((48.86, 40)),
                "lon": 2.34,
            }
        if chance.random() < 0.7:
            said["device"] = {"type": chance.choice(("mobile", "desktop")), "language": "fr-BE",
                              "os": "ios", "os_version": chance.choice(("16.4.1", "15"))}  # fmt: skip
        if chance.random() < 0.7:
            said["page"] = {
                "url": chance.choice(("https://news.example/a/sport", "https://www.news.example/")),
                "keywords": chance.sample(("tennis", "france", "cars"), 2),
                "properties": {"words": chance.choice((50, 500))},
            }
        if chance.random() < 0.7:
            said["properties"] = {
                "section": chance.choice(("sport", "news")),
                "theme": "dark",
                "more": [10**30],
            }
        if chance.random() < 0.2:
            said["block"] = {"advertisers": ["acme"], "categories": ["IAB7"]}
        return said

    def who(self) -> Ask:
        chance, who = self.chance, super().who()
        who["user"]["segments"] = chance.sample(("a", "b", "c", "unknown"), chance.randint(0, 3))
        who["user"]["properties"] = {"age": chance.choice((20, 40))}
        return {**who, **({"minor": True} if chance.random() < 0.1 else {})}

    def _terms(self, places: int) -> Terms:
        """As an exchange's adapter has them."""
        chance = self.chance
        offered = Market((Deal("gold", 50_000), Deal("other", 0)), private=chance.random() < 0.5)
        return Terms(
            strict_floor=True,
            render_within_ms=(20_000,) * places,
            accepts=(odd(chance.random() < 0.5),) * places,
            markets=(offered,) * places,
            secure=chance.random() < 0.5,
            gdpr=chance.choice((None, True, False)),
        )

    def other(self) -> None:
        if self.chance.random() < 0.6:
            self.world.tick()
        else:
            self.turn += 1
            self.world.put(campaigns=catalogue(self.chance, self.turn))


def odd(every: bool) -> Callable[[LineItem, Creative], bool]:
    return lambda _, creative: every or creative.serial % 2 == 1
