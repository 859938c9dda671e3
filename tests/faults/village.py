"""A village: one server in this process, restarted again and again, and the feeds of its readers as their
publisher sees them. It is a function of its number.

What readers saw is laid out item by item and judged by the checker of ``tests/properties/feed_sessions.py``,
which shares nothing with the engine.
"""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from kills import publisher, world
from live import BROWSER
from village_goods import items_of, labels_of, law_broken, plenty, policy_of, random_feed, scarce
from world import Ticks

from adserver import recovery
from adserver.app import App
from adserver.domain.decision import EventKind
from adserver.services.ask import DECODER, Asker, Terms
from adserver.services.calls import Call
from adserver.services.refusals import Refused
from adserver.settings import Settings

ORGANIC = (0, 1, 2, 5, 10, 20, 20, 20, 37)
IDLE_MS = 20 * 60_000


class Answered(msgspec.Struct):
    """An answer with its placements as they were written, byte for byte."""

    decisions: list[msgspec.Raw]


ANSWER = msgspec.json.Decoder(Answered)


class Village:
    """One server on one directory, for its whole life. ``rich``: demand never ends."""

    def __init__(self, folder: Path, number: int) -> None:
        self.chance = chance = Random(number)
        self.rich = number % 2 == 0
        feeds = [random_feed(chance, f"feed-{n}") for n in range(8)]
        self.policies = {feed["id"]: policy_of(feed["feed"]) for feed in feeds}
        campaigns = plenty() if self.rich else scarce(chance)
        self.labels = labels_of(campaigns)
        page = {"id": "page", "surface": "page", "formats": ["image"]}
        written = world(folder / "world", publisher(placements=[page, *feeds]), *campaigns)
        self.clock = Ticks(1_800_000_000_000)
        self.restarted_ms = 0
        self.loop = asyncio.new_event_loop()
        self.settings = Settings(
            data=folder / "data",
            segment_bytes=256 * 1024,
            campaigns=written,
            rate_per_user=(0, 0),
            fastest_click_ms=0,
        )
        self.app = self.open()
        # The files are in the catalog now; reading them again at each start costs more than all else.
        self.settings = msgspec.structs.replace(self.settings, campaigns=None)

    def open(self) -> App:
        app = App(self.settings, clock=self.clock)
        app.build()
        return app

    def restart(self, how: str) -> None:
        app = self.app
        self.restarted_ms = self.clock.ms
        if how == "stop":
            recovery.save(self.settings.data, app.states.hot, app.journal.position)
        app.close()
        if how == "renewed":
            # What the checkpoint's child does while serving, whenever a segment was sealed.
            recovery.renew(self.settings.data, max(1, app.journal.position.segment))
        self.app = self.open()

    def ask(self, body: dict[str, Any]) -> list[bytes]:
        """The entries of the answer, as they were written. Raises Refused."""
        # Time is an argument here, but the disk's is not: a next segment is waited for, or pages would be
        # answered that no journal holds.
        if not self.app.journal.open:
            self.app.journal._spare.wait()
        answer = self.app.server.decide(DECODER.decode(json.dumps(body)), Asker(), Terms())
        return [bytes(entry) for entry in ANSWER.decode(answer.body).decisions]

    def run(self, event: Coroutine[Any, Any, Any]) -> None:
        self.loop.run_until_complete(event)

    def close(self) -> None:
        self.app.close()
        self.loop.close()

    def kept(self) -> tuple[object, ...]:
        """Everything a request may leave behind, once what has run out is swept."""
        states = self.app.states
        states.exposures.sweep(self.clock())
        states.budgets.sweep(self.clock())
        outstanding = dict(states.exposures._outstanding)
        return self.app.journal.position, states.feeds.dump(), states.budgets.dump(), outstanding


