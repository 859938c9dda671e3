"""``adserver verify`` as a process of its own, beside a server under load: nothing of what goes on at the
moment is a difference, and everything that was tampered with is."""

import asyncio
import json
import sqlite3
import sys
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from kills import Asker, Lost, campaign, publisher, request, world
from live import REPOSITORY, Live

pytestmark = pytest.mark.slow

ITEMS = [
    {"id": "best", "pricing": {"model": "cpm", "amount": "9.00"}, "budget": {"lifetime": "3.00"}},
    {"id": "clicked", "pricing": {"model": "cpc", "amount": "0.02"}, "budget": {"lifetime": "1.00"}},
    {"id": "seen", "pricing": {"model": "vcpm", "amount": "8.00"}, "budget": {"daily": "2.00"}},
    {
        "id": "capped",
        "frequency_caps": [{"limit": 2, "per": "1d"}, {"limit": 1, "per": "1h", "event": "click"}],
    },
    {"id": "rest", "pricing": {"model": "cpm", "amount": "0.10"}},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    owner = publisher()
    owner[1]["placements"] += [
        {"id": "brief", "surface": "page", "formats": ["image"], "render_within": "1s"},
        {"id": "second", "surface": "page", "formats": ["image"], "auction": "second_price"},
        {"id": "mine", "surface": "feed", "formats": ["image"],
         "feed": {"max_share": "0.25", "account": "user", "min_gap": 2, "advertiser_gap": 5}},
    ]  # fmt: skip
    others = [(f"a{n}/c.json", {**campaign("c", [{"id": "x"}])[1], "advertiser": f"a{n}"}) for n in range(8)]
    return world(tmp_path / "world", owner, campaign("all", ITEMS, budget={"daily": "5.00"}), *others)


async def audit(data: Path) -> tuple[int, str]:
    """(exit code, what was printed) of a verify process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "adserver", "verify", "--data", str(data),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=REPOSITORY,
    )  # fmt: skip
    printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode()


def test_no_difference_beside_a_server_under_load(tmp_path: Path, folder: Path) -> None:
    with Live(tmp_path / "data", folder, None, "--segment-bytes", "262144") as server:
        load = Load(server)
        for again in range(2):
            asyncio.run(audits_beside(load, 4))
            server.kill9()
            assert asyncio.run(audit(server.data)) == (0, Clean())
            server.start()
            assert asyncio.run(audit(server.data)) == (0, Clean()), f"after start {again}"
        server.stop()
        assert asyncio.run(audit(server.data)) == (0, Clean())
    assert min(load.done.values()) > 20, load.done


class Clean:
    """Equal to what verify prints where there is no difference."""

    def __eq__(self, printed: object) -> bool:
        return isinstance(printed, str) and printed.rstrip().endswith("\nno differences")

    def __repr__(self) -> str:
        return "... no differences"


async def audits_beside(load: "Load", times: int) -> None:
    over = asyncio.Event()
    clients = [asyncio.create_task(load.client(over, Random(n))) for n in range(6)]
    try:
        for _ in range(times):
            assert await audit(load.server.data) == (0, Clean())
    finally:
        over.set()
        await asyncio.gather(*clients)


class Load:
    """Everything that is journalled, in random order. ``done`` counts it by kind."""

    def __init__(self, server: Live) -> None:
        self.server = server
        self.done = dict.fromkeys(("page", "feed", "test", "once", "release", "click", "late"), 0)
        self.readers = 0
        self.brief: deque[tuple[float, dict]] = deque()

    async def client(self, over: asyncio.Event, chance: Random) -> None:
        asker = Asker(self.server.port)
        while not over.is_set():
            try:
                await self.visit(asker, chance)
            except Lost:
                await asyncio.sleep(0.02)
        asker.close()

    async def visit(self, asker: Asker, chance: Random) -> None:
        """A person comes, reads some pages of a feed, sees pages, and is gone."""
        self.readers += 1
        user = f"u-{self.readers // 2}"
        for number in range(chance.randrange(5)):
            body = feed(user, chance.choice(("feed", "mine")), 0 if number == 1 else number)
            await self.tell(asker, chance, await self.decide(asker, "feed", body))
        page = request(user, chance.choice(("page", "second")), count=3)
        await self.tell(asker, chance, await self.decide(asker, "page", page))
        await self.tell(asker, chance, await self.decide(asker, "test", {**page, "mode": "test"}))
        for _ in range(2):
            await self.decide(asker, "once", {**page, "id": f"once-{self.readers}"})
        now_s = time.monotonic()
        for ad in await self.decide(asker, "page", request(None, "brief")):
            self.brief.append((now_s, ad))
        if self.brief and self.brief[0][0] < now_s - 1.5:
            await self.too_late(asker, self.brief.popleft()[1])

    async def too_late(self, asker: Asker, ad: dict) -> None:
        """Recorded, counted and not billed."""
        _, headers, _ = await asker.ask("GET", ad["impression_url"])
        assert headers["x-adserver-event"] == "expired"
        self.done["late"] += 1

    async def decide(self, asker: Asker, kind: str, body: dict[str, Any]) -> list[dict]:
        status, _, answer = await asker.ask("POST", "/v1/decisions", body)
        assert status in (200, 409), answer
        self.done[kind] += 1
        return [ad for entry in json.loads(answer).get("decisions", ()) for ad in entry["ads"]]

    async def tell(self, asker: Asker, chance: Random, ads: list[dict]) -> None:
        for ad in ads:
            if chance.random() < 0.2:
                await asker.ask("POST", ad["release_url"])
                self.done["release"] += 1
                continue
            await asker.ask("GET", ad["impression_url"])
            await asker.ask("GET", ad["viewable_url"])
            if chance.random() < 0.5:
                status, _, _ = await asker.ask("GET", ad["click_url"])
                assert status == 302
                self.done["click"] += 1


def feed(user: str, placement: str, page: int) -> dict[str, Any]:
    asked = {"id": "main", "page": page, "organic_count": 12}
    return {**request(user), "placements": [{"id": placement, "feed": asked}, {"id": "page"}]}


# -- what it finds ---------------------------------------------------------------------------------


def test_a_changed_byte_and_a_removed_row_are_found(tmp_path: Path, folder: Path) -> None:
    with Live(tmp_path / "data", folder, None, "--segment-bytes", "65536") as server:
        asyncio.run(audits_beside(Load(server), 2))
        server.stop()
    data = tmp_path / "data"
    assert asyncio.run(audit(data)) == (0, Clean())
    changed_bytes(data)
    removed_rows(data)


def changed_bytes(data: Path) -> None:
    """One bit of an older segment, wherever it is: in a record, a mark, a personal part."""
    segment = sorted((data / "journal").glob("*.seg"))[0]
    whole = segment.read_bytes()
    for place in Random(3).sample(range(64, len(whole) - 200), 4):
        segment.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        code, printed = asyncio.run(audit(data))
        assert code == 1, f"byte {place} of {segment.name}: {printed}"
        assert "damaged" in printed
    segment.write_bytes(whole)
    assert asyncio.run(audit(data)) == (0, Clean())


def removed_rows(data: Path) -> None:
    """The tables are append-only for SQL: who tampers has to take the guards away first."""
    path = data / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as ledger:
        ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = path.read_bytes()
    for table in ("events", "entries", "totals", "balances"):
        with closing(sqlite3.connect(path)) as ledger:
            remove_one(ledger, table)
        code, printed = asyncio.run(audit(data))
        assert code == 1 and "missing in the ledger" in printed, f"{table}: {printed}"
        path.write_bytes(kept)
    assert asyncio.run(audit(data)) == (0, Clean())


def remove_one(ledger: sqlite3.Connection, table: str) -> None:
    for (trigger,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        ledger.execute(f"DROP TRIGGER {trigger}")
    keys = [column[1] for column in ledger.execute(f"PRAGMA table_info({table})") if column[5]]
    row = ledger.execute(f"SELECT {', '.join(keys)} FROM {table} LIMIT 1").fetchone()
    gone = ledger.execute(f"DELETE FROM {table} WHERE {' AND '.join(f'{key} = ?' for key in keys)}", row)
    assert gone.rowcount == 1
    ledger.commit()
    ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
