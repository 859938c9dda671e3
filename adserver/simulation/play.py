"""The run: a queue of what happens when, one clock that jumps from one to the next, and the server.

The server is ``app.App`` as it serves, asked with the bytes a publisher sends and told the tokens of the URLs
it answered; only sockets are missing. Its duties are done when the clock passes them, posting and learning in
coarser steps than beside a real server (``TURN_MS``), since a week has three million fifths of a second.
"""

from collections.abc import Callable, Iterator
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final

import orjson
from msgspec import Struct

from adserver.api import bodies
from adserver.app import App
from adserver.demo.feedbook import Account, FeedBook, Page
from adserver.domain import ids
from adserver.domain.catalogue import Catalogue
from adserver.domain.decision import EventKind
from adserver.domain.records import Status
from adserver.duties import Duties
from adserver.services.ask import DECODER, Asker, Terms
from adserver.services.calls import Call
from adserver.services.converting import Outcome
from adserver.services.refusals import Refused
from adserver.simulation.clock import StandingClock
from adserver.simulation.config import Config
from adserver.simulation.fates import Fate, Fates
from adserver.simulation.laws import CapBook, Exposure, Owed, SpendBook
from adserver.simulation.purchases import Purchases, is_owed
from adserver.simulation.record import Record
from adserver.simulation.traffic import Person, Population, Visit, body, end_ms, visits

TURN_MS: Final = 300_000
SWEEP_MS: Final = 250
_BROWSER: Final = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0 Safari/537.36"
)
_ASKER: Final = Asker(user_agent=_BROWSER, role="operator", read_prices=True)
_TERMS: Final = Terms()
_CALL: Final = Call(user_agent=_BROWSER)
_VIEWED_MS: Final = 1000

Act = Callable[[], None]


class Shown(Struct):
    """An ad in somebody's hands. ``buys_ms``: how long after its click; None: nothing is bought."""

    ad: dict[str, Any]
    exposure: Exposure
    owed: Owed
    buys_ms: int | None