@dataclass
class Feed:
    """A feed account as its publisher sees it. ``shown``: the entries of its pages, first to last;
    ``held``: pages that are answered again until ``touched_ms`` lies too far back."""

    village: Village
    placement: str
    asks: dict[str, Any]
    shown: list[bytes] = field(default_factory=list)
    held: set[int] = field(default_factory=set)
    touched_ms: int = 0
    organics: list[int] = field(default_factory=list)
    continued: bool = False

    @property
    def chance(self) -> Random:
        return self.village.chance

    @property
    def live(self) -> bool:
        return bool(self.held) and self.village.clock.ms - self.touched_ms <= IDLE_MS

    @property
    def doubtful(self) -> bool:
        """A restart may forget the last minute of an account's life."""
        idle_ms = self.village.clock.ms - self.touched_ms
        return self.touched_ms <= self.village.restarted_ms and IDLE_MS - 60_000 < idle_ms <= IDLE_MS

    def body(self, page: int, organic: int, receipt: str | None = None, **more: Any) -> dict[str, Any]:
        feed = {"id": "main", "page": page, "organic_count": organic, "receipt": receipt}
        placements: list[dict[str, Any]] = [{"id": self.placement, "feed": feed}]
        if self.chance.random() < 0.2:
            placements.insert(0, {"id": "page"})
        return {"placements": placements, **self.asks, **more}

    def page(self, body: dict[str, Any]) -> bytes:
        """The feed's entry of the answer. Raises Refused."""
        entry = self.village.ask(body)[-1]
        self.touched_ms = self.village.clock.ms
        return entry

    def receipt(self, page: int) -> str | None:
        receipt: str | None = json.loads(self.shown[page])["feed"]["receipt"] if page >= 0 else None
        return receipt

    # -- what readers do ---------------------------------------------------------------------------

    def read_on(self) -> None:
        page, organic = len(self.shown), self.chance.choice(ORGANIC)
        if self.chance.random() < 0.01:
            organic = 200
        receipt = self.receipt(page - 1) if self.chance.random() < 0.7 else None
        if page and not self.live and receipt is None:
            self.refused(page, organic, None, 0)
            self.begin_anew()
            return
        if not self.live:
            self.held.clear()
            self.continued = page > 0
        entry = self.page(self.body(page, organic, receipt))
        told = json.loads(entry)["feed"]
        start = json.loads(self.shown[-1])["feed"]["next_position"] if page else 0
        assert (told["page"], told["organic"], told["start_position"]) == (page, organic, start)
        self.shown.append(entry)
        self.organics.append(organic)
        self.held.add(page)

    def read_again(self) -> None:
        if not self.live:
            return
        page = self.chance.choice(sorted(self.held))
        again = self.page(self.body(page, self.chance.randrange(201)))
        assert again == self.shown[page], "a page answered again differs"

    def read_lost(self) -> None:
        """A page that only the reader remembers: after its account ended, continued by a receipt."""
        lost = [page for page in range(len(self.shown)) if page not in self.held]
        if self.live and lost:
            self.refused(self.chance.choice(lost), 20, None, len(self.shown))

    def skip(self) -> None:
        ahead = len(self.shown) + 1 + self.chance.randrange(3)
        forged = (self.receipt(len(self.shown) - 1) or "AAAA")[:-2] + "AA"
        receipt = self.chance.choice((None, forged, self.receipt(len(self.shown) - 1)))
        self.refused(ahead, 20, receipt, len(self.shown) if self.live else 0)

    def refused(self, page: int, organic: int, receipt: str | None, expected: int) -> None:
        """409 with the page to go on with, and nothing was reserved or written for any placement."""
        before = self.village.kept()
        with pytest.raises(Refused) as caught:
            self.village.ask(self.body(page, organic, receipt))
        assert caught.value.status == 409
        assert caught.value.extra == {"expected_page": expected}
        assert self.village.kept() == before, "it left something behind"

    def dry_run(self) -> None:
        before = self.village.kept()
        page = len(self.shown) if self.live else 0
        self.village.ask(self.body(page, 20, mode="dry_run"))
        assert self.village.kept() == before, "it left something behind"

    def release(self) -> None:
        """The page turned out shorter: its last ad is not shown. Its position stays spent."""
        ads = json.loads(self.shown[-1])["ads"] if self.shown else []
        if ads:
            token = ads[-1]["release_url"].rpartition("/")[2]
            self.village.run(self.village.app.recorder.record(token, EventKind.RELEASE, Call()))

    def render(self) -> None:
        ads = json.loads(self.shown[-1])["ads"] if self.shown else []
        call = Call(user_agent=BROWSER)
        for ad in ads:
            token = ad["impression_url"].rpartition("/")[2]
            self.village.run(self.village.app.recorder.record(token, EventKind.IMPRESSION, call))

    def begin_anew(self) -> None:
        self.check()
        self.shown, self.organics, self.continued = [], [], False
        self.held.clear()

    # -- the law -----------------------------------------------------------------------------------

    def check(self) -> None:
        policy = self.village.policies[self.placement]
        broken = law_broken(policy, [items_of(entry, self.village.labels) for entry in self.shown])
        assert broken is None, broken
        if self.shown:
            feeds = [json.loads(entry)["feed"] for entry in self.shown]
            verdict = self.village.app.receipts.verify(
                {"publisher": "meadow", "placement": self.placement, "feeds": feeds}
            )
            assert verdict["valid"], verdict

    @property
    def ads(self) -> int:
        return sum(json.loads(entry)["feed"]["sponsored"] for entry in self.shown)


def reader(village: Village, number: int) -> Feed:
    """A session of its own, half of them with a user, some without consent."""
    chance, asks = village.chance, dict[str, Any](session=f"s-{number}")
    if chance.random() < 0.5:
        asks["user"] = {"id": f"u-{number}"}
        if chance.random() < 0.3:
            asks["consent"] = {"personalised": False}
    return Feed(village, chance.choice(sorted(village.policies)), asks)
