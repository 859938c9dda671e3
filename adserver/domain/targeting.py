"""Targeting: which facts of a request a line item wants, per dimension (API.md section 5).

A dimension's clause holds ``any`` (at least one of these), ``all`` (every one) and ``none`` (not one);
its parts are ANDed. A fact the request does not carry satisfies no include and every ``none``. So with
F the set of the request's values of the dimension:

    passes(F) = (any is empty or any & F) and all <= F and not none & F
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from adserver.domain.places import Area

FACETS: Final = ("job_function", "seniority", "industry", "company_size")

DIMENSIONS: Final = (
    "publishers", "placements", "surfaces", "formats", "countries", "regions", "cities", "postal_codes",
    "devices", "models", "os", "os_versions", "browsers", "languages", "connections", "audiences",
    "segments", "keywords", "categories", "domains", "urls",
    *(f"facets.{name}" for name in FACETS), "deals",
)  # fmt: skip

PERSONAL: Final = frozenset(("audiences", "segments", *(f"facets.{name}" for name in FACETS)))
"""Dimensions that are facts about a person: absent without consent."""

_UPPER: Final = frozenset(("countries", "regions", "categories"))
_EXACT: Final = frozenset(("publishers", "placements", "audiences", "segments", "urls", "deals"))


class Clause(Struct, frozen=True, omit_defaults=True):
    any: tuple[str, ...] = ()
    all: tuple[str, ...] = ()
    none: tuple[str, ...] = ()

    def passes(self, values: tuple[str, ...]) -> bool:
        """The one definition of a match; the index is measured against it."""
        if self.any and not any(value in values for value in self.any):
            return False
        return all(value in values for value in self.all) and not any(value in values for value in self.none)


class Targeting(Struct, frozen=True, omit_defaults=True):
    """``hours``: hours of the week, local to the campaign, 0 = Monday 00:00-01:00; None is any.
    ``custom``: an expression (``domain/expressions``) that must hold; empty is none.
    ``radius``: circles the request's point must be in, or must not."""

    clauses: dict[str, Clause] = {}
    hours: frozenset[int] | None = None
    custom: str = ""
    radius: Area = Area()


def normalise(dimension: str, value: str) -> str:
    """The form in which values are compared: the same on upload and on request."""
    value = value.strip()
    if dimension in _EXACT:
        return value
    if dimension in _UPPER:
        return value.upper()
    return value.casefold()


def normalised(dimension: str, values: Iterable[str]) -> list[str]:
    """The same of many at once."""
    if dimension in _EXACT:
        return [value.strip() for value in values]
    if dimension in _UPPER:
        return [value.strip().upper() for value in values]
    return [value.strip().casefold() for value in values]
