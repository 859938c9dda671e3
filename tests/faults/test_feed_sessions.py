"""Law 1 through the whole decision path: random feed sessions against an app in this process that is
stopped and crashed again and again. What readers saw is laid out item by item and judged by the checker of
``tests/properties/feed_sessions.py``, which shares nothing with the engine.

A village is one server with its readers; it is a function of its number, and a failure names it.
"""

import asyncio
import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from adserver import recovery
from adserver.app import App
from adserver.domain.decision import EventKind
from adserver.domain.inventory import FeedPolicy
from adserver.services.ask import DECODER, Asker, Terms
from adserver.services.refusals import Refused
from adserver.settings import Settings
from kills import line_item, publisher, world

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "properties"))

from feed_sessions import Candidate, law_broken
from test_feed_law import greedy_by_trying, share

SHARES = ("0.02", "0.05", "0.06", "0.06", "0.1", "0.25", "0.333333", "0.5", "1")
ORGANIC = (0, 1, 2, 5, 10, 20, 20, 20, 37)
LABELS = ("wine", "cars", "loans")
IDLE_MS = 20 * 60_000
SESSIONS_PER_VILLAGE = 50


class Clock:
    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms


class Answered(msgspec.Struct):
    """An answer with its placements as they were written, byte for byte."""

    decisions: list[msgspec.Raw]


_ANSWER = msgspec.json.Decoder(Answered)


# -- what is sold, and where -----------------------------------------------------------------------


def random_feed(chance: Random, name: str) -> dict[str, Any]:
    """A feed placement's document; only rules that bind are named."""
    text = chance.choice(SHARES)
    policy = {
        "max_share": text,
        "account_idle": "20m",
        "account": chance.choice(("session", "session", "user")),
        "head_start": chance.choice((0, 0, chance.randrange(max(1, int(1 / float(text)))))),
        "max_burst": chance.choice((1, 1, 2, 3)),
        "first_position": chance.choice((0, 0, 1, 3, 25)),
        "min_gap": chance.choice((0, 0, 1, 4, 12)),
        "advertiser_gap": chance.choice((0, 0, 3, 10, 30)),
        "max_per_page": chance.choice((40, 40, 1, 2, 5)),
    }
    return {"id": name, "surface": "feed", "formats": ["image"], "feed": policy}


def policy_of(feed: dict[str, Any]) -> FeedPolicy:
    """The policy as the checker reads it."""
    rules = {name: value for name, value in feed.items() if name not in ("max_share", "account_idle")}
    return FeedPolicy(max_share=share(feed["max_share"]), **rules)


def plenty() -> list[tuple[str, dict[str, Any]]]:
    """More advertisers than any page has room for; nothing holds them back."""
    return [sold(n, [line_item(id="open")]) for n in range(45)]


def scarce(chance: Random) -> list[tuple[str, dict[str, Any]]]:
    """A few advertisers with caps, budgets and labels: often nobody can take a position."""

    def some() -> list[str]:
        return [label for label in LABELS if chance.random() < 0.25]

    def item(name: str) -> dict[str, Any]:
        more: dict[str, Any] = {"pricing": {"model": "cpm", "amount": f"{chance.randrange(1, 9)}.00"}}
        if chance.random() < 0.5:
            scope = chance.choice(("line_item", "advertiser", "campaign"))
            more["frequency_caps"] = [{"limit": chance.randrange(1, 6), "per": "1h", "scope": scope}]
        if chance.random() < 0.4:
            more["budget"] = {"lifetime": chance.choice(("0.05", "0.50"))}
        return line_item(id=name, **more)

    return [
        sold(n, [item("one"), item("two")], labels=some(), exclude_labels=some(), repeat_in_request=n % 2 == 0)
        for n in range(chance.choice((1, 4, 8)))
    ]


def sold(number: int, items: list[dict[str, Any]], **more: Any) -> tuple[str, dict[str, Any]]:
    document = {
        "advertiser": f"a{number}", "campaign": "c", "currency": "EUR", "timezone": "UTC",
        "line_items": items, **{name: value for name, value in more.items() if value != []},
    }  # fmt: skip
    return f"a{number}/c.json", document


