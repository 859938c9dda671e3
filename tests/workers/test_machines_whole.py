"""Two machines, each a parent with its data folder, over one PostgreSQL and one Redis: caps and budgets hold
over both, an event is recorded once whoever is told, a machine may die and come back, and one audit of both
folders finds nothing."""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from leading import until
from live import LIVE_S
from machine import Machine, owner, put
from servers.redis_server import Redis
from world import campaign

from adserver.ledger.ledger import Ledger
from adserver.ledger.place import place_of as books_of
from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow
CAP = 3
TIMES = 16
SOLD = 40
"""A budget of 44 cents, 1.1 an impression."""


def sold_by(url: str, amount: str = "10.00") -> None:
    sold = {"id": "sold", "pricing": {"model": "cpm", "amount": amount}, "budget": {"lifetime": "0.44"}}
    capped = {
        "id": "capped",
        "pricing": {"model": "cpm", "amount": "1.00"},
        "frequency_caps": [{"limit": CAP, "per": "1d"}],
    }
    put(url, campaign("acme/spring", sold), campaign("acme/often", capped))


@pytest.fixture
def machines(tmp_path: Path, redis_server: Redis, database: str) -> Iterator[tuple[Machine, Machine]]:
    sold_by(database)
    one = Machine(tmp_path / "one", 2, redis_server.url, database)
    two = Machine(tmp_path / "two", 1, redis_server.url, database)
    with one, two:
        yield one, two


def is_capped(ad: Any) -> bool:
    return bool(ad["line_item"].endswith("capped"))


def test_they_are_one_server(machines: tuple[Machine, Machine], database: str) -> None:
    one, two = machines
    chance = random.Random(7)
    before = one.asked("u")["snapshot"]
    sold_by(database, "11.00")
    until(lambda: all(machine.asked("u")["snapshot"] != before for machine in machines), LIVE_S)

    # A budget that three processes on two machines sell from, and every event told sixteen times anywhere.
    sold = list[Any]()
    with ThreadPoolExecutor(TIMES) as clients:

        def sell() -> None:
            for ad in chance.choice(machines).ads(f"buyer-{len(sold)}-{time.time()}"):
                if not is_capped(ad):
                    tells = [chance.choice(machines).told for _ in range(TIMES)]
                    calls = [clients.submit(tell, ad["impression_url"]) for tell in tells]
                    said = Counter(call.result()[1] for call in calls)
                    assert said == {"accepted": 1, "duplicate": TIMES - 1}
                    sold.append(ad)

        # What somebody holds of a budget and does not sell the others cannot.
        until(lambda: sell() or len(sold) > SOLD // 2)
    assert len(sold) <= SOLD
    assert {owner(ad) for ad in sold} == {0, 1, 2}

    # Caps of people who are everywhere at once.
    users = [f"person-{number}" for number in range(8)]
    asks = [(machine, user) for user in users for machine in machines for _ in range(6)]
    chance.shuffle(asks)
    with ThreadPoolExecutor(TIMES) as clients:
        answers = list(clients.map(lambda ask: ask[0].ads(ask[1]), asks))
    seen = Counter(user for (_, user), ads in zip(asks, answers, strict=True) for ad in ads if is_capped(ad))
    assert seen == dict.fromkeys(users, CAP)

    # One machine dies, and what is its own waits for it.
    mine = [ad for ads in answers for ad in ads if owner(ad) == 2 and is_capped(ad)][:4]
    two.kill()
    status, _, _ = one.told(mine[0]["impression_url"])
    assert status == 503
    status, _, location = one.told(mine[1]["click_url"])
    assert (status, bool(location)) == (302, True)
    assert not [ad for user in users for ad in one.ads(user) if is_capped(ad)]
    two.start()
    until(lambda: len(two.up()) == 1)
    assert {owner(ad) for ad in two.ads("new") + two.ads("newer")} <= {2}
    for ad in mine:
        said = Counter(chance.choice(machines).told(ad["impression_url"])[1] for _ in range(4))
        assert said == {"accepted": 1, "duplicate": 3}
    assert not [ad for machine in machines for user in users for ad in machine.ads(user) if is_capped(ad)]

    # A rolling restart.
    one.process.send_signal(signal.SIGHUP)
    until(lambda: one.ads("rolled") is not None and "all workers were renewed" in one.log.read_text())

    assert [machine.end() for machine in machines] == [0, 0]
    books = books_of(one.data, database)
    with closing(Ledger(books)) as ledger:
        billed = {total.impressions: total.billed_nanos for total in ledger.totals()}
    assert billed[len(sold)] == len(sold) * 11_000_000
    assert verify(one.data, lambda _: None, books, [two.data]) == []
    [alone] = verify(one.data, lambda _: None, books)
    assert "posted from journals elsewhere too (posting:2)" in alone
