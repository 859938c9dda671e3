"""Deals: who may buy under one, at which floor, and what a private auction lets through (OpenRTB 2.6)."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openrtb_checks import Exchange
from openrtb_world import BOX, IMAGE, Object, acme, exchange, request
from world import campaign

from adserver.domain import limits


def line(name: str, amount: str, targeting: Object | None = None, **fields: Any) -> Object:
    """A campaign of one line item, told apart by its domain."""
    creative = {**IMAGE, "advertiser_domain": f"{name}.example"}
    item = acme(pricing={"model": "cpm", "amount": amount}, creatives=[creative], **fields)
    return campaign(f"{name}/c", {**item, "targeting": targeting or {}}, currency="USD")


WORLD = (
    line("open", "2.00"),
    line("gold", "1.50", {"deals": ["gold", "silver"]}),
    line("both", "1.20", {"deals": {"all": ["gold", "iron"]}}),
    line("shy", "1.00", {"deals": {"none": ["gold"]}}),
    line("house", "0.01", priority="house"),
)


@pytest.fixture(scope="module")
def deals(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with exchange(tmp_path_factory.mktemp("deals"), *WORLD) as asked:
        yield asked


def imp(*offered: Object, private: object = 0, **fields: Any) -> Object:
    return {**BOX, "pmp": {"private_auction": private, "deals": list(offered)}, **fields}


def won(asked: Exchange, *imps: Object, **fields: Any) -> list[tuple[str, str | None]]:
    """Who bids, and under which deal."""
    bids = asked.bids(request(*imps, **fields))
    return [(bid["cid"].partition("/")[0], bid.get("dealid")) for bid in bids]


GOLD, SILVER, IRON = ({"id": name} for name in ("gold", "silver", "iron"))


@pytest.mark.parametrize(
    ("asked", "blocked", "bids"),
    [
        (imp(GOLD), [], [("open", None)]),
        (imp(GOLD), ["open"], [("gold", "gold")]),
        (imp(GOLD), ["open", "gold"], [("house", None)]),
        (imp(GOLD, IRON), ["open", "gold"], [("both", "gold")]),
        (imp(IRON), ["open"], [("shy", None)]),
        (imp(GOLD, private=1), [], [("gold", "gold")]),
        (imp(SILVER, private=1), [], [("gold", "silver")]),
        (imp(IRON, private=1), [], []),
        (imp(GOLD, IRON, private=1), ["gold"], [("both", "gold")]),
        (imp(GOLD, private=1), ["gold"], []),
        (imp(private=1), [], []),
        (imp({"id": "Gold"}, private=1), [], []),
        (imp(GOLD, private="1"), [], [("gold", "gold")]),
        (imp(GOLD, private="perhaps"), [], [("gold", "gold")]),
        ({**BOX, "pmp": {"private_auction": 1}}, [], []),
        ({**BOX, "pmp": "x"}, [], [("open", None)]),
        (imp(7, None, {}, {"id": {}}, GOLD, private=1), [], [("gold", "gold")]),
    ],
)
def test_who_buys_where(
    deals: Exchange, asked: Object, blocked: list[str], bids: list[tuple[str, str | None]]
) -> None:
    assert won(deals, asked, badv=[f"{name}.example" for name in blocked]) == bids


@pytest.mark.parametrize(
    ("offered", "dealid"),
    [
        ([{**GOLD, "bidfloor": 1.5}], "gold"),
        ([{**GOLD, "bidfloor": 1.500001}], None),
        ([{**GOLD, "bidfloor": 1.4}, {**SILVER, "bidfloor": 1.3}], "silver"),
        ([{**GOLD, "bidfloor": 1.3}, {**SILVER, "bidfloor": 1.3}], "gold"),
        ([{**GOLD, "bidfloor": 9}, SILVER], "silver"),
        ([{**GOLD, "bidfloor": 9}, GOLD], None),
        ([{**GOLD, "bidfloor": 1, "bidfloorcur": "EUR"}], None),
        ([{**GOLD, "bidfloor": 0, "bidfloorcur": ""}], "gold"),
        ([{**GOLD, "bidfloor": "dear"}], None),
        ([{**GOLD, "wseat": ["seat"]}], None),
        ([{**GOLD, "wseat": []}], "gold"),
        ([{**GOLD, "wadomain": ["gold.example"]}], "gold"),
        ([{**GOLD, "wadomain": ["other.example"]}], None),
    ],
)
def test_a_deal_has_terms_of_its_own(deals: Exchange, offered: list[Object], dealid: str | None) -> None:
    bids = [("gold", dealid)] if dealid else []
    assert won(deals, imp(*offered, private=1)) == bids
    # The floor of the open auction binds nobody who has a deal, and those who have none as before.
    assert won(deals, imp(*offered, private=1, bidfloor=50)) == bids
    assert won(deals, imp(*offered, bidfloor=50)) == bids
    assert won(deals, imp(*offered, bidfloor=1.9)) == [("open", None)]


def test_the_open_auctions_currency_is_no_matter_in_a_private_one(deals: Exchange) -> None:
    assert won(deals, imp(GOLD, private=1, bidfloor=1, bidfloorcur="EUR")) == [("gold", "gold")]
    assert won(deals, imp(GOLD, bidfloor=1, bidfloorcur="EUR")) == []


def test_every_imp_has_its_own_deals(deals: Exchange) -> None:
    mixed = (imp(GOLD, private=1), imp(SILVER, private=1), BOX, imp(IRON, private=1))
    found = deals.bids(request(*mixed))
    assert [(bid["impid"], bid.get("dealid")) for bid in found] == [("1", "gold"), ("3", None)], (
        "a campaign stands once in a request"
    )


def test_as_many_deals_as_are_looked_at(deals: Exchange) -> None:
    others = [{"id": f"d{number}"} for number in range(limits.DEALS_PER_IMP - 1)]
    assert won(deals, imp(*others, GOLD, private=1)) == [("gold", "gold")]
    assert won(deals, imp(*others, {"id": "more"}, GOLD, private=1)) == []


def test_without_deals_a_line_item_for_them_does_not_serve(tmp_path: Path) -> None:
    with exchange(tmp_path, WORLD[1]) as asked:
        assert asked.bids(request()) == []
        assert asked.bid(request(imp(GOLD)))["price"] == Decimal("1.5")
