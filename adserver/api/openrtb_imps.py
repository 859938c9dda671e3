"""Imps: what an exchange offers, and which of it we can read (OpenRTB 2.6, 3.2.4 to 3.2.10).

An imp has up to four media; audio is not sold here. A medium that cannot be understood is left out, and an
imp without any is not bid on.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from adserver.api.openrtb_films import Film, read_film
from adserver.api.openrtb_native import NativeAsk, read_native
from adserver.api.openrtb_reading import (
    flag,
    listing,
    mapping,
    mimes,
    number,
    present,
    text,
    texts,
    whole,
    wholes,
)
from adserver.domain import limits, money
from adserver.domain.deals import Deal, Market

_ID_CHARS: Final = limits.URL_CHARS
_LINEAR: Final = 1
_SCRIPT: Final = 3
_MICRO: Final = Decimal("0.000001")
_DEFAULT_CURRENCY: Final = "USD"
"""OpenRTB's, where a floor names none."""

Size = tuple[int, int]


class Banner(Struct, frozen=True):
    """``mimes`` empty: any. ``scripts``: whether markup may hold scripts."""

    sizes: tuple[Size, ...]
    mimes: frozenset[str] = frozenset()
    scripts: bool = True


class Video(Struct, frozen=True):
    """Without sizes: of any."""

    film: Film
    sizes: tuple[Size, ...] = ()


class Offer(Struct, frozen=True):
    """A deal as it is offered. ``currency``: its floor's, "" where any will do; ``advertisers``: the domains
    that may buy under it, empty: any."""

    deal: Deal
    currency: str
    advertisers: frozenset[str] = frozenset()


class Imp(Struct, frozen=True):
    """``floor_micros``: of a thousand impressions, at least 1, for nothing is given away here;
    ``currency``: the floor's, "" where any will do; ``render_ms``: how long a bid may wait."""

    id: str
    tag: str | None
    banner: Banner | None
    video: Video | None
    native: NativeAsk | None
    floor_micros: int
    currency: str
    render_ms: int
    secure: bool
    offers: tuple[Offer, ...] = ()
    private: bool = False

    def market(self, currency: str) -> Market:
        """What is offered to those who pay in this currency."""
        offers = (offer.deal for offer in self.offers if offer.currency in ("", currency))
        return Market(tuple(offers), self.private)

    @property
    def media(self) -> Iterator[tuple[str, tuple[Size, ...]]]:
        """What is offered, by OpenRTB's names, each with its sizes (none: of any)."""
        if self.banner is not None:
            yield "banner", self.banner.sizes
        if self.video is not None:
            yield "video", self.video.sizes
        if self.native is not None:
            yield "native", ()


def read_imps(value: object) -> list[Imp]:
    """Those that can be bid on, in order; of two with one id the first."""
    found: dict[str, Imp] = {}
    for item in listing(value)[: limits.PLACEMENTS_PER_REQUEST]:
        imp = _imp(item) if isinstance(item, dict) else None
        if imp is not None:
            found.setdefault(imp.id, imp)
    return list(found.values())


def is_secure(value: object) -> bool:
    """Whether any imp of the list, understood or not, wants https."""
    return any(flag(mapping(item).get("secure")) for item in listing(value))


def _imp(item: dict[str, Any]) -> Imp | None:
    ident = text(item.get("id"), _ID_CHARS)
    floor = _floor_micros(item.get("bidfloor"))
    if ident is None or floor is None:
        return None
    pmp = mapping(item.get("pmp"))
    banner = _banner(item.get("banner"))
    video = _video(item.get("video"))
    native = read_native(item.get("native"))
    if banner is None and video is None and native is None:
        return None
    return Imp(
        ident, text(item.get("tagid")), banner, video, native, max(1, floor),
        _currency(item.get("bidfloorcur"), floor), _render_ms(item.get("exp")),
        bool(flag(item.get("secure"))), _offers(pmp.get("deals")), bool(flag(pmp.get("private_auction"))),
    )  # fmt: skip


def _offers(value: object) -> tuple[Offer, ...]:
    """Those anybody may take: a deal for named seats is for others, since nobody here bids from a seat. Of
    two with one id the first."""
    found: dict[str, Offer] = {}
    for item in map(mapping, listing(value)[: limits.DEALS_PER_IMP]):
        ident, floor = text(item.get("id")), _floor_micros(item.get("bidfloor"))
        if ident is None or floor is None or present(item.get("wseat")):
            continue
        deal, currency = Deal(ident, max(1, floor)), _currency(item.get("bidfloorcur"), floor)
        advertisers = frozenset(domain.casefold() for domain in texts(item.get("wadomain")))
        found.setdefault(deal.id, Offer(deal, currency, advertisers))
    return tuple(found.values())


def _floor_micros(value: object) -> int | None:
    """Rounded up; 0 where none is asked. None: it cannot be read or met, and a guess might undercut it."""
    if value is None:
        return 0
    floor = number(value)
    if floor is None or floor > limits.BID_FLOOR_MICROS_MAX // money.MICROS:
        return None
    if floor <= 0:
        return 0
    # Below a micro there is nothing to see, however many places it was written with.
    whole_part, parts = max(floor, _MICRO).as_integer_ratio()
    return -(-whole_part * money.MICROS // parts)


def _currency(value: object, floor: int) -> str:
    if value is None or value == "":
        return _DEFAULT_CURRENCY if floor else ""
    found = text(value)
    return found.strip().upper() if found is not None else "?"


def _render_ms(value: object) -> int:
    seconds = whole(value)
    if seconds is None or seconds <= 0:
        return limits.BID_RENDER_MS
    return min(seconds * 1000, limits.BID_RENDER_MS)


# -- media ---------------------------------------------------------------------------------------


def _banner(value: object) -> Banner | None:
    """A banner without any size cannot be filled."""
    if not isinstance(value, dict):
        return None
    sizes = _sizes([*listing(value.get("format"))[: limits.SIZES_PER_IMP], value])
    if not sizes:
        return None
    return Banner(sizes, mimes(value.get("mimes")), _SCRIPT not in wholes(value.get("btype")))


def _video(value: object) -> Video | None:
    if not isinstance(value, dict) or whole(value.get("linearity")) not in (None, _LINEAR):
        return None
    return Video(read_film(value), _sizes([value]))


def _sizes(items: list[Any]) -> tuple[Size, ...]:
    found: dict[Size, None] = {}
    for item in map(mapping, items):
        width, height = whole(item.get("w")), whole(item.get("h"))
        if width and height and 0 < width <= limits.PIXELS_MAX and 0 < height <= limits.PIXELS_MAX:
            found[width, height] = None
    return tuple(found)
