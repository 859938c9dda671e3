"""The people of the scripted sessions: a few thousand readers of the sample world, each always the same."""

from random import Random
from typing import Any, Final

from msgspec import Struct

USERS: Final = 4000

_PHONE: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.1 Mobile/15E148 Safari/604.1"
)
_DESKTOP: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"
_PLACES: Final = (
    ({"country": "FR", "region": "IDF", "city": "Paris", "postal_code": "75011"}, "fr"),
    ({"country": "FR", "region": "ARA", "city": "Lyon"}, "fr"),
    ({"country": "FR", "city": "Nantes"}, "fr"),
    ({"country": "BE", "city": "Brussels"}, "fr"),
    ({"country": "CH", "city": "Lausanne"}, "fr"),
    ({"country": "NO", "city": "Oslo"}, "no"),
    ({"country": "SE", "city": "Malmö"}, "en"),
    ({"country": "US", "region": "NY", "city": "New York"}, "en"),
)
_SEGMENTS: Final = ("hikers", "trail-runners", "sport-fans", "readers", "cooks", "parents")
_KEYWORDS: Final = ("voyage", "train", "week-end", "cloud", "software", "data", "football", "budget", "grève")


class Person(Struct, frozen=True):
    """``user``: as the publishers of the Lumen group know it."""

    user: str
    agent: str
    personalised: bool
    facts: dict[str, Any]


class Crowd:
    """``without``: users left to somebody else. Few read much and most read little, so caps are met."""

    def __init__(self, chance: Random, without: frozenset[str] = frozenset()) -> None:
        self._chance = chance
        self._without = without

    def anybody(self) -> Person:
        while True:
            user = f"u-{1 + int(USERS * self._chance.random() ** 2.5)}"
            if user not in self._without:
                return person(user)

    def keywords(self) -> list[str]:
        return self._chance.sample(_KEYWORDS, self._chance.randrange(3))


def person(user: str) -> Person:
    """The same one for the same id, today and tomorrow."""
    own = Random(user)
    mobile = own.random() < 0.6
    geo, language = own.choices(_PLACES, (22, 12, 10, 8, 5, 6, 4, 10))[0]
    segments = own.sample(_SEGMENTS, own.randrange(3))
    return Person(
        user,
        _PHONE if mobile else _DESKTOP,
        own.random() < 0.82,
        {"geo": geo, "language": language, "segments": segments},
    )
