"""Visitors of publishers' pages, as locust users; everything they see is recorded (see ``records``).

Run by ``run.py``; by hand: ``LOADTEST_CAMPAIGNS=campaigns LOADTEST_RECORDS=<folder> LOADTEST_KEY=<key that
reads prices> locust -f loadtests/locustfile.py --host http://127.0.0.1:8000``.
"""

import os
import random
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import gevent
from locust import between, events, task
from locust.contrib.fasthttp import FastHttpUser
from msgspec import json

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adserver.domain.inventory import FeedPolicy, Placement
from loadtests import records, terms
from loadtests.people import CRAWLER, Scene, Visit

WORLD = terms.read(Path(os.environ["LOADTEST_CAMPAIGNS"]))
SCENE = Scene(WORLD)
PEOPLE = int(os.environ.get("LOADTEST_PEOPLE", "150"))
KEY = os.environ["LOADTEST_KEY"]
BOOK = records.Book(Path(os.environ["LOADTEST_RECORDS"]), f"visitors-{os.getpid()}")
EVENT_PATHS = {
    "impression": "impression_url",
    "viewable": "viewable_url",
    "click": "click_url",
    "release": "release_url",
}


@events.quit.add_listener
def _close(**_: Any) -> None:
    BOOK.close()


class Visitor(FastHttpUser):
    """What all have in common: asking, and telling what became of the ads."""

    abstract = True
    wait_time = between(0.05, 0.3)
    network_timeout = 20.0
    connection_timeout = 20.0
    # A click is answered with a redirect off this machine: seen, and not followed.
    max_redirects = 0

    def ask(self, visit: Visit, placements: list[dict[str, Any]], request: str | None = None) -> Any:
        """The decoded answer, recorded; None for a refusal."""
        body = json.encode(visit.body(placements, request))
        sent_ms, began = records.now_ms(), time.perf_counter()
        headers = {
            "content-type": "application/json",
            "authorization": f"Bearer {KEY}",
            "user-agent": visit.agent,
        }
        response = self.client.post("/v1/decisions", data=body, headers=headers, name="decision")
        took_us, received_ms = int((time.perf_counter() - began) * 1e6), records.now_ms_up()
        status, content = response.status_code, response.content or b""
        answer = json.decode(content) if status == 200 else None
        BOOK.write(
            records.Decision(
                sent_ms,
                received_ms if status else records.NEVER,
                status,
                visit.publisher,
                visit.user,
                visit.session,
                visit.personalised,
                visit.minor,
                request,
                records.slots_of(answer) if answer is not None else [],
                records.digest(content),
                _refusal(response),
                took_us,
            )
        )
        return answer

    def tell(self, ad: Any, kind: str, agent: str) -> None:
        """Call a tracking URL of an ad."""
        sent_ms, began = records.now_ms(), time.perf_counter()
        response = self.client.get(ad[EVENT_PATHS[kind]], headers={"user-agent": agent}, name=kind)
        took_us, received_ms = int((time.perf_counter() - began) * 1e6), records.now_ms_up()
        headers: Any = response.headers or {}
        status = response.status_code
        BOOK.write(
            records.Event(
                sent_ms,
                received_ms if status else records.NEVER,
                status,
                kind,
                ad["event_id"],
                headers.get("x-adserver-event", ""),
                headers.get("x-adserver-billed") == "true",
                took_us,
            )
        )

    def look(self, visit: Visit, answer: Any, chance: float = 0.85) -> None:
        """The ads of an answer come into view, one after the other."""
        for slot in answer["decisions"] if answer is not None else ():
            for ad in slot["ads"]:
                if random.random() < chance:
                    self._see(visit, ad)
                elif random.random() < 0.7:
                    self.tell(ad, "release", visit.agent)

    def _see(self, visit: Visit, ad: Any) -> None:
        gevent.sleep(random.expovariate(20))
        if random.random() < 0.02:
            self.tell(ad, "impression", CRAWLER)
        self.tell(ad, "impression", visit.agent)
        if random.random() < 0.05:
            self.tell(ad, "impression", visit.agent)
        if random.random() < 0.5:
            self.tell(ad, "viewable", visit.agent)
        if random.random() < 0.1:
            gevent.sleep(random.expovariate(20))
            self.tell(ad, "click", visit.agent)


def _refusal(response: Any) -> str:
    """What a call that did not succeed was told, or how it broke."""
    if response.status_code == 200:
        return ""
    text = (response.content or b"").decode(errors="replace")[:500]
    return text or str(getattr(response, "error", ""))


