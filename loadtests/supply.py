"""What the traffic of a simulation had to offer: every impression that could have been had, and by whom.

The same visits, pages and fates as the simulation's, the line items that the engine's own index finds for
each request, and for feeds the most ads the cap allows (placing at once is the most, ``engine.feed``). No
counters, no budgets: those are the constraints of whoever divides it (``loadtests.optimum``).
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from msgspec import Struct

from adserver.api import bodies
from adserver.domain.feeds import Track
from adserver.domain.inventory import FeedPolicy
from adserver.domain.request import Request
from adserver.engine import rules
from adserver.engine.feed import Layout
from adserver.engine.shortlist import Walk
from adserver.services.ask import DECODER, Asker, Terms
from adserver.services.normalise import Normaliser
from adserver.simulation.clock import StandingClock
from adserver.simulation.config import Config
from adserver.simulation.fates import Fates
from adserver.simulation.run import open_server
from adserver.simulation.traffic import HOUR_MS, Person, Population, Visit, body, end_ms, visits

_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0 Safari/537.36"


class Slot(Struct, frozen=True):
    """``count`` impressions at a time to ``who`` (as caps count), which ``eligible`` (serials) may have;
    ``place``: visit, page and placement, by number; the first two are the request."""

    at_ms: int
    who: str
    eligible: tuple[int, ...]
    count: int
    place: tuple[int, int, int] = (0, 0, 0)

    @property
    def page(self) -> tuple[int, int]:
        return self.place[:2]


def slots(config: Config) -> Iterator[Slot]:
    """All that would have been rendered, in order of visits."""
    with TemporaryDirectory(prefix="adserver-supply-") as folder:
        clock = StandingClock(config.start_ms)
        app = open_server(config, Path(folder), clock)
        try:
            yield from _Supply(config, app, clock).slots()
        finally:
            app.close()


class _Supply:
    def __init__(self, config: Config, app: Any, clock: StandingClock) -> None:
        self._config, self._app, self._clock = config, app, clock
        self._people, self._fates = Population(config), Fates(config)
        self._normaliser = Normaliser(app.names, None, lambda: 0, app.addresses.hosted)
        self._serving = app.world.serving
        self._known: dict[tuple[object, ...], tuple[int, ...]] = {}
        self._tracks: dict[tuple[str, str], Track] = {}

    def slots(self) -> Iterator[Slot]:
        for visit in visits(self._config, self._people):
            person = self._people.person(visit.person)
            for number, at_ms in enumerate(visit.pages_ms):
                out = any(start <= at_ms < end for start, end in self._config.outages)
                if not out and at_ms < end_ms(self._config):
                    self._clock.ms = at_ms
                    yield from self._page(visit, person, number)

    def _page(self, visit: Visit, person: Person, number: int) -> Iterator[Slot]:
        view = self._config.views[visit.view]
        who = person.user if person.consents else visit.session
        for place, name in enumerate(view.placements):
            placement, ads = self._view(visit, name).placement, 1
            if placement.surface == "feed":
                ads = self._ads(placement.feed or FeedPolicy(), (name, visit.session), view.organic)
            count = sum(self._fates.of(visit, number, place, index).rendered for index in range(ads))
            if count:
                mine = self._eligible(visit, person, place)
                yield Slot(self._clock.ms, who, mine, count, (visit.number, number, place))

    def _ads(self, policy: FeedPolicy, account: tuple[str, str], organic: int) -> int:
        """The most this page may hold behind the pages before."""
        layout = Layout(policy, self._tracks.get(account, Track()), organic, 40)
        while layout.next_open() is not None:
            layout.place(-1 - layout.sponsored - 1000 * layout.start)
        self._tracks[account] = layout.finish()
        return layout.sponsored

    def _eligible(self, visit: Visit, person: Person, place: int) -> tuple[int, ...]:
        hour = self._clock.ms // HOUR_MS
        listed = person.user if self._serving.snapshot.members else ""
        facts = tuple(person.kind.facts.items())
        key = (visit.view, place, facts, person.consents, person.segments, hour, listed)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._asked(visit, person, place)
        return found

    def _asked(self, visit: Visit, person: Person, place: int) -> tuple[int, ...]:
        feeds = [
            rank
            for rank, name in enumerate(self._config.views[visit.view].placements)
            if self._view(visit, name).placement.surface == "feed"
        ]
        feed = {"id": "main", "page": 0, "organic_count": 1} if feeds else None
        told = orjson.dumps(body(self._config, visit, person, feed, feeds[0] if feeds else 0))
        ask = bodies.decode(DECODER, told)
        snapshot = self._serving.snapshot
        request: Request = self._normaliser.request(
            ask, Asker(user_agent=_AGENT), Terms(), snapshot, self._clock.ms
        )
        asked = request.placements[place]
        view = self._view(visit, asked.id)
        context = rules.context(request, asked, view, snapshot.zones, self._serving.worth)
        walk = Walk(snapshot, self._serving.live.chunks, context, lambda entry, now_ms: 1.0, 0)
        found = (entry for entry in walk.entries() if rules.drop_of_request(entry, context) is None)
        return tuple(sorted(entry.line_item.serial for entry in found))

    def _view(self, visit: Visit, name: str) -> Any:
        return self._serving.snapshot.view(self._config.views[visit.view].publisher, name)
