"""What a bid request asks, case by case: where imps land, what a bid costs, and who is recognised."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openrtb_checks import Exchange
from openrtb_world import (
    BOX,
    CARD,
    GAZETTE,
    IMAGE,
    MESSENGER,
    PLAYER,
    Object,
    acme,
    exchange,
    request,
    sold,
)
from world import campaign, publisher

from adserver.domain import limits
from adserver.domain.books import Shown
from adserver.engine.rates import learn
from adserver.engine.worth import Worth

CAP = [{"limit": 1, "per": "1d"}]
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Nothing is capped and no budget ends, so tests leave no traces for others."""
    with exchange(tmp_path_factory.mktemp("plain")) as asked:
        yield asked


@pytest.fixture(scope="module")
def capped_world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with exchange(tmp_path_factory.mktemp("capped"), sold(acme(frequency_caps=CAP))) as asked:
        yield asked


@pytest.fixture
def capped(capped_world: Exchange) -> Exchange:
    """Once a day per person; every test has days of its own."""
    capped_world.world.clock.ms += 3 * 86_400_000
    return capped_world


def placement_of(asked: Exchange, bid: Object) -> str:
    """The placement the bid's impression URL speaks of."""
    token = bid["lurl"].rpartition("/")[2]
    serial = asked.world.app.signer.open(token)[1].placement
    return str(asked.world.app.world.snapshot.placements_by_serial[serial].placement.full_id)


# -- where imps land -----------------------------------------------------------------------------


def test_an_imp_lands_on_the_placement_of_its_tagid_else_of_its_kind(plain: Exchange) -> None:
    assert placement_of(plain, plain.bid(request({**BOX, "tagid": "tagged"}))) == "gazette/tagged"
    assert placement_of(plain, plain.bid(request({**BOX, "tagid": "gazette/tagged"}))) == "gazette/tagged"
    for tag in (None, "", "unknown", 7, ["tagged"]):
        assert placement_of(plain, plain.bid(request({**BOX, "tagid": tag}))) == "gazette/inline"
    assert placement_of(plain, plain.bid(request(CARD))) == "gazette/river"
    assert placement_of(plain, plain.bid(request(PLAYER))) == "gazette/preroll"


def test_what_no_placement_names_is_not_bid_on(plain: Exchange) -> None:
    for imp in (
        {"banner": {"w": 301, "h": 250}},
        {"banner": {}},
        {"banner": {"w": 300}},
        {"video": {"mimes": ["video/mp4"], "w": 1, "h": 1}},
        {"audio": {"mimes": ["audio/mp4"]}},
        {"native": {}},
        {**BOX, "tagid": "preroll"},
        {**CARD, "tagid": "feed"},
        {},
    ):
        assert plain.bids(request(imp)) == []


def test_a_video_imp_without_size_takes_any(plain: Exchange) -> None:
    bid = plain.bid(request({"video": {"mimes": ["video/mp4"], "w": 0, "h": None}}))
    assert (bid["mtype"], bid["w"], bid["h"]) == (2, 640, 480)


def test_an_imp_of_many_kinds_gets_what_its_placement_shows(plain: Exchange) -> None:
    assert plain.bid(request({**PLAYER, **CARD}))["mtype"] == 2, "the first of both"
    assert plain.bid(request({**PLAYER, **CARD, "tagid": "preroll"}))["mtype"] == 2
    assert plain.bid(request({**PLAYER, **BOX}))["mtype"] == 1
    assert plain.bid(request({**PLAYER, "banner": {"w": 1, "h": 1}}))["mtype"] == 2


def test_sizes_are_those_that_both_name(tmp_path: Path) -> None:
    wide = {**IMAGE, "id": "wide", "size": "728x90"}
    with exchange(tmp_path, sold(acme(creatives=[IMAGE, wide]))) as asked:
        formats = [{"w": 9, "h": 9}, {"w": 728, "h": 90}]
        bid = asked.bid(request({"banner": {"format": formats, "w": None, "h": 50}}))
        assert (bid["w"], bid["h"], bid["crid"]) == (728, 90, "acme/spring/wide")


