"""Catalogues and requests of a fixed shape, from a seed.

The shape is that of the goals: 60 countries, 4 devices, 50 placements, 20 languages, 168 hours of the week,
6 operating systems, 100 000 segments and 10 000 keywords of Zipf popularity; half of the line items with a
frequency cap, a tenth with a custom expression. All bid in the auction, in steps of a cent, so that at any
size many bids are equal; all have budgets, half are paced. Placements are of a few kinds of formats and
sizes, as publishers have them.
"""

from collections.abc import Iterator
from itertools import accumulate
from random import Random
from typing import Any, Final

from adserver.domain.campaign import (
    Advertiser,
    Budget,
    Campaign,
    Creative,
    Flight,
    FrequencyCap,
    LineItem,
    Pricing,
)
from adserver.domain.catalogue import Catalogue
from adserver.domain.inventory import Placement, Publisher
from adserver.domain.targeting import Clause, Targeting

SEED: Final = 20260601
COUNTRIES: Final = tuple(a + b for a in "ABCDEF" for b in "ABCDEFGHIJ")
DEVICES: Final = ("mobile", "desktop", "tablet", "tv")
OS: Final = ("ios", "android", "windows", "macos", "linux", "other")
LANGUAGES: Final = tuple(a + b for a in "abcd" for b in "aeiou")
SECTIONS: Final = ("sport", "politics", "culture", "travel", "money")
PLACEMENTS: Final = 50
SEGMENTS: Final = 100_000
KEYWORDS: Final = 10_000
PEOPLE: Final = 50_000
CUSTOM: Final = "custom" in Targeting.__struct_fields__
LEFT_OUT: Final = () if CUSTOM else ("left out of the shape: the tenth with a custom expression, not built",)
"""What of the shape is not there, in words."""

_DAY_MS: Final = 86_400_000
_ITEMS: Final = 10
"""Line items a campaign, and campaigns an advertiser."""
_KINDS: Final = (
    (("image",), ("300x250",)),
    (("image", "html"), ("300x250", "728x90")),
    (("image", "native"), ()),
    (("native",), ()),
    (("html", "native"), ("300x250",)),
)
_CREATIVES: Final = (("image", "300x250"), ("image", "728x90"), ("html", "300x250"), ("native", "fluid"))
_WINDOWS_MS: Final = (3600_000, _DAY_MS, 7 * _DAY_MS)


class Zipf:
    """Names ``<letter>0``, ``<letter>1``, ...; the n-th is drawn with a weight of 1 / n."""

    def __init__(self, letter: str, count: int) -> None:
        self._names = [f"{letter}{number}" for number in range(count)]
        self._weights = list(accumulate(1 / number for number in range(1, count + 1)))

    def some(self, chance: Random, least: int, most: int) -> tuple[str, ...]:
        """Between least and most draws; a name drawn twice stands once."""
        count = chance.randint(least, most)
        return tuple(dict.fromkeys(chance.choices(self._names, cum_weights=self._weights, k=count)))


