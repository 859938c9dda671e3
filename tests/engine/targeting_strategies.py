"""Line items, requests and placements with every rule of targeting there is, and what each rule means, said
once more in another way: sets, ``re``, ``zoneinfo``, the law of cosines, Python's own ``and`` and ``or``.

Values are few, so that line items and requests meet. ``wanted_by`` is the scan: it looks at domain values
alone and knows nothing of snapshots, bitmaps or checks.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from math import acos, cos, radians, sin
from typing import Any
from zoneinfo import ZoneInfo

from engine_samples import CITIES, NOON_MS, RANGES, TOLD_VERSIONS, ZONES, creative, line_item, placement
from engine_samples import campaign as campaign_of
from engine_samples import catalogue as catalogue_of
from engine_samples import request as request_of
from hypothesis import strategies as st
from msgspec import Struct

from adserver.domain.campaign import Campaign, LineItem
from adserver.domain.catalogue import Catalogue
from adserver.domain.deals import Deal, Market
from adserver.domain.places import Area, Circle, Point
from adserver.domain.properties import Properties
from adserver.domain.request import PlacementAsk, Request
from adserver.domain.targeting import DIMENSIONS, Clause, Targeting

LETTERS = ("a", "b", "c")
PATTERNS = ("a", "a*", "*b", "*", "a*b", "*ab*", "b")
URLS = ("a", "b", "ab", "aab", "ba", "abb")
DEALS = ("d1", "d2", "d3")
SPECIAL = {
    "publishers": ("gazette", "mirror"),
    "placements": ("gazette/top", "gazette/side"),
    "surfaces": ("page", "story"),
    "formats": ("image", "native"),
    "os_versions": RANGES,
    "urls": PATTERNS,
    "deals": DEALS,
}
"""Dimensions whose values are not just letters."""
LETTERED = tuple(name for name in DIMENSIONS if name not in SPECIAL)

Answer = Callable[[Request, PlacementAsk], bool]


class Asked(Struct, frozen=True):
    """An expression and what it means."""

    text: str
    means: Answer


def _is(where: str, name: str, value: object) -> Answer:
    def answer(request: Request, ask: PlacementAsk) -> bool:
        found = _looked(where, name, request, ask)
        return type(found) is type(value) and found == value

    return answer


def _looked(where: str, name: str, request: Request, ask: PlacementAsk) -> object:
    if where == "":
        return ask.properties.get(name, request.properties.request.get(name))
    if where == "placement":
        return ask.properties.get(name)
    return getattr(request.properties, where).get(name)


def _found(pattern: str, where: str, name: str) -> Answer:
    def answer(request: Request, ask: PlacementAsk) -> bool:
        found = _looked(where, name, request, ask)
        return isinstance(found, str) and re.search(pattern, found) is not None

    return answer


def _fact(dimension: str, value: str) -> Answer:
    return lambda request, ask: request.facts.get(dimension, ("",))[0] == value


LEAVES = (
    Asked('x = "a"', _is("", "x", "a")),
    Asked('"b" = x', _is("", "x", "b")),
    Asked('page.y = "a"', _is("page", "y", "a")),
    Asked("user.n = 2", _is("user", "n", 2)),
    Asked('placement.x = "a"', _is("placement", "x", "a")),
    Asked("flag", _is("", "flag", True)),
    Asked('x =~ "^(a|b)$"', _found("^(a|b)$", "", "x")),
    Asked('page.y !~ "[bc]"', lambda request, ask: not _found("[bc]", "page", "y")(request, ask)),
    Asked('device.os = "a"', _fact("os", "a")),
    Asked('device.os_version = "17.2"', _fact("os_versions", "17.2")),
    Asked('page.keywords contains "a"', lambda request, ask: "a" in request.facts.get("keywords", ())),
)

EXPRESSIONS = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        st.builds(
            lambda a, b: Asked(f"({a.text}) and ({b.text})", lambda r, k: a.means(r, k) and b.means(r, k)),
            inner, inner,
        ),
        st.builds(
            lambda a, b: Asked(f"({a.text}) or ({b.text})", lambda r, k: a.means(r, k) or b.means(r, k)),
            inner, inner,
        ),
        st.builds(lambda a: Asked(f"not ({a.text})", lambda r, k: not a.means(r, k)), inner),
    ),
    max_leaves=3,
)  # fmt: skip


def some(values: tuple[str, ...], least: int = 0, most: int = 3) -> Any:
    return st.lists(st.sampled_from(values), min_size=least, max_size=most, unique=True).map(tuple)


def clauses(values: tuple[str, ...]) -> Any:
    """One of any, all and none, or a mixture of them."""
    mixed = st.builds(Clause, any=some(values), all=some(values, most=2), none=some(values, most=2))
    return st.one_of(
        st.builds(Clause, any=some(values, 1)),
        st.builds(Clause, all=some(values, 1)),
        st.builds(Clause, none=some(values, 1, 2)),
        mixed.filter(lambda clause: clause != Clause()),
    )


HOURS = st.builds(
    lambda start, hours: frozenset(hour % 168 for hour in range(start, start + hours)),
    st.integers(6, 20) | st.integers(0, 167), st.integers(1, 6) | st.just(160),
)  # fmt: skip
"""Around those of ``requests``, in all the zones."""
CIRCLES = st.lists(
    st.builds(lambda at, metres: Circle(*at, metres), st.sampled_from(CITIES),
              st.sampled_from((1, 300_000, 400_000, 10**7))), max_size=2,
).map(tuple)  # fmt: skip


RULES = (*SPECIAL, *["letters"] * 3, *["hours"] * 2, *["custom"] * 3, "radius")
"""The more there is to a rule, the oftener."""


class Line(Struct, frozen=True):
    """A line item with the meaning of its expression."""

    targeting: Targeting
    zone: str
    custom: Asked | None


@st.composite
def lines(draw: Any) -> Line:
    """A few rules each: with more, hardly any would meet a request."""
    found: dict[str, Clause] = {}
    hours, custom, area = None, None, Area()
    for rule in draw(st.lists(st.sampled_from(RULES), max_size=2)):
        if rule == "letters":
            found |= draw(st.dictionaries(st.sampled_from(LETTERED), clauses(LETTERS), max_size=2))
        elif rule == "hours":
            hours = draw(HOURS)
        elif rule == "custom":
            custom = draw(EXPRESSIONS)
        elif rule == "radius":
            area = Area(draw(CIRCLES), draw(CIRCLES))
        else:
            found[rule] = draw(clauses(SPECIAL[rule]))
    targeting = Targeting(found, hours, custom.text if custom else "", area)
    return Line(targeting, draw(st.sampled_from(ZONES)), custom)


def catalogue(given: list[Line]) -> Catalogue:
    """Each in a campaign of its own; the serial tells which."""
    items = [
        line_item(serial, targeting=line.targeting, creatives=(creative(serial), creative(serial + 1000)))
        for serial, line in enumerate(given, 1)
    ]
    campaigns: list[Campaign] = [
        campaign_of(item.serial, item, timezone=line.zone) for item, line in zip(items, given, strict=True)
    ]
    return catalogue_of(campaigns, placement(formats=("image", "native")))


@st.composite
def requests(draw: Any) -> Request:
    letters = draw(some(LETTERS))
    facts = dict.fromkeys(LETTERED, letters) if letters else {}
    facts |= draw(st.dictionaries(st.sampled_from(LETTERED), some(LETTERS, least=1), max_size=4))
    if draw(st.booleans()):
        facts["os_versions"] = (draw(st.sampled_from(TOLD_VERSIONS)),)
    if draw(st.booleans()):
        facts["urls"] = (draw(st.sampled_from(URLS)),)
    letter = st.sampled_from(("a", "a", "b", "c", True, None))
    said = st.fixed_dictionaries({}, optional={"x": letter, "y": letter, "flag": st.booleans()})
    properties = Properties(draw(st.sampled_from([{}, {"n": 2}, {"n": "2"}])), draw(said), draw(said))
    now_ms = NOON_MS + draw(st.sampled_from((0, 0, 3_600_000, 7_200_000, -(10**9), 10**10)))
    point = Point(*draw(st.sampled_from(CITIES))) if draw(st.booleans()) else None
    return request_of(draw(st.integers(0, 9)), now_ms=now_ms, facts=facts, properties=properties, point=point)


@st.composite
def asks(draw: Any) -> PlacementAsk:
    offered = tuple(Deal(name, 1) for name in draw(some(DEALS)))
    market = Market(offered, draw(st.sampled_from((*[False] * 6, True))))
    return PlacementAsk("top", properties=draw(st.sampled_from([{}, {"x": "a"}, {"x": "b"}])), market=market)


# -- the scan --------------------------------------------------------------------------------------


def wanted_by(line: Line, item: LineItem, request: Request, ask: PlacementAsk) -> bool:
    """Whether this line item's targeting wants this placement of this request."""
    facts = {
        **{name: set(values) for name, values in request.facts.items()},
        "publishers": {"gazette"}, "placements": {"gazette/top"}, "surfaces": {"page"},
        "formats": {"image", "native"}, "deals": {deal.id for deal in ask.market.deals},
    }  # fmt: skip
    targeting = line.targeting
    return (
        all(passes(name, clause, facts.get(name, set())) for name, clause in targeting.clauses.items())
        and (targeting.hours is None or hour_of(line.zone, request.now_ms) in targeting.hours)
        and (line.custom is None or line.custom.means(request, ask))
        and inside(targeting.radius, request.point)
        and (not ask.market.private or buys(targeting, facts["deals"]))
    )


