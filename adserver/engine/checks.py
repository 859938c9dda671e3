"""Targeting that is asked of candidates one by one, because no bitmap holds it.

The index still narrows expressions: one that begins ``name = "text" and ..`` can hold only where the
request gives that name that text. So each line item has at most one such pair as a required value of the
dimension ``custom``, and a request gives the pairs of the names that are required somewhere. The names
are bounded (those most line items require; the others are merely asked), so a request's cost is too.
Invariant: the pair follows from the expression, hence index and scan agree with or without it.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import ceil
from typing import ClassVar, Final

from msgspec import Struct

from adserver.domain import expressions, limits, wildcards
from adserver.domain.expressions import Ask, Condition
from adserver.domain.places import Area, Circle
from adserver.domain.properties import Said
from adserver.domain.targeting import Clause, Targeting

Name = tuple[str, ...]
"""The parts of a name in an expression."""

REQUIRED: Final = "custom"
"""The index's dimension of pairs of name and text."""


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
        parts = {"any": self.clause.any, "all": self.clause.all, "none": self.clause.none}
        return {name: list(values) for name, values in parts.items() if values}

    def got(self, said: Said) -> object:
        return list(said.facts.get(self.dimension, ()))


def _matched(pieces: Pieces, values: tuple[str, ...]) -> bool:
    return any(wildcards.matches(pieces, value) for value in values)


def patterned(name: str, clause: Clause) -> bool:
    """Whether a clause holds patterns; the index holds the others. (A domain's ``*.`` is no pattern here:
    requests say it in so many words.)"""
    return name == "urls" and any("*" in value for value in (*clause.any, *clause.all, *clause.none))


def _patterns(name: str, clause: Clause) -> Patterns:
    parts = (tuple(tuple(v.split("*")) for v in part) for part in (clause.any, clause.all, clause.none))
    return Patterns(clause, name, *parts)


Check = Custom | Radius | Patterns

_TOLD: Final = 20


def of(targeting: Targeting) -> tuple[Check, ...]:
    """What of a line item's targeting is asked of it as a candidate."""
    found: list[Check] = [
        _patterns(name, clause) for name, clause in targeting.clauses.items() if patterned(name, clause)
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
    values = ((name, said.look(name)) for name in names)
    return tuple(pair(name, value) for name, value in values if isinstance(value, str))


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
