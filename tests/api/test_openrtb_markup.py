"""What a bid's ``adm`` holds: banners, native objects, VAST."""

import copy
import json
import re
from html import escape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrtb_checks import VAST, Exchange, Markup
from openrtb_world import (
    ASSETS,
    BOX,
    CARD,
    FILM,
    IMAGE,
    NATIVE,
    PLAYER,
    Object,
    acme,
    exchange,
    request,
    sold,
)

from adserver.api.openrtb_films import Film, vast
from adserver.api.openrtb_images import image
from adserver.domain.campaign import Creative, LineItem, Pricing
from adserver.domain.decision import Ad
from adserver.domain.targeting import Targeting
from adserver.services.render import Shown, Sold, Urls

TRACKER = "https://t.example/?a=1&b=2&e={event_id}"


def with_asset(creative: Object, **assets: Any) -> Object:
    return {**creative, "assets": {**creative["assets"], **assets}}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with exchange(tmp_path_factory.mktemp("plain")) as asked:
        yield asked


# -- banners -------------------------------------------------------------------------------------


def test_an_image_is_linked_and_counted(tmp_path: Path) -> None:
    tracked = {
        **IMAGE,
        "impression_trackers": [TRACKER],
        "viewable_trackers": ["https://v.example/</script>"],
    }
    tracked = with_asset(tracked, alt='<b>"R&D" </a>')
    with exchange(tmp_path, sold(acme(creatives=[tracked]))) as asked:
        bid = asked.bid(request())
        found = Markup(bid["adm"])
        picture = found.images[0]
        assert (picture["src"], picture["alt"]) == ("https://cdn.example/a.png", '<b>"R&D" </a>')
        assert (picture["width"], picture["height"]) == ("300", "250")
        assert found.pixels[1] == TRACKER.replace("{event_id}", bid["id"])
        watched = json.loads(found.script[found.script.rindex("[") : -1])
        assert watched[0].startswith("https://ads.example/v/")
        assert watched[1] in ("https://v.example/</script>", "https://v.example/%3C/script%3E")
        assert found.script.count("</script") == 0


def test_html_creatives_stand_as_they_are_and_are_counted(tmp_path: Path) -> None:
    markup = '<p onclick="go()">Tom &amp; Jo</p><a href="{click_url}">go</a><i>{event_id}</i>'
    html = {**IMAGE, "format": "html", "assets": {"html": markup}}
    with exchange(tmp_path, sold(acme(creatives=[html]))) as asked:
        bid = asked.bid(request())
        click = Markup(bid["adm"]).links[0]
        assert markup.replace("{click_url}", click).replace("{event_id}", bid["id"]) in bid["adm"]


def test_html_without_a_link_is_linked_as_a_whole(tmp_path: Path) -> None:
    html = {**IMAGE, "format": "html", "assets": {"html": "<b>Buy</b>"}}
    with exchange(tmp_path, sold(acme(creatives=[html]))) as asked:
        assert re.search(r'<a href="https://ads\.example/c/[^>]+><b>Buy</b></a>', asked.bid(request())["adm"])


def test_scripts_stay_out_where_they_are_not_wanted(tmp_path: Path) -> None:
    quiet = {"banner": {"w": 300, "h": 250, "btype": [3, "x"]}}
    html = {**IMAGE, "format": "html", "assets": {"html": '<a href="{click_url}">x</a><SCRIPT>1</SCRIPT>'}}
    with exchange(tmp_path / "image", sold(acme())) as asked:
        assert "<script" not in asked.bid(request(quiet))["adm"]
    with exchange(tmp_path / "html", sold(acme(creatives=[html]))) as asked:
        assert asked.bids(request(quiet)) == []


@pytest.mark.parametrize(
    ("mimes", "answered"),
    [
        (["image/png"], True),
        (["IMAGE/PNG", "x"], True),
        (["image/gif"], False),
        ([], True),
        ("image/png", True),
    ],
)
def test_pictures_are_of_a_type_asked_for(plain: Exchange, mimes: Any, answered: bool) -> None:
    assert len(plain.bids(request({"banner": {"w": 300, "h": 250, "mimes": mimes}}))) == int(answered)


def test_fluid_banners_take_the_first_size_that_both_have(tmp_path: Path) -> None:
    with exchange(tmp_path, sold(acme(creatives=[{**IMAGE, "size": "fluid"}]))) as asked:
        formats = [{"w": 5, "h": 5}, {"w": 728, "h": 90}, {"w": 300, "h": 250}]
        bid = asked.bid(request({"banner": {"format": formats}}))
        assert (bid["w"], bid["h"]) == (728, 90)


_TEXT = st.text(max_size=30)
_URL = st.from_regex(r"https://[a-z]{1,5}\.example/[!-~]{0,20}", fullmatch=True)