def passes(name: str, clause: Clause, facts: set[str]) -> bool:
    def met(wanted: str) -> bool:
        if name == "urls":
            pattern = ".*".join(re.escape(piece) for piece in wanted.split("*"))
            return any(re.fullmatch(pattern, fact) for fact in facts)
        if name == "os_versions":
            return any(in_range(wanted, fact) for fact in facts)
        return wanted in facts

    return (
        (not clause.any or any(map(met, clause.any)))
        and all(map(met, clause.all))
        and not any(map(met, clause.none))
    )


def buys(targeting: Targeting, offered: set[str]) -> bool:
    clause = targeting.clauses.get("deals", Clause())
    return bool({*clause.any, *clause.all} & offered)


def hour_of(zone: str, now_ms: int) -> int:
    there = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(zone))
    return there.weekday() * 24 + there.hour


def inside(area: Area, point: Point | None) -> bool:
    """By the spherical law of cosines: another formula on the same sphere."""
    if point is None:
        return not area.any

    def holds(circle: Circle) -> bool:
        lat, other = radians(circle.lat), radians(point.lat)
        angle = sin(lat) * sin(other) + cos(lat) * cos(other) * cos(radians(circle.lon - point.lon))
        return acos(max(-1.0, min(1.0, angle))) * 6_371_008.8 <= circle.metres

    return (not area.any or any(map(holds, area.any))) and not any(map(holds, area.none))


def in_range(wanted: str, told: str) -> bool:
    """Versions by their numbers, with zeros to one length."""
    if not told[0].isdigit() or not wanted.lstrip("<>=")[0].isdigit():
        return wanted == told
    low, _, high = wanted.lstrip("<>=").partition("-")
    length = len((high or low).split("."))
    at, first, last = numbers(told), numbers(low), numbers(high or low)
    not_above = at[:length] <= last[:length]
    sign = wanted[: len(wanted) - len(wanted.lstrip("<>="))]
    signs = {">=": at >= first, ">": not not_above, "<=": not_above, "<": at < first}
    return signs[sign] if sign else at >= first and not_above


def numbers(text: str) -> list[int]:
    return [*map(int, text.split(".")), 0, 0, 0, 0][:4]