def test_all_imps_of_a_request_are_decided_with_one_publisher(tmp_path: Path) -> None:
    euros = campaign("bolt/spring", {"id": "b", "creatives": [{**IMAGE, "size": "fluid"}]})
    dollars = sold(repeat_in_request=True)
    with exchange(tmp_path, dollars, euros, publishers=(MESSENGER, GAZETTE)) as asked:
        both = asked.bids(request({"banner": {"w": 728, "h": 90}}, BOX, CARD))
        assert [bid["impid"] for bid in both] == ["2", "3"], "728x90 has no creative here"
        assert {bid["cid"] for bid in both} == {"acme/spring"}
        wide = {"banner": {"w": 970, "h": 250}}
        assert [bid["cid"] for bid in asked.bids(request(wide, CARD))] == ["bolt/spring"]
        named = {"site": {"publisher": {"id": "messenger"}}}
        assert asked.bid(request(BOX, **named))["cid"] == "bolt/spring"
        assert asked.bid(request(BOX))["cid"] == "acme/spring", "gazette stands before messenger"
        assert asked.bid(request({**BOX, "tagid": "wide"}))["cid"] == "bolt/spring", "tags before kinds"
        assert asked.bid(request(CARD, **named))["cid"] == "acme/spring", "messenger takes none of these"
        assert asked.bid(request(BOX, app={"domain": "messenger"}))["cid"] == "bolt/spring"


def test_a_publisher_that_wants_a_key_is_asked_with_it(tmp_path: Path) -> None:
    shy = publisher("gazette", currency="USD", requires_key=True, placements=GAZETTE["placements"])
    with exchange(tmp_path, publishers=(shy,)) as asked:
        app = asked.world.app
        _, key = app.keys.create("publisher", "gazette", app.clock())
        _, operator = app.keys.create("operator", "", app.clock())
        assert asked.bids(request()) == []
        assert asked.bids(request(), authorization="Bearer nonsense") == []
        assert asked.bids(request(), authorization="Basic abc") == []
        assert asked.bid(request(), authorization=f"Bearer {key}")
        assert asked.bid(request(), authorization=f"Bearer {operator}")


def test_no_more_imps_are_looked_at_than_placements_are_allowed(tmp_path: Path) -> None:
    with exchange(tmp_path, sold(repeat_in_request=True)) as asked:
        assert len(asked.bids(request(*[BOX] * limits.PLACEMENTS_PER_REQUEST))) == 16
        assert len(asked.bids(request(*[BOX] * (limits.PLACEMENTS_PER_REQUEST + 1)))) == 16
        assert asked.bids(request(*[{}] * limits.PLACEMENTS_PER_REQUEST, BOX)) == []


# -- prices --------------------------------------------------------------------------------------


def test_the_price_is_exact_and_never_below_the_floor(tmp_path: Path) -> None:
    with exchange(tmp_path, sold(acme(pricing={"model": "cpm", "amount": "0.100001"}))) as asked:
        reply = asked.raw(
            b'{"id": "1", "imp": [{"id": "1", "banner": {"w": 300, "h": 250}, "bidfloor": 0.1}]}'
        )
        assert b'"price":0.100001,' in reply.body
        for floor in (0, -3, None, 0.1, 0.100001, "0.1", 1e-7, "0.10000000000000000000000001"):
            assert asked.bid(request({**BOX, "bidfloor": floor}))["price"] == Decimal("0.100001"), floor
        for floor in (0.1000011, 0.2, 1, 10**400, 1e308, "x", [], {}, True, "NaN", "1e999999999"):
            assert asked.bids(request({**BOX, "bidfloor": floor})) == [], floor


def test_floors_bind_guaranteed_line_items_too(tmp_path: Path) -> None:
    with exchange(tmp_path, sold(acme(priority="standard"))) as asked:
        assert asked.bid(request({**BOX, "bidfloor": 2.0}))["price"] == 2
        assert asked.bids(request({**BOX, "bidfloor": 2.01})) == []