def _shown(assets: Object, trackers: list[str]) -> Shown:
    creative = Creative("c", 1, 1, "image", "300x250", "a.example", "https://a.example/", assets=assets)
    item = LineItem("i", "a/b/i", 1, "auction", Pricing("cpm", 1), (creative,), Targeting())
    urls = Urls(*(f"https://ads.example/{letter}/{'x' * 100}" for letter in "ivcrhp"))
    sold_as = Sold(creative, item, "a", "b", "UTC")
    ad = Ad(1, 1, 1, 1, 1, 1)
    return Shown(ad, bytes(16), sold_as, urls, trackers, trackers, assets, 0)


@given(_TEXT, _URL, st.lists(_URL, max_size=3))
def test_no_asset_breaks_out_of_the_markup(alt: str, url: str, trackers: list[str]) -> None:
    trackers = [*trackers, "https://t.example/</script>"]
    shown = _shown({"image_url": url, "alt": alt}, trackers)
    assert shown.urls is not None
    found = Markup(image(shown, shown.urls, 300, 250, True))
    assert found.images[0]["src"] == url and len(found.links) == 1
    assert found.pixels == [shown.urls.impression, *trackers]
    assert json.loads(found.script[found.script.rindex(',["') + 1 : -1]) == [shown.urls.viewable, *trackers]
    assert found.images[0]["alt"] == Markup(f'<img alt="{escape(alt)}">').images[0]["alt"]


@given(_TEXT, _URL, st.lists(_URL, max_size=3))
def test_no_asset_breaks_out_of_the_document(title: str, url: str, trackers: list[str]) -> None:
    film = {"url": url, "mime": 'video/"mp4', "duration_seconds": 3661, "width": 1, "height": 2}
    shown = _shown({"video": film}, [*trackers, "https://t.example/]]>"])
    assert shown.urls is not None
    document = vast(shown, shown.urls, title + "\x00\ufffe]]>", Film(), None)
    assert document is not None
    root = ElementTree.fromstring(document)
    assert root.findtext(f".//{VAST}MediaFile") == url
    assert root.findtext(f".//{VAST}Duration") == "01:01:01"
    seen = [impression.text for impression in root.iter(f"{VAST}Impression")]
    assert seen == [shown.urls.impression, *trackers, "https://t.example/]]>"]


# -- native --------------------------------------------------------------------------------------


def native_of(bid: Object) -> Object:
    return {asset["id"]: asset for asset in json.loads(bid["adm"])["assets"]}


def asking(*assets: Object, **fields: Any) -> Object:
    return request({"native": {"request": json.dumps({"ver": "1.2", "assets": list(assets), **fields})}})


def test_every_kind_of_asset_is_answered(plain: Exchange) -> None:
    kinds = {1: "Acme", 2: "The text of it", 3: "4.5", 6: "9.00", 11: "acme.example", 12: "Go"}
    wanted = [{"id": kind, "required": 1, "data": {"type": kind, "len": 50}} for kind in kinds]
    pictures = {1: "icon.jpg", 2: "icon.jpg", 3: "main.png"}
    wanted += [{"id": 100 + kind, "required": 1, "img": {"type": kind}} for kind in pictures]
    wanted += [{"id": 0, "required": 1, "title": {"len": 17}}, {"id": 104, "required": 1, "img": {}}]
    wanted += [{"id": 200, "data": {"type": 500}}, {"id": 201, "data": {"type": 4}}, {"id": 202, "video": {}}]
    given = native_of(plain.bid(asking(*wanted)))
    assert {kind: given[kind]["data"]["value"] for kind in kinds} == kinds
    for kind, name in pictures.items():
        assert given[100 + kind]["img"] == {"type": kind, "url": f"https://cdn.example/{name}"}
    assert given[0]["title"]["text"] == "A title of a card"
    assert given[104]["img"]["url"].endswith("main.png")
    assert not {200, 201, 202} & set(given)


@pytest.mark.parametrize(
    "asset",
    [
        {"title": {"len": 16}}, {"data": {"type": 500}}, {"data": {"type": 2, "len": 13}}, {"data": {}},
        {"img": {"type": 7}}, {"img": {"type": 3, "mimes": ["image/gif"]}},
        {"video": {"mimes": ["video/mp4"]}},
        {"unknown": {}}, {}, {"title": None}, {"title": {"len": 90}, "id": "x"},
    ],
)  # fmt: skip
def test_a_required_asset_that_cannot_be_given_is_no_bid(plain: Exchange, asset: Object) -> None:
    title = {"id": 9, "required": 0, "title": {"len": 90}}
    assert plain.bids(asking(title, {"id": 1, "required": 1, **asset})) == []
    assert plain.bid(asking(title, {"id": 1, "required": 0, **asset}))


@pytest.mark.parametrize(
    "wrapped",
    [
        {"ver": "1.2", "assets": ASSETS},
        {"native": {"ver": "1.0", "assets": ASSETS}},
        json.dumps({"ver": "1.1", "assets": ASSETS}),
        json.dumps({"native": {"ver": "1.1", "assets": ASSETS}}),
        json.dumps(json.dumps({"assets": ASSETS})),
    ],
)
def test_every_wrapping_is_understood(plain: Exchange, wrapped: Any) -> None:
    assert set(native_of(plain.bid(request({"native": {"request": wrapped}})))) == {1, 2, 3}


