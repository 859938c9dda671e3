"""Requests: each placement asked is counted once, and what was answered is never lost nor claimed twice."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from world import World, campaign, publisher

from adserver.domain import limits
from adserver.domain.books import JournalClosed
from adserver.domain.decision import Ad, Decision, Slot
from adserver.domain.records import Record, Tallied
from adserver.ledger.verify import verify
from adserver.services.tally import Tally

NOW_MS = 1_800_000_000_000
QUARTER = NOW_MS // 900_000
AD = Ad(1, 1, 101, 1, 1, 1)


def decision(*slots: Slot, at_ms: int = NOW_MS, mode: int = 0) -> Decision:
    return Decision((at_ms << 80).to_bytes(16, "big"), 1, 1, slots, mode, country="FR", device=1)


class Kept:
    """A journal with room for so many records."""

    def __init__(self, room: int = 99) -> None:
        self.records: list[Tallied] = []
        self.room = room

    def append(self, record: Record) -> None:
        if len(self.records) >= self.room:
            raise JournalClosed("full")
        assert isinstance(record, Tallied)
        self.records.append(record)


def test_what_is_asked_is_counted_by_quarter_and_placement() -> None:
    tally, journal = Tally(), Kept()
    tally.count(decision(Slot(7, "a", (AD,), 2), Slot(8, "b", (), 1), Slot(0, "nobody's", (), 1)))
    tally.count(decision(Slot(7, "a", (AD, AD)), at_ms=NOW_MS + 900_000))
    tally.count(decision(Slot(7, "a", (AD,)), mode=1))
    tally.count(decision(Slot(7, "a", (AD,)), mode=2))
    tally.count(decision(Slot(7, "a", (), 1), Slot(8, "b", (AD,))), journalled=False)
    tally.tell(journal, NOW_MS)
    (record,) = journal.records
    assert record == Tallied(
        NOW_MS, 1,
        ((QUARTER, 7, "FR", 1, 2, 4, 1), (QUARTER, 8, "FR", 1, 2, 2, 0), (QUARTER + 1, 7, "FR", 1, 1, 2, 2)),
    )  # fmt: skip
    tally.tell(journal, NOW_MS)
    assert len(journal.records) == 1


def test_what_finds_no_room_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TALLIED_CELLS_A_RECORD", 2)
    tally, full = Tally(), Kept(1)
    for place in range(1, 6):
        tally.count(decision(Slot(place, "a", (AD,))))
    tally.tell(full, NOW_MS)
    again = Tally()
    again.load(tally.dump())
    rest = Kept()
    again.tell(rest, NOW_MS)
    told = full.records + rest.records
    assert [record.number for record in told] == [1, 2, 3]
    assert [cell[1] for record in told for cell in record.cells] == [1, 2, 3, 4, 5]


def test_cells_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TALLIED_CELLS", 3)
    tally, journal = Tally(), Kept()
    for place in (1, 2, 3, 4, 1):
        tally.count(decision(Slot(place, "a", (AD,))))
    tally.tell(journal, NOW_MS)
    assert [(cell[1], cell[4]) for cell in journal.records[0].cells] == [(1, 2), (2, 1), (3, 1)]
    for place in (4, 5, 6, 7):
        tally.count(decision(Slot(place, "a", (AD,))))
    tally.tell(journal, NOW_MS)
    assert [cell[1] for cell in journal.records[1].cells] == [4, 5, 6]


def in_ledger(world: World) -> list[int]:
    """[requests, asked, answered]."""
    with closing(sqlite3.connect(world.app.settings.data / "ledger.sqlite")) as connection:
        found = (
            "SELECT ifnull(sum(requests), 0), ifnull(sum(asked), 0), ifnull(sum(answered), 0) FROM requests"
        )
        return list(connection.execute(found).fetchone())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_over_restarts_and_kills(tmp_path: Path, seed: int) -> None:
    """Answered ads are in the ledger to the last one; requests of decisions that the journal has not may be
    lost by a kill, and by nothing else."""
    chance = random.Random(seed)
    feed = {"id": "feed", "surface": "feed", "feed": {"max_share": 0.5}}
    shop = publisher(placements=[{"id": "top"}, {"id": "side"}, feed])
    sold = campaign("acme/spring", {"id": "x", "targeting": {"placements": ["gazette/top", "gazette/feed"]}})
    asked, killed, page = [0, 0, 0], False, 0
    with World(tmp_path, publishers=[shop], campaigns=[sold]) as world:
        for number in range(60):
            what = chance.choice(("ask", "ask", "ask", "again", "page", "test", "tick", "kill", "restart"))
            world.clock.ms += chance.choice((0, 1000, 400_000))
            request: dict[str, Any] = {"id": f"r{number}", "geo": {"country": chance.choice(("FR", "DE"))}}
            request["placements"] = [{"id": chance.choice(("top", "side")), "count": chance.randint(1, 3)}]
            if what in ("ask", "test"):
                answer = world.decide(request | {"mode": "live" if what == "ask" else "test"})
                counted = answer["decisions"] if what == "ask" else ()
                if what == "ask" and chance.random() < 0.3:
                    assert world.decide(request) == answer
            elif what == "page":
                ask = {"id": "feed", "feed": {"id": "main", "page": page, "organic_count": 10}}
                again = {"placements": [ask], "session": "s"}
                counted = world.decide(again)["decisions"]
                world.decide(again)
                page += 1
            else:
                counted = ()
                if what == "tick":
                    world.tick()
                elif what in ("kill", "restart"):
                    killed |= what == "kill"
                    world.restart(clean=what == "restart")
            for one in counted:
                asked[0] += 1
                asked[1] += len(one["ads"]) + one["unfilled"]
                asked[2] += len(one["ads"])
        world.tick()
        found = in_ledger(world)
        assert found[2] == asked[2] > 0
        assert found == asked if not killed else found[0] <= asked[0] and found[1] <= asked[1]
    assert verify(tmp_path / "data", lambda line: None) == []
