"""The assets of a creative: texts, pictures, films, markup, cards, and what each format cannot do without."""

from typing import Final

from adserver.catalog.documents import Number
from adserver.catalog.fields import Fields, as_text, check_text
from adserver.catalog.links import check_html, check_url
from adserver.domain import limits

_TEXTS: Final = ("title", "body", "cta", "sponsored_by", "price", "rating", "alt")
_LINKS: Final = ("image_url", "icon_url")
_MIMES: Final = ("video/mp4", "video/webm", "application/x-mpegURL", "application/dash+xml")
_CARDS: Final = 20
_SECONDS: Final = 3600
_PIXELS: Final = 16_384

_NEEDED: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "image": (("image_url",),),
    "native": (("title",),),
    "html": (("html",),),
    "video": (("video",),),
    "carousel": (("cards",),),
    "canvas": (("cards", "images", "image_url", "video"),),
    "story": (("image_url", "video"),),
    "message": (("title", "body"),),
    "text": (("title", "body"),),
}
"""Per format: of each group at least one must be there."""


def read_assets(fields: Fields, form: str) -> dict[str, object]:
    """The field ``assets``: plain values, URLs in normal form. ``form`` is the creative's format."""
    inner = fields.mapping("assets", required="a creative shows something")
    if inner is None:
        return {}
    assets = _texts(inner) | _links(inner)
    if inner.present("html"):
        assets["html"] = inner.convert("html", "", check_html)
    if inner.present("images"):
        assets["images"] = list(inner.values("images", check_url, most=_CARDS, least=1))
    if inner.present("video"):
        assets["video"] = _video(inner)
    if inner.present("cards"):
        assets["cards"] = [_card(card) for card in inner.mappings("cards", most=_CARDS, least=1)]
    inner.done()
    for group in _NEEDED.get(form, ()):
        if not any(inner.present(name) for name in group):
            inner.add(group[0], f"is missing; a creative of format {form} needs {' or '.join(group)}")
    return assets


def _texts(inner: Fields) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in _TEXTS:
        value = inner.take(name)
        if value is None:
            continue
        try:
            numeric = name == "rating" and isinstance(value, Number | int) and not isinstance(value, bool)
            found[name] = check_text(str(value) if numeric else as_text(value))
        except ValueError as error:
            inner.add(name, str(error))
    return found


def _links(inner: Fields) -> dict[str, object]:
    return {name: inner.convert(name, "", check_url) for name in _LINKS if inner.present(name)}


def _card(card: Fields) -> dict[str, object]:
    found = _texts(card) | _links(card)
    if card.present("landing_url"):
        found["landing_url"] = card.convert("landing_url", "", check_url)
    card.done()
    if not found:
        card.add("", "is empty; a card has a title, an image_url or both")
    return found


def _video(inner: Fields) -> dict[str, object]:
    """A film: its URL alone, or a mapping with ``url``, ``mime``, ``duration_seconds`` and more."""
    if isinstance(inner.take("video"), str):
        return {"url": inner.convert("video", "", check_url), "mime": _MIMES[0]}
    film = inner.mapping("video")
    if film is None:
        return {}
    found: dict[str, object] = {
        "url": film.convert("url", "", check_url, required="a film has a URL"),
        "mime": film.choice("mime", _MIMES, _MIMES[0]),
    }
    if film.present("poster_url"):
        found["poster_url"] = film.convert("poster_url", "", check_url)
    for name, most in _FILM_NUMBERS:
        if film.present(name):
            found[name] = film.integer(name, 1, 1, most)
    film.done()
    return found


_FILM_NUMBERS: Final = (
    ("duration_seconds", _SECONDS),
    ("width", _PIXELS),
    ("height", _PIXELS),
    ("bitrate_kbps", 1_000_000),
)


def read_trackers(fields: Fields, name: str) -> tuple[str, ...]:
    """URLs called beside our own; each in normal form."""
    return fields.values(name, check_url, most=limits.TRACKERS_PER_CREATIVE)
