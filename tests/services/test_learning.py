"""Rates are learned from what the ledger counted, named by the journal they were counted from, and the same
after a restart; decisions say by which they were made."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from world import World, campaign, publisher

from adserver.engine.entries import Entries
from adserver.engine.rates import CLICKS, Rates
from adserver.engine.worth import Worth
from adserver.services import rates
from adserver.services.calls import Call

REQUEST = {"placements": [{"id": "top"}], "mode": "live"}


def worlds(folder: Path) -> World:
    """A click at 1.00, 2.00 a thousand by the prior, against 2.05 a thousand."""
    clicks = campaign("acme/clicks", {"id": "a", "pricing": {"model": "cpc", "amount": "1.00"}})
    views = campaign("bolt/views", {"id": "b", "pricing": {"model": "cpm", "amount": "2.05"}})
    return World(folder, publishers=[publisher()], campaigns=[clicks, views])


def sold(world: World, **fields: Any) -> dict[str, Any]:
    (ad,) = world.decide({**REQUEST, **fields})["decisions"][0]["ads"]
    return dict(ad)


def clicked(world: World, call: Call | None = None) -> None:
    """An impression of the click's line item and a click on it."""
    ad = sold(world, block={"advertisers": ["bolt"]})
    assert ad["line_item"] == "a"
    for url in ("impression_url", "click_url"):
        world.event(ad[url], call)


def test_a_click_is_learned_from(tmp_path: Path) -> None:
    with worlds(tmp_path) as world:
        assert sold(world)["line_item"] == "b"
        assert world.outcome(REQUEST).decision.rates == 0
        clicked(world)
        assert sold(world)["line_item"] == "b", "not before it is counted"
        world.tick()
        assert sold(world)["line_item"] == "a"
        assert world.outcome(REQUEST).decision.rates == world.app.world.rates.number > 0


def test_rates_are_named_by_what_they_were_learned_from(tmp_path: Path) -> None:
    with worlds(tmp_path) as world:
        clicked(world)
        world.tick()
        assert world.app.world.rates.number == world.app.ledger.shown()[0].number
        first = world.app.world.rates
        world.tick()
        assert world.app.world.rates is first, "nothing new was counted"
        clicked(world)
        world.tick()
        assert world.app.world.rates.number > first.number


def test_a_restart_learns_the_same(tmp_path: Path) -> None:
    with worlds(tmp_path) as world:
        for _ in range(3):
            clicked(world)
        world.tick()
        known = world.app.world.rates
        for clean in (False, True):
            world.restart(clean)
            found = world.app.world.rates
            assert found.number >= known.number
            assert replace(found, number=known.number) == known


def test_what_is_filtered_expired_or_a_test_teaches_nothing(tmp_path: Path) -> None:
    with worlds(tmp_path) as world:
        clicked(world, Call(user_agent=""))
        late = sold(world, block={"advertisers": ["bolt"]})
        tested = sold(world, block={"advertisers": ["bolt"]}, mode="test")
        for url in ("impression_url", "click_url"):
            world.event(tested[url])
        world.clock.ms += 48 * 3600_000
        for url in ("impression_url", "click_url"):
            world.event(late[url])
        world.tick()
        assert world.app.world.rates.number == 0
        assert world.app.world.rates.clicks.rate(1, 1) == CLICKS.prior


def test_a_new_snapshot_keeps_what_is_learned(tmp_path: Path) -> None:
    with worlds(tmp_path) as world:
        clicked(world)
        world.tick()
        known = world.app.world.rates
        world.put(
            campaigns=[campaign("corn/more", {"id": "c", "pricing": {"model": "cpm", "amount": "0.10"}})]
        )
        assert world.app.world.rates is known
        assert sold(world)["line_item"] == "a"


def test_a_snapshot_swapped_in_while_learning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worth in service is always of the snapshot in service."""
    swaps = iter((True, True, False))

    def swapping(entries: Entries, known: Rates) -> Worth:
        made = Worth(entries, known)
        if next(swaps):
            world.put(campaigns=[campaign("corn/more", {"id": f"c{world.clock.ms}"})])
            world.clock.ms += 1
        return made

    with worlds(tmp_path) as world:
        clicked(world)
        asyncio.run(world.app.journal.durable())
        world.app.post()
        monkeypatch.setattr(rates, "Worth", swapping)
        assert asyncio.run(world.app.learning.follow())
        serving = world.app.world.serving
        assert serving.worth._entries is serving.snapshot.entries
        assert serving.worth.rates.number > 0
