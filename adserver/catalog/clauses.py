"""The field ``targeting`` of a line item: clauses, dayparts, and what they refer to."""

import re
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from adserver.catalog.expressions import check_expression
from adserver.catalog.fields import Fields, check_slug, check_text
from adserver.catalog.findings import choices, shown, suggestion
from adserver.catalog.links import check_domain
from adserver.catalog.places import read_radius
from adserver.catalog.terms import check_category, check_format
from adserver.catalog.times import read_dayparts
from adserver.domain import limits, versions
from adserver.domain.inventory import SURFACES
from adserver.domain.targeting import DIMENSIONS, FACETS, Clause, Targeting, normalise

_PARTS: Final = ("any", "all", "none")
_COUNTRY: Final = re.compile(r"[A-Z]{2}\Z", re.ASCII)
_REGION: Final = re.compile(r"[A-Z0-9]{1,3}\Z", re.ASCII)


class Reference(Struct, frozen=True):
    """Something a document names and another document must hold."""

    path: str
    kind: str
    full_id: str


def read_targeting(fields: Fields, advertiser: str) -> tuple[Targeting, list[Reference]]:
    """The field ``targeting``; bare audience ids are the advertiser's own."""
    inner = fields.mapping("targeting")
    if inner is None:
        return Targeting(), []
    reader = _Reader(advertiser)
    for dimension in DIMENSIONS:
        if not dimension.startswith("facets."):
            reader.clause(inner, dimension, dimension)
    facets = inner.mapping("facets")
    if facets is not None:
        for name in FACETS:
            reader.clause(facets, name, f"facets.{name}")
        facets.done()
    hours = read_dayparts(inner)
    custom = inner.convert("custom", "", check_expression)
    radius = read_radius(inner)
    inner.done()
    return Targeting(reader.clauses, hours, custom, radius), reader.references


class _Reader:
    """Reads clause after clause of one line item."""

    def __init__(self, advertiser: str) -> None:
        self.clauses: dict[str, Clause] = {}
        self.references: list[Reference] = []
        self._advertiser = advertiser

    def clause(self, fields: Fields, name: str, dimension: str) -> None:
        if not fields.present(name):
            return
        value = fields.take(name)
        if not isinstance(value, dict):
            self.clauses[dimension] = Clause(any=self._values(fields, name, dimension))
            return
        inner = Fields(value, fields.at(name), fields.findings)
        parts = {part: self._values(inner, part, dimension) for part in _PARTS if inner.present(part)}
        inner.done()
        if not parts:
            inner.add("", "says nothing; give it a list of any, all or none")
        self.clauses[dimension] = Clause(**parts)

    def _values(self, fields: Fields, name: str, dimension: str) -> tuple[str, ...]:
        read = self._reader(dimension)
        values = fields.values(name, read, limits.VALUES_PER_CLAUSE, least=1)
        if dimension == "urls" and sum("*" in value for value in values) > limits.PATTERNS_PER_CLAUSE:
            fields.add(name, f"has more than {limits.PATTERNS_PER_CLAUSE} entries with a *")
        if dimension == "os_versions" and len(values) > limits.VERSIONS_PER_CLAUSE:
            fields.add(name, f"has {len(values)} entries; at most {limits.VERSIONS_PER_CLAUSE}")
        kind = _REFERENCES.get(dimension)
        if kind is not None:
            path = fields.at(name)
            self.references += [Reference(path, kind, value) for value in values]
        return values

    def _reader(self, dimension: str) -> Callable[[str], str]:
        if dimension == "audiences":
            return self._audience
        special = _READERS.get(dimension)
        if special is not None:
            return special
        return lambda text: _plain(dimension, text)

    def _audience(self, text: str) -> str:
        owner, slash, audience = text.strip().rpartition("/")
        return f"{check_slug(owner) if slash else self._advertiser}/{check_slug(audience)}"


def _plain(dimension: str, text: str) -> str:
    value = normalise(dimension, check_text(text, limits.VALUE_CHARS))
    if not value:
        raise ValueError("is empty; leave it out")
    return value


def _placement(text: str) -> str:
    publisher, slash, placement = text.strip().partition("/")
    if not slash:
        raise ValueError(f"{shown(text)} is not a placement's full id; write publisher/placement")
    return f"{check_slug(publisher)}/{check_slug(placement)}"


def _surface(text: str) -> str:
    if text not in SURFACES:
        raise ValueError(
            f"{shown(text)} is not a surface; it is {choices(SURFACES)}{suggestion(text, SURFACES)}"
        )
    return text


def _country(text: str) -> str:
    code = _plain("countries", text)
    if not _COUNTRY.match(code):
        raise ValueError(
            f"{shown(text)} is not a country; write its ISO 3166 code of two letters, such as FR"
        )
    return code


def _region(text: str) -> str:
    code = _plain("regions", text)
    if not _REGION.match(code):
        raise ValueError(f"{shown(text)} is not a region; write its ISO 3166-2 code without the country: IDF")
    return code


def _domain(text: str) -> str:
    """A domain with all below it, or with a leading ``*.`` only what is below."""
    text = text.strip()
    below = "*." if text.startswith("*.") else ""
    if "*" in text[len(below) :]:
        raise ValueError(f"{shown(text)} has a * elsewhere than in front: *.news.example")
    return below + normalise("domains", check_domain(text[len(below) :]))


def _url(text: str) -> str:
    """A URL; each ``*`` in it stands for any run of characters."""
    url = _plain("urls", check_text(text, limits.URL_CHARS))
    if not url.startswith(("https://", "http://", "*")):
        raise ValueError(f"{shown(text)} is not an absolute URL; it begins with https://, http:// or *")
    return url


def _version(text: str) -> str:
    """A version or a range of them, in its normal form."""
    check_text(text, limits.VALUE_CHARS)
    try:
        return versions.read(text)[0]
    except ValueError as error:
        raise ValueError(f"{shown(text)} {error}") from error


_REFERENCES: Final = {"publishers": "publisher", "placements": "placement", "audiences": "audience"}
_READERS: Final[dict[str, Callable[[str], str]]] = {
    "publishers": lambda text: check_slug(text.strip()),
    "placements": _placement,
    "surfaces": _surface,
    "formats": check_format,
    "countries": _country,
    "regions": _region,
    "os_versions": _version,
    "categories": check_category,
    "domains": _domain,
    "urls": _url,
}
