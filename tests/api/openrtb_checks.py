"""An exchange for tests: it asks an in-process server, and reads bids as strictly as a paying one would."""

import json
import re
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from world import World

from adserver.api.messages import Head, Reply
from adserver.tokens import CHARS

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "openrtb_requests.jsonl"
VAST = "{http://www.iab.com/VAST}"
_IN_LINE = [
    "AdSystem", "Impression", "ViewableImpression", "AdServingId", "AdTitle", "Advertiser", "Creatives",
]  # fmt: skip
_TYPES: dict[str, Any] = {
    "id": str, "impid": str, "price": Decimal, "adm": str, "mtype": int, "adomain": list, "crid": str,
    "cid": str, "exp": int, "nurl": str, "lurl": str, "cat": list, "language": str, "dealid": str, "w": int,
    "h": int,
}  # fmt: skip
_NEEDED = ("id", "impid", "price", "adm", "mtype", "adomain", "crid", "cid", "exp", "nurl", "lurl")

Object = dict[str, Any]


class Exchange:
    """Asks ``POST /openrtb2/auction`` of a ``World`` without a socket."""

    def __init__(self, world: World) -> None:
        self.world = world

    def raw(self, body: bytes, **headers: str) -> Reply:
        route = self.world.app.asgi.hot.find("/openrtb2/auction")
        assert route is not None and route.now is not None
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return route.now(Head("POST", "/openrtb2/auction", b"", named, "127.0.0.1"), body)

    def answer(self, request: Object, **headers: str) -> Object | None:
        """The bid response, checked; None for no bid."""
        reply = self.raw(json.dumps(request).encode(), **headers)
        return read_reply(request, reply.status, reply.body)

    def bids(self, request: Object, **headers: str) -> list[Object]:
        found = self.answer(request, **headers)
        return found["seatbid"][0]["bid"] if found is not None else []

    def bid(self, request: Object, **headers: str) -> Object:
        """The only bid."""
        [found] = self.bids(request, **headers)
        return found


def read_reply(request: Object, status: int, body: bytes) -> Object | None:
    """Everything that must hold of an answer to a well-formed request."""
    if status == 204:
        assert body == b""
        return None
    assert status == 200, (status, body)
    answer: Object = json.loads(body, parse_float=Decimal, parse_int=_integer)
    assert set(answer) == {"id", "seatbid", "bidid", "cur"}
    assert answer["id"] == request["id"]
    assert answer["bidid"] and re.fullmatch("[A-Z]{3}", answer["cur"])
    if request.get("cur"):
        assert answer["cur"] in request["cur"]
    [seat] = answer["seatbid"]
    assert seat["bid"]
    imps = {imp["id"]: imp for imp in request["imp"]}
    for bid in seat["bid"]:
        check_bid(bid, imps[bid["impid"]], answer["cur"])
    assert len({bid["id"] for bid in seat["bid"]}) == len(seat["bid"])
    return answer


def _integer(text: str) -> int | Decimal:
    return int(text)


def check_bid(bid: Object, imp: Object, currency: str) -> None:
    assert set(_NEEDED) <= set(bid) <= set(_TYPES)
    for name, value in bid.items():
        if name != "price":
            assert isinstance(value, _TYPES[name]), name
    price, terms = Decimal(bid["price"]), terms_of(bid, imp)
    floor = Decimal(str(terms.get("bidfloor") or 0))
    assert price > 0 and price >= floor
    assert -price.as_tuple().exponent <= 6, "more places than there are micros"
    if floor > 0:
        assert terms.get("bidfloorcur", "USD") == currency
    assert all(re.fullmatch(r"[a-z0-9.-]+\.[a-z]+", domain) for domain in bid["adomain"]) and bid["adomain"]
    assert all(re.fullmatch(r"IAB\d+(-\d+)?", category) for category in bid.get("cat", ()))
    assert 0 < bid["exp"] <= 60
    assert urlsplit(bid["lurl"]).path.startswith("/r/")
    assert urlsplit(bid["nurl"]).path == f"/openrtb2/won/{bid['id']}"
    {1: check_banner, 2: check_video, 4: check_native}[bid["mtype"]](bid, imp)


def terms_of(bid: Object, imp: Object) -> Object:
    """What the bid was made under: a deal of the imp, or, unless that is private, the imp itself."""
    pmp = imp["pmp"] if isinstance(imp.get("pmp"), dict) else {}
    if "dealid" not in bid:
        assert not pmp.get("private_auction")
        return imp
    deals = [deal for deal in pmp["deals"] if isinstance(deal, dict)]
    [deal] = [deal for deal in deals if deal.get("id") == bid["dealid"]]
    assert not deal.get("wseat"), "a deal for seats, and the bid names none"
    assert not deal.get("wadomain") or set(bid["adomain"]) & set(deal["wadomain"])
    return deal


# -- banner --------------------------------------------------------------------------------------