def test_a_cheap_guaranteed_line_item_does_not_hide_a_bid_above_the_floor(tmp_path: Path) -> None:
    def line(name: str, priority: str, amount: str) -> Object:
        pricing = {"model": "cpm", "amount": amount}
        return acme(id=name, priority=priority, pricing=pricing, creatives=[{**IMAGE, "id": name}])

    lines = (line("cheap", "standard", "0.50"), line("free", "sponsorship", "0.00"))
    with exchange(tmp_path, sold(*lines, line("all", "auction", "2.00"))) as asked:
        assert asked.bid(request({**BOX, "bidfloor": 1}))["price"] == 2
        assert asked.bid(request())["price"] == Decimal("0.5")


def test_what_is_free_is_not_sold(tmp_path: Path) -> None:
    free = acme(priority="house", pricing={"model": "cpm", "amount": "0.00"})
    with exchange(tmp_path, sold(free)) as asked:
        assert asked.bids(request(BOX, CARD, PLAYER)) == []


def test_other_models_are_bid_at_what_a_thousand_are_expected_to_earn(tmp_path: Path) -> None:
    items = [acme(id="clicks", pricing={"model": "cpc", "amount": "1.50"})]
    with exchange(tmp_path, sold(*items)) as asked:
        assert asked.bid(request())["price"] == 3
        assert asked.bids(request({**BOX, "bidfloor": 3.000001})) == []


@pytest.mark.parametrize("clicks", [0, 400])
def test_what_was_learned_is_what_is_bid(tmp_path: Path, clicks: int) -> None:
    """And what the floor is asked of: a bid at the very price is taken, a micro above it there is none."""
    items = [acme(id="clicks", pricing={"model": "cpc", "amount": "1.50"})]
    with exchange(tmp_path, sold(*items)) as asked:
        app = asked.world.app
        snapshot = app.world.snapshot
        (entry,), view = snapshot.entries, snapshot.view("gazette", "inline")
        assert view is not None
        shown = Shown(entry.line_item.serial, view.placement.serial, 1, 50_000, 0, clicks)
        app.world.learn(Worth(snapshot.entries, learn(1, [shown])))
        expected = app.world.serving.worth.score(entry.position, view.placement.serial)
        assert (expected > 3_000_000) == bool(clicks)
        price = Decimal(expected) / 1_000_000
        assert asked.bid(request({**BOX, "bidfloor": float(price)}))["price"] == price
        assert asked.bids(request({**BOX, "bidfloor": float(price + Decimal("0.000001"))})) == []


def test_second_price_clears_at_the_floor_and_not_below(tmp_path: Path) -> None:
    second = [{**placement, "auction": "second_price"} for placement in GAZETTE["placements"]]
    with exchange(tmp_path, publishers=(publisher("gazette", currency="USD", placements=second),)) as asked:
        assert asked.bid(request({**BOX, "bidfloor": 0.7}))["price"] == Decimal("0.7")


def test_viewable_line_items_are_bid_only_where_views_are_told(tmp_path: Path) -> None:
    with exchange(tmp_path, sold(acme(pricing={"model": "vcpm", "amount": "2.00"}))) as asked:
        assert asked.bid(request())["price"] == Decimal("1.2")
        assert "/v/" in asked.bid(request())["adm"]
        assert asked.bids(request({"banner": {"w": 300, "h": 250, "btype": [3]}})) == [], "no scripts"
        assert asked.bids(request(CARD)) == []
        told = {**CARD["native"]["request"], "eventtrackers": [{"event": 2, "methods": [1]}]}
        assert "/v/" in asked.bid(request({"native": {"request": told}}))["adm"]
        assert asked.bid(request(PLAYER))