class Play:
    """``offences``: law -> what was found wrong in the answers."""

    def __init__(self, config: Config, app: App, clock: StandingClock, catalogue: Catalogue) -> None:
        self.config = config
        self.offences: dict[int, list[str]] = {1: [], 2: [], 3: []}
        self.feeds = FeedBook(catalogue, self.offences[1].append)
        self.caps = CapBook(catalogue, self.offences[2].append)
        self.spend = SpendBook(catalogue, self.offences[3].append)
        self.record = Record(config, app, catalogue)
        self.decisions = self.events = 0
        self._app, self._clock = app, clock
        self._duties = Duties(app)
        self._purchases = Purchases(app.conversions, self._owed)
        self._queue: list[tuple[int, int, Act]] = []
        self._order = count()
        self._people = Population(config)
        self._coming: Iterator[Visit] = visits(config, self._people)
        self._fates = Fates(config)
        self._end_ms = end_ms(config)
        self._turn_ms = config.start_ms + TURN_MS
        self._swept_ms = config.start_ms
        # Whether its goal is a share.
        self._guaranteed = {
            item.full_id: item.goal is not None and item.goal.kind == "share"
            for campaign in catalogue.campaigns
            for item in campaign.line_items
            if item.priority in ("sponsorship", "standard")
        }
        self._spaces = {one.id: one.user_space or one.id for one in catalogue.publishers}
        self._places = {
            (publisher.id, placement.id): placement
            for publisher in catalogue.publishers
            for placement in publisher.placements
        }

    async def run(self) -> None:
        """All of it; afterwards everything is posted."""
        for at_ms, look in self.record.looks():
            self._at(at_ms, look)
        self._next_visit()
        queue = self._queue
        while queue:
            at_ms, _, act = heappop(queue)
            while at_ms >= self._turn_ms:
                self._clock.ms = self._turn_ms
                await self._turn()
                self._turn_ms += TURN_MS
            self._clock.ms = at_ms
            if at_ms - self._swept_ms >= SWEEP_MS:
                self._swept_ms = at_ms
                self._free()
            act()
        await self._turn()

    async def _turn(self) -> None:
        if not self._is_out():
            self.events += await self._purchases.upload()
        await self._duties.turn()

    def _free(self) -> None:
        """What of a sweep gives budgets room again; what only gives memory back waits for a turn."""
        self._app.states.budgets.sweep(self._clock.ms)
        self._app.world.serving.live.look_again()

    def _at(self, at_ms: int, act: Act) -> None:
        heappush(self._queue, (at_ms, next(self._order), act))

    def _later(self, after_ms: int, act: Act) -> None:
        self._at(self._clock.ms + after_ms, act)

    def _is_out(self) -> bool:
        return any(start <= self._clock.ms < end for start, end in self.config.outages)

    # -- asking ------------------------------------------------------------------------------------

    def _next_visit(self) -> None:
        """One visit at a time is waited for; whoever comes calls the next."""
        visit = next(self._coming, None)
        if visit is not None:
            self._at(visit.pages_ms[0], partial(self._arrive, visit))

    def _arrive(self, visit: Visit) -> None:
        for number, at_ms in enumerate(visit.pages_ms[1:], 1):
            if at_ms < self._end_ms:
                self._at(at_ms, partial(self._page, visit, number))
        self._page(visit, 0)
        self._next_visit()

    def _page(self, visit: Visit, number: int) -> None:
        if self._is_out():
            self.record.lost()
            return
        person = self._people.person(visit.person)
        account, place = self._account(visit, person)
        slots = self._ask(visit, person, account, place)
        if account is not None:
            self._turned(account, slots[place], last=number == len(visit.pages_ms) - 1)
        view = self.config.views[visit.view]
        for rank, slot in enumerate(slots):
            self.record.answered(f"{view.publisher}/{slot['placement']}", slot)
            for index, ad in enumerate(slot["ads"]):
                fate = self._fates.of(visit, number, rank, index)
                self._show(visit, person, ad, slot, fate)
                if fate.rendered and _item(ad) in self._guaranteed:
                    self.record.sure[visit.number, number, rank] += 1
                    self.record.shares[visit.number, number, rank] += self._guaranteed[_item(ad)]

    def _account(self, visit: Visit, person: Person) -> tuple[Account | None, int]:
        """The feed account of a view that has one, and the place of its placement."""
        view = self.config.views[visit.view]
        for place, name in enumerate(view.placements):
            if self._places[view.publisher, name].surface == "feed":
                who = self._known(visit, person)
                return self.feeds.account(f"{view.publisher}/{name}", "main", visit.session, who), place
        return None, 0

    def _known(self, visit: Visit, person: Person) -> str | None:
        if not person.consents:
            return None
        return f"{self._spaces[self.config.views[visit.view].publisher]}:{person.user}"

    def _ask(self, visit: Visit, person: Person, account: Account | None, place: int) -> list[dict[str, Any]]:
        try:
            return self._decide(visit, person, account, place)
        except Refused as refusal:
            if account is None or "expected_page" not in refusal.extra:
                raise
            # An account that nobody asked for in a long time has ended: the feed begins anew.
            self.feeds.forget(account)
            return self._decide(visit, person, account, place)

    def _decide(
        self, visit: Visit, person: Person, account: Account | None, place: int
    ) -> list[dict[str, Any]]:
        feed = None
        if account is not None:
            organic = self.config.views[visit.view].organic
            feed = {"id": "main", "page": self.feeds.next_page(account), "organic_count": organic}
        asked = bodies.decode(DECODER, orjson.dumps(body(self.config, visit, person, feed, place)))
        answer = self._app.server.decide(asked, _ASKER, _TERMS)
        self.decisions += 1
        self.record.asked()
        slots: list[dict[str, Any]] = orjson.loads(answer.body)["decisions"]
        return slots

    def _turned(self, account: Account, slot: dict[str, Any], last: bool) -> None:
        feed = slot["feed"]
        ads = tuple((ad["position"], ad["advertiser"], ad["event_id"]) for ad in slot["ads"])
        self.feeds.take(account, Page(feed["page"], feed["start_position"], feed["next_position"], ads))
        if last and self.feeds.policy(account[0]).account == "session":
            self.feeds.forget(account)

    # -- reading -----------------------------------------------------------------------------------

    def _show(
        self, visit: Visit, person: Person, ad: dict[str, Any], slot: dict[str, Any], fate: Fate
    ) -> None:
        """An ad in somebody's hands, and what becomes of it."""
        now_ms, readers = self._clock.ms, self.config.readers
        publisher = self.config.views[visit.view].publisher
        within_ms = self._places[publisher, slot["placement"]].render_within_ms
        who = self._known(visit, person) or visit.session
        exposure = self.caps.take(ad, who, visit.session, now_ms, now_ms + within_ms)
        buys_ms = fate.bought_ms if fate.buys < readers.buys else None
        shown = Shown(ad, exposure, self.spend.owed(ad, now_ms), buys_ms)
        if fate.released:
            self._later(fate.after_ms, partial(self._tell, shown, EventKind.RELEASE))
        if not fate.rendered:
            return
        self._later(fate.after_ms, partial(self._tell, shown, EventKind.IMPRESSION))
        if fate.viewable:
            self._later(fate.after_ms + _VIEWED_MS, partial(self._tell, shown, EventKind.VIEWABLE))
        if fate.clicks < readers.line_items.get(_item(ad), readers.clicks):
            self._later(fate.after_ms + fate.clicked_ms, partial(self._tell, shown, EventKind.CLICK))

    def _tell(self, shown: Shown, kind: EventKind) -> None:
        if self._is_out():
            return
        token = shown.ad[_URLS[kind]].rpartition("/")[2]
        verdict, _ = self._app.recorder.tell(token, kind, _CALL)
        self.events += 1
        if kind is EventKind.RELEASE:
            shown.exposure.given_back = True
        elif kind is EventKind.IMPRESSION:
            shown.exposure.shown_ms = self._clock.ms
        if verdict.billed:
            self.spend.bill(shown.owed)
        if verdict.status is Status.ACCEPTED:
            self.record.happened(kind)
        if kind is EventKind.CLICK and shown.buys_ms is not None:
            self._later(shown.buys_ms, partial(self._buy, shown))

    def _buy(self, shown: Shown) -> None:
        self._purchases.happened(shown.ad, self._clock.ms)

    def _owed(self, outcome: Outcome, ad: dict[str, Any]) -> None:
        """What the server said of a purchase."""
        if outcome.billed:
            self.spend.bill(self.spend.owed(ad, ids.minted_ms(ids.decode(ad["event_id"]))))
        if is_owed(outcome):
            self.record.happened(EventKind.CONVERSION)


def _item(ad: dict[str, Any]) -> str:
    """The line item's full id."""
    return f"{ad['advertiser']}/{ad['campaign']}/{ad['line_item']}"


_URLS: Final = {
    EventKind.IMPRESSION: "impression_url",
    EventKind.VIEWABLE: "viewable_url",
    EventKind.CLICK: "click_url",
    EventKind.RELEASE: "release_url",
}
