"""What a bid holds and when it lets go: caps and budgets over auctions, releases, expiry, withdrawal."""

from pathlib import Path
from typing import Any

import pytest
from openrtb_checks import Exchange
from openrtb_world import BOX, CARD, IMAGE, Object, acme, exchange, request, sold

CAP = [{"limit": 2, "per": "1d"}]
ALICE = {"user": {"id": "alice"}}
TIGHT = {"lifetime": "0.004"}
"""Two impressions at 2.00 a thousand."""


def reserved(asked: Exchange) -> int:
    return sum(line["reserved"] for line in _lines(asked))


def spent_micros(asked: Exchange) -> int:
    return sum(line["spend_micros"] for line in _lines(asked))


def _lines(asked: Exchange) -> list[Object]:
    import msgspec

    delivery: Any = msgspec.to_builtins(asked.world.delivery("acme/spring"))
    return list(delivery["line_items"])


def impression_of(bid: Object) -> str:
    from openrtb_checks import Markup

    return Markup(bid["adm"]).pixels[0]


@pytest.fixture
def capped(tmp_path: Path) -> Any:
    with exchange(tmp_path, sold(acme(frequency_caps=CAP))) as asked:
        yield asked


@pytest.fixture
def tight(tmp_path: Path) -> Any:
    with exchange(tmp_path, sold(acme(budget=TIGHT))) as asked:
        yield asked


def test_caps_hold_over_auctions(capped: Exchange) -> None:
    assert [len(capped.bids(request(**ALICE))) for _ in range(4)] == [1, 1, 0, 0]
    assert capped.bid(request(user={"id": "bob"}))


def test_caps_hold_within_an_auction(tmp_path: Path) -> None:
    line = acme(frequency_caps=CAP)
    with exchange(tmp_path, sold(line, repeat_in_request=True)) as asked:
        assert len(asked.bids(request(BOX, BOX, BOX, **ALICE))) == 2


def test_budgets_hold_within_and_over_auctions(tmp_path: Path) -> None:
    with exchange(tmp_path, sold(acme(budget=TIGHT), repeat_in_request=True)) as asked:
        bids = asked.bids(request(BOX, BOX, BOX))
        assert len(bids) == 2
        assert asked.bids(request()) == []
        for bid in bids:
            assert asked.world.event(impression_of(bid)).billed
        assert spent_micros(asked) == 4000


@pytest.mark.parametrize("kind", ["capped", "tight"])
def test_a_lost_bid_releases_at_once(kind: str, request: pytest.FixtureRequest) -> None:
    from openrtb_world import request as asking

    asked: Exchange = request.getfixturevalue(kind)
    bids = [asked.bid(asking(**ALICE)) for _ in range(2)]
    assert asked.bids(asking(**ALICE)) == []
    asked.world.event(bids[0]["lurl"])
    asked.world.event(bids[0]["lurl"])
    # A line item whose budget was full is looked at again at the next sweep, four times a second.
    asked.world.tick()
    again = asked.bids(asking(**ALICE))
    assert len(again) == 1 and asked.bids(asking(**ALICE)) == []


def test_a_bid_expires_by_itself_after_what_the_imp_says_or_a_minute(tight: Exchange) -> None:
    short = tight.bid(request({**BOX, "exp": 10}))
    long = tight.bid(request({**BOX, "exp": 3600}))
    assert (short["exp"], long["exp"]) == (10, 60)
    clock, held_ms = tight.world.clock, 30_000
    began = clock.ms
    clock.ms = began + 10_000 + held_ms
    tight.world.tick()
    assert tight.bids(request()) == [], "money waits for the grace of clocks"
    clock.ms += 1
    tight.world.tick()
    assert len(tight.bids(request())) == 1 and tight.bids(request()) == []
    verdict = tight.world.event(impression_of(long))
    assert verdict.status.name == "ACCEPTED"
    assert tight.world.event(impression_of(short)).status.name == "EXPIRED"


def test_an_exposure_ends_with_its_bid(capped: Exchange) -> None:
    for seconds in (5, 60):
        assert capped.bid(request({**BOX, "exp": seconds}, **ALICE))
    assert capped.bids(request(**ALICE)) == []
    capped.world.clock.ms += 5_001
    assert capped.bid(request(**ALICE))


