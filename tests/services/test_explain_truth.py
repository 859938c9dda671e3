"""Laws 5 and 6, by asking again: who is told to be dropped does not serve without competition either, who won
stands in the answer, and a second price is what the next one would have paid."""

import random
from pathlib import Path
from typing import Any

import pytest
from random_session import Session
from world import OPERATOR, World, campaign, publisher

from adserver.domain import limits

OWNERS = ("acme", "bolt", "corn", "dune", "elm", "fern", "gull", "hill")


def full_id(ad: Any) -> str:
    return f"{ad['advertiser']}/{ad['campaign']}/{ad['line_item']}"


SELLING = ("acme", "bolt", "corn", "dune")


@pytest.mark.parametrize("seed", range(3))
def test_told_is_true(tmp_path: Path, seed: int) -> None:
    reasons = set()
    with World(tmp_path / "world") as world:
        session = Session(world, seed)
        for _ in range(25):
            for _ in range(4):
                session.step()
            request = {"placements": [{"id": "top", "count": 2}], "explain": True, **session.who()}
            answer = world.decide(request, 7, OPERATOR)
            won = {full_id(ad) for ad in answer["decisions"][0]["ads"]}
            told = {line["line_item"]: line for line in answer["explain"][0]["line_items"]}
            assert len(told) == 8
            assert won == {name for name, line in told.items() if line["outcome"] == "won"}
            dropped = {name for name, line in told.items() if line["outcome"] == "dropped"}
            assert not dropped & alone(world, request)
            reasons |= {line["reason"] for line in told.values() if line["outcome"] == "dropped"}
    assert len(reasons) >= 3


def alone(world: World, request: dict[str, Any]) -> set[str]:
    """Who serves where only its own advertiser may, as often as it likes."""
    winners = set()
    for owner in SELLING:
        others = [other for other in SELLING if other != owner]
        asked = {**request, "mode": "dry_run", "explain": False, "block": {"advertisers": others}}
        answer = world.decide({**asked, "placements": [{"id": "top", "count": 1}]}, 7, OPERATOR)
        winners |= {full_id(ad) for ad in answer["decisions"][0]["ads"]}
    return winners


def test_a_second_price_is_the_bid_of_who_would_win_next(tmp_path: Path) -> None:
    chance = random.Random(11)
    bids = chance.sample(range(1, 400), len(OWNERS))
    french, not_tv = {"countries": ["FR"]}, {"devices": {"none": ["tv"]}}
    sold = [
        campaign(f"{owner}/a", {"id": "a", "pricing": cpm(bid), "targeting": french if bid % 2 else not_tv})
        for owner, bid in zip(OWNERS, bids, strict=True)
    ]
    top = publisher("gazette", placements=[{"id": "top", "auction": "second_price", "floor": "0.50"}])
    with World(tmp_path / "world", publishers=[top], campaigns=sold) as world:
        for number in range(60):
            blocked = chance.sample(OWNERS, chance.randint(0, 5))
            floor = chance.choice((0, 0, 900_000, 2_000_000))
            request = {
                "mode": "dry_run",
                "geo": chance.choice(({}, {"country": "FR"})),
                "device": chance.choice(({}, {"type": "tv"})),
            }
            winners = ads(world, request, blocked, chance.randint(1, 3), floor, number)
            next_ones = ads(world, request, [*blocked, *winners], 1, floor, number)
            behind = max((bid_of(owner, bids) for owner in next_ones), default=0)
            for owner, price in winners.items():
                assert price == min(max(500_000, floor, behind), bid_of(owner, bids))


def cpm(bid: int) -> dict[str, str]:
    return {"model": "cpm", "amount": f"{bid / 100:.2f}"}


def bid_of(owner: str, bids: list[int]) -> int:
    return bids[OWNERS.index(owner)] * 10_000


def ads(
    world: World, request: dict[str, Any], blocked: list[str], count: int, floor: int, seed: int
) -> dict[str, int]:
    """Winner -> its price in nanos an impression, which are micros a thousand."""
    asked = {"id": "top", "count": count, "floor": f"{floor / 1_000_000:.2f}"}
    outcome = world.outcome({**request, "placements": [asked], "block": {"advertisers": blocked}}, seed)
    (slot,) = outcome.decision.slots
    by_serial = outcome.serving.snapshot.by_serial
    return {by_serial[ad.line_item].campaign.advertiser: ad.price_nanos for ad in slot.ads}


def test_who_is_not_asked_any_more_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHECKS_IN_VAIN", 2)
    deep, shallow = {"custom": "depth > 5"}, {"custom": "depth > 1"}
    offers = [(900, deep), (800, deep), (700, shallow), (600, {})]
    sold = [
        campaign(f"{owner}/a", {"id": "a", "pricing": cpm(bid), "targeting": targeting})
        for owner, (bid, targeting) in zip(OWNERS, offers, strict=False)
    ]
    top = publisher("gazette", placements=[{"id": "top"}])
    with World(tmp_path / "world", publishers=[top], campaigns=sold) as world:
        asked = {"placements": [{"id": "top"}], "properties": {"depth": 2}, "explain": True}
        answer = world.decide(asked, 7, OPERATOR)
        told = {line["line_item"]: line for line in answer["explain"][0]["line_items"]}
    assert [told[f"{owner}/a/a"]["outcome"] for owner in OWNERS[:4]] == ["dropped"] * 3 + ["won"]
    assert told["corn/a/a"]["rule"] == "checks" and told["corn/a/a"]["reason"] == "no_match"
    assert told["bolt/a/a"]["rule"] == "targeting.custom"
