"""What expressions may ask about: the request's own properties, and some of its facts by name.

``user.x``, ``page.x``, ``device.x``, ``geo.x`` and ``placement.x`` say where to look; any other name is
the placement's property, then the request's. Facts are in their normalised form (``domain/targeting``):
devices, places and keywords in lower case, countries, regions and categories in upper case.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

from msgspec import Struct

from adserver.domain.places import Point

FACTS: Final[dict[str, dict[str, str]]] = {
    "device": {
        "type": "devices",
        "os": "os",
        "os_version": "os_versions",
        "model": "models",
        "browser": "browsers",
        "language": "languages",
        "connection": "connections",
    },
    "geo": {"country": "countries", "region": "regions", "city": "cities", "postal_code": "postal_codes"},
    "page": {"url": "urls", "domain": "domains", "keywords": "keywords", "categories": "categories"},
}
"""Names of facts and the dimension that holds them. Device and geo have no other names; a page's facts
come before its properties."""

POINT: Final = ("lat", "lon")
"""What ``geo`` has besides, as numbers."""

_POINT: Final[dict[tuple[str, ...], Callable[[Point], float]]] = {
    ("lat",): lambda point: point.lat,
    ("lon",): lambda point: point.lon,
}

_LISTS: Final = frozenset(("keywords", "categories"))


class Properties(Struct, frozen=True):
    """As JSON decodes. ``user``: only with consent."""

    user: dict[str, object] = {}
    page: dict[str, object] = {}
    request: dict[str, object] = {}


class Said(Struct, frozen=True):
    """All that one placement of a request says. ``placement``: its properties; ``point``: where it is."""

    facts: dict[str, tuple[str, ...]]
    properties: Properties
    placement: dict[str, object]
    point: Point | None = None

    def look(self, parts: tuple[str, ...]) -> object:
        """The value of a name, None where the request does not say it."""
        return _way(parts)(self)

    def fact(self, dimension: str) -> object:
        values = self.facts.get(dimension)
        if not values:
            return None
        if dimension in _LISTS:
            return values
        # Of a language the tag comes first and the plain language last: fr-be, fr.
        return values[-1] if dimension == "languages" else values[0]


Way = Callable[[Said], object]
"""From all that is said to the value of one name."""


@lru_cache(maxsize=4096)
def _way(parts: tuple[str, ...]) -> Way:
    """Where a name leads is the same in all requests, and few names are asked for."""
    root, rest = parts[0], parts[1:]
    if not rest or root not in _ROOTS:
        return partial(_either, parts)
    if root == "placement":
        return lambda said: _inside(said.placement, rest)
    if root == "user":
        return lambda said: _inside(said.properties.user, rest)
    if root == "geo" and rest in _POINT:
        return lambda said: None if said.point is None else _POINT[rest](said.point)
    dimension = FACTS[root].get(rest[0]) if len(rest) == 1 else None
    if dimension is not None:
        return lambda said: said.fact(dimension)
    return (lambda said: _inside(said.properties.page, rest)) if root == "page" else lambda said: None


def _either(parts: tuple[str, ...], said: Said) -> object:
    """The placement's property, else the request's."""
    found = _inside(said.placement, parts) if said.placement else None
    return _inside(said.properties.request, parts) if found is None else found


_ROOTS: Final = frozenset(("user", "placement", *FACTS))


def _inside(value: object, parts: tuple[str, ...]) -> object:
    for part in parts:
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value
