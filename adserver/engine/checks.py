"""Targeting that is asked of candidates one by one, because no bitmap holds it.

The index still narrows expressions: one that begins ``name = "text" and ..`` can hold only where the
request gives that name that text. So each line item has at most one such pair as a required value of the
dimension ``custom``, and a request gives the pairs of the names that are required somewhere. The names
are bounded (those most line items require; the others are merely asked), so a request's cost is too.
Ranges of versions are narrowed too, by blocks of major versions (``domain/versions``), in the dimension
``MAJORS``.
Invariant: what the index knows follows from the check, hence index and scan agree with or without it.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import ceil
from typing import ClassVar, Final

from msgspec import Struct

from adserver.domain import deals, expressions, limits, versions, wildcards
from adserver.domain.deals import Market
from adserver.domain.expressions import Ask, Condition
from adserver.domain.places import Area, Circle
from adserver.domain.properties import Said
from adserver.domain.targeting import Clause, Targeting

Name = tuple[str, ...]
"""The parts of a name in an expression."""

REQUIRED: Final = "custom"
"""The index's dimension of pairs of name and text."""

VERSIONS: Final = "os_versions"
MAJORS: Final = "os_versions.majors"
"""The index's dimension of blocks of major versions."""

MARKET: Final = "market"
"""The index's dimension that keeps line items without a deal out of private markets."""

NARROWING: Final = frozenset((REQUIRED, MAJORS))
"""Dimensions that only spare work: what they stand for is a check."""


class Custom(Struct, frozen=True):
    """An expression that must hold."""

    rule: ClassVar[str] = "targeting.custom"
    source: str
    tree: Condition
    ask: Ask

    def passes(self, said: Said) -> bool:
        return self.ask(said.look)

    def wanted(self) -> object:
        return self.source

    def got(self, said: Said) -> object:
        """The values of the names it asks for."""
        return {name.text: _shown(said.look(name.parts)) for name in expressions.names(self.tree)}


class Radius(Struct, frozen=True):
    """Circles to be in, or not to be in."""

    rule: ClassVar[str] = "targeting.radius"
    area: Area

    def passes(self, said: Said) -> bool:
        return self.area.passes(said.point)

    def wanted(self) -> object:
        parts = {"any": self.area.any, "none": self.area.none}
        return {name: [_circle(c) for c in circles[:_TOLD]] for name, circles in parts.items() if circles}

    def got(self, said: Said) -> object:
        """The request's point; with the circle of ``any`` that it is in or, if it is in none, nearest to,
        and how far it is from that circle's centre, in whole metres rounded up."""
        point = said.point
        if point is None:
            return None
        found = {"lat": point.lat, "lon": point.lon}
        circle = self.area.nearest(point)
        if circle is None:
            return found
        return {**found, "circle": _circle(circle), "distance_metres": ceil(circle.distance(point))}


@lru_cache(maxsize=10_000)
def _custom(source: str) -> Custom:
    """Kept, since every revision compiles the same expressions again."""
    tree = expressions.parse(source)
    return Custom(source, tree, expressions.prepared(tree))


Pieces = tuple[str, ...]
"""A pattern, split at its ``*``."""


class Patterns(Struct, frozen=True):
    """A clause with ``*`` in some of its values, each standing for any run of characters."""

    clause: Clause
    dimension: str
    any: tuple[Pieces, ...]
    all: tuple[Pieces, ...]
    none: tuple[Pieces, ...]

    @property
    def rule(self) -> str:
        return f"targeting.{self.dimension}"

    def passes(self, said: Said) -> bool:
        values = said.facts.get(self.dimension, ())
        if self.any and not any(_matched(pieces, values) for pieces in self.any):
            return False
        every = all(_matched(pieces, values) for pieces in self.all)
        return every and not any(_matched(pieces, values) for pieces in self.none)

    def wanted(self) -> object:
        return _parts(self.clause)

    def got(self, said: Said) -> object:
        return list(said.facts.get(self.dimension, ()))


def _parts(clause: Clause) -> object:
    parts = {"any": clause.any, "all": clause.all, "none": clause.none}
    return {name: list(values) for name, values in parts.items() if values}


class Versions(Struct, frozen=True):
    """A clause of versions and ranges of them."""

    rule: ClassVar[str] = "targeting.os_versions"
    clause: Clause

    def passes(self, said: Said) -> bool:
        clause, given = self.clause, next(iter(said.facts.get(VERSIONS, ())), None)
        if clause.any and not any(_is(value, given) for value in clause.any):
            return False
        return all(_is(value, given) for value in clause.all) and not any(
            _is(value, given) for value in clause.none
        )

    def wanted(self) -> object:
        return _parts(self.clause)

    def got(self, said: Said) -> object:
        return list(said.facts.get(VERSIONS, ()))


