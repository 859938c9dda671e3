"""Events against a model of the contract: the order of checks, each id counted once and billed at most once,
over restarts, and what the books say in the end."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from world import BROWSER, World, campaign, publisher

from adserver.domain.decision import EventKind
from adserver.domain.records import Status
from adserver.services.calls import Call
from adserver.tokens import BadToken

pytestmark = pytest.mark.slow

HOUR_MS = 3600_000
LIVES = {
    "impression": 0,
    "viewable": HOUR_MS,
    "click": 24 * HOUR_MS,
    "hide": 24 * HOUR_MS,
    "report": 24 * HOUR_MS,
}
PAID = {"cpm": "impression", "vcpm": "viewable", "cpc": "click"}
COLUMNS = {"impression": "impressions", "viewable": "viewable", "click": "clicks"}
CRAWLER = "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"
CALLS = {
    "browser": Call(user_agent=BROWSER),
    "nobody": Call(),
    "crawler": Call(user_agent=CRAWLER),
    "library": Call(user_agent="curl/8.5.0"),
    "prefetch": Call(user_agent=BROWSER, prefetch=True),
    "vouched": Call(user_agent="curl/8.5.0", publisher_key="gazette"),
}


class Ad:
    """An ad as the model knows it. ``over``: nothing of it is billed any more."""

    def __init__(self, ad: Any, model: str, decided_ms: int, test: bool) -> None:
        self.urls = {kind: ad[f"{kind}_url"] for kind in COLUMNS} | ad["events"]
        self.release_url = ad["release_url"]
        self.model, self.test = model, test
        self.expires_ms = decided_ms + 15 * 60_000
        self.over = False
        self.recorded: set[str] = set()
        self.filtered: set[str] = set()

    def verdict(self, kind: str, call: str, now_ms: int) -> str:
        if call not in ("browser", "vouched") or (kind == "click" and "impression" not in self.recorded):
            return "filtered"
        if kind in self.recorded:
            return "duplicate"
        if now_ms > self.expires_ms + LIVES[kind] or self.over:
            return "expired"
        return "accepted"


class Play:
    def __init__(self, world: World, seed: int) -> None:
        self.world, self.chance = world, random.Random(seed)
        self.ads: list[Ad] = []
        self.counts: dict[str, Counter[str]] = {model: Counter() for model in PAID}
        self.billed: Counter[str] = Counter()
        items = [{"id": model, "pricing": {"model": model, "amount": "1.00"}} for model in PAID]
        world.put(publishers=[publisher()], campaigns=[campaign("acme/a", *items, repeat_in_request=True)])

    def step(self) -> None:
        self.world.clock.ms += self.chance.choice((0, 1, 1000, 60_000, 300_000, 600_000))
        if self.chance.random() < 0.03:
            self.world.clock.ms += 20 * HOUR_MS
        roll = self.chance.random()
        if roll < 0.2 or not self.ads:
            self.decide()
        elif roll < 0.25:
            self.world.tick()
        elif roll < 0.28:
            self.world.restart(clean=self.chance.random() < 0.5)
        elif roll < 0.35:
            self.release(self.chance.choice(self.ads))
        else:
            self.tell(self.chance.choice(self.ads[-6:] if self.chance.random() < 0.7 else self.ads))

    def decide(self) -> None:
        test = self.chance.random() < 0.15
        request = {"placements": [{"id": "top", "count": 2}], "mode": "test" if test else "live"}
        answer = self.world.decide(request)
        for ad in answer["decisions"][0]["ads"]:
            self.ads.append(Ad(ad, ad["line_item"], self.world.clock.ms, test))

    def release(self, ad: Ad) -> None:
        assert self.world.event(ad.release_url).status is Status.ACCEPTED
        if self.world.clock.ms <= ad.expires_ms and "impression" not in ad.recorded:
            ad.over = True

    def tell(self, ad: Ad) -> None:
        kind, call = (
            self.chance.choice(list(LIVES)[:3] * 3 + list(LIVES)),
            self.chance.choice([*CALLS, *["browser"] * 6]),
        )
        wanted = ad.verdict(kind, call, self.world.clock.ms)
        live = self.world.clock.ms <= ad.expires_ms + LIVES[kind]
        found = self.world.event(ad.urls[kind], CALLS[call])
        assert found.status.name.lower() == wanted
        paid = wanted == "accepted" and PAID[ad.model] == kind and not ad.test
        assert found.billed is paid
        assert (found.location == "https://acme.example/") is (kind == "click")
        self.note(ad, kind, wanted, paid, live)

    def note(self, ad: Ad, kind: str, verdict: str, paid: bool, live: bool) -> None:
        if verdict == "filtered":
            # Told once an id and kind, and only of a live token: who else could remember that it was told?
            if live and kind not in ad.filtered and not ad.test:
                self.counts[ad.model]["filtered"] += 1
            if live:
                ad.filtered.add(kind)
        elif verdict != "duplicate":
            ad.recorded.add(kind)
            ad.over |= verdict == "expired" and kind == "impression"
            column = "expired" if verdict == "expired" else COLUMNS.get(kind)
            if column is not None and not ad.test:
                self.counts[ad.model][column] += 1
            self.billed[ad.model] += paid

    def check(self) -> None:
        told = self.world.delivery("acme/a")
        for item in told["line_items"]:
            numbers = {name: item[name] for name in (*COLUMNS.values(), "filtered", "expired")}
            assert numbers == {name: self.counts[item["id"]][name] for name in numbers}
            price = 1_000_000 if item["id"] == "cpc" else 1000
            assert item["spend_micros"] == self.billed[item["id"]] * price


@pytest.mark.parametrize("seed", range(4))
def test_verdicts_and_books(tmp_path: Path, seed: int) -> None:
    with World(tmp_path / "world") as world:
        play = Play(world, seed)
        for _ in range(160):
            play.step()
        play.check()
        world.restart()
        play.check()
        ledger = {totals.line_item: totals for totals in world.app.ledger.totals()}
        assert sum(totals.billed_nanos for totals in ledger.values()) == sum(
            play.billed[model] * (10**9 if model == "cpc" else 10**6) for model in PAID
        )


def one_ad(world: World) -> Any:
    world.put(publishers=[publisher()], campaigns=[campaign("acme/a")])
    return world.decide({"placements": [{"id": "top"}]})["decisions"][0]["ads"][0]


def test_of_simultaneous_calls_one_is_accepted(tmp_path: Path) -> None:
    with World(tmp_path / "world") as world:
        token = one_ad(world)["impression_url"].rpartition("/")[2]
        call = Call(user_agent=BROWSER)

        async def storm() -> list[Any]:
            record = world.app.recorder.record
            return await asyncio.gather(*(record(token, EventKind.IMPRESSION, call) for _ in range(50)))

        verdicts = Counter((verdict.status.name, verdict.billed) for verdict in asyncio.run(storm()))
        assert verdicts == {("ACCEPTED", True): 1, ("DUPLICATE", False): 49}


def test_an_answer_means_that_it_is_on_disk(tmp_path: Path) -> None:
    """Duplicates too: they promise that the event is counted."""
    with World(tmp_path / "world") as world:
        url = one_ad(world)["impression_url"]
        for _ in range(2):
            world.event(url)
            assert world.app.journal.synced_position == world.app.journal.position


def test_a_token_of_another_kind_or_another_server_does_nothing(tmp_path: Path) -> None:
    with World(tmp_path / "one") as one, World(tmp_path / "two") as two:
        ad = one_ad(one)
        one_ad(two)
        before = one.app.journal.position
        for url in (ad["impression_url"].replace("/i/", "/c/"), ad["click_url"].replace("/c/", "/i/")):
            with pytest.raises(BadToken):
                one.event(url)
        with pytest.raises(BadToken):
            two.event(ad["click_url"])
        assert one.app.journal.position == before
        assert one.delivery("acme/a")["spend_micros"] == 0


def test_head_leads_where_the_click_would_and_uses_nothing_up(tmp_path: Path) -> None:
    with World(tmp_path / "world") as world:
        ad = one_ad(world)
        token = ad["click_url"].rpartition("/")[2]
        world.event(ad["impression_url"])
        peeked, _ = world.app.recorder.peek(token, EventKind.CLICK, Call(user_agent=BROWSER, method="HEAD"))
        assert peeked.location == "https://acme.example/" and not peeked.billed
        assert world.event(ad["click_url"]).status is Status.ACCEPTED


def test_a_caller_who_leaves_takes_nobody_with_it(tmp_path: Path) -> None:
    """All who wait for one sync wait for the same thing."""
    with World(tmp_path, publishers=[publisher()], campaigns=[campaign()]) as world:
        answers = [world.decide({"placements": [{"id": "top"}]}) for _ in range(4)]
        urls = [answer["decisions"][0]["ads"][0]["impression_url"] for answer in answers]
        tokens = [url.rpartition("/")[2] for url in urls]

        async def main() -> None:
            record = world.app.recorder.record
            tasks = [
                asyncio.create_task(record(token, EventKind.IMPRESSION, CALLS["browser"])) for token in tokens
            ]
            await asyncio.sleep(0)
            tasks[0].cancel()
            left, *others = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(left, asyncio.CancelledError)
            assert [getattr(verdict, "status", verdict) for verdict in others] == [Status.ACCEPTED] * 3

        asyncio.run(main())
        assert world.event(urls[0]).status is Status.DUPLICATE, "what it told us counts"
