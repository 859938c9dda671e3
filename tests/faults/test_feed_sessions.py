"""Law 1 through the whole server: random feed sessions against an app in this process that is stopped and
crashed again and again, and readers who race each other over HTTP while the server is killed."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path
from random import Random

import pytest
from kills import Asker, Lost, publisher, world
from live import Live
from village import ANSWER, IDLE_MS, Feed, Village, reader
from village_goods import (
    greedy_by_trying,
    items_of,
    labels_of,
    law_broken,
    plenty,
    policy_of,
    random_feed,
    scarce,
)

from adserver.ledger.verify import verify

SESSIONS_PER_VILLAGE = 250

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
        for _ in range(sessions * 12):
            village.clock.ms += chance.randrange(1_000)
            feed = chance.choice(feeds)
            roll = chance.random()
            if not feed.doubtful:
                next(step for until, step in STEPS if roll < until)(feed)
            # The account of a person follows them to another device.
            policy = village.policies[feed.placement]
            if policy.account == "user" and "user" in feed.asks and "consent" not in feed.asks:
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
        village.close()
    return counted


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
    judge(run(tmp_path, range(3), 100), 300)


@pytest.mark.slow
def test_law_1_in_10_000_sessions_of_servers_that_are_restarted(tmp_path: Path) -> None:
    judge(run(tmp_path, range(6, 46), SESSIONS_PER_VILLAGE), 10_000)


def test_an_account_kept_alive_by_repeats_lives_on_after_a_crash(tmp_path: Path) -> None:
    village = Village(tmp_path, 0)
    feed = reader(village, 1)
    feed.read_on()
    for how in ("crash", "renewed", "crash"):
        village.clock.ms += IDLE_MS - 61_000
        feed.read_again()
        village.restart(how)
    assert feed.live
    feed.read_again()
    village.close()


# -- over HTTP -------------------------------------------------------------------------------------


class Crowd:
    """Forty readers: three accounts read by eight connections each, sixteen by one. All of an account ask
    for the same page at once, with different numbers of items; what anybody was answered is kept, and
    must be the only answer there ever is."""

    def __init__(self, server: Live, placements: list[str], pages: int) -> None:
        self.server = server
        self.pages = pages
        self.answers: dict[tuple[str, int], bytes] = {}
        self.due, self.due_at = asyncio.Event(), 60
        self.accounts = {f"s-{n}": placements[n % len(placements)] for n in range(19)}

    async def live(self, kills: int) -> None:
        groups = [self.read(session, 8 if n < 3 else 1, Random(n)) for n, session in enumerate(self.accounts)]
        await asyncio.gather(self.kill(kills), *groups)

    async def kill(self, times: int) -> None:
        for _ in range(times):
            await self.due.wait()
            await asyncio.to_thread(self.server.restart)
            self.due_at = len(self.answers) + 60
            self.due.clear()

    async def read(self, session: str, connections: int, chance: Random) -> None:
        askers = [Asker(self.server.port) for _ in range(connections)]
        for page in range(self.pages):
            asks = (self.ask(asker, session, page, chance.randrange(30)) for asker in askers)
            await asyncio.gather(*asks)
            old = (self.ask(asker, session, chance.randrange(page + 1), 7) for asker in askers)
            await asyncio.gather(*old)
            if chance.random() < 0.2:
                status, told = await self.post(askers[0], session, page + 2, 20)
                assert (status, json.loads(told)["expected_page"]) == (409, page + 1)
        for asker in askers:
            asker.close()

    async def ask(self, asker: Asker, session: str, page: int, organic: int) -> None:
        """Ask until somebody answers: whoever was answered before, was answered this."""
        status, answer = await self.post(asker, session, page, organic)
        assert status == 200, answer
        entry = bytes(ANSWER.decode(answer).decisions[0])
        assert self.answers.setdefault((session, page), entry) == entry, f"{session} page {page}"
        if len(self.answers) >= self.due_at:
            self.due.set()

    async def post(self, asker: Asker, session: str, page: int, organic: int) -> tuple[int, bytes]:
        feed = {"id": "main", "page": page, "organic_count": organic}
        body = {"placements": [{"id": self.accounts[session], "feed": feed}], "session": session}
        while True:
            try:
                status, _, answer = await asker.ask("POST", "/v1/decisions", body)
            except Lost:
                await asyncio.sleep(0.02)
                continue
            return status, answer

    def pages_of(self, session: str) -> list[bytes]:
        return [self.answers[session, page] for page in range(self.pages)]


@pytest.mark.slow
def test_law_1_for_all_that_forty_readers_were_answered_by_a_server_that_is_killed(tmp_path: Path) -> None:
    chance = Random(11)
    feeds = [random_feed(chance, f"feed-{n}") for n in range(5)]
    campaigns = [*plenty()[:30], *scarce(chance, 100)]
    folder = world(tmp_path / "world", publisher(placements=feeds), *campaigns)
    with Live(tmp_path / "data", folder, None, "--segment-bytes", "1048576") as server:
        crowd = Crowd(server, [feed["id"] for feed in feeds], 60)
        asyncio.run(crowd.live(6))
        for session, placement in crowd.accounts.items():
            pages = crowd.pages_of(session)
            policy = policy_of(next(feed["feed"] for feed in feeds if feed["id"] == placement))
            assert law_broken(policy, [items_of(page, labels_of(campaigns)) for page in pages]) is None
            told = [json.loads(page)["feed"] for page in pages]
            body = {"publisher": "meadow", "placement": placement, "feeds": told}
            assert server.post("/v1/receipts:verify", body).json()["valid"]
        server.stop()
    assert crowd.due_at < len(crowd.answers), "they were done before the last kill"
    ads = sum(json.loads(answer)["feed"]["sponsored"] for answer in crowd.answers.values())
    assert ads > 19 * 5
    assert verify(tmp_path / "data", report=lambda line: None) == []
