"""Films: what an imp or a native asset wants of one, whether a creative's is such, and its VAST 4.2 document.

Elements stand in the order of the IAB's schema (``vast_4.2.xsd``), which is made of sequences.
"""

import re
from collections.abc import Iterable
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from msgspec import Struct

from adserver.api.openrtb_reading import mapping, mimes, whole, wholes
from adserver.domain import ids
from adserver.services.render import Shown, Urls

_STREAMED: Final = ("application/x-mpegurl", "application/dash+xml")
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Film(Struct, frozen=True):
    """What is wanted. Seconds and kbit/s; None: not limited. ``mimes`` and ``seconds`` (the only lengths
    allowed) empty: any."""

    mimes: frozenset[str] = frozenset()
    seconds_min: int | None = None
    seconds_max: int | None = None
    seconds: frozenset[int] = frozenset()
    kbps_min: int | None = None
    kbps_max: int | None = None

    def takes(self, mime: str, seconds: int, kbps: int | None) -> bool:
        if self.mimes and mime not in self.mimes:
            return False
        if self.seconds and seconds not in self.seconds:
            return False
        if not _within(seconds, self.seconds_min, self.seconds_max):
            return False
        return kbps is None or _within(kbps, self.kbps_min, self.kbps_max)


def _within(value: int, least: int | None, most: int | None) -> bool:
    return (least is None or value >= least) and (most is None or most <= 0 or value <= most)


def read_film(value: dict[str, Any]) -> Film:
    """From a ``video`` object, of an imp or of a native asset."""
    return Film(
        mimes(value.get("mimes")),
        whole(value.get("minduration")),
        whole(value.get("maxduration")),
        wholes(value.get("rqddurs")),
        whole(value.get("minbitrate")),
        whole(value.get("maxbitrate")),
    )


def vast(shown: Shown, urls: Urls, title: str, wanted: Film, size: tuple[int, int] | None) -> str | None:
    """An inline document; None if the creative has no film, or none like that. ``size``: where the
    creative does not say its own. VAST cannot do without a duration and a size."""
    film = mapping(shown.assets.get("video"))
    url, seconds, kbps = film.get("url"), whole(film.get("duration_seconds")), whole(film.get("bitrate_kbps"))
    mime = str(film.get("mime", "video/mp4"))
    width, height = whole(film.get("width")), whole(film.get("height"))
    if not (width and height):
        width, height = size or (None, None)
    if not (isinstance(url, str) and seconds and width and height):
        return None
    if not wanted.takes(mime.lower(), seconds, kbps):
        return None
    bitrate = f' bitrate="{kbps}"' if kbps else ""
    delivery = "streaming" if mime.lower() in _STREAMED else "progressive"
    media = (
        f'<MediaFile delivery="{delivery}" type={quoteattr(mime)} width="{width}" height="{height}"{bitrate}>'
        f"{_cdata(url)}</MediaFile>"
    )
    return _document(shown, urls, title, seconds, media)


def _document(shown: Shown, urls: Urls, title: str, seconds: int, media: str) -> str:
    ident, sold = ids.encode(shown.event_id), shown.sold
    name = f"{sold.advertiser}/{sold.campaign}/{sold.creative.id}"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<VAST version="4.2" xmlns="http://www.iab.com/VAST">'
        f'<Ad id="{ident}" adType="video"><InLine><AdSystem>adserver</AdSystem>'
        f"{_all('Impression', (urls.impression, *shown.impression_trackers))}"
        f"<ViewableImpression>{_all('Viewable', (urls.viewable, *shown.viewable_trackers))}"
        "</ViewableImpression>"
        f"<AdServingId>{ident}</AdServingId><AdTitle>{_text(title)}</AdTitle>"
        f"<Advertiser>{_text(sold.advertiser)}</Advertiser>"
        f"<Creatives><Creative id={quoteattr(name)}>"
        f"<Linear><Duration>{_clock(seconds)}</Duration><MediaFiles>{media}</MediaFiles>"
        f"<VideoClicks><ClickThrough>{_cdata(urls.click)}</ClickThrough></VideoClicks></Linear>"
        f'<UniversalAdId idRegistry="unknown">{_text(name)}</UniversalAdId>'
        "</Creative></Creatives></InLine></Ad></VAST>"
    )


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _all(element: str, urls: Iterable[str]) -> str:
    return "".join(f"<{element}>{_cdata(url)}</{element}>" for url in urls)


def _cdata(text: str) -> str:
    return f"<![CDATA[{_NOT_XML.sub('', text).replace(']]>', ']]]]><![CDATA[>')}]]>"


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("", text))
