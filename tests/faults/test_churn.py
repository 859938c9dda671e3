"""Everything at once on a real server: campaigns, caps, budgets and creatives put, archived and brought back,
under decisions and events, with kill -9 and restarts in between. Then the journal must explain every row of
the ledger, and laws 1 to 3 must hold in it (``adserver verify`` shares no code with what decides)."""

import asyncio
import json
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from edits import CAMPAIGNS, advertiser, publisher, sold
from kills import Asker, Lost, world
from live import LIVE_S, REPOSITORY, Live
from world import filled_campaign, filled_publisher

from adserver.domain import ids
from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow

EVENTS = ("impression_url", "impression_url", "impression_url", "viewable_url", "click_url", "release_url")
EDIT_S = 0.1
CLIENTS = 4


@dataclass
class Churn:
    """One life of a server. ``told``: event ids and kinds that were answered as accepted; ``seen``: how often
    what happened."""

    server: Live
    chance: Random
    bearer: str
    ads: list[dict[str, Any]] = field(default_factory=list)
    told: list[tuple[bytes, str]] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, seconds: float, kills: int) -> None:
        """Clients and the owner work until the killer is through."""
        working = [asyncio.create_task(self.client(number)) for number in range(CLIENTS)]
        working.append(asyncio.create_task(self.owner()))
        for _ in range(kills):
            await asyncio.sleep(seconds / (kills + 1) * self.chance.uniform(0.5, 1.5))
            await asyncio.to_thread(self.server.restart)
            self.seen["killed"] += 1
        await asyncio.sleep(seconds / (kills + 1))
        self.over.set()
        await asyncio.gather(*working)

    # -- who owns the catalogue --------------------------------------------------------------------

    async def owner(self) -> None:
        while not self.over.is_set():
            await asyncio.to_thread(self.edit)
            await asyncio.sleep(EDIT_S)

    def edit(self) -> None:
        chance, name = self.chance, self.chance.choice(CAMPAIGNS)
        owner, _, campaign = name.partition("/")
        path = f"/v1/advertisers/{owner}"
        method, body = "PUT", advertiser(owner, chance)
        kind = chance.choice(("campaign", "campaign", "campaign", "archive", "advertiser", "publisher"))
        if kind == "campaign":
            path, body = f"{path}/campaigns/{campaign}", filled_campaign(sold(name, chance))
        elif kind == "archive":
            method, path, body = "DELETE", f"{path}/campaigns/{campaign}", None
        elif kind == "publisher":
            path, body = "/v1/publishers/gazette", filled_publisher(publisher(chance, "1s"))
        try:
            answer = self.server.call(method, path, body, authorization=self.bearer)
        except OSError:
            return  # killed: it may have been done or not
        # Already archived, or billed and so fixed.
        assert answer.status in (200, 201, 204, 404, 409), answer.body
        self.seen[f"{kind} {answer.status}"] += 1

    # -- who asks and tells ------------------------------------------------------------------------

    async def client(self, number: int) -> None:
        asker, pages = Asker(self.server.port), Counter[str]()
        while not self.over.is_set():
            try:
                doing = self.chance.choice((self.ask, self.ask, self.tell, self.tell, self.tell))
                await doing(asker, pages)
            except Lost:
                self.seen["lost"] += 1
                await asyncio.sleep(0.02)
        asker.close()

    async def ask(self, asker: Asker, pages: Counter[str]) -> None:
        chance = self.chance
        who = f"{chance.randrange(4)}"
        body: dict[str, Any] = {"user": {"id": f"u-{who}"}, "session": f"s-{who}"}
        if chance.random() < 0.1:
            body["id"] = f"r-{chance.randrange(5)}"
        if chance.random() < 0.3:
            session = f"s-{id(pages)}-{chance.randrange(2)}"
            feed = {"id": "main", "page": pages[session], "organic_count": chance.randrange(16)}
            body |= {"placements": [{"id": "news", "feed": feed}, {"id": "side"}], "session": session}
        else:
            body["placements"] = [{"id": name, "count": chance.randint(1, 3)} for name in ("top", "side")]
        status, _, answered = await asker.ask("POST", "/v1/decisions", body)
        told = json.loads(answered)
        if status == 409:
            pages[body["session"]] = told["expected_page"]
            return
        assert status == 200, answered
        if body["placements"][0]["id"] == "news":
            pages[body["session"]] += 1
            self.seen["pages"] += 1
        self.seen["decided"] += 1
        for slot in told["decisions"]:
            self.seen[str(slot["no_fill"])] += 1
            self.ads += slot["ads"]

    async def tell(self, asker: Asker, pages: Counter[str]) -> None:
        if not self.ads:
            return
        ad = self.chance.choice(self.ads[-20:] if self.chance.random() < 0.8 else self.ads)
        kind = self.chance.choice(EVENTS)
        method = "POST" if kind == "release_url" else "GET"
        status, headers, _ = await asker.ask(method, ad[kind])
        assert status in (200, 204, 302), status
        verdict = headers.get("x-adserver-event", "released")
        self.seen[verdict] += 1
        if verdict == "accepted" and kind != "release_url":
            self.told.append((ids.decode(ad["event_id"]), kind.removesuffix("_url")))

    # -- what must be so then ----------------------------------------------------------------------

    def delivered(self) -> dict[str, Any]:
        """What was counted and billed of every line item."""
        numbers = ("impressions", "viewable", "clicks", "filtered", "expired", "spend_micros", "free_micros")
        found = {}
        for name in CAMPAIGNS:
            path = "/v1/advertisers/{}/campaigns/{}/delivery".format(*name.split("/"))
            answer = self.server.get(path, authorization=self.bearer)
            items = answer.json()["line_items"] if answer.status == 200 else []
            for item in items:
                if any(item[number] for number in numbers):
                    found[f"{name}/{item['id']}"] = {number: item[number] for number in numbers}
        return found

    def settle(self) -> None:
        """Nothing changes any more: wait until the last change is live."""
        with closing(sqlite3.connect(self.server.data / "catalog.sqlite")) as catalog:
            ((last,),) = catalog.execute("SELECT revision FROM catalogue").fetchall()
        asked = {"placements": [{"id": "top"}], "mode": "dry_run"}
        deadline = time.monotonic() + 5 * LIVE_S
        while self.server.decide(asked)["snapshot"] != f"r{last}":
            assert time.monotonic() < deadline, "the last change is not live"
            time.sleep(0.1)