class Shape:
    """What catalogue and requests have in common. One seed gives one sequence."""

    def __init__(self, seed: int = SEED) -> None:
        self.chance = Random(seed)
        self.segments = Zipf("s", SEGMENTS)
        self.keywords = Zipf("k", KEYWORDS)

    # -- catalogue ---------------------------------------------------------------------------------

    def catalogue(self, line_items: int, now_ms: int) -> Catalogue:
        """``line_items`` live ones; flights run from ten days before ``now_ms`` to twenty behind it."""
        campaigns = tuple(self._campaigns(line_items, now_ms))
        owners = dict.fromkeys(campaign.advertiser for campaign in campaigns)
        return Catalogue(
            revision=1,
            advertisers=tuple(Advertiser(owner, serial) for serial, owner in enumerate(owners, 1)),
            campaigns=campaigns,
            publishers=(publisher(),),
        )

    def _campaigns(self, line_items: int, now_ms: int) -> Iterator[Campaign]:
        for number, first in enumerate(range(1, line_items + 1, _ITEMS)):
            advertiser = f"brand-{number // _ITEMS}"
            serials = range(first, min(first + _ITEMS, line_items + 1))
            yield Campaign(
                id=f"c{number}",
                advertiser=advertiser,
                serial=number + 1,
                currency="EUR",
                timezone="UTC",
                line_items=tuple(
                    self._line_item(f"{advertiser}/c{number}", serial, now_ms) for serial in serials
                ),
                budget=Budget(10**17, None),
            )

    def _line_item(self, campaign: str, serial: int, now_ms: int) -> LineItem:
        chance = self.chance
        caps: tuple[FrequencyCap, ...] = ()
        if chance.random() < 0.5:
            caps = (FrequencyCap(chance.randint(1, 5), chance.choice(_WINDOWS_MS)),)
        return LineItem(
            id=f"l{serial}",
            full_id=f"{campaign}/l{serial}",
            serial=serial,
            priority="auction",
            pricing=Pricing("cpm", chance.randint(20, 2000) * 10_000),
            creatives=creatives(serial),
            targeting=self._targeting(),
            flight=Flight(now_ms - 10 * _DAY_MS, now_ms + 20 * _DAY_MS),
            budget=Budget(10**16, 10**15),
            pacing="even" if chance.random() < 0.5 else "asap",
            frequency_caps=caps,
        )

    def _targeting(self) -> Targeting:
        chance = self.chance
        clauses: dict[str, Clause] = {}

        def some(name: str, share: float, values: tuple[str, ...], most: int) -> None:
            if chance.random() < share:
                clauses[name] = Clause(any=tuple(chance.sample(values, chance.randint(1, most))))

        some("countries", 0.8, COUNTRIES, 5)
        some("devices", 0.5, DEVICES, 2)
        some("placements", 0.7, _PLACEMENT_IDS, 8)
        some("languages", 0.4, LANGUAGES, 3)
        some("os", 0.3, OS, 2)
        wanted = self.segments.some(chance, 1, 5) if chance.random() < 0.6 else ()
        unwanted = self.segments.some(chance, 1, 3) if chance.random() < 0.1 else ()
        if wanted or unwanted:
            clauses["segments"] = Clause(any=wanted, none=unwanted)
        if chance.random() < 0.2:
            clauses["keywords"] = Clause(any=self.keywords.some(chance, 1, 5))
        hours = self._hours() if chance.random() < 0.2 else None
        custom = self._custom() if chance.random() < 0.1 else ""
        extra: dict[str, Any] = {"custom": custom} if CUSTOM else {}
        return Targeting(clauses, hours, **extra)

    def _custom(self) -> str:
        """Half of them with an equality that an index could use."""
        chance = self.chance
        age, section = chance.randint(18, 60), chance.choice(SECTIONS)
        if chance.random() < 0.5:
            return f'section = "{section}" and user.age >= {age}'
        return f'user.age < {age} or (section like "{section[0]}*" and not page.premium)'

    def _hours(self) -> frozenset[int]:
        """The same stretch of hours on some days of the week."""
        chance = self.chance
        start, length = chance.randrange(24), chance.randint(2, 12)
        days = chance.sample(range(7), chance.randint(1, 7))
        return frozenset((day * 24 + start + hour) % 168 for day in days for hour in range(length))

    # -- requests ----------------------------------------------------------------------------------

    def request(self) -> dict[str, Any]:
        """A body of ``POST /v1/decisions``: a person with 1 to 50 segments, a page with 0 to 10 keywords,
        one to four placements."""
        chance = self.chance
        numbers = chance.sample(range(PLACEMENTS), chance.randint(1, 4))
        return {
            "placements": [{"id": f"p{number}"} for number in numbers],
            "user": {
                "id": f"u-{chance.randrange(PEOPLE)}",
                "segments": list(self.segments.some(chance, 1, 50)),
                "properties": {"age": chance.randint(16, 80)},
            },
            "session": f"v-{chance.randrange(PEOPLE)}",
            "device": {
                "type": chance.choice(DEVICES),
                "os": chance.choice(OS),
                "language": chance.choice(LANGUAGES),
            },
            "geo": {"country": chance.choice(COUNTRIES)},
            "page": {
                "url": f"https://news.example/a/{chance.randrange(10**6)}",
                "keywords": list(self.keywords.some(chance, 0, 10)),
                "properties": {"premium": chance.random() < 0.2},
            },
            "properties": {"section": chance.choice(SECTIONS)},
        }


def creatives(serial: int) -> tuple[Creative, ...]:
    """One image or page creative, and a native one that fits most placements."""
    form, size = _CREATIVES[serial % len(_CREATIVES)]
    return tuple(
        Creative(
            id=f"{kind}-{serial}",
            serial=serial * 2 + number,
            identity=serial * 2 + number,
            format=kind,
            size=extent,
            advertiser_domain="brand.example",
            landing_url=f"https://brand.example/{serial}?c={{click_id}}",
            assets={"title": "A title", "image_url": f"https://cdn.example/{serial}.png"},
        )
        for number, (kind, extent) in enumerate(dict.fromkeys(((form, size), ("native", "fluid"))))
    )


def publisher() -> Publisher:
    return Publisher(
        id="gazette",
        serial=1,
        currency="EUR",
        consent_default="granted",
        placements=tuple(
            Placement(f"p{number}", "gazette", number + 1, "page", *_KINDS[number % len(_KINDS)])
            for number in range(PLACEMENTS)
        ),
    )


_PLACEMENT_IDS: Final = tuple(f"gazette/p{number}" for number in range(PLACEMENTS))