class FeedReader(Visitor):
    """Reads many pages of a feed, goes back to some, and sometimes asks for one twice at once."""

    weight = 4 if SCENE.surfaces["feed"] else 0

    @task
    def read(self) -> None:
        placement = SCENE.one("feed")
        assert placement is not None
        visit = Visit(SCENE, placement.publisher, PEOPLE)
        if visit.session is None and not visit.user:
            return
        visit.session = visit.session or f"s-{random.getrandbits(64):x}"
        pages = _Pages.of(visit, placement)
        for _ in range(random.randint(3, 12)):
            asks = [pages.next()] * (2 if random.random() < 0.1 else 1)
            if random.random() < 0.2 and pages.count:
                asks.append(pages.again())
            extra = [{"id": p.id} for p in SCENE.surfaces["page"][:1] if p.publisher == placement.publisher]
            extra = extra if random.random() < 0.3 else []
            turns = [gevent.spawn(self.ask, visit, [ask, *extra]) for ask in asks]
            for turn in gevent.joinall(turns):
                pages.turned(turn.value)
                self.look(visit, turn.value)
            gevent.sleep(random.expovariate(20))


class _Pages:
    """Where an account is; visitors who share one (``account: user``) share this."""

    _known: ClassVar[dict[tuple[str, ...], "_Pages"]] = {}

    def __init__(self, placement: Placement) -> None:
        self.count = 0
        self._placement = placement
        self._receipt: str | None = None

    @classmethod
    def of(cls, visit: Visit, placement: Placement) -> "_Pages":
        allowed = WORLD.allowed(visit.publisher, visit.personalised, visit.minor)
        if (placement.feed or FeedPolicy()).account == "session" or not (allowed and visit.user):
            return cls(placement)
        return cls._known.setdefault((placement.full_id, visit.user), cls(placement))

    def next(self) -> dict[str, Any]:
        return self._ask(self.count, self._receipt)

    def again(self) -> dict[str, Any]:
        return self._ask(random.randrange(self.count), None)

    def turned(self, answer: Any) -> None:
        feed = answer["decisions"][0].get("feed") if answer is not None else None
        if feed is not None and feed["page"] == self.count:
            self.count, self._receipt = self.count + 1, feed["receipt"]

    def _ask(self, page: int, receipt: str | None) -> dict[str, Any]:
        feed = {"id": "main", "page": page, "organic_count": random.randint(8, 30), "receipt": receipt}
        return {"id": self._placement.id, "feed": feed}


class ArticleReader(Visitor):
    """Opens pages with several placements; now and then the same request is sent twice."""

    weight = 3 if SCENE.surfaces["page"] else 0

    @task
    def read(self) -> None:
        placement = SCENE.one("page")
        assert placement is not None
        visit = Visit(SCENE, placement.publisher, PEOPLE)
        for _ in range(random.randint(1, 4)):
            asked = [{"id": p.id, "count": random.choice((1, 1, 2))} for p in SCENE.siblings(placement, 4)]
            request = f"r-{random.getrandbits(64):x}" if random.random() < 0.3 else None
            times = random.choice((1, 2)) if request else 1
            turns = [gevent.spawn(self.ask, visit, asked, request) for _ in range(times)]
            gevent.joinall(turns)
            self.look(visit, turns[0].value)
            if request and random.random() < 0.5:
                # Long enough for a campaign to be replaced: the answer must not notice.
                gevent.sleep(random.uniform(0.5, 2))
                self.ask(visit, asked, request)


class Viewer(Visitor):
    """Watches stories and films, opens messages."""

    weight = 2 if any(SCENE.surfaces[s] for s in ("story", "message", "video")) else 0

    @task
    def watch(self) -> None:
        placement = SCENE.one("story", "message", "video")
        assert placement is not None
        visit = Visit(SCENE, placement.publisher, PEOPLE)
        for _ in range(random.randint(1, 5)):
            self.look(visit, self.ask(visit, [{"id": placement.id, "count": random.randint(1, 3)}]))


class Crowd(Visitor):
    """One person, many requests at the same moment: what races on caps look like."""

    weight = 1

    @task
    def rush(self) -> None:
        placement = SCENE.one("page", "story", "message", "video")
        if placement is None:
            return
        visit = Visit(SCENE, placement.publisher, PEOPLE)
        turns = [gevent.spawn(self.ask, visit, [{"id": placement.id}]) for _ in range(8)]
        gevent.joinall(turns)
        for turn in turns:
            self.look(visit, turn.value, chance=0.6)
