"""What needs trouble: an overloaded loop, a disk without room, a catalogue that cannot be compiled."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from world import World, campaign, publisher

from adserver.domain.books import JournalClosed
from adserver.domain.records import Status
from adserver.engine.compile import compile_snapshot
from adserver.engine.snapshot import Snapshot
from adserver.ledger.journal import Journal
from adserver.ledger.verify import verify
from adserver.services.refusals import Refused

pytestmark = pytest.mark.slow

REQUEST: dict[str, Any] = {"placements": [{"id": "top"}], "user": {"id": "u-1"}}
EURO = {"model": "cpm", "amount": "1000.00"}
ONCE = [{"limit": 1, "per": "1h"}]
CAPPED = campaign(
    "acme/a", {"id": "a", "pricing": EURO, "budget": {"lifetime": "1.00"}, "frequency_caps": ONCE}
)
HOUSE = campaign("bolt/b", {"id": "own", "priority": "house", "pricing": {"model": "cpm", "amount": "0.00"}})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world", publishers=[publisher()], campaigns=[CAPPED]) as world:
        yield world


class Disk:
    """A journal without room: ``reserve`` is what it still takes of what was decided before."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.reserve = True
        append = Journal.append
        patch.setattr(Journal, "open", property(lambda journal: False))

        def refusing(journal: Journal, *args: Any) -> None:
            if not self.reserve:
                raise JournalClosed
            append(journal, *args)

        patch.setattr(Journal, "append", refusing)


def reason(answer: Any) -> Any:
    (decision,) = answer["decisions"]
    return [ad["line_item"] for ad in decision["ads"]] or decision["no_fill"]


def test_overload_is_told_and_reserves_nothing(world: World) -> None:
    world.app.lag.lag_s = 1.0
    answer = world.decide(REQUEST)
    assert reason(answer) == "overloaded"
    assert answer["decisions"][0]["unfilled"] == 1
    world.app.lag.lag_s = 0.0
    assert reason(world.decide(REQUEST)) == ["a"]


def test_a_full_disk_stops_what_must_be_kept_and_leaves_house_ads(world: World) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Disk(patch)
        assert reason(world.decide(REQUEST)) == "disk_full"
        world.put(campaigns=[HOUSE])
        answer = world.decide(REQUEST)
        assert reason(answer) == ["own"]
    world.archive("campaign", "bolt/b")
    assert reason(world.decide(REQUEST)) == ["a"], "nothing was used up meanwhile"
    world.event(answer["decisions"][0]["ads"][0]["impression_url"])
    world.tick()
    assert verify(world.folder / "data", lambda line: None) == [], "shown when there was room again"


def test_a_journal_that_closes_in_between_gives_no_ads_and_keeps_nothing(world: World) -> None:
    """It was open when the request began, and had no room when the record came."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "append", _closed)
        answer = world.decide(REQUEST)
        assert reason(answer) == "disk_full"
        assert answer["decisions"][0]["unfilled"] == 1
    assert reason(world.decide(REQUEST)) == ["a"]


def _closed(*_: Any) -> None:
    raise JournalClosed


def test_events_on_a_full_disk(world: World) -> None:
    """503 for what cannot be counted; a click redirects all the same; nothing is used up by it."""
    ad = world.decide(REQUEST)["decisions"][0]["ads"][0]
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        disk.reserve = False
        for url in (ad["impression_url"], ad["viewable_url"], ad["release_url"]):
            with pytest.raises(Refused) as refused:
                world.event(url)
            assert refused.value.status == 503
        clicked = world.event(ad["click_url"])
        assert (clicked.status, clicked.location) == (Status.UNRECORDED, "https://acme.example/")
        disk.reserve = True
        assert world.event(ad["impression_url"]).billed
    assert world.event(ad["click_url"]).status is Status.ACCEPTED


def test_a_feed_goes_on_organically_on_a_full_disk(tmp_path: Path) -> None:
    feed = publisher("social", placements=[{"id": "news", "surface": "feed"}])

    def page(number: int) -> dict[str, Any]:
        asked = {"id": "main", "page": number, "organic_count": 20}
        return {"placements": [{"id": "news", "feed": asked}], "session": "s"}

    with World(tmp_path / "feed", publishers=[feed], campaigns=[campaign()]) as world:
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch).reserve = False
            answer = world.decide(page(0))["decisions"][0]
            assert (answer["ads"], answer["feed"]["organic"]) == ([], 20)
        answer = world.decide(page(1))["decisions"][0]
        assert answer["feed"]["start_position"] == 20
        assert len(answer["ads"]) == 1


class Built:
    """A builder that gives what it was told to: snapshots, errors, and in the end nothing."""

    def __init__(self, *told: Snapshot | Exception) -> None:
        self.told = list(told)

    async def newer(self) -> Snapshot | None:
        told = self.told.pop(0) if self.told else None
        if isinstance(told, Exception):
            raise told
        return told


def test_a_catalogue_that_cannot_be_built_leaves_the_last_good_one(world: World) -> None:
    failed: list[Exception] = []
    publishing = world.app.publishing
    publishing._failed = failed.append
    before = world.app.world.snapshot
    world.app.store.archive("campaign", "acme/a", None)
    builder = Built(ValueError("broken"), compile_snapshot(world.app.store.load()))
    assert asyncio.run(publishing.follow(builder)), "the next may be better"
    assert [str(error) for error in failed] == ["broken"]
    assert world.app.world.snapshot is before
    assert reason(world.decide(REQUEST)) == ["a"]
    assert asyncio.run(publishing.follow(builder))
    assert reason(world.decide(REQUEST)) == "no_match"
    assert not asyncio.run(publishing.follow(builder)), "the builder was ended"


def test_what_a_swap_replaces_is_let_go_of(world: World) -> None:
    """By counting references alone: the collector does not walk what was there at the start."""
    world.decide(REQUEST)
    gc.collect()
    before = weakref.ref(world.app.world.snapshot)
    gc.disable()
    try:
        world.app.build()
        assert before() is None, "something still holds the snapshot that was replaced"
    finally:
        gc.enable()


def test_a_thousand_requests_of_one_person(tmp_path: Path) -> None:
    capped = campaign("acme/a", {"id": "a", "frequency_caps": [{"limit": 3, "per": "1d"}]})
    with World(tmp_path / "many", publishers=[publisher()], campaigns=[capped]) as world:
        wins = 0
        for number in range(1000):
            wins += reason(world.decide(REQUEST)) == ["a"]
            if number == 500:
                world.restart()
        assert wins == 3


def test_a_decision_leaves_the_collector_nothing(tmp_path: Path) -> None:
    """Circles cost more to collect than their decision to make (docs/PERFORMANCE.md)."""
    with World(tmp_path / "world", publishers=[publisher()], campaigns=[CAPPED, HOUSE]) as world:
        for person in range(3):
            world.decide({**REQUEST, "user": {"id": f"u-{person}"}})
        gc.collect()
        gc.disable()
        try:
            for person in range(3, 9):
                world.decide({**REQUEST, "user": {"id": f"u-{person}"}})
            assert gc.collect() == 0
        finally:
            gc.enable()
