"""Scripted sessions: readers who scroll feeds, open articles, stories, messages and films, look at some of
the ads, click few, turn back now and then, and leave. Every answer goes into the driver's books."""

import asyncio
import time
from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Any, Final

import orjson

from adserver.demo.capbook import Exposure
from adserver.demo.client import Client, Lost, Reply
from adserver.demo.crowd import Crowd, Person
from adserver.demo.feedbook import Account, Page
from adserver.demo.pace import Pace
from adserver.demo.score import Score
from adserver.demo.spendbook import Owed
from adserver.domain.decision import EventKind

_FEEDS: Final = {"lumen": "news-feed", "papote": "channels"}
_ASIDES: Final = {
    "lumen": (("stories", 2), ("right-rail", 1), ("inbox", 1), ("live-break", 1), ("job-board", 2)),
    "papote": (("status-story", 1), ("inbox-sponsored", 1), ("chat-list", 1)),
    "harbour-gazette": (("home-top", 1), ("article-inline", 1), ("article-rail", 1), ("mobile-banner", 1)),
}
_SPACES: Final = {"lumen": "lumen", "papote": "lumen", "harbour-gazette": "harbour-gazette"}
_numbers: Iterator[int] = count(1)


class Reader:
    """One person's session with one publisher."""

    def __init__(
        self,
        publisher: str,
        person: Person,
        crowd: Crowd,
        client: Client,
        pace: Pace,
        score: Score,
        chance: Random,
    ) -> None:
        self._publisher, self._person, self._crowd = publisher, person, crowd
        self._client, self._pace, self._score, self._chance = client, pace, score, chance
        self._session = f"s-{next(_numbers)}"
        space = _SPACES[publisher]
        self._who = f"{space}:{person.user}" if person.personalised else None

    async def read(self) -> None:
        """The whole session. Raises Lost."""
        if self._publisher in _FEEDS:
            await self._scroll(_FEEDS[self._publisher])
        else:
            for _ in range(self._chance.randint(1, 4)):
                await self._aside(self._chance.randint(1, 3))
                await self._think()

    # -- the feed ----------------------------------------------------------------------------------

    async def _scroll(self, placement: str) -> None:
        full = f"{self._publisher}/{placement}"
        account = self._score.feeds.account(full, "main", self._session, self._who)
        for _ in range(self._chance.randint(1, 8)):
            page = self._score.feeds.next_page(account)
            await self._page(account, placement, page)
            if self._chance.random() < 0.06:
                await self._page(account, placement, self._chance.randint(0, page))
            if self._chance.random() < 0.3:
                await self._aside(1)
            await self._think()

    async def _page(self, account: Account, placement: str, number: int) -> None:
        organic = self._chance.randint(8, 25)
        feed = {"id": "main", "page": number, "organic_count": organic}
        slot, ads = await self._decide([{"id": placement, "feed": feed}])
        told = slot[0].get("feed") if slot else None
        if told is None:
            return
        shown = tuple((ad["position"], ad["advertiser"], ad["event_id"]) for ad, _ in ads)
        known = self._score.feeds.next_page(account) > number
        self._score.feeds.take(account, Page(number, told["start_position"], told["next_position"], shown))
        if not known:
            await self._look(ads)

    async def _aside(self, most: int) -> None:
        places = self._chance.sample(_ASIDES[self._publisher], min(most, len(_ASIDES[self._publisher])))
        _, ads = await self._decide([{"id": name, "count": count} for name, count in places])
        await self._look(ads)

    # -- deciding ----------------------------------------------------------------------------------

    async def _decide(
        self, placements: list[dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[tuple[dict[str, Any], Exposure | None]]]:
        """(the answer's entries, every ad with its exposure; None where it was answered before)."""
        body = orjson.dumps(self._asked(placements))
        await self._pace.turn()
        asked_ms = _now_ms()
        reply = await self._client.ask("POST", "/v1/decisions", body, agent=self._person.agent, keyed=True)
        answered_ms = _now_ms()
        self._score.decided("decision", reply.seconds)
        if reply.status != 200:
            self._score.failures[f"decision {reply.status}"] += 1
            return [], []
        slots = orjson.loads(reply.body)["decisions"]
        ads = []
        for slot in slots:
            for ad in slot["ads"]:
                ads.append((ad, self._exposed(ad, asked_ms, answered_ms)))
        return slots, ads

    def _exposed(self, ad: dict[str, Any], asked_ms: int, answered_ms: int) -> Exposure | None:
        if self._score.known(ad["event_id"]):
            return None
        return self._score.caps.take(ad, self._who, self._session, asked_ms, answered_ms)

    def _asked(self, placements: list[dict[str, Any]]) -> dict[str, Any]:
        facts = self._person.facts
        host = {"lumen": "lumen.example", "papote": "papote.example"}.get(self._publisher, "harbour.example")
        return {
            "publisher": self._publisher,
            "placements": placements,
            "user": {"id": self._person.user, "segments": facts["segments"]},
            "session": self._session,
            "device": {"language": facts["language"]},
            "geo": facts["geo"],
            "page": {"url": f"https://{host}/read", "keywords": self._crowd.keywords()},
            "consent": {"personalised": self._person.personalised},
        }

    # -- looking -----------------------------------------------------------------------------------

    async def _look(self, ads: list[tuple[dict[str, Any], Exposure | None]]) -> None:
        for ad, exposure in ads:
            if exposure is None:
                continue
            dice = self._chance.random()
            if dice < 0.05:
                await self._give_back(ad, exposure)
            elif dice < 0.92:
                await self._think(0.05)
                await self._see(ad, exposure)

    async def _give_back(self, ad: dict[str, Any], exposure: Exposure) -> None:
        exposure.given_back = True
        await self._call("POST", ad["release_url"])
        self._score.released += 1

    async def _see(self, ad: dict[str, Any], exposure: Exposure) -> None:
        owed = self._score.spend.owed(ad)
        exposure.shown_ms = _now_ms()
        await self._event(EventKind.IMPRESSION, ad["impression_url"], owed)
        if self._chance.random() < 0.03:
            await self._event(EventKind.IMPRESSION, ad["impression_url"], owed)
        if self._chance.random() < 0.7:
            await self._think(0.1)
            await self._event(EventKind.VIEWABLE, ad["viewable_url"], owed)
        dice = self._chance.random()
        if dice < 0.03:
            await asyncio.sleep(0.25)  # what clicks sooner is filtered as no person
            await self._event(EventKind.CLICK, ad["click_url"], owed)
        elif dice < 0.035:
            await self._event(EventKind.HIDE, ad["events"]["hide"], owed)

    async def _event(self, kind: EventKind, url: str, owed: Owed) -> None:
        reply = await self._call("GET", url)
        verdict = reply.headers.get("x-adserver-event", "none")
        self._score.verdicts[verdict] += 1
        if verdict == "accepted":
            self._score.spend.count(owed, kind, reply.headers.get("x-adserver-billed") == "true")
        if reply.status != (302 if kind is EventKind.CLICK else 200):
            self._score.failures[f"{kind.name.lower()} {reply.status}"] += 1

    async def _call(self, method: str, url: str) -> Reply:
        self._score.asked["event"] += 1
        return await self._client.ask(method, path_of(url), agent=self._person.agent)

    async def _think(self, mean_s: float = 0.4) -> None:
        await asyncio.sleep(self._chance.random() * 2 * mean_s)


def path_of(url: str) -> str:
    """A URL of the server's -> the path to ask it for."""
    parts = url.split("/", 3)
    if len(parts) < 4:
        raise Lost("an answer held a URL without a path")
    return f"/{parts[3]}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