def churned(folder: Path, seed: int, seconds: float, kills: int, command: list[str] | None = None) -> Churn:
    chance = Random(seed)
    named = ("publishers/gazette.json", filled_publisher(publisher(chance, "1s")))
    campaigns = [(f"{name}.json", filled_campaign(sold(name, chance))) for name in CAMPAIGNS]
    with Live(folder / "data", world(folder / "world", named, *campaigns), command) as server:
        churn = Churn(server, chance, f"Bearer {server.key()}")
        # What the files say is in the catalogue by now; read again at a restart it would undo changes.
        server.campaigns = None
        asyncio.run(churn.run(seconds, kills))
        if kills:
            churn.settle()
            before = churn.delivered()
            server.restart()
            churn.settle()
            assert churn.delivered() == before, "a restart counts otherwise"
        server.stop()
    return churn


def posted(data: Path) -> Counter[tuple[bytes, str]]:
    """Accepted events in the ledger."""
    kinds = {1: "impression", 2: "viewable", 3: "click"}
    with closing(sqlite3.connect(data / "ledger.sqlite")) as database:
        rows = database.execute("SELECT event_id, kind FROM events WHERE status = 1").fetchall()
    return Counter((event_id, kinds.get(kind, str(kind))) for event_id, kind in rows)


def test_the_books_and_the_laws_survive_churn_and_kills(tmp_path: Path) -> None:
    churn = churned(tmp_path, 1, 24.0, 3)
    assert verify(tmp_path / "data", report=lambda line: None) == []
    in_ledger = posted(tmp_path / "data")
    assert set(in_ledger.values()) == {1}
    lost = [told for told in churn.told if told not in in_ledger]
    assert not lost, "acknowledged and not in the ledger"
    seen = churn.seen
    assert seen["killed"] == 3 and seen["decided"] > 300 and len(churn.told) > 100, seen
    happened = ("campaign 200", "archive 204", "advertiser 200", "publisher 200", "pages", "duplicate",
                "expired", "frequency_capped", "budget_exhausted")  # fmt: skip
    assert all(seen[what] for what in happened), seen


@pytest.mark.parametrize(("law", "told"), [("feeds", "feed "), ("caps", "the cap "), ("budgets", " billed ")])
def test_a_broken_law_is_found_in_the_journal(tmp_path: Path, law: str, told: str) -> None:
    broken = [sys.executable, str(REPOSITORY / "tests/loadtests/broken_server.py"), law]
    churned(tmp_path, 2, 6.0, 0, broken)
    found = verify(tmp_path / "data", report=lambda line: None)
    assert any(told in difference for difference in found), found
