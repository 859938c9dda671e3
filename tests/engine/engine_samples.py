"""Catalogues for tests of the engine, made of domain values directly: small ones by hand,
random ones by seed."""

import random
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from adserver.domain.campaign import (
    Advertiser,
    Budget,
    Campaign,
    Creative,
    Flight,
    FrequencyCap,
    Goal,
    LineItem,
    Pricing,
)
from adserver.domain.catalogue import Catalogue
from adserver.domain.inventory import Blocks, Placement, Publisher
from adserver.domain.places import Area, Circle, Point
from adserver.domain.properties import Properties
from adserver.domain.request import PlacementAsk, Request
from adserver.domain.targeting import DIMENSIONS, Clause, Targeting
from adserver.engine import rules
from adserver.engine.rates import Rates
from adserver.engine.snapshot import Snapshot
from adserver.engine.worth import Worth

NOON_MS = 1_780_315_200_000
"""2026-06-01T12:00:00Z, a Monday."""
ZONES = ("UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu")


def creative(serial: int, **fields: Any) -> Creative:
    given = {"format": "image", "size": "300x250", "advertiser_domain": "acme.example", **fields}
    return Creative(f"c{serial}", serial, serial, landing_url="https://acme.example/", **given)


def line_item(serial: int, micros: int = 1_000_000, **fields: Any) -> LineItem:
    given = {"priority": "auction", "pricing": Pricing("cpm", micros), "targeting": Targeting(),
             "creatives": (creative(serial),), **fields}  # fmt: skip
    return LineItem(f"l{serial}", f"acme/c{serial}/l{serial}", serial, **given)


def campaign(serial: int, *items: LineItem, **fields: Any) -> Campaign:
    given = {"advertiser": "acme", "currency": "EUR", "timezone": "UTC", **fields}
    return Campaign(f"c{serial}", serial=serial, line_items=items, **given)


def placement(**fields: Any) -> Placement:
    given = {"surface": "page", "formats": ("image",), **fields}
    return Placement("top", "gazette", 1, **given)


def catalogue(campaigns: Iterable[Campaign], *placements: Placement, **publisher: Any) -> Catalogue:
    campaigns = tuple(campaigns)
    owners = dict.fromkeys(campaign.advertiser for campaign in campaigns)
    given = {"currency": "EUR", "placements": placements or (placement(),), **publisher}
    return Catalogue(
        revision=1,
        advertisers=tuple(Advertiser(owner, serial) for serial, owner in enumerate(owners, 1)),
        campaigns=campaigns,
        publishers=(Publisher("gazette", 1, **given),),
    )


def of_items(*items: LineItem, **publisher: Any) -> Catalogue:
    """Each line item in a campaign of its own."""
    return catalogue([campaign(item.serial, item) for item in items], **publisher)


def request(seed: int = 1, **fields: Any) -> Request:
    asked = (PlacementAsk("top"),)
    given = {"request_id": bytes(16), "now_ms": NOON_MS, "publisher": "gazette", "placements": asked,
             "facts": {}, **fields}  # fmt: skip
    return Request(seed=seed, **given)


def context(
    snapshot: Snapshot,
    asked: Request | None = None,
    ask: PlacementAsk | None = None,
    rates: Rates | None = None,
    multipliers: Mapping[int, int] = {},
) -> rules.Context:
    asked, ask = asked or request(), ask or PlacementAsk("top")
    view = snapshot.view("gazette", ask.id, ask.formats, ask.sizes)
    assert view is not None
    worth = Worth(snapshot.entries, rates or Rates())
    worth.weigh(multipliers)
    return rules.context(asked, ask, view, snapshot.zones, worth)


# -- random ones -----------------------------------------------------------------------------------

VALUES = tuple("abcdef")
LABELS = ("beer", "cars", "toys")
_FREE = [name for name in DIMENSIONS if name not in ("publishers", "placements", "surfaces", "formats")]


def random_clause(chance: random.Random) -> Clause:
    def some(most: int) -> tuple[str, ...]:
        return tuple(chance.sample(VALUES, chance.randint(1, most)))

    parts = {
        name: some(most) for name, most in (("any", 4), ("all", 3), ("none", 3)) if chance.random() < 0.5
    }
    return Clause(**parts) if parts else Clause(any=some(3))


