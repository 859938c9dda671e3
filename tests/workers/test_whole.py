"""Real servers under a parent: a budget that both sell from, ids that tell whose they are, sound books."""

import http.client
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from leading import Parent, until
from live import BROWSER, LIVE_S
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.catalog.store import Store
from adserver.domain import ids
from adserver.ledger.ledger import Ledger
from adserver.ledger.place import LEDGER
from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow
BODY = json.dumps({"publisher": "gazette", "placements": [{"id": "top"}]}).encode()
SOLD = 60
"""A budget of 60 cents, a cent an impression."""


def put(data: Path, amount: str) -> None:
    item = {
        "id": "a",
        "pricing": {"model": "cpm", "amount": amount},
        "budget": {"lifetime": f"{SOLD / 100:.2f}"},
    }
    with closing(Store(data / "catalog.sqlite", lambda space, user: bytes(16))) as store:
        store.put("publisher", "gazette", filled_publisher(publisher()))
        store.put("campaign", "acme/spring", filled_campaign(campaign("acme/spring", item)))


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Parent]:
    (tmp_path / "data").mkdir()
    put(tmp_path / "data", "10.00")
    with Parent(tmp_path / "data", 2, keep_alive_s=1, module="adserver.workers.child") as crew:
        yield crew


def asked(crew: Parent) -> dict[str, Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", crew.port, timeout=20)) as connection:
        headers = {"content-type": "application/json", "user-agent": BROWSER}
        connection.request("POST", "/v1/decisions", BODY, headers)
        response = connection.getresponse()
        body = response.read()
    assert response.status == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


def ads(crew: Parent) -> list[Any]:
    return list(asked(crew)["decisions"][0]["ads"])


def test_two_sell_one_budget_through_deaths_and_renewals(crew: Parent) -> None:
    sold = list[Any]()
    owners = set[int]()

    def sell() -> bool:
        for ad in ads(crew):
            sold.append(ad)
            owners.add(ids.owner_of(ids.decode(ad["event_id"])))
        return owners == {0, 1}

    until(sell)
    before = crew.pids()
    os.kill(min(before), signal.SIGKILL)
    until(lambda: sell() and len(crew.up()) == 2)
    crew.process.send_signal(signal.SIGHUP)
    until(lambda: sell() and "all workers were renewed" in crew.log.read_text())
    for _ in range(SOLD):
        sell()
    # What a lease holds that its owner has not sold yet is nobody else's.
    assert SOLD // 2 < len(sold) <= SOLD
    assert len({ad["event_id"] for ad in sold}) == len(sold)
    assert crew.end() == 0
    assert verify(crew.data, lambda _: None) == []


def told(crew: Parent, ad: Any) -> str:
    """What whoever accepts says of its impression; asked again where it died meanwhile."""
    path = "/i/" + ad["impression_url"].rpartition("/")[2]
    while True:
        with closing(http.client.HTTPConnection("127.0.0.1", crew.port, timeout=20)) as connection:
            try:
                connection.request("GET", path, headers={"user-agent": BROWSER})
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                continue
        assert response.status == 200
        return str(response.getheader("x-adserver-event"))


def test_events_go_home_whoever_is_told_and_whoever_dies(crew: Parent) -> None:
    shown = list[Any]()
    with ThreadPoolExecutor(4) as clients:

        def show() -> None:
            try:
                found = ads(crew)
            except (OSError, http.client.HTTPException):
                return
            for ad in found:
                said = [one.result() for one in [clients.submit(told, crew, ad) for _ in range(4)]]
                # One whose answer a death took is brought to the successor, which knows it.
                assert said.count("accepted") <= 1
                assert set(said) <= {"accepted", "duplicate"}
                shown.append(ad)

        until(lambda: show() or len(shown) >= 5)
        for number in range(3):
            os.kill(sorted(crew.pids())[number % 2], signal.SIGKILL)
            until(lambda: show() or len(crew.up()) == 2)
        until(lambda: show() or len(shown) >= SOLD // 2)
    assert crew.end() == 0
    with closing(Ledger(crew.data / LEDGER)) as ledger:
        [totals] = ledger.totals()
    assert (totals.impressions, totals.billed_nanos) == (len(shown), len(shown) * 10_000_000)
    assert verify(crew.data, lambda _: None) == []


def test_a_change_is_live_in_both(crew: Parent) -> None:
    before = asked(crew)["snapshot"]
    live = set[int]()

    def changed() -> bool:
        answer = asked(crew)
        if answer["snapshot"] != before:
            live.add(ids.owner_of(ids.decode(answer["request_id"])))
        return live == {0, 1}

    put(crew.data, "11.00")
    until(changed, LIVE_S)
