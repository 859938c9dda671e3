"""Bids: a decided ad in the words of OpenRTB 2.6, or None where it is not what the imp can take."""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from adserver.api import openrtb_images
from adserver.api.openrtb_ask import render_ms
from adserver.api.openrtb_films import vast
from adserver.api.openrtb_imps import Banner, Size, Video
from adserver.api.openrtb_mapping import Place
from adserver.api.openrtb_native import NativeAsk, native
from adserver.domain import deals, ids, money
from adserver.domain.campaign import PER_EVENT, Creative, LineItem, Pricing
from adserver.domain.deals import Deal
from adserver.domain.decision import Ad
from adserver.domain.request import Accepts
from adserver.engine import ranking
from adserver.engine.snapshot import parent_domains
from adserver.services.render import Shown, Sold, Urls

BANNER: Final = 1
VIDEO: Final = 2
NATIVE: Final = 4
_VIEWABLE: Final = "vcpm"
_NOWHERE: Final = Urls(*("https://nowhere.example/",) * 6)


class Bid(Struct, frozen=True, omit_defaults=True):
    """``price``: a decimal made of integers. ``mtype``: 1 banner, 2 video, 4 native; ``exp`` in seconds."""

    id: str
    impid: str
    price: msgspec.Raw
    adm: str
    mtype: int
    adomain: list[str]
    crid: str
    cid: str
    exp: int
    nurl: str
    lurl: str
    cat: tuple[str, ...] = ()
    language: str = ""
    dealid: str = ""
    w: int | None = None
    h: int | None = None


Worth = Callable[[Ad, int], int]
"""An ad and its prior score -> the score it was decided at, of its placement: micros per thousand."""


class Markup(Struct, frozen=True):
    """``viewable``: whether it tells that the ad was in view."""

    adm: str
    mtype: int
    size: Size | None
    viewable: bool = True


def acceptance(place: Place) -> Accepts:
    """Whether a creative can be a bid there at all: asked of candidates, so that one the imp cannot take
    leaves its place to the next. Told by the very code that writes bids, once per creative."""
    known: dict[int, Markup | None] = {}

    def accepts(line_item: LineItem, creative: Creative) -> bool:
        if not _admitted(place, deals.taken(line_item.targeting, place.market), creative):
            return False
        if creative.serial not in known:
            shown = _imagined(line_item, creative)
            known[creative.serial] = _markup(place, shown, _NOWHERE)
        markup = known[creative.serial]
        return markup is not None and (markup.viewable or line_item.pricing.model != _VIEWABLE)

    return accepts


def _admitted(place: Place, deal: Deal | None, creative: Creative) -> bool:
    """Whether the deal is for this advertiser too."""
    allowed = next((offer.advertisers for offer in place.imp.offers if offer.deal == deal), frozenset[str]())
    return not allowed or not allowed.isdisjoint(parent_domains(creative.advertiser_domain))


def _imagined(line_item: LineItem, creative: Creative) -> Shown:
    """An ad that nobody decided."""
    sold = Sold(creative, line_item, "", "", "UTC")
    return Shown(Ad(0, 0, 0, 0, 0, 0), bytes(16), sold, _NOWHERE, [], [], creative.assets, 0)


def bid_of(place: Place, shown: Shown, worth: Worth, won_url: str) -> Bid | None:
    """``won_url``: what the exchange calls when it takes the bid; the bid's id is put behind it."""
    urls, sold = shown.urls, shown.sold
    price_micros, deal = _price_micros(shown, worth), deals.taken(sold.line_item.targeting, place.market)
    floor_micros = place.imp.floor_micros if deal is None else deal.floor_micros
    if urls is None or price_micros < floor_micros:
        return None
    markup = _markup(place, shown, urls)
    if markup is None or (sold.line_item.pricing.model == _VIEWABLE and not markup.viewable):
        return None
    ident, creative = ids.encode(shown.event_id), sold.creative
    campaign = f"{sold.advertiser}/{sold.campaign}"
    return Bid(
        id=ident,
        impid=place.imp.id,
        price=msgspec.Raw(money.format_micros(price_micros).encode()),
        adm=markup.adm,
        mtype=markup.mtype,
        adomain=[creative.advertiser_domain],
        crid=f"{campaign}/{creative.id}",
        cid=campaign,
        exp=render_ms(place) // 1000,
        nurl=f"{won_url}{ident}",
        lurl=urls.release,
        cat=creative.categories,
        language=creative.language.partition("-")[0],
        dealid=deal.id if deal is not None else "",
        w=markup.size[0] if markup.size is not None else None,
        h=markup.size[1] if markup.size is not None else None,
    )


def _price_micros(shown: Shown, worth: Worth) -> int:
    """Per thousand impressions: what they are expected to earn at the price the ad was decided at."""
    model, nanos = shown.sold.line_item.pricing.model, shown.ad.price_nanos
    return worth(
        shown.ad, ranking.ecpm_micros(Pricing(model, nanos // 1000 if model in PER_EVENT else nanos))
    )


def _markup(place: Place, shown: Shown, urls: Urls) -> Markup | None:
    form, imp = shown.sold.creative.format, place.imp
    if form in ("image", "html") and imp.banner is not None:
        return _banner(imp.banner, place, shown, urls)
    if form == "video" and imp.video is not None:
        return _video(imp.video, place, shown, urls)
    if form == "native" and imp.native is not None:
        return _native(imp.native, shown, urls)
    return None


def _banner(banner: Banner, place: Place, shown: Shown, urls: Urls) -> Markup | None:
    size = _size(place, shown, banner.sizes)
    if size is None:
        return None
    markup, source = shown.assets.get("html"), shown.assets.get("image_url")
    if shown.sold.creative.format == "html":
        if not isinstance(markup, str) or (not banner.scripts and "<script" in markup.lower()):
            return None
        adm = openrtb_images.html(shown, urls, *size, banner.scripts)
    elif isinstance(source, str) and openrtb_images.takes(banner.mimes, source):
        adm = openrtb_images.image(shown, urls, *size, banner.scripts)
    else:
        return None
    return Markup(adm, BANNER, size, banner.scripts)


def _video(video: Video, place: Place, shown: Shown, urls: Urls) -> Markup | None:
    size = _size(place, shown, video.sizes)
    document = vast(shown, urls, _title(shown), video.film, size)
    return Markup(document, VIDEO, size) if document is not None else None


def _native(ask: NativeAsk, shown: Shown, urls: Urls) -> Markup | None:
    adm = native(ask, shown, urls, _title(shown))
    return Markup(adm, NATIVE, size_of(shown.sold.creative.size), ask.viewable) if adm is not None else None


def _size(place: Place, shown: Shown, asked: tuple[Size, ...]) -> Size | None:
    """The creative's, if it is asked for; a fluid one takes the first that the placement has too."""
    own = size_of(shown.sold.creative.size)
    if own is not None:
        return own if not asked or own in asked else None
    sizes = place.placement.sizes
    return next((size for size in asked if not sizes or f"{size[0]}x{size[1]}" in sizes), None)


def size_of(text: str) -> Size | None:
    """``300x250`` -> (300, 250); None for ``fluid``."""
    width, _, height = text.partition("x")
    return (int(width), int(height)) if width.isdigit() and height.isdigit() else None


def _title(shown: Shown) -> str:
    title = shown.assets.get("title")
    return title if isinstance(title, str) and title else shown.sold.creative.id
