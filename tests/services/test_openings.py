"""The change of a placement that would fill it most: proved, no more than is needed, and none where demand
alone is missing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from world import NOBODY, OPERATOR, World, campaign, publisher

from adserver.services.ask import Asker

Told = dict[str, Any]


def bid(name: str, amount: str, **fields: Any) -> Told:
    return {"id": name, "pricing": {"model": "cpm", "amount": amount}, **fields}


def card(size: str = "300x250", **fields: Any) -> list[Told]:
    assets, landing = {"image_url": "https://cdn.example/1.png"}, "https://shop.acme.example"
    given = {"id": "card", "format": "image", "size": size, "assets": assets, "landing_url": landing}
    return [{**given, "advertiser_domain": "shop.acme.example", **fields}]


def diagnosed(folder: Path, place: Told, *sold: Told, who: Asker = OPERATOR, **owner: Any) -> Told:
    """What is told of the placement ``top`` after ten requests for it."""
    gazette = publisher("gazette", placements=[{"id": "top", **place}], **owner)
    with World(folder, publishers=[gazette], campaigns=sold) as world:
        for seed in range(10):
            world.decide({"placements": [{"id": "top"}], "geo": {"country": "FR"}}, seed, NOBODY)
        told: Told = asyncio.run(world.app.diagnosis.placement(who, ("gazette", "top"), 24))
        return told


def test_a_floor_comes_down_to_the_best_bid_below_it(tmp_path: Path) -> None:
    sold = campaign("acme/a", bid("low", "0.30"), bid("best", "0.49"))
    told = diagnosed(tmp_path, {"floor": "0.50"}, sold)
    assert told["change"] == {
        "change": "floor", "from_micros": 500_000, "to_micros": 490_000, "currency": "EUR",
        "helps": 10, "tried": 10,
    }  # fmt: skip


def test_bids_are_told_to_who_may_read_prices(tmp_path: Path) -> None:
    sold = campaign("acme/a", bid("best", "0.49"))
    for read_prices, shown in ((False, None), (True, 490_000)):
        who = Asker(role="publisher", owner="gazette", read_prices=read_prices)
        told = diagnosed(tmp_path / str(read_prices), {"floor": "0.50"}, sold, who=who)
        assert told["change"]["to_micros"] == shown


@pytest.mark.parametrize(
    ("blocked", "remove"),
    [
        ({"advertisers": ["acme", "bolt"]}, {"advertisers": "acme"}),
        ({"domains": ["acme.example"]}, {"domains": "acme.example"}),
        ({"categories": ["IAB7"]}, {"categories": "IAB7"}),
        ({"labels": ["beer", "cars"]}, {"labels": "cars"}),
    ],
)
def test_one_entry_of_what_is_blocked(tmp_path: Path, blocked: Told, remove: Told) -> None:
    sold = campaign("acme/a", bid("one", "1.00", creatives=card(categories=["IAB7-3"])), labels=["cars"])
    told = diagnosed(tmp_path, {}, sold, blocked=blocked)
    assert told["change"] == {"change": "blocked", "remove": remove, "helps": 10, "tried": 10}


@pytest.mark.parametrize(
    ("place", "creative", "told"),
    [
        ({"sizes": ["728x90"]}, {}, {"change": "sizes", "add": "300x250"}),
        ({"formats": ["text"]}, {}, {"change": "formats", "add": "image"}),
    ],
)
def test_what_it_takes(tmp_path: Path, place: Told, creative: Told, told: Told) -> None:
    sold = campaign("acme/a", bid("one", "1.00", creatives=card(**creative)))
    found = diagnosed(tmp_path, place, sold)
    assert found["change"] == {**told, "helps": 10, "tried": 10}


def test_two_things_in_the_way_are_no_single_change(tmp_path: Path) -> None:
    sold = campaign("acme/a", bid("one", "0.10", creatives=card(categories=["IAB7"])))
    told = diagnosed(tmp_path, {"floor": "0.50"}, sold, blocked={"categories": ["IAB7"]})
    assert told["change"] is None
    twice = diagnosed(tmp_path / "twice", {}, sold, blocked={"categories": ["IAB7"], "advertisers": ["acme"]})
    assert twice["change"] is None


@pytest.mark.parametrize(
    "fields", [{"targeting": {"countries": ["US"]}}, {"budget": {"daily": "0.00"}}, {"status": "paused"}]
)
def test_missing_demand_has_none(tmp_path: Path, fields: Told) -> None:
    sold = campaign("acme/a", bid("one", "1.00", **fields))
    told = diagnosed(tmp_path, {"floor": "0.50", "sizes": ["300x250"]}, sold)
    assert (told["won"], told["change"]) == (0, None)


def test_a_full_placement_has_none_and_nothing_is_kept_of_trying(tmp_path: Path) -> None:
    sold = campaign("acme/a", bid("one", "1.00")), campaign("bolt/b", bid("two", "0.20"))
    gazette = publisher("gazette", placements=[{"id": "top", "floor": "0.50"}, {"id": "side"}])
    with World(tmp_path, publishers=[gazette], campaigns=sold) as world:
        for seed in range(10):
            world.decide({"placements": [{"id": "top", "count": 2}]}, seed, NOBODY)
            world.decide({"placements": [{"id": "side"}]}, 100 + seed, NOBODY)
        before = world.app.states.budgets.dump()
        top, side = (
            asyncio.run(world.app.diagnosis.placement(OPERATOR, ("gazette", name), 24))
            for name in ("top", "side")
        )
        assert (top["change"]["change"], top["change"]["helps"], side["change"]) == ("floor", 10, None)
        assert world.app.states.budgets.dump() == before