@pytest.mark.parametrize("said", [0, -1, None, "x", 10**30, 1.5, {}, "30"])
def test_odd_expiries(tight: Exchange, said: Any) -> None:
    assert tight.bid(request({**BOX, "exp": said}))["exp"] == (30 if said == "30" else 60)


def test_a_placement_that_waits_less_says_so(tmp_path: Path) -> None:
    from openrtb_world import GAZETTE
    from world import publisher

    hasty = [{**placement, "render_within": "20s"} for placement in GAZETTE["placements"]]
    with exchange(tmp_path, publishers=(publisher("gazette", currency="USD", placements=hasty),)) as asked:
        assert asked.bid(request({**BOX, "exp": 30}))["exp"] == 20


@pytest.mark.parametrize(
    "imp",
    [
        {"native": {"request": {"assets": [{"id": 1, "required": 1, "title": {"len": 3}}]}}},
        {"native": {"request": {"assets": [{"id": 1, "required": 1, "video": {}}]}}},
        {"banner": {"w": 300, "h": 250, "mimes": ["image/gif"]}},
        {"video": {"mimes": ["video/mp4"], "maxduration": 14}},
    ],
)
def test_an_ad_that_makes_no_bid_is_withdrawn_at_once(tmp_path: Path, imp: Object) -> None:
    line = acme(frequency_caps=CAP, budget={"lifetime": "0.004"})
    with exchange(tmp_path, sold(line)) as asked:
        for _ in range(5):
            assert asked.bids(request(imp, **ALICE)) == []
        assert reserved(asked) == 0
        assert len(asked.bids(request(**ALICE))) == len(asked.bids(request(CARD, **ALICE))) == 1
        asked.world.restart()
        assert asked.bids(request(**ALICE)) == [], "what was bid is held after a kill"
        # After the bids are over nothing of the withdrawn ones is left either.
        asked.world.clock.ms += 91_000
        asked.world.tick()
        assert len(asked.bids(request(**ALICE))) == len(asked.bids(request(**ALICE))) == 1


def test_withdrawn_ads_stay_withdrawn_after_a_kill(tmp_path: Path) -> None:
    imp = {"banner": {"w": 300, "h": 250, "mimes": ["image/gif"]}}
    with exchange(tmp_path, sold(acme(frequency_caps=CAP, budget=TIGHT))) as asked:
        for _ in range(3):
            assert asked.bids(request(imp, **ALICE)) == []
        asked.world.restart()
        assert reserved(asked) == 0
        assert [len(asked.bids(request(**ALICE))) for _ in range(3)] == [1, 1, 0]


def test_a_test_request_is_marked_and_never_billed(tight: Exchange) -> None:
    for _ in range(5):
        bid = tight.bid(request(test=1))
        assert not tight.world.event(impression_of(bid)).billed
    assert reserved(tight) == spent_micros(tight) == 0
    assert tight.bid(request(test="yes")) and reserved(tight) == 0, "in doubt it is a test"
    assert tight.bid(request(test=0)) and reserved(tight) == 1


def test_the_same_request_id_is_another_auction(tight: Exchange) -> None:
    first, second = tight.bid(request()), tight.bid(request())
    assert first["id"] != second["id"]


def test_the_click_leads_to_the_landing_page(tight: Exchange) -> None:
    from openrtb_checks import Markup

    bid = tight.bid(request())
    verdict = tight.world.event(Markup(bid["adm"]).links[0])
    assert verdict.location == f"https://acme.example/?c={bid['id']}"


def test_when_the_disk_is_full_nothing_paid_is_bid(tight: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(tight.world.app.journal), "open", property(lambda self: False))
    assert tight.bids(request()) == []


def test_html_creatives_hold_like_images(tmp_path: Path) -> None:
    html = {**IMAGE, "id": "h", "format": "html", "assets": {"html": '<a href="{click_url}">x</a>'}}
    with exchange(tmp_path, sold(acme(creatives=[html]))) as asked:
        bid = asked.bid(request())
        assert asked.world.event(impression_of(bid)).billed
        assert spent_micros(asked) == 2000