def random_targeting(chance: random.Random) -> Targeting:
    clauses = {name: random_clause(chance) for name in chance.sample(_FREE, chance.choice((0, 0, 1, 2, 5)))}
    if chance.random() < 0.2:
        clauses["urls"] = random_patterns(chance)
    if "os_versions" in clauses or chance.random() < 0.2:
        clauses["os_versions"] = random_versions(chance)
    if chance.random() < 0.2:
        clauses["surfaces"] = Clause(**{chance.choice(("any", "none")): (chance.choice(("page", "story")),)})
    hours = None
    if chance.random() < 0.3:
        hours = frozenset(chance.sample(range(168), chance.randint(1, 100)))
    custom = random_expression(chance) if chance.random() < 0.3 else ""
    radius = random_area(chance) if chance.random() < 0.2 else Area()
    return Targeting(clauses, hours, custom, radius)


def random_patterns(chance: random.Random) -> Clause:
    """Over the urls of ``random_request``, which are letters too."""
    values = tuple(
        "".join(chance.choices("ab**", k=chance.randint(1, 3))) for _ in range(chance.randint(1, 3))
    )
    return Clause(**{chance.choice(("any", "all", "none")): values})


def random_versions(chance: random.Random) -> Clause:
    """Versions and ranges around those of ``random_request``."""
    values = tuple(chance.sample(RANGES, chance.randint(1, 3)))
    return Clause(**{chance.choice(("any", "any", "all", "none")): values})


RANGES = ("16", "17.2", "17.0", ">=16.4", ">17", "<=17", "<17.2", "16-17.1", "17.2-18", ">200", "xp")
TOLD_VERSIONS = ("15.9", "16", "16.4.1", "17", "17.2", "17.10", "18.0.1", "200.5", "201", "xp", "x")


def random_area(chance: random.Random) -> Area:
    def some() -> tuple[Circle, ...]:
        return tuple(
            Circle(*chance.choice(CITIES), chance.choice((1, 300_000, 400_000, 10**7)))
            for _ in range(chance.choice((0, 1, 2)))
        )

    return Area(some(), some())


CITIES = ((48.8566, 2.3522), (51.5074, -0.1278), (-33.8688, 151.2093), (0.0, 179.9))
"""Paris and London are 343.6 km apart."""


def random_expression(chance: random.Random) -> str:
    """Over the properties that ``random_properties`` gives, often with one that is required."""
    parts = [
        chance.choice(
            ('x = "a"', '"b" = page.y', "user.n >= 2", 'placement.p like "a*"', 'x contains "a"', "flag",
             'not x = "c"', '(x = "a" or page.y = "a")', 'device.os = "a"', 'page.keywords contains "b"',
             '["a", "b"] contains geo.city', "x <> page.y")
        )
        for _ in range(chance.choice((1, 1, 2, 3)))
    ]  # fmt: skip
    return chance.choice((" and ", " and ", " or ")).join(parts)


def random_properties(chance: random.Random) -> Properties:
    def some(**values: object) -> dict[str, object]:
        return {name: value for name, value in values.items() if chance.random() < 0.7}

    letter, number = chance.choice("abc"), chance.choice((1, 2, "2", None))
    given = chance.choice((letter, letter, [letter], 1, {"a": 1}))
    return Properties(some(n=number), some(y=chance.choice("abc")), some(x=given, flag=chance.random() < 0.5))


