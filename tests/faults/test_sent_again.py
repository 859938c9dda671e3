"""Every event sent five times at once, again after a restart, again a day later: counted and billed once."""

import asyncio
import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from world import BROWSER, World, campaign, publisher

from adserver.domain.decision import EventKind
from adserver.ledger.verify import verify
from adserver.services.calls import Call

TIMES = 5
ADS = 40
TOGETHER = 2000
DAY_MS = 86_400_000
PRICE_NANOS = 4_205_700
"""Of one impression, at 4.2057 a thousand."""


def opened(folder: Path) -> World:
    items = [
        {"id": f"a{number}", "pricing": {"model": "cpm", "amount": "4.2057"}, "serve_without_user": True}
        for number in range(ADS)
    ]
    return World(
        folder, publishers=[publisher()], campaigns=[campaign("acme/a", *items, repeat_in_request=True)]
    )


def tokens(world: World, number: int) -> list[str]:
    """Of as many impressions."""
    found: list[str] = []
    while len(found) < number:
        (decision,) = world.decide({"placements": [{"id": "top", "count": ADS}]})["decisions"]
        found += [ad["impression_url"].rpartition("/")[2] for ad in decision["ads"]]
    return found[:number]


def send(world: World, asked: list[str], chance: random.Random) -> Counter[str]:
    """All of them so many times, in any order, as many at once as a server has connections. The verdicts."""
    calls = asked * TIMES
    chance.shuffle(calls)
    record, browser = world.app.recorder.record, Call(user_agent=BROWSER)

    async def storm() -> Counter[str]:
        told: Counter[str] = Counter()
        for first in range(0, len(calls), TOGETHER):
            batch = calls[first : first + TOGETHER]
            verdicts = await asyncio.gather(*(record(text, EventKind.IMPRESSION, browser) for text in batch))
            told.update(verdict.status.name for verdict in verdicts)
        return told

    return asyncio.run(storm())


@pytest.mark.slow
@pytest.mark.parametrize("number", [1000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_each_is_in_the_books_once(tmp_path: Path, number: int) -> None:
    chance = random.Random(number)
    with opened(tmp_path / "world") as world:
        asked = tokens(world, number)
        assert send(world, asked, chance) == {"ACCEPTED": number, "DUPLICATE": (TIMES - 1) * number}
        world.restart(clean=False)
        assert send(world, asked, chance) == {"DUPLICATE": TIMES * number}
        world.tick()
        world.clock.ms += DAY_MS
        world.tick()
        assert send(world, asked, chance) == {"DUPLICATE": TIMES * number}
        # No token lives as long: what is posted is forgotten, and the ledger alone knows it.
        world.clock.ms += 2 * DAY_MS
        for _ in range(2 + number // 10_000):
            world.tick()
        assert len(world.app.states.seen) == 0
        assert send(world, asked, chance) == {"DUPLICATE": TIMES * number}
        world.restart(clean=True)
        world.tick()
        told = world.delivery("acme/a")
        assert sum(item["impressions"] for item in told["line_items"]) == number
        assert world.app.refused == 0
        billed = sum(totals.billed_nanos for totals in world.app.ledger.totals())
        assert billed == number * PRICE_NANOS
    with closing(sqlite3.connect(tmp_path / "world" / "data" / "ledger.sqlite")) as database:
        for table in ("events", "entries"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (number,), table
    assert verify(tmp_path / "world" / "data", report=lambda line: None) == []