def majors(facts: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The blocks of major versions a request is in."""
    told = facts.get(VERSIONS)
    return {MAJORS: (told[0], *versions.blocks_of(told[0]))} if told else {}


def market(offered: Market) -> dict[str, tuple[str, ...]]:
    """What a market says: its deals, and that it is private."""
    facts = {deals.DIMENSION: tuple(deal.id for deal in offered.deals)} if offered.deals else {}
    return {**facts, MARKET: ("private",)} if offered.private else facts


def _wanted_majors(clause: Clause) -> tuple[str, ...]:
    """The blocks of which a request must be in one: those of ``any``, or of the first of ``all``."""
    blocks = [_blocks(value) for value in clause.any or clause.all[:1]]
    return tuple(dict.fromkeys(block for some in blocks for block in some))


def _is(value: str, given: str | None) -> bool:
    """Whether the version a request gives is this one, or in this range."""
    if given is None:
        return False
    span = versions.range_of(value)
    if span is None:
        return value == given
    version = versions.given(given)
    return version is not None and span.holds(version)


def _blocks(value: str) -> tuple[str, ...]:
    span = versions.range_of(value)
    return (value,) if span is None else span.blocks()


def _matched(pieces: Pieces, values: tuple[str, ...]) -> bool:
    return any(wildcards.matches(pieces, value) for value in values)


def held(targeting: Targeting) -> dict[str, Clause]:
    """What of a line item's targeting the index holds; the rest are its checks."""
    clauses = {name: clause for name, clause in targeting.clauses.items() if not _patterned(name, clause)}
    versions_of = targeting.clauses.get(VERSIONS)
    if versions_of is not None and (blocks := _wanted_majors(versions_of)):
        clauses[MAJORS] = Clause(any=blocks)
    if not deals.included(targeting):
        clauses[MARKET] = _NOT_PRIVATE
    return clauses


_NOT_PRIVATE: Final = Clause(none=("private",))


def _patterned(name: str, clause: Clause) -> bool:
    """Whether a clause is asked of candidates: versions, and URLs with patterns among them; the index holds
    the others. (A domain's ``*.`` is no pattern here: requests say it in so many words.)"""
    if name == VERSIONS:
        return True
    return name == "urls" and any("*" in value for value in (*clause.any, *clause.all, *clause.none))


def _of_clause(name: str, clause: Clause) -> "Patterns | Versions":
    if name == VERSIONS:
        return Versions(clause)
    parts = (tuple(tuple(v.split("*")) for v in part) for part in (clause.any, clause.all, clause.none))
    return Patterns(clause, name, *parts)


Check = Custom | Radius | Patterns | Versions

_TOLD: Final = 20


def of(targeting: Targeting) -> tuple[Check, ...]:
    """What of a line item's targeting is asked of it as a candidate."""
    found: list[Check] = [
        _of_clause(name, clause) for name, clause in targeting.clauses.items() if _patterned(name, clause)
    ]
    if targeting.radius.any or targeting.radius.none:
        found.append(Radius(targeting.radius))
    if targeting.custom:
        found.append(_custom(targeting.custom))
    return tuple(found)


def matched_point(checks: tuple[Check, ...], said: Said) -> object:
    """The circle that the request's point is in, as ``Radius.got`` tells it; None where there is none."""
    for check in checks:
        if isinstance(check, Radius) and check.area.any and said.point is not None and check.passes(said):
            return check.got(said)
    return None


def most_required(counts: Mapping[Name, int]) -> tuple[Name, ...]:
    """The names that most line items require, in an order of their own. ``counts``: how many do."""
    return tuple(sorted(counts, key=lambda name: (-counts[name], name))[: limits.NAMES_INDEXED])


def indexed(checks: tuple[Check, ...], names: tuple[Name, ...]) -> dict[str, Clause]:
    """What of them the index can hold: the first pair whose name is among ``names``."""
    for name, text in pairs(checks):
        if name in names:
            return {REQUIRED: Clause(all=(pair(name, text),))}
    return {}


def given(names: tuple[Name, ...], said: Said) -> tuple[str, ...]:
    """The pairs a request gives."""
    found = []
    for name in names:
        value = said.look(name)
        if isinstance(value, str):
            found.append(pair(name, value))
    return tuple(found)


def pairs(checks: tuple[Check, ...]) -> list[tuple[Name, str]]:
    """Names and the texts their expressions require of them."""
    custom = [check for check in checks if isinstance(check, Custom)]
    return [(name.parts, text) for check in custom for name, text in expressions.required(check.tree)]


def pair(name: Name, text: str) -> str:
    """As a value of the dimension ``REQUIRED``."""
    return f"{'.'.join(name)}={text}"


def _circle(circle: Circle) -> dict[str, float]:
    return {"lat": circle.lat, "lon": circle.lon, "metres": circle.metres}


def _shown(value: object) -> object:
    """Whatever a publisher sends, an explanation stays flat and short."""
    if isinstance(value, list | tuple):
        return [_shown(part) for part in value[:_TOLD] if not isinstance(part, list | dict)]
    if isinstance(value, dict):
        return f"{len(value)} properties"
    return value
