"""Banners: the markup of images and of html creatives, with what counts them."""

from html import escape
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from adserver.services.render import Shown, Urls

_TYPES: Final = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "svg": "image/svg+xml",
}
HTML: Final = "text/html"
_SAME: Final = {"image/jpeg": ("image/jpeg", "image/jpg"), "image/svg+xml": ("image/svg+xml", "image/svg")}

_WATCH: Final = (
    "<script>(function(e,u){if(!e||!window.IntersectionObserver)return;var t,"
    "o=new IntersectionObserver(function(s){clearTimeout(t);"
    "if(s[s.length-1].intersectionRatio>=.5)t=setTimeout(function(){o.disconnect();"
    "u.forEach(function(a){new Image().src=a})},1000)},{threshold:.5});o.observe(e)})"
    "(document.currentScript.previousElementSibling,%s)</script>"
)
"""Tells when half of the element before it was in view for a second (MRC's viewable impression)."""


def mime_of(url: str) -> str | None:
    """By the ending of its path; None where that tells nothing."""
    return _TYPES.get(urlsplit(url).path.rpartition(".")[2].lower())


def takes(mimes: frozenset[str], url: str) -> bool:
    """Whether an image is of one of these types (none: any), as far as its name tells."""
    mime = mime_of(url)
    return not mimes or mime is None or any(name in mimes for name in _SAME.get(mime, (mime,)))


def image(shown: Shown, urls: Urls, width: int, height: int, scripts: bool) -> str:
    """A linked picture, the pixels, and the watch for what is in view."""
    source, alt = str(shown.assets.get("image_url", "")), str(shown.assets.get("alt", ""))
    picture = (
        f'<img src="{escape(source)}" width="{width}" height="{height}" alt="{escape(alt)}"'
        ' style="display:block;border:0">'
    )
    return _framed(_linked(picture, urls.click), shown, urls, width, height, scripts)


def html(shown: Shown, urls: Urls, width: int, height: int, scripts: bool) -> str:
    """The advertiser's markup as it is; linked as a whole where it holds no link to us itself."""
    markup = str(shown.assets.get("html", ""))
    if urls.click not in markup and quote(urls.click, safe="") not in markup and "<a" not in markup.lower():
        markup = _linked(markup, urls.click)
    return _framed(markup, shown, urls, width, height, scripts)


def _linked(content: str, click: str) -> str:
    return f'<a href="{escape(click)}" target="_blank" rel="noopener sponsored">{content}</a>'


def _framed(content: str, shown: Shown, urls: Urls, width: int, height: int, scripts: bool) -> str:
    box = f'<div style="width:{width}px;height:{height}px;overflow:hidden">{content}</div>'
    watch = _WATCH % _literal([urls.viewable, *shown.viewable_trackers]) if scripts else ""
    pixels = "".join(
        f'<img src="{escape(url)}" width="1" height="1" alt="" style="position:absolute;visibility:hidden">'
        for url in (urls.impression, *shown.impression_trackers)
    )
    return box + watch + pixels


def _literal(urls: list[str]) -> str:
    """As a script may hold it within markup."""
    return msgspec.json.encode(urls).decode().replace("<", "\\u003c")