@pytest.mark.parametrize(
    ("currencies", "floor", "answered"),
    [
        (["USD"], {}, True), (["EUR", "USD"], {}, True), ([], {}, True), (None, {}, True), ("USD", {}, True),
        (["usd"], {}, True), ([7], {}, False), (["EUR"], {}, False), ("EUR", {}, False),
        (None, {"bidfloorcur": "USD", "bidfloor": 0.5}, True), (None, {"bidfloor": 0.5}, True),
        (None, {"bidfloorcur": "EUR", "bidfloor": 0.5}, False), (None, {"bidfloorcur": "EUR"}, False),
        (None, {"bidfloorcur": None, "bidfloor": 0.5}, True), (None, {"bidfloorcur": {}}, False),
    ],
)  # fmt: skip
def test_another_currency_is_no_bid(plain: Exchange, currencies: Any, floor: Object, answered: bool) -> None:
    fields = {} if currencies is None else {"cur": currencies}
    reply = plain.raw(_json(request({**BOX, **floor}, **fields)))
    assert reply.status == (200 if answered else 204)


def test_a_floor_of_no_currency_is_in_dollars(tmp_path: Path) -> None:
    euros = campaign("bolt/spring", {"id": "b", "creatives": [IMAGE]})
    with exchange(tmp_path, euros, publishers=(MESSENGER,)) as asked:
        assert asked.bid(request(BOX))
        assert asked.bid(request({**BOX, "bidfloor": 0.1, "bidfloorcur": "EUR"}))
        assert asked.bids(request({**BOX, "bidfloor": 0.1})) == []


def _json(body: Object) -> bytes:
    import json

    return json.dumps(body).encode()


# -- who -----------------------------------------------------------------------------------------

ALICE = {"user": {"id": "alice"}}


@pytest.mark.parametrize(
    ("said", "recognised"),
    [
        ({}, True),
        ({"regs": {"gdpr": 0, "coppa": 0, "gpp": "", "us_privacy": None}}, True),
        ({"regs": {"gdpr": 1}}, False),
        ({"regs": {"gdpr": "1"}}, False),
        ({"regs": {"gdpr": "yes"}}, False),
        ({"regs": {"ext": {"gdpr": 1}}}, False),
        ({"regs": {"gdpr": 0, "ext": {"gdpr": 1}}}, False),
        ({"regs": {"coppa": 1}}, False),
        ({"regs": {"coppa": True}}, False),
        ({"regs": {"us_privacy": "1---"}}, False),
        ({"regs": {"ext": {"us_privacy": "1YNN"}}}, False),
        ({"regs": {"us_privacy": ["1YNN"]}}, False),
        ({"regs": {"gpp": "DBAA"}}, False),
        ({"regs": {"gpp": {"a": 1}}}, False),
        ({"regs": {"gpp": 5}}, False),
        ({"regs": {"ext": {"gpc": "1"}}}, False),
        ({"user": {"id": "alice", "consent": "CPxx"}}, False),
        ({"user": {"id": "alice", "ext": {"consent": "CPxx"}}}, False),
        ({"device": {"dnt": 1}}, False),
        ({"device": {"lmt": 1}}, False),
        ({"device": {"dnt": 0, "lmt": "0"}}, True),
    ],
)
def test_a_person_is_recognised_only_where_nothing_speaks_against_it(
    capped: Exchange, said: Object, recognised: bool
) -> None:
    """A capped line item needs somebody to count for."""
    asking = request(**{**ALICE, **said})
    assert len(capped.bids(asking)) == int(recognised)
    assert capped.bids(asking) == [], "once a day, or never"


def test_children_see_only_what_suits_them(tmp_path: Path) -> None:
    with exchange(tmp_path, sold(acme(suitable_for_minors=False))) as asked:
        assert asked.bid(request())
        assert asked.bids(request(regs={"coppa": 1})) == []


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"user": {"id": "a"}}, {"user": {"id": "a", "buyeruid": "b"}}, True),
        ({"user": {"buyeruid": "a"}}, {"user": {"id": "a"}}, True),
        ({"user": {"id": "a"}, "device": {"ifa": "x"}}, {"user": {"id": "b"}, "device": {"ifa": "x"}}, False),
        ({"device": {"ifa": "x"}}, {"device": {"ifa": "x"}, "user": {}}, True),
        ({"user": {"id": 7}}, {"user": {"id": "7"}}, True),
    ],
)
def test_a_person_is_the_users_id_then_the_buyers_then_the_devices(
    capped: Exchange, first: Object, second: Object, same: bool
) -> None:
    assert capped.bid(request(**first))
    assert len(capped.bids(request(**second))) == int(not same)