def random_line_item(chance: random.Random, serial: int) -> LineItem:
    creatives = tuple(
        creative(
            serial * 10 + number,
            format=chance.choice(("image", "image", "native")),
            size=chance.choice(("300x250", "728x90", "fluid")),
            status=chance.choice(("active", "active", "active", "paused")),
            categories=chance.choice(((), ("IAB7",), ("IAB7-3",), ("IAB1",))),
            advertiser_domain=chance.choice(("acme.example", "shop.acme.example", "bolt.example")),
        )
        for number in range(chance.randint(1, 3))
    )
    start = chance.choice((None, None, NOON_MS, NOON_MS + 1, NOON_MS - 10**7))
    return line_item(
        serial,
        pricing=Pricing(chance.choice(("cpm", "vcpm", "cpc")), chance.choice((0, 1, 500, 10**6, 2 * 10**6))),
        priority=chance.choice(("sponsorship", "standard", "auction", "auction", "auction", "house")),
        level=chance.choice((1, 5, 5, 10)),
        status=chance.choice(("active", "active", "active", "paused", "draft")),
        flight=Flight(start, chance.choice((None, None, NOON_MS, NOON_MS + 1, NOON_MS + 10**7))),
        targeting=random_targeting(chance),
        creatives=creatives,
        suitable_for_minors=chance.random() < 0.8,
        goal=chance.choice((None, None, Goal("impressions", 1000))),
        budget=chance.choice((Budget(), Budget(10**9, None))),
        frequency_caps=chance.choice(
            ((), (FrequencyCap(1, 1000, chance.choice(("line_item", "advertiser"))),))
        ),
    )


def random_catalogue(seed: int, most: int = 60) -> Catalogue:
    chance = random.Random(seed)
    items = [random_line_item(chance, serial) for serial in range(1, chance.randint(1, most) + 1)]
    campaigns = []
    while items:
        many = chance.randint(1, 4)
        mine, items = items[:many], items[many:]
        campaigns.append(
            campaign(
                len(campaigns) + 1,
                *mine,
                advertiser=chance.choice(("acme", "bolt", "corn")),
                timezone=chance.choice(ZONES),
                currency=chance.choice(("EUR", "EUR", "EUR", "USD")),
                status=chance.choice(("active", "active", "active", "paused")),
                labels=tuple(chance.sample(LABELS, chance.randint(0, 2))),
            )
        )
    blocked = Blocks(
        frozenset(chance.sample(("acme", "bolt"), chance.choice((0, 0, 0, 1)))),
        frozenset(chance.choice(((), (), ("acme.example",)))),
        frozenset(chance.choice(((), (), ("IAB7",)))),
        frozenset(chance.choice(((), (), ("beer",)))),
    )
    sizes = chance.choice(((), (), ("300x250",), ("300x250", "728x90")))
    return catalogue(campaigns, placement(sizes=sizes, formats=("image", "native")), blocked=blocked)


def random_request(seed: int) -> Request:
    chance = random.Random(seed)
    facts = {
        name: tuple(chance.sample(VALUES, chance.randint(1, 5)))
        for name in chance.sample(_FREE, chance.randint(0, len(_FREE)))
    }
    if chance.random() < 0.5:
        facts["urls"] = ("".join(chance.choices("ab", k=chance.randint(1, 4))),)
    if "os_versions" in facts:
        facts["os_versions"] = (chance.choice(TOLD_VERSIONS),)
    return request(
        seed,
        now_ms=NOON_MS + chance.choice((0, 0, chance.randint(-(10**10), 10**10))),
        facts=facts,
        minor=chance.random() < 0.2,
        properties=random_properties(chance),
        point=Point(*chance.choice(CITIES)) if chance.random() < 0.8 else None,
        blocks=Blocks(labels=frozenset(chance.sample(LABELS, chance.choice((0, 0, 1))))),
    )


def random_ask(seed: int) -> PlacementAsk:
    chance = random.Random(seed)
    formats = chance.choice(((), (), ("image",), ("native",), ("video",)))
    sizes = chance.choice(((), (), ("300x250",), ("160x600",)))
    properties: dict[str, object] = chance.choice(({}, {"p": "ab"}, {"p": "b"}, {"x": "a"}, {"x": "c"}))
    floor_micros = chance.choice((0, 0, 1000, 10**6))
    return PlacementAsk("top", 1, formats, sizes, floor_micros, properties=properties)


def shuffled(given: Catalogue, seed: int) -> Catalogue:
    """The same catalogue in another order."""
    chance = random.Random(seed)

    def mixed(things: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(chance.sample(things, len(things)))

    campaigns = tuple(replace(c, line_items=mixed(c.line_items)) for c in mixed(given.campaigns))
    publishers = tuple(replace(p, placements=mixed(p.placements)) for p in mixed(given.publishers))
    return replace(given, campaigns=campaigns, publishers=publishers, advertisers=mixed(given.advertisers))