# -- a server and its readers ----------------------------------------------------------------------


class Village:
    """One server on one directory, for its whole life. ``rich``: demand never ends."""

    def __init__(self, folder: Path, number: int) -> None:
        self.chance = chance = Random(number)
        self.rich = number % 2 == 0
        feeds = [random_feed(chance, f"feed-{n}") for n in range(8)]
        self.policies = {feed["id"]: policy_of(feed["feed"]) for feed in feeds}
        campaigns = plenty() if self.rich else scarce(chance)
        self.labels = {
            document["advertiser"]: (document.get("labels", ()), document.get("exclude_labels", ()))
            for _, document in campaigns
        }
        page = {"id": "page", "surface": "page", "formats": ["image"]}
        written = world(folder / "world", publisher(placements=[page, *feeds]), *campaigns)
        self.clock = Clock()
        self.settings = Settings(data=folder / "data", segment_bytes=256 * 1024, campaigns=written)
        self.app = self.open()
        # The files are in the catalog now; reading them again at each start costs more than all else.
        self.settings = msgspec.structs.replace(self.settings, campaigns=None)

    def open(self) -> App:
        return App(self.settings, clock=self.clock)

    def restart(self, how: str) -> None:
        app = self.app
        if how == "stop":
            recovery.save(self.settings.data, app.states.hot, app.journal.position)
        app.close()
        if how == "renewed":
            # What the checkpoint's child does while serving, whenever a segment was sealed.
            recovery.renew(self.settings.data, max(1, app.journal.position.segment))
        self.app = self.open()

    def ask(self, body: dict[str, Any]) -> list[bytes]:
        """The entries of the answer, as they were written. Raises Refused."""
        answer = self.app.server.decide(DECODER.decode(json.dumps(body)), Asker(), Terms())
        return [bytes(entry) for entry in _ANSWER.decode(answer.body).decisions]

    def candidate(self, ad: dict[str, Any]) -> Candidate:
        labels, excluded = self.labels[ad["advertiser"]]
        return Candidate(int(ad["advertiser"][1:]), tuple(labels), tuple(excluded))


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
        states, journal = self.village.app.states, self.village.app.journal
        before = (journal.position, states.feeds.dump(), states.budgets.dump(), states.exposures.dump())
        with pytest.raises(Refused) as caught:
            self.village.ask(self.body(page, organic, receipt))
        assert caught.value.status == 409
        assert caught.value.extra == {"expected_page": expected}
        after = (journal.position, states.feeds.dump(), states.budgets.dump(), states.exposures.dump())
        assert after == before

    def dry_run(self) -> None:
        states, journal = self.village.app.states, self.village.app.journal
        before = (journal.position, states.feeds.dump(), states.budgets.dump(), states.exposures.dump())
        page = len(self.shown) if self.live else 0
        self.village.ask(self.body(page, 20, mode="dry_run"))
        after = (journal.position, states.feeds.dump(), states.budgets.dump(), states.exposures.dump())
        assert after == before

    def release(self) -> None:
        """The page turned out shorter: its last ad is not shown. Its position stays spent."""
        ads = json.loads(self.shown[-1])["ads"] if self.shown else []
        if ads:
            token = ads[-1]["release_url"].rpartition("/")[2]
            asyncio.run(self.village.app.recorder.release(token))

    def render(self) -> None:
        ads = json.loads(self.shown[-1])["ads"] if self.shown else []
        call = EVENT_CALL
        for ad in ads:
            token = ad["impression_url"].rpartition("/")[2]
            asyncio.run(self.village.app.recorder.record(token, EventKind.IMPRESSION, call))

    def begin_anew(self) -> None:
        self.check()
        self.shown, self.organics, self.continued = [], [], False
        self.held.clear()

    # -- the law -----------------------------------------------------------------------------------

    def check(self) -> None:
        policy = self.village.policies[self.placement]
        broken = law_broken(policy, [self.items(entry) for entry in self.shown])
        assert broken is None, broken
        if self.shown:
            feeds = [json.loads(entry)["feed"] for entry in self.shown]
            verdict = self.village.app.receipts.verify(
                {"publisher": "meadow", "placement": self.placement, "feeds": feeds}
            )
            assert verdict["valid"], verdict

    def items(self, entry: bytes) -> list[Candidate | None]:
        told = json.loads(entry)
        feed = told["feed"]
        placed = {ad["position"]: self.village.candidate(ad) for ad in told["ads"]}
        positions = range(feed["start_position"], feed["next_position"])
        assert len(placed) == len(told["ads"]) == feed["sponsored"] == len(positions) - feed["organic"]
        assert all(position in positions for position in placed)
        return [placed.get(position) for position in positions]

    @property
    def ads(self) -> int:
        return sum(json.loads(entry)["feed"]["sponsored"] for entry in self.shown)


