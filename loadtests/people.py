"""Who visits: people who come back, and what their devices and places tell.

Facts are drawn from what the campaigns of the world target, so that whatever world is loaded, its line
items find somebody. People are numbered, ``u-1`` to ``u-n``: all visitors share them, so that one person
asks from several places at once, as people with two devices do.
"""

import random
from collections import defaultdict
from typing import Any, Final

from adserver.domain.inventory import Placement
from loadtests.terms import World

PHONE: Final = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
DESKTOP: Final = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0 Safari/537.36"
)
CRAWLER: Final = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


class Scene:
    """The placements of a world by surface, and the values its campaigns ask for."""

    def __init__(self, world: World) -> None:
        self.surfaces: dict[str, list[Placement]] = defaultdict(list)
        for placement in world.placements.values():
            self.surfaces[placement.surface].append(placement)
        self._wanted: dict[str, list[str]] = defaultdict(list)
        for campaign in world.campaigns.values():
            for item in campaign.line_items:
                for dimension, clause in item.targeting.clauses.items():
                    self._wanted[dimension] += [*clause.any, *clause.all, *clause.none]

    def one(self, *surfaces: str) -> Placement | None:
        """A placement of one of these surfaces; None if the world has none."""
        found = [placement for surface in surfaces for placement in self.surfaces[surface]]
        return random.choice(found) if found else None

    def siblings(self, placement: Placement, most: int) -> list[Placement]:
        """Up to ``most`` page placements of the same publisher, itself first."""
        others = [
            p for p in self.surfaces["page"] if p.publisher == placement.publisher and p is not placement
        ]
        return [placement, *random.sample(others, min(len(others), most - 1))]

    def facts(self) -> dict[str, Any]:
        """Device, geography and page of a request."""
        country = self._maybe("countries", 0.9)
        device = {
            "type": self._maybe("devices", 0.9),
            "os": self._maybe("os", 0.5),
            "language": self._maybe("languages", 0.9),
        }
        geo = {
            "country": country,
            "region": self._maybe("regions", 0.5),
            "city": self._maybe("cities", 0.5),
            "postal_code": self._maybe("postal_codes", 0.3),
        }
        page = {"keywords": self._some("keywords"), "categories": self._some("categories")}
        return {"device": _present(device), "geo": _present(geo), "page": page}

    def segments(self) -> list[str]:
        return self._some("segments")

    def _maybe(self, dimension: str, chance: float) -> str | None:
        values = self._wanted.get(dimension)
        return random.choice(values) if values and random.random() < chance else None

    def _some(self, dimension: str) -> list[str]:
        values = sorted(set(self._wanted.get(dimension, ())))
        return random.sample(values, min(len(values), random.randint(0, 3)))


class Visit:
    """One person on one publisher in one session. Without consent the session is all that is known."""

    def __init__(self, scene: Scene, publisher: str, people: int) -> None:
        self.publisher = publisher
        self.user = f"u-{random.randint(1, people)}" if random.random() < 0.9 else None
        self.session = f"s-{random.getrandbits(64):x}" if self.user is None or random.random() < 0.9 else None
        self.personalised = random.choice((True, True, True, False, None))
        self.minor = random.random() < 0.03
        self.agent = random.choice((PHONE, DESKTOP))
        self._scene = scene
        self._facts = scene.facts()

    def body(self, placements: list[dict[str, Any]], request: str | None) -> dict[str, Any]:
        """The request for these placements."""
        body: dict[str, Any] = {"publisher": self.publisher, "placements": placements, **self._facts}
        body["user"] = {"segments": self._scene.segments(), "minor": self.minor}
        if self.user is not None:
            body["user"]["id"] = self.user
        if self.session is not None:
            body["session"] = self.session
        if self.personalised is not None:
            body["consent"] = {"personalised": self.personalised}
        if request is not None:
            body["id"] = request
        return body


def _present(values: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}
