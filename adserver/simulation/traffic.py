"""Who comes, when, and what they ask for: a pure function of the configuration.

Each hour's rate is the forecast (shape, weekday, growth) times what comes of it (``actual``, noise); visits
arrive as a Poisson process of that rate. Everything about a visit is drawn when it arrives and nothing of it
depends on answers: so two servers, or a server and an offline optimum, are compared on the same traffic.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import exp, floor, log, log1p
from random import Random
from typing import Any, Final

from msgspec import Struct

from adserver.engine import draw, localtime
from adserver.simulation.config import Config, Kind, View

HOUR_MS: Final = 3600_000
DAY_MS: Final = 24 * HOUR_MS
_NOISE, _ARRIVALS, _VISITS, _PEOPLE = range(4)
"""Salts that keep what is drawn apart."""


class Hour(Struct, frozen=True):
    """Decisions expected in the hour from ``start_ms``: as ``forecast``, and of what really comes."""

    start_ms: int
    forecast: float
    actual: float


class Visit(Struct, frozen=True):
    """``pages_ms``: when each of its pages is asked for, ascending. ``view`` numbers ``Config.views``."""

    number: int
    person: int
    view: int
    pages_ms: tuple[int, ...]

    @property
    def session(self) -> str:
        return f"s-{self.number}"


class Person(Struct, frozen=True):
    """The same one for the same number, in every visit."""

    user: str
    kind: Kind
    consents: bool
    segments: tuple[str, ...]


def hours(config: Config) -> list[Hour]:
    """Every hour of the run, local by its first instant; days of 23 and 25 hours are as they are."""
    traffic, zone = config.traffic, config.timezone
    chance = Random(draw.mix(config.seed, _NOISE))
    found, per_weight = [], traffic.decisions / sum(traffic.shape)
    for start_ms in range(config.start_ms, end_ms(config), HOUR_MS):
        week_hour = localtime.hour_of_week(zone, start_ms)
        day = localtime.day(zone, start_ms) - localtime.day(zone, config.start_ms)
        grown = (1 + traffic.growth) ** day
        forecast = per_weight * traffic.shape[week_hour % 24] * traffic.weekdays[week_hour // 24] * grown
        noise = exp(chance.gauss(0, 1) * traffic.noise - traffic.noise**2 / 2)
        found.append(Hour(start_ms, forecast, forecast * noise * _actual(traffic.actual, day)))
    return found


def _actual(factors: Sequence[float], day: int) -> float:
    return factors[min(day, len(factors) - 1)]


def end_ms(config: Config) -> int:
    """The midnight that ends the last day."""
    at_ms = config.start_ms
    for _ in range(config.days):
        at_ms = localtime.day_span(config.timezone, at_ms)[2]
    return at_ms


class Population:
    """Everybody who may come."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._chosen = list(accumulate(1 / n**config.people.zipf for n in range(1, config.people.number + 1)))
        self._kinds = list(accumulate(kind.weight for kind in config.people.kinds))
        self._known: dict[int, Person] = {}

    def somebody(self, ticket: float) -> int:
        """``ticket`` in [0, 1) -> a person's number, 1 the most frequent."""
        return 1 + bisect_right(self._chosen, ticket * self._chosen[-1], hi=len(self._chosen) - 1)

    def person(self, number: int) -> Person:
        found = self._known.get(number)
        if found is None:
            found = self._known[number] = self._made(number)
        return found

    def _made(self, number: int) -> Person:
        own = Random(draw.mix(draw.mix(self._config.seed, _PEOPLE), number))
        place = bisect_right(self._kinds, own.random() * self._kinds[-1], hi=len(self._kinds) - 1)
        kind = self._config.people.kinds[place]
        consents = own.random() < kind.consent
        segments = tuple(name for name, share in kind.segments.items() if own.random() < share)
        return Person(f"u-{number}", kind, consents, segments)


def visits(config: Config, population: Population) -> Iterator[Visit]:
    """In order of their first page."""
    weights = list(accumulate(view.weight for view in config.views))
    pages = sum(view.weight * view.pages for view in config.views) / weights[-1]
    arrivals = Random(draw.mix(config.seed, _ARRIVALS))
    secret, number = draw.mix(config.seed, _VISITS), 0
    for hour in hours(config):
        if not hour.actual:
            continue
        at_ms = float(hour.start_ms)
        while (
            at_ms := at_ms + arrivals.expovariate(hour.actual / pages / HOUR_MS)
        ) < hour.start_ms + HOUR_MS:
            number += 1
            own = Random(draw.mix(secret, number))
            view = bisect_right(weights, own.random() * weights[-1], hi=len(weights) - 1)
            person = population.somebody(own.random())
            yield Visit(number, person, view, _pages(config.views[view], int(at_ms), own))


def _pages(view: View, at_ms: int, own: Random) -> tuple[int, ...]:
    """So many pages that ``view.pages`` is their mean (geometric), exponential pauses between them."""
    count = 1
    if view.pages > 1:
        count += floor(log(1 - own.random()) / log1p(-1 / view.pages))
    found = [at_ms]
    for _ in range(count - 1):
        found.append(found[-1] + 1 + int(own.expovariate(1 / view.pause_ms)))
    return tuple(found)


def body(
    config: Config, visit: Visit, person: Person, feed: dict[str, Any] | None, is_feed: int
) -> dict[str, Any]:
    """The request of one page. ``feed``: the page asked of the placement number ``is_feed``."""
    view, facts = config.views[visit.view], person.kind.facts
    placements: list[dict[str, Any]] = [{"id": name} for name in view.placements]
    if feed is not None:
        placements[is_feed]["feed"] = feed
    return {
        "publisher": view.publisher,
        "placements": placements,
        "user": {"id": person.user, "segments": list(person.segments)},
        "session": visit.session,
        "device": {
            _DEVICE.get(name, name): facts[name] for name in ("device", "os", "language") if name in facts
        },
        "geo": {name: facts[name] for name in ("country", "region", "city") if name in facts},
        "consent": {"personalised": person.consents},
    }


_DEVICE: Final = {"device": "type"}
