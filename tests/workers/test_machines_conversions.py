"""Conversions, and what is found invalid, told to a machine that did not decide the ad: settled once, by
whoever did, and by nobody while that is away."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from leading import until
from machine import Machine, key, owner, put, serving
from servers.redis_server import Redis
from world import campaign

from adserver.domain import ids
from adserver.ledger.ledger import Ledger
from adserver.ledger.place import place_of as books_of
from adserver.ledger.verify import verify

PRICE_NANOS = 2_000_000_000
AT_ONCE = 8
SOLD = {"id": "sold", "pricing": {"model": "cpa", "amount": "2.00"}, "budget": {"lifetime": "2000.00"}}


@pytest.fixture
def keys(database: str) -> tuple[str, str]:
    """Of the operator, and of the advertiser."""
    return key(database, "operator"), key(database, "advertiser", "acme")


@pytest.fixture
def machines(
    tmp_path: Path, redis_server: Redis, database: str, keys: tuple[str, str]
) -> Iterator[tuple[Machine, Machine]]:
    """Which know the keys from the start."""
    put(database, campaign("acme/spring", SOLD))
    one, two = (Machine(tmp_path / name, 1, redis_server.url, database) for name in ("one", "two"))
    with serving(one, two):
        yield one, two


def clicked(machine: Machine, user: str, told: Machine) -> Any:
    """An ad of ``machine`` that a person was shown and clicked, of which another was told."""
    found = list[Any]()
    until(lambda: found.extend(machine.ads(user)) or found)
    for url in (found[0]["impression_url"], found[0]["click_url"]):
        assert told.told(url)[1] == "accepted"
    return found[0]


def converted(machine: Machine, key: str, name: str, user: str) -> tuple[int, Any]:
    """(status, what became of it, or what is the matter)."""
    status, said = machine.manage("/v1/conversions", key, {"conversions": [{"id": name, "user": user}]})
    return status, said["results"][0] if status == 200 else said


def at_once(machines: tuple[Machine, Machine], ask: Callable[[Machine], tuple[int, Any]]) -> list[Any]:
    with ThreadPoolExecutor(2 * AT_ONCE) as clients:
        answers = list(clients.map(ask, machines * AT_ONCE))
    assert {status for status, _ in answers} == {200}
    return [said for _, said in answers]


def test_they_are_settled_once_whoever_is_told(
    machines: tuple[Machine, Machine], keys: tuple[str, str], database: str
) -> None:
    one, two = machines
    operator, acme = keys
    ads = [clicked(two, "anna", told=one), clicked(two, "ben", told=one), clicked(two, "cleo", told=two)]
    assert {owner(ad) for ad in ads} == {ids.owner_of(ids.decode(two.asked("dora")["request_id"]))}

    status, first = converted(one, acme, "first", "anna")
    assert (status, first["status"]) == (200, "attributed"), first
    assert (first["touch"], first["billed"]) == ("click", True)
    assert [converted(machine, acme, "first", "anna")[1]["status"] for machine in machines] == [
        "duplicate"
    ] * 2
    for name, user, fate in (("second", "ben", "attributed"), ("nobody's", "dora", "unattributed")):
        told = at_once(machines, lambda machine, name=name, user=user: converted(machine, acme, name, user))
        assert Counter(one["status"] for one in told) == {fate: 1, "duplicate": 2 * AT_ONCE - 1}

    def taken_back(machine: Machine, *event_ids: str) -> tuple[int, Any]:
        body = {"events": list(event_ids), "reason": "a farm"}
        return machine.manage("/v1/invalidations", operator, body)

    def known() -> bool:
        """What is posted can be taken back."""
        return taken_back(one, first["event_id"])[1]["results"][0]["invalidated"] == ["conversion"]

    until(known)
    before = [ads[1]["event_id"]]
    found = Counter[str]()

    def all_found() -> bool:
        for said in at_once(machines, lambda machine: taken_back(machine, *before)):
            found.update(kind for result in said["results"] for kind in result["invalidated"])
        return set(found) == {"impression", "click", "conversion"}

    until(all_found)
    assert set(found.values()) == {1}

    two.kill()
    with ThreadPoolExecutor(2) as clients:
        refused = [
            clients.submit(converted, one, acme, "third", "cleo"),
            clients.submit(taken_back, one, ads[2]["event_id"]),
        ]
        for status, problem in (one.result() for one in refused):
            assert (status, "nothing is lost, ask again" in problem["detail"]) == (503, True), problem
    two.start()
    until(lambda: two.up() == [0])
    status, third = converted(one, acme, "third", "cleo")
    assert (status, third["status"], third["touch"]) == (200, "attributed", "click"), third
    assert converted(two, acme, "third", "cleo")[1]["status"] == "duplicate"

    assert [machine.end() for machine in machines] == [0, 0]
    books = books_of(one.data, database)
    with closing(Ledger(books)) as ledger:
        [totals] = ledger.totals()
    assert (totals.impressions, totals.clicks, totals.conversions) == (3, 3, 3)
    assert (totals.billed_nanos, totals.refunded_nanos) == (3 * PRICE_NANOS, 2 * PRICE_NANOS)
    assert verify(one.data, lambda _: None, books, [two.data]) == []
