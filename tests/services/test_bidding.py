"""How much of a bid counts: from what is done and due, through the journal, to rank, price and reason."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from replayed import Rich, played, told
from test_planning import plans_of
from world import OPERATOR, World, campaign, publisher

from adserver.domain import limits
from adserver.domain.books import JournalClosed
from adserver.engine import draw
from adserver.services import plans

DEAR, CHEAP = 1, 2
"""Serials, in the order of their names."""
MIDNIGHT_MS = 1_780_272_000_000
"""2026-06-01T00:00:00Z."""


def bidder(name: str, amount: str, *places: str, **fields: Any) -> dict[str, Any]:
    targeting = {"placements": [f"gazette/{place}" for place in places]}
    item = {"id": "l", "pricing": {"model": "cpm", "amount": amount}, "targeting": targeting, **fields}
    return campaign(f"{name}/c", item)


def world(folder: Path, auction: str = "first_price", **fields: Any) -> World:
    """One may have both placements and can afford half of what comes in a day, the other has one only."""
    places = [{"id": name, "formats": ["image"], "auction": auction} for name in ("top", "side")]
    publishers = [publisher("gazette", placements=places)]
    budget = {"budget": {"daily": "0.96"}, **fields}
    campaigns = [bidder("a-dear", "4.00", "top", "side", **budget), bidder("cheap", "1.50", "top")]
    return World(folder, MIDNIGHT_MS, publishers=publishers, campaigns=campaigns)


def day(world: World) -> dict[str, int]:
    """A day of twenty requests an hour, one placement each; everything is seen. Placement and who -> ads."""
    served: dict[str, int] = {}
    for turn in range(480):
        world.clock.ms += 180_000
        place = ("top", "side")[turn % 2]
        answer = world.decide({"placements": [{"id": place}]}, seed=draw.mix(turn, 0))
        for ad in answer["decisions"][0]["ads"]:
            served[f"{place} {ad['advertiser']}"] = served.get(f"{place} {ad['advertiser']}", 0) + 1
            world.event(ad["impression_url"])
        if turn % 2:
            world.tick()
    return served


@pytest.mark.slow
@pytest.mark.parametrize("pacing", ["asap", "even"])
def test_who_has_other_places_leaves_the_contested_to_who_has_not(tmp_path: Path, pacing: str) -> None:
    """Both together get nearly all of both; by the bid alone half of one placement stays empty."""
    with world(tmp_path, pacing=pacing) as w:
        served = day(w)
    assert served["side a-dear"] + served.get("top a-dear", 0) >= 235, "its budget is spent"
    assert served["top cheap"] >= 215
    assert sum(served.values()) >= 455


def test_a_second_price_is_what_still_outranks(tmp_path: Path) -> None:
    """Half of 4.00 counts: it takes 3.00 of it to reach the other's 1.50. A floor is about all of it."""
    with world(tmp_path, "second_price") as w:
        ask = {"placements": [{"id": "top"}], "mode": "dry_run"}
        w.app.world.weigh(((DEAR, 500),))
        (ad,) = w.decide(ask, asker=OPERATOR)["decisions"][0]["ads"]
        assert (ad["advertiser"], ad["price"]["clearing_micros"]) == ("a-dear", 3000)
        (ad,) = w.decide({"placements": [{"id": "top", "floor": "3.50"}]}, asker=OPERATOR)["decisions"][0][
            "ads"
        ]
        assert (ad["advertiser"], ad["price"]["clearing_micros"]) == ("a-dear", 3500), "floors are about bids"
        w.app.world.weigh(((DEAR, 250),))
        (ad,) = w.decide(ask, asker=OPERATOR)["decisions"][0]["ads"]
        assert (ad["advertiser"], ad["price"]["clearing_micros"]) == ("cheap", 1000)


def test_explanations_say_how_much_counts(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        w.app.world.weigh(((DEAR, 250),))
        ask = {"placements": [{"id": "top"}], "mode": "dry_run", "explain": True}
        placement = w.decide(ask, asker=OPERATOR)["explain"][0]
        dear, cheap = sorted(placement["line_items"], key=lambda one: str(one["line_item"]))
        assert (dear["outcome"], dear["score_micros"], dear["counted_permille"]) == ("outbid", 1_000_000, 250)
        assert dear["counterfactual"]["to_micros"] == 6_000_004, "of which a fourth is above 1.50"
        assert cheap["outcome"] == "won" and "counted_permille" not in cheap


def test_who_is_behind_counts_whole_again(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        ask = {"placements": [{"id": "side"}]}
        w.event(w.decide(ask)["decisions"][0]["ads"][0]["impression_url"])
        w.tick()
        known = w.app.states.hot.multipliers
        assert known == {DEAR: 250}, "it is ahead, and who has no budget has no plan"
        w.clock.ms += 3 * 3_600_000
        w.tick()
        assert known == {} and not w.app.world.serving.worth.weighed
        assert [one.multipliers for one in plans_of(w)] == [((DEAR, 250),), ((DEAR, 0),)]
        w.tick()
        assert len(plans_of(w)) == 2, "only what moved is told"


def test_multipliers_outlive_restarts_rates_and_snapshots(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        w.event(w.decide({"placements": [{"id": "side"}]})["decisions"][0]["ads"][0]["impression_url"])
        w.tick()
        for again in (
            lambda: w.restart(clean=False),
            lambda: w.restart(clean=True),
            lambda: w.put(campaigns=[]),
        ):
            again()
            assert w.app.states.hot.multipliers == {DEAR: 250}
            worth = w.app.world.serving.worth
            entry = w.app.world.snapshot.by_serial[DEAR]
            assert worth.counted(1000, entry.position) == 250


def test_where_the_journal_has_no_room_whole_bids_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path) as w:
        w.decide({"placements": [{"id": "side"}]})

        def full(*_: object) -> None:
            raise JournalClosed("full")

        monkeypatch.setattr(w.app.planning._journal, "append", full)
        assert asyncio.run(w.app.planning.renew()) is False
        assert w.app.states.hot.multipliers == {} and not w.app.world.serving.worth.weighed


def test_so_many_line_items_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MULTIPLIERS", 2)
    names = ("a", "b", "c")
    campaigns = [bidder(name, "4.00", "top", budget={"daily": "0.96"}) for name in names]
    with World(tmp_path, MIDNIGHT_MS, publishers=[publisher()], campaigns=campaigns) as w:
        for seed in range(30):
            w.decide({"placements": [{"id": "top"}]}, seed=draw.mix(seed, 0))
        w.tick()
        assert set(w.app.states.hot.multipliers) == {1, 2}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_rich_sessions_with_multipliers_are_replayed(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(plans, "counted", lambda *_: chance.choice((250, 500, 1000)))
    with World(tmp_path) as w:
        assert told(played(w, Rich(w, seed), 120)) == []
        assert any(one.multipliers for one in plans_of(w)), "there were some to replay"