from adserver.services.calls import Call  # noqa: E402
from live import BROWSER  # noqa: E402

EVENT_CALL = Call(user_agent=BROWSER)


def reader(village: Village, number: int) -> Feed:
    """A session of its own, half of them with a user, some without consent."""
    chance, asks = village.chance, dict[str, Any](session=f"s-{number}")
    if chance.random() < 0.5:
        asks["user"] = {"id": f"u-{number}"}
        if chance.random() < 0.3:
            asks["consent"] = {"personalised": False}
    return Feed(village, chance.choice(sorted(village.policies)), asks)


STEPS = (
    (0.70, Feed.read_on),
    (0.84, Feed.read_again),
    (0.90, Feed.skip),
    (0.93, Feed.read_lost),
    (0.96, Feed.dry_run),
    (0.98, Feed.release),
    (1.00, Feed.render),
)


def live_through(folder: Path, number: int, sessions: int) -> dict[str, int]:
    """A village's whole life; what was counted."""
    village = Village(folder, number)
    chance = village.chance
    feeds = [reader(village, n) for n in range(sessions)]
    counted: dict[str, int] = defaultdict(int)
    try:
        for _ in range(sessions * 14):
            village.clock.ms += chance.randrange(1_000)
            feed = chance.choice(feeds)
            roll = chance.random()
            next(step for until, step in STEPS if roll < until)(feed)
            # The account of a person follows them to another device.
            if feed.placement in user_accounts(village) and "consent" not in feed.asks and "user" in feed.asks:
                feed.asks["session"] = f"s-{chance.randrange(sessions)}"
            roll = chance.random() * sessions
            if roll < 0.3:
                village.restart(chance.choice(("crash", "crash", "stop", "renewed")))
            elif roll < 0.4:
                village.clock.ms += chance.choice((IDLE_MS // 2, IDLE_MS, IDLE_MS + 1, 3 * IDLE_MS))
        for feed in feeds:
            feed.check()
            counted["ads"] += feed.ads
        if village.rich:
            most_served(feeds, counted)
    finally:
        village.app.close()
    return counted


def user_accounts(village: Village) -> set[str]:
    return {name for name, policy in village.policies.items() if policy.account == "user"}


def most_served(feeds: list[Feed], counted: dict[str, int]) -> None:
    """Beside what an ad wherever one may stand would come to."""
    for feed in feeds:
        policy = feed.village.policies[feed.placement]
        if sum(feed.organics) <= 150 and not feed.continued:
            counted["served"] += feed.ads
            counted["allowed"] += greedy_by_trying(policy, feed.organics)


def run(folder: Path, numbers: range, sessions: int) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for number in numbers:
        try:
            for name, count in live_through(folder / str(number), number, sessions).items():
                total[name] += count
        except BaseException as error:
            error.add_note(f"village {number}")
            raise
    return total


def judge(total: dict[str, int], sessions: int) -> None:
    assert total["ads"] > sessions
    assert total["allowed"] > sessions / 4
    assert 2 * total["served"] >= total["allowed"], dict(total)


def test_law_1_in_300_sessions_of_a_server_that_is_restarted(tmp_path: Path) -> None:
    judge(run(tmp_path, range(6), 50), 300)


@pytest.mark.slow
def test_law_1_in_10_000_sessions_of_servers_that_are_restarted(tmp_path: Path) -> None:
    judge(run(tmp_path, range(6, 206), SESSIONS_PER_VILLAGE), 10_000)
