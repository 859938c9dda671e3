"""A machine that never comes back left decisions that nobody posted: events of their ads are another's, and
the audit of both folders finds nothing wrong."""

import asyncio
from pathlib import Path

from crew import Member
from test_doors_over_database import tell
from world import NOON_MS, Ticks, campaign, publisher

from adserver.databases import Database
from adserver.domain.workers import Fleet, Peer, Worker
from adserver.ledger.place import SCHEMA
from adserver.ledger.verify import verify

THERE = Peer(0, "one"), Peer(1, "two")
GIVEN_UP = Peer(0, "one"), Peer(1, "two", gone=True)
REQUEST = {"publisher": "gazette", "placements": [{"id": "top"}]}


def test_its_ads_are_known_to_the_audit(tmp_path: Path, database: str) -> None:
    clock, fleet = Ticks(NOON_MS), Fleet("one", THERE)
    one = Member(tmp_path / "one", Worker(0, 1, fleet), clock, database)
    one.put(publishers=[publisher()], campaigns=[campaign("acme/spring")])
    two = Member(tmp_path / "two", Worker(1, 1, Fleet("two", THERE)), clock, database)
    for _ in range(5):
        for member in (one, two):
            member.tick()
        clock.ms += 1000
    (ad,) = two.decide(REQUEST)["decisions"][0]["ads"]
    two.app.close()
    fleet.learn(GIVEN_UP)
    clock.ms += 1000
    assert asyncio.run(tell(one, ad["impression_url"])).billed
    one.tick()
    one.app.close()
    books, told = Database(database, SCHEMA), list[str]()
    assert verify(tmp_path / "one" / "data", told.append, books, [tmp_path / "two" / "data"]) == []
    assert "2 journals" in told[0] and ", 0 of them" not in told[0], "something was not posted"
    assert "law 4: 1 events, 0 filtered, 1 entries" in told
