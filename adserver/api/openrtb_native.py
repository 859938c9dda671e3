"""Native ads: the request's assets, and the answer to them (OpenRTB Native 1.2).

Requests of versions 1.0 and 1.1 stand under ``native``, those of 1.2 do not; both occur as a text in a text
and as a plain object. The answer is 1.2's: the native object itself.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from adserver.api.openrtb_films import Film, read_film, vast
from adserver.api.openrtb_images import takes
from adserver.api.openrtb_reading import decode, flag, listing, mapping, mimes, whole, wholes
from adserver.domain import limits
from adserver.services.render import Shown, Urls

_ENCODER: Final = msgspec.json.Encoder()
_IMPRESSION: Final = 1
_VIEWABLE: Final = 2
_PIXEL: Final = 1
_MAIN: Final = 3
_IMAGES: Final = {1: "icon_url", 2: "icon_url", _MAIN: "image_url"}
_TEXTS: Final = {1: "sponsored_by", 2: "body", 3: "rating", 6: "price", 12: "cta"}
_DISPLAY_URL: Final = 11


class Asset(Struct, frozen=True):
    """``kind``: title, img, data, video, or "" for what nobody here can answer to. ``type``: OpenRTB's, of
    an image or text; ``length``: the most characters of a text, None: any."""

    id: int
    required: bool
    kind: str
    type: int = 0
    length: int | None = None
    mimes: frozenset[str] = frozenset()
    film: Film = Film()

    @property
    def answerable(self) -> bool:
        """Whether there are creatives that could give it."""
        if self.kind == "img":
            return (self.type or _MAIN) in _IMAGES
        if self.kind == "data":
            return self.type in _TEXTS or self.type == _DISPLAY_URL
        return self.kind in ("title", "video")


class NativeAsk(Struct, frozen=True):
    """``trackers``: the (event, method) pairs the page can call; None where it does not say."""

    assets: tuple[Asset, ...]
    trackers: frozenset[tuple[int, int]] | None = None

    @property
    def viewable(self) -> bool:
        """Whether the page tells that an ad was in view."""
        return self.trackers is not None and (_VIEWABLE, _PIXEL) in self.trackers


def read_native(value: object) -> NativeAsk | None:
    """The ``native`` object of an imp; None if it cannot be answered."""
    request = _unwrapped(mapping(value).get("request"))
    items = listing(request.get("assets"))
    assets = [_asset(item) for item in items if isinstance(item, dict)]
    known = tuple(asset for asset in assets if asset is not None)
    if not known or len(known) != len(items) or len(items) > limits.ASSETS_PER_NATIVE:
        return None
    trackers = request.get("eventtrackers")
    return NativeAsk(known, _trackers(trackers) if isinstance(trackers, list) else None)


def _unwrapped(value: object) -> dict[str, Any]:
    """The request itself. Two layers of text were seen."""
    for _ in range(2):
        if isinstance(value, str):
            try:
                value = decode(value.encode("utf-8", "replace"))
            except ValueError:
                return {}
    found = mapping(value)
    return mapping(found.get("native")) or found


def _asset(item: dict[str, Any]) -> Asset | None:
    """None for one that is required and that nobody could give: an imp with it is not worth deciding."""
    ident, required = whole(item.get("id")), bool(flag(item.get("required")))
    asset = Asset(-1, required, "") if ident is None else _known(item, ident, required)
    return None if required and not asset.answerable else asset


def _known(item: dict[str, Any], ident: int, required: bool) -> Asset:
    for kind in ("title", "img", "data", "video"):
        inner = item.get(kind)
        if isinstance(inner, dict):
            return Asset(
                ident, required, kind, whole(inner.get("type")) or 0, whole(inner.get("len")),
                mimes(inner.get("mimes")), read_film(inner) if kind == "video" else Film(),
            )  # fmt: skip
    return Asset(ident, required, "")


def _trackers(items: list[Any]) -> frozenset[tuple[int, int]]:
    return frozenset(
        (event, method)
        for item in map(mapping, items)
        if (event := whole(item.get("event"))) is not None
        for method in wholes(item.get("methods"))
    )


# -- the answer ----------------------------------------------------------------------------------


def native(ask: NativeAsk, shown: Shown, urls: Urls, title: str) -> str | None:
    """The ``adm``: a native object of version 1.2. None where a required asset cannot be given."""
    assets = []
    for asset in ask.assets:
        content = _content(asset, shown, urls, title)
        if content is not None:
            assets.append({"id": asset.id, "required": int(asset.required), **content})
        elif asset.required:
            return None
    if not assets:
        return None
    answer: dict[str, Any] = {"ver": "1.2", "assets": assets, "link": {"url": urls.click}}
    answer.update(_told(ask, shown, urls))
    return _ENCODER.encode(answer).decode()


def _content(asset: Asset, shown: Shown, urls: Urls, title: str) -> dict[str, Any] | None:
    if asset.kind == "title":
        found = _fitting(shown.assets.get("title"), asset.length)
        return {"title": {"text": found, "len": len(found)}} if found else None
    if asset.kind == "data":
        name = _TEXTS.get(asset.type)
        given = shown.sold.creative.advertiser_domain if asset.type == _DISPLAY_URL else None
        found = _fitting(shown.assets.get(name) if name else given, asset.length)
        return {"data": {"type": asset.type, "len": len(found), "value": found}} if found else None
    if asset.kind == "img":
        return _image(asset, shown)
    if asset.kind == "video":
        document = vast(shown, urls, title, asset.film, None)
        return {"video": {"vasttag": document}} if document else None
    return None


def _fitting(value: object, length: int | None) -> str:
    """An advertiser's words are given whole or not at all."""
    if not isinstance(value, str) or (length is not None and 0 < length < len(value)):
        return ""
    return value


def _image(asset: Asset, shown: Shown) -> dict[str, Any] | None:
    kind = asset.type or _MAIN
    url = shown.assets.get(_IMAGES.get(kind, ""))
    if not isinstance(url, str) or not takes(asset.mimes, url):
        return None
    return {"img": {"type": kind, "url": url}}


def _told(ask: NativeAsk, shown: Shown, urls: Urls) -> dict[str, Any]:
    """What the page calls, in the words it knows: event trackers of 1.2, or the older list of images."""
    seen = (urls.impression, *shown.impression_trackers)
    trackers = ask.trackers or frozenset()
    events: list[dict[str, Any]] = []
    told: dict[str, Any] = {}
    if (_IMPRESSION, _PIXEL) in trackers:
        events += ({"event": _IMPRESSION, "method": _PIXEL, "url": url} for url in seen)
    else:
        told["imptrackers"] = seen
    if ask.viewable:
        viewable = (urls.viewable, *shown.viewable_trackers)
        events += ({"event": _VIEWABLE, "method": _PIXEL, "url": url} for url in viewable)
    if events:
        told["eventtrackers"] = events
    return told