class Markup(HTMLParser):
    """Links, images and scripts of a piece of HTML; every element that was opened must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.images: list[dict[str, str]] = []
        self.script = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "img":
            self.images.append(named)
            return
        if tag == "a":
            self.links.append(named["href"])
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.script += data

    @property
    def pixels(self) -> list[str]:
        return [image["src"] for image in self.images if image.get("width") == image.get("height") == "1"]


def check_banner(bid: Object, imp: Object) -> None:
    banner = imp["banner"]
    asked = {(size.get("w"), size.get("h")) for size in (*banner.get("format", ()), banner)}
    assert (bid["w"], bid["h"]) in asked
    found = Markup(bid["adm"])
    [click] = [link for link in found.links if _kind(link) == "c"]
    assert click
    assert [_kind(pixel) for pixel in found.pixels].count("i") == 1


# -- native --------------------------------------------------------------------------------------


def check_native(bid: Object, imp: Object) -> None:
    answer = json.loads(bid["adm"])
    assert answer["ver"] == "1.2" and set(answer) <= {"ver", "assets", "link", "imptrackers", "eventtrackers"}
    assert _kind(answer["link"]["url"]) == "c"
    asked = native_request(imp)
    wanted = {asset["id"]: asset for asset in asked["assets"] if "id" in asset}
    given = {asset["id"]: asset for asset in answer["assets"]}
    assert len(given) == len(answer["assets"]) > 0
    assert {ident for ident, asset in wanted.items() if asset.get("required")} <= set(given) <= set(wanted)
    for ident, asset in given.items():
        check_asset(asset, wanted[ident])
    events = [event["url"] for event in answer.get("eventtrackers", ()) if event["event"] == 1]
    assert [_kind(url) for url in (*events, *answer.get("imptrackers", ()))].count("i") == 1
    told = {(ask["event"], method) for ask in asked.get("eventtrackers", ()) for method in ask["methods"]}
    assert {(event["event"], event["method"]) for event in answer.get("eventtrackers", ())} <= told


def native_request(imp: Object) -> Object:
    asked = imp["native"]["request"]
    while isinstance(asked, str):
        asked = json.loads(asked)
    found: Object = asked.get("native", asked)
    return found


def check_asset(asset: Object, wanted: Object) -> None:
    [kind] = set(asset) - {"id", "required"}
    content, ask = asset[kind], wanted[kind]
    if kind == "title":
        assert 0 < len(content["text"]) <= ask.get("len", 10**6)
    elif kind == "data":
        assert content["type"] == ask["type"] and 0 < len(content["value"]) <= ask.get("len", 10**6)
    elif kind == "img":
        assert content["type"] == ask.get("type", 3) and urlsplit(content["url"]).scheme in ("http", "https")
    else:
        check_vast(content["vasttag"], ask)


# -- video ---------------------------------------------------------------------------------------


def check_video(bid: Object, imp: Object) -> None:
    video = imp["video"]
    if video.get("w") and video.get("h"):
        assert (bid["w"], bid["h"]) == (video["w"], video["h"])
    check_vast(bid["adm"], video)


def check_vast(document: str, video: Object) -> None:
    """In the order of the IAB's schema, with all it requires."""
    root = ElementTree.fromstring(document)
    assert root.tag == f"{VAST}VAST" and root.get("version") == "4.2"
    [ad] = root
    [line] = ad
    assert line.tag == f"{VAST}InLine"
    names = [child.tag.removeprefix(VAST) for child in line]
    assert list(dict.fromkeys(names)) == _IN_LINE
    assert [_kind(url.text or "") for url in line.findall(f"{VAST}Impression")].count("i") == 1
    [creative] = line.findall(f"{VAST}Creatives/{VAST}Creative")
    [linear] = creative.findall(f"{VAST}Linear")
    assert [child.tag.removeprefix(VAST) for child in linear] == ["Duration", "MediaFiles", "VideoClicks"]
    assert [_kind(url.text or "") for url in linear.iter(f"{VAST}ClickThrough")] == ["c"]
    hours, minutes, seconds = map(int, (linear.findtext(f"{VAST}Duration") or "").split(":"))
    length = hours * 3600 + minutes * 60 + seconds
    assert video.get("minduration", 0) <= length <= (video.get("maxduration") or 10**6)
    files = list(linear.iter(f"{VAST}MediaFile"))
    assert files
    for media in files:
        assert {"delivery", "type", "width", "height"} <= set(media.keys())
        assert not video.get("mimes") or media.get("type") in video["mimes"]
        assert urlsplit(media.text or "").scheme in ("http", "https")
    [universal] = creative.findall(f"{VAST}UniversalAdId")
    assert universal.get("idRegistry") and universal.text


def _kind(url: str) -> str:
    """The letter of a tracking URL of ours, "" for anybody else's."""
    match = re.fullmatch(rf"https?://[^/]+/([a-z])/[\w-]{{{CHARS}}}", url)
    return match[1] if match else ""