@pytest.mark.parametrize(
    "nobody",
    [{}, {"user": None}, {"user": {"id": "a\u0000b"}}, {"user": {"id": "x" * 2000}}, {"user": {"id": {}}},
     {"device": {"ifa": "00000000-0000-0000-0000-000000000000"}}],
)  # fmt: skip
def test_what_names_nobody_is_nobody(capped: Exchange, nobody: Object) -> None:
    assert capped.bids(request(**nobody)) == []


def test_a_known_robot_is_not_bid_on_and_reserves_nothing(tmp_path: Path) -> None:
    bot = {"device": {"ua": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}}
    with exchange(tmp_path / "paid", sold(acme(frequency_caps=CAP))) as asked:
        assert asked.bids(request(**ALICE, **bot)) == []
        assert asked.bid(request(**ALICE))
    with exchange(tmp_path / "house", sold(acme(priority="house"))) as asked:
        assert asked.bids(request(**bot)) == [], "not even what robots may see elsewhere"
        assert asked.bid(request())


# -- facts ---------------------------------------------------------------------------------------


TARGETED: list[tuple[Object, Object]] = [
    ({"countries": ["FR"]}, {"device": {"geo": {"country": "FRA"}}}),
    ({"countries": ["FR"]}, {"device": {"geo": {"country": "FR"}}}),
    ({"countries": ["FR"]}, {"user": {"geo": {"country": "FRA"}}}),
    ({"countries": ["FR"]}, {"device": {"geo": {"country": "FRA"}}, "user": {"geo": {"country": "DEU"}}}),
    ({"regions": ["NY"]}, {"device": {"geo": {"country": "USA", "region": "US-NY"}}}),
    ({"regions": ["NY"]}, {"device": {"geo": {"region": "NY"}}}),
    ({"cities": ["Paris"]}, {"user": {"geo": {"city": "Paris"}}}),
    ({"postal_codes": ["75001"]}, {"user": {"geo": {"zip": "75001"}}}),
    ({"devices": ["mobile"], "os": ["ios"]}, {"device": {"ua": SAFARI}}),
    ({"devices": ["tv"]}, {"device": {"devicetype": 3, "ua": SAFARI}}),
    ({"devices": ["mobile"]}, {"device": {"devicetype": 1}}),
    ({"os": ["macos"], "os_versions": ["15.1"]}, {"device": {"os": "OS X", "osv": "15.1"}}),
    ({"models": ["pixel 9"]}, {"device": {"model": "Pixel 9"}}),
    ({"languages": ["fr"]}, {"device": {"language": "fr-CA"}}),
    ({"connections": ["wifi"]}, {"device": {"connectiontype": 2}}),
    ({"domains": ["news.example"]}, {"site": {"page": "https://www.news.example/a?b"}}),
    ({"domains": ["news.example"]}, {"site": {"domain": "news.example"}}),
    ({"domains": ["game.example"]}, {"app": {"domain": "game.example"}}),
    ({"urls": ["https://news.example/a"]}, {"site": {"page": "https://news.example/a"}}),
    ({"keywords": ["train"]}, {"site": {"keywords": "voyage, train ,x"}}),
    ({"keywords": ["train"]}, {"app": {"content": {"kwarray": ["train"]}}}),
    ({"categories": ["IAB20"]}, {"site": {"cat": ["IAB1", "IAB20-3"]}}),
    ({"categories": ["IAB20"]}, {"app": {"pagecat": ["IAB20"]}}),
    ({"segments": ["fans"]}, {"user": {"data": [{"segment": [{"id": "fans"}]}]}}),
    ({"publishers": ["gazette"], "placements": ["gazette/inline"], "formats": ["image"]}, {}),
]  # fmt: skip


