"""Rules of one candidate: each with both sides of its comparison, in the order of the decision."""

from typing import Any

import pytest
from engine_samples import NOON_MS, campaign, catalogue, context, creative, line_item, placement, request
from msgspec.structs import replace

from adserver.domain.campaign import Flight, LineItem
from adserver.domain.decision import NoFill
from adserver.domain.inventory import Blocks
from adserver.domain.request import PlacementAsk, Request
from adserver.domain.targeting import Clause, Targeting
from adserver.engine import rules
from adserver.engine.compile import compile_snapshot
from adserver.engine.snapshot import blocks_creative, parent_domains


def first_drop(
    item: LineItem, asked: Request | None = None, ask: PlacementAsk | None = None, **fields: Any
) -> Any:
    whole = compile_snapshot(catalogue([campaign(1, item, **fields)], placement(floor_micros=500)))
    drop = rules.first_drop(whole.entries[0], context(whole, asked, ask))
    return drop and (drop.reason, drop.rule, drop.wanted, drop.got)


def test_nothing_wrong() -> None:
    assert first_drop(line_item(1)) is None


OFFER = {"formats": ["image"], "sizes": []}
ADULTS = line_item(1, suitable_for_minors=False)
LATER = line_item(1, flight=Flight(NOON_MS + 1))


@pytest.mark.parametrize(
    ("item", "asked", "told"),
    [
        (line_item(1, status="paused"), {}, (NoFill.NO_MATCH, "status", "active/active", "active/paused")),
        (LATER, {}, (NoFill.NO_MATCH, "flight.start", NOON_MS + 1, NOON_MS)),
        (line_item(1, flight=Flight(None, NOON_MS)), {}, (NoFill.NO_MATCH, "flight.end", NOON_MS, NOON_MS)),
        (ADULTS, {"minor": True}, (NoFill.NO_MATCH, "suitable_for_minors", True, False)),
        (
            line_item(1),
            {"invalid_traffic": True},
            (NoFill.INVALID_TRAFFIC, "invalid_traffic", "house", "auction"),
        ),
        (
            line_item(1),
            {"blocks": Blocks(frozenset({"acme"}))},
            (NoFill.BLOCKED, "block", ["acme"], ["acme"]),
        ),
        (line_item(1, 499), {}, (NoFill.BELOW_FLOOR, "floor", 500, 499)),
        (
            line_item(1, targeting=Targeting({"os": Clause(any=("ios",), none=("tv",))})),
            {"facts": {"os": ("android",)}},
            (NoFill.NO_MATCH, "targeting.os", {"any": ["ios"], "none": ["tv"]}, ["android"]),
        ),
        (
            line_item(1, creatives=(creative(1, format="video"),)),
            {},
            (NoFill.NO_CREATIVE, "creatives", OFFER, ["c1: video 300x250 active"]),
        ),
    ],
)
def test_each_rule_tells_both_sides(item: LineItem, asked: dict[str, Any], told: Any) -> None:
    assert first_drop(item, request(**asked)) == told


def test_a_flight_starts_inclusive_and_ends_exclusive() -> None:
    item = line_item(1, flight=Flight(NOON_MS, NOON_MS + 1))
    assert first_drop(item) is None
    assert first_drop(item, request(now_ms=NOON_MS + 1))[1] == "flight.end"
    assert first_drop(item, request(now_ms=NOON_MS - 1))[1] == "flight.start"


def test_bots_get_house_ads() -> None:
    assert first_drop(line_item(1, priority="house"), request(invalid_traffic=True)) is None


@pytest.mark.parametrize("priority", ["sponsorship", "standard", "house"])
def test_floors_bind_the_auction_unless_they_are_strict(priority: str) -> None:
    item = line_item(1, 10, priority=priority)
    ask = PlacementAsk("top", floor_micros=11)
    assert first_drop(item, None, ask) is None
    assert first_drop(item, None, replace(ask, strict_floor=True))[2:] == (11, 10)
    assert first_drop(replace(item, priority="auction"), None, ask)[2:] == (500, 10)


def test_currency_comes_before_targeting() -> None:
    item = line_item(1, targeting=Targeting({"os": Clause(any=("ios",))}))
    assert first_drop(item, currency="USD") == (NoFill.CURRENCY, "currency", "EUR", "USD")


@pytest.mark.parametrize(
    ("blocks", "hit"),
    [
        (Blocks(domains=frozenset({"acme.example"})), True),
        (Blocks(domains=frozenset({"shop.acme.example"})), True),
        (Blocks(domains=frozenset({"example"})), True),
        (Blocks(domains=frozenset({"me.example", "x.shop.acme.example"})), False),
        (Blocks(categories=frozenset({"IAB7"})), True),
        (Blocks(categories=frozenset({"IAB7-3"})), True),
        (Blocks(categories=frozenset({"IAB7-33", "IAB70", "IAB"})), False),
    ],
)
def test_blocked_domains_and_categories_cover_what_is_below_them(blocks: Blocks, hit: bool) -> None:
    found = creative(1, advertiser_domain="Shop.Acme.example.", categories=("IAB1", "IAB7-3"))
    assert blocks_creative(blocks, found) is hit


def test_parent_domains() -> None:
    assert parent_domains("A.news.example") == ["a.news.example", "news.example", "example"]


@pytest.mark.parametrize(
    ("fields", "secure"),
    [
        ({}, True),
        ({"assets": {"image_url": "https://a.example/?u=http%3A//b.example"}}, True),
        ({"assets": {"cards": [{"image_url": "http://a.example/"}]}}, False),
        ({"assets": {"html": "<img src='http://a.example/'>"}}, False),
        ({"impression_trackers": ("http://t.example/",)}, False),
        ({"viewable_trackers": ("http://t.example/",)}, False),
    ],
)
def test_is_secure(fields: dict[str, Any], secure: bool) -> None:
    assert rules.is_secure(creative(1, **fields)) is secure