@pytest.mark.parametrize(
    "value",
    [None, "", "test", "{", "[]", "7", 7, [], {}, {"assets": []}, {"assets": {}}, {"assets": [7]},
     {"assets": [{"id": 1, "title": {}}] * 101}, '{"assets":' * 50],
)  # fmt: skip
def test_a_native_request_that_cannot_be_read_is_no_bid(plain: Exchange, value: Any) -> None:
    assert plain.bids(request({"native": {"request": value}})) == []


def test_native_trackers_are_those_the_page_can_call(tmp_path: Path) -> None:
    tracked = {**NATIVE, "impression_trackers": [TRACKER], "viewable_trackers": ["https://v.example/"]}
    with exchange(tmp_path, sold(acme(creatives=[tracked]))) as asked:
        old = json.loads(asked.bid(request(CARD))["adm"])
        assert len(old["imptrackers"]) == 2 and "eventtrackers" not in old
        both = [{"event": 1, "methods": [1, 2]}, {"event": 2, "methods": [1]}]
        new = json.loads(asked.bid(asking(*ASSETS, eventtrackers=both))["adm"])
        assert [event["event"] for event in new["eventtrackers"]] == [1, 1, 2, 2] and "imptrackers" not in new
        script = [{"event": 1, "methods": [2]}, {"event": 2}, 7, {"event": "x", "methods": 5}]
        reply = asked.raw(json.dumps(asking(*ASSETS, eventtrackers=script)).encode())
        odd = json.loads(json.loads(reply.body)["seatbid"][0]["bid"][0]["adm"])
        assert len(odd["imptrackers"]) == 2 and "eventtrackers" not in odd


def test_a_native_film_is_a_document_of_its_own(tmp_path: Path) -> None:
    film = with_asset(NATIVE, video=FILM["assets"]["video"])
    with exchange(tmp_path, sold(acme(creatives=[film]))) as asked:
        wanted = {
            "id": 5,
            "required": 1,
            "video": {"mimes": ["video/mp4"], "minduration": 5, "maxduration": 20},
        }
        assert "vasttag" in native_of(asked.bid(asking(wanted)))[5]["video"]
        wanted["video"] = {"mimes": ["video/mp4"], "minduration": 16, "maxduration": 20}
        assert asked.bids(asking(wanted)) == []


# -- video ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ({}, True), ({"mimes": ["video/webm", "VIDEO/MP4"]}, True), ({"mimes": ["video/webm"]}, False),
        ({"mimes": []}, True), ({"minduration": 15, "maxduration": 15}, True), ({"minduration": 16}, False),
        ({"maxduration": 14}, False), ({"maxduration": "14"}, False), ({"maxduration": 0}, True),
        ({"maxduration": "long"}, True), ({"rqddurs": [15, 30]}, True), ({"rqddurs": [30]}, False),
        ({"minbitrate": 1300}, False), ({"maxbitrate": 1100}, False), ({"maxbitrate": 1200}, True),
        ({"linearity": 1}, True), ({"linearity": 2}, False), ({"w": 640, "h": 360}, False),
        ({"w": 640.0, "h": "480"}, True), ({"w": -640, "h": -480}, True),
    ],
)  # fmt: skip
def test_a_film_is_what_the_player_takes(plain: Exchange, said: Object, answered: bool) -> None:
    imp = {"id": "1", "video": {**PLAYER["video"], "minduration": None, "maxduration": None, **said}}
    reply = plain.raw(json.dumps({"id": "r", "imp": [imp]}).encode())
    assert reply.status == (200 if answered else 204)


def test_a_film_without_a_length_is_not_bid(tmp_path: Path) -> None:
    nameless = with_asset(FILM, video="https://cdn.example/a.mp4")
    with exchange(tmp_path, sold(acme(creatives=[nameless]))) as asked:
        assert asked.bids(request(PLAYER)) == []


def test_streams_are_told_from_files(tmp_path: Path) -> None:
    film = copy.deepcopy(FILM)
    film["assets"]["video"] |= {"mime": "application/x-mpegURL", "url": "https://cdn.example/a.m3u8"}
    with exchange(tmp_path, sold(acme(creatives=[film]))) as asked:
        player = {"video": {"mimes": ["application/x-mpegURL"], "w": 640, "h": 480}}
        assert 'delivery="streaming" type="application/x-mpegURL"' in asked.bid(request(player))["adm"]


def test_kinds_do_not_mix(plain: Exchange) -> None:
    assert [bid["mtype"] for bid in plain.bids(request(BOX))] == [1]
    assert [bid["mtype"] for bid in plain.bids(request(PLAYER))] == [2]
    assert [bid["mtype"] for bid in plain.bids(request(CARD))] == [4]