@pytest.fixture(scope="module")
def targeted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A campaign for each case, told apart by its domain."""
    campaigns = [
        campaign(f"a{number}/c", acme(targeting=targeting, creatives=[of_case(number)]), currency="USD")
        for number, (targeting, _) in enumerate(TARGETED)
    ]
    with exchange(tmp_path_factory.mktemp("targeted"), *campaigns) as asked:
        yield asked


def of_case(number: int) -> Object:
    return {**IMAGE, "advertiser_domain": f"a{number}.example"}


@pytest.mark.parametrize("number", range(len(TARGETED)))
def test_facts_of_the_request_are_targeted(targeted: Exchange, number: int) -> None:
    others = [f"a{other}.example" for other in range(len(TARGETED)) if other != number]
    _, said = TARGETED[number]
    assert targeted.bid(request(badv=others, **said))["cid"] == f"a{number}/c"
    if said:
        assert targeted.bids(request(badv=others)) == [], "without the fact it does not serve"


# -- what is not wanted ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ({"badv": ["acme.example"]}, False), ({"badv": ["www.ACME.example"]}, False),
        ({"badv": ["b.example"]}, True),
        ({"badv": ["https://acme.example/page"]}, False), ({"badv": "acme.example"}, False),
        ({"badv": [None, 7, "acme.example"]}, False), ({"badv": {}}, True),
        ({"bcat": ["IAB20"]}, False), ({"bcat": ["iab20-3"]}, False), ({"bcat": ["IAB20-4"]}, True),
        ({"bcat": ["IAB1"] * 5000 + ["IAB20"]}, False),
    ],
)  # fmt: skip
def test_blocks(plain: Exchange, said: Object, answered: bool) -> None:
    assert len(plain.bids(request(**said))) == int(answered)


def test_secure_keeps_plain_http_out(tmp_path: Path) -> None:
    image = {**IMAGE, "assets": {"image_url": "http://cdn.example/a.png"}}
    with exchange(tmp_path, sold(acme(creatives=[image]))) as asked:
        assert asked.bid(request())
        assert asked.bid(request({**BOX, "secure": 0}))
        assert asked.bids(request({**BOX, "secure": 1})) == []
        assert asked.bids(request(BOX, {"secure": 1})) == [], "of any imp"


def test_what_only_others_look_at_changes_nothing(plain: Exchange) -> None:
    fields = {"at": 2, "wseat": ["x"], "bseat": ["acme"], "tmax": 1, "source": {"fd": 1}, "ext": {"a": 1}}
    assert plain.bid(request(**fields))


# -- a request with everything ----------------------------------------------------------------------


def test_a_bid_says_all_that_the_contract_names(plain: Exchange) -> None:
    bid = plain.bid(request({**BOX, "exp": 20}))
    names = ("impid", "price", "mtype", "adomain", "cat", "language", "w", "h")
    assert {name: bid[name] for name in names} == {
        "impid": "1", "price": 2, "mtype": 1, "adomain": ["acme.example"], "cat": ["IAB20-3"],
        "language": "en", "w": 300, "h": 250,
    }  # fmt: skip
    assert (bid["crid"], bid["cid"], bid["exp"]) == ("acme/spring/box", "acme/spring", 20)


def test_ids_may_be_anything_printable_or_not(plain: Exchange) -> None:
    for ident in ("a/é\u2028😀", "x" * 5000, "\u0000", "0"):
        asking = request({**BOX, "id": ident}, id=ident)
        asking["id"] = ident
        assert plain.bid(asking)["impid"] == ident
    reply = plain.raw(_json({"id": 12, "imp": [{"id": 34, **BOX}]}))
    assert b'"id":"12"' in reply.body and b'"impid":"34"' in reply.body
