"""A bid request as an ask: who, where, what is not wanted, and what consent allows (OpenRTB 2.6).

Read field by field; nothing is refused. Whatever says that a person must not be recognised makes the ask
stricter, readable or not; nothing in a bid request makes it less strict than the publisher's default.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from adserver.api.openrtb_countries import alpha2
from adserver.api.openrtb_mapping import Place
from adserver.api.openrtb_reading import (
    flag,
    listing,
    mapping,
    number,
    plain,
    present,
    text,
    texts,
    whole,
    words,
)
from adserver.domain import limits, money
from adserver.domain.request import Accepts
from adserver.services.ask import (
    Ask,
    AskedBlock,
    AskedConsent,
    AskedDevice,
    AskedGeo,
    AskedPage,
    AskedPlacement,
    AskedUser,
    Terms,
)

_DEVICES: Final = {2: "desktop", 3: "tv", 4: "mobile", 5: "tablet", 7: "tv"}
_CONNECTIONS: Final = {1: "ethernet", 2: "wifi", **dict.fromkeys(range(3, 8), "cellular")}
_SYSTEMS: Final = {
    "os x": "macos",
    "mac os x": "macos",
    "mac os": "macos",
    "ipados": "ios",
    "iphone os": "ios",
}

Object = dict[str, Any]


def ask_of(request: Object, places: Sequence[Place]) -> Ask:
    """``places`` is not empty."""
    return Ask(
        placements=[_placement(place) for place in places],
        publisher=places[0].placement.publisher,
        mode="test" if flag(request.get("test")) else "live",
        tmax_ms=_tmax_ms(request.get("tmax")),
        user=_user(request),
        device=_device(mapping(request.get("device"))),
        geo=_geo(request),
        page=_page(request),
        block=_block(request),
        consent=_consent(request),
    )


def terms_of(request: Object, places: Sequence[Place], secure: bool, accepts: tuple[Accepts, ...]) -> Terms:
    regs = mapping(request.get("regs"))
    said = [flag(value) for value in _both(regs, "gdpr")]
    return Terms(
        strict_floor=True,
        render_within_ms=tuple(render_ms(place) for place in places),
        accepts=accepts,
        markets=tuple(place.market for place in places),
        secure=secure,
        gdpr=any(said) if any(answer is not None for answer in said) else None,
        coppa=any(flag(value) for value in _both(regs, "coppa")),
    )


def render_ms(place: Place) -> int:
    """How long a bid there may wait for its impression."""
    return min(place.imp.render_ms, place.placement.render_within_ms)


def publishers_named(request: Object) -> Iterator[str]:
    """What the request calls its publisher and its site."""
    for kind in ("site", "app"):
        where = mapping(request.get(kind))
        publisher = mapping(where.get("publisher"))
        for value in (publisher.get("id"), publisher.get("domain"), where.get("id"), where.get("domain")):
            found = text(value)
            if found is not None:
                yield found


def currencies(request: Object) -> frozenset[str]:
    """Those accepted; empty: any."""
    return frozenset(name.strip().upper() for name in texts(request.get("cur")))


def _placement(place: Place) -> AskedPlacement:
    return AskedPlacement(
        place.placement.id,
        1,
        list(place.formats),
        list(place.sizes),
        money.format_micros(place.imp.floor_micros),
    )


def _tmax_ms(value: object) -> int | None:
    found = whole(value)
    return None if found is None or found <= 0 else min(found, limits.TMAX_MS)


# -- who -----------------------------------------------------------------------------------------


def _user(request: Object) -> AskedUser:
    user, device = mapping(request.get("user")), mapping(request.get("device"))
    ident = plain(user.get("id")) or plain(user.get("buyeruid")) or _advertising_id(device.get("ifa"))
    return AskedUser(id=ident, segments=list(_segments(user)))


def _advertising_id(value: object) -> str | None:
    """An id of zeros alone is what devices send for everybody who declined."""
    found = plain(value)
    return found if found is not None and found.strip("0-") else None


def _segments(user: Object) -> Iterator[str]:
    found = (
        name
        for block in listing(user.get("data"))
        for segment in listing(mapping(block).get("segment"))
        if (name := text(mapping(segment).get("id"))) is not None
    )
    for _, name in zip(range(limits.SEGMENTS_PER_REQUEST), found, strict=False):
        yield name


def _consent(request: Object) -> AskedConsent:
    """``personalised`` is never True: an exchange cannot give what the publisher did not."""
    regs, user = mapping(request.get("regs")), mapping(request.get("user"))
    device = mapping(request.get("device"))
    tcf, gpp, us_privacy = _both(user, "consent"), _both(regs, "gpp"), _both(regs, "us_privacy")
    refused = any(flag(device.get(name)) for name in ("dnt", "lmt"))
    return AskedConsent(
        personalised=False if refused or present(*tcf, *gpp, *us_privacy) else None,
        tcf=_string(tcf),
        gpp=_string(gpp),
        us_privacy=_string(us_privacy),
        gpc=any(flag(value) for value in _both(regs, "gpc")),
    )


def _string(values: Iterable[object]) -> str | None:
    return next((found for value in values if (found := text(value, limits.URL_CHARS))), None)


def _both(where: Object, name: str) -> tuple[Any, Any]:
    """A field of 2.6, and where earlier versions had it."""
    return where.get(name), mapping(where.get("ext")).get(name)


# -- where and with what -------------------------------------------------------------------------


def _device(device: Object) -> AskedDevice:
    agent = text(device.get("ua"), limits.URL_CHARS)
    system = text(device.get("os"))
    kind = whole(device.get("devicetype"))
    return AskedDevice(
        type="mobile" if kind == 1 and agent is None else _DEVICES.get(kind or 0),
        os=_SYSTEMS.get(system.strip().casefold(), system) if system is not None else None,
        os_version=text(device.get("osv")),
        model=text(device.get("model")),
        language=text(device.get("language")) or text(device.get("langb")),
        connection=_CONNECTIONS.get(whole(device.get("connectiontype")) or 0),
        user_agent=agent[: limits.VALUE_CHARS] if agent is not None else None,
        ip=text(device.get("ip"), 100) or text(device.get("ipv6"), 100),
    )


def _geo(request: Object) -> AskedGeo:
    """The device's place; the user's home where the device tells none."""
    for owner in ("device", "user"):
        geo = mapping(mapping(request.get(owner)).get("geo"))
        country, region = alpha2(text(geo.get("country"))), text(geo.get("region"))
        city, postal_code = text(geo.get("city")), text(geo.get("zip"))
        lat, lon = _degrees(geo.get("lat"), 90), _degrees(geo.get("lon"), 180)
        if country or region or city or postal_code or (lat is not None and lon is not None):
            return AskedGeo(country, _region(region, country), city, postal_code, lat, lon)
    return AskedGeo()


def _region(region: str | None, country: str | None) -> str | None:
    """ISO 3166-2, with or without its country: ``US-NY`` is ``NY``."""
    if region is None or country is None:
        return region
    return region[3:] if region.upper().startswith(f"{country}-") else region


def _degrees(value: object, most: int) -> float | None:
    found = number(value)
    return float(found) if found is not None and -most <= found <= most else None


def _page(request: Object) -> AskedPage:
    site, app = mapping(request.get("site")), mapping(request.get("app"))
    where = site or app
    content = mapping(where.get("content"))
    url = text(site.get("page"), limits.URL_CHARS)
    domain = text(where.get("domain"))
    if url is None and domain is not None:
        # A host without a page: enough to know the domain, and equal to no address of a page.
        url = f"//{domain.strip()}"
    return AskedPage(
        url=url,
        referrer=text(site.get("ref"), limits.URL_CHARS),
        keywords=_some(_keywords(where, content), limits.KEYWORDS_PER_REQUEST),
        categories=_some(_categories(where, content), limits.VALUES_PER_LIST),
    )


def _keywords(*places: Object) -> Iterator[str]:
    for place in places:
        yield from words(place.get("keywords"))
        yield from texts(place.get("kwarray"))


def _categories(where: Object, content: Object) -> Iterator[str]:
    for name in ("cat", "sectioncat", "pagecat"):
        yield from texts(where.get(name))
    yield from texts(content.get("cat"))


def _some(values: Iterator[str], most: int) -> list[str]:
    return [value for _, value in zip(range(most), values, strict=False)]


# -- what is not wanted --------------------------------------------------------------------------


def _block(request: Object) -> AskedBlock:
    """Never shortened: the body's bound is theirs."""
    most = limits.AUCTION_BYTES
    return AskedBlock(
        domains=[_host(domain) for domain in texts(request.get("badv"), most)],
        categories=texts(request.get("bcat"), most),
    )


def _host(domain: str) -> str:
    """As advertisers write theirs: some exchanges send a page, some a ``www.``."""
    return domain.strip().casefold().partition("://")[2].partition("/")[0].removeprefix("www.") or (
        domain.strip().casefold().partition("/")[0].removeprefix("www.")
    )
