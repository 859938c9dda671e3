"""The field ``radius``: circles around points."""

import re
from typing import Final

from adserver.catalog.documents import Number
from adserver.catalog.fields import Fields
from adserver.catalog.findings import shown
from adserver.domain import limits
from adserver.domain.places import Area, Circle

_DEGREES: Final = re.compile(r"[+-]?[0-9]{1,3}(?:\.[0-9]{1,15})?\Z", re.ASCII)


def read_radius(fields: Fields) -> Area:
    """A list of circles to be in one of, or ``any`` and ``none``."""
    if not fields.present("radius"):
        return Area()
    value = fields.take("radius")
    if not isinstance(value, dict):
        return Area(any=_circles(fields, "radius"))
    inner = Fields(value, fields.at("radius"), fields.findings)
    parts = {part: _circles(inner, part) for part in ("any", "none") if inner.present(part)}
    inner.done()
    if not parts:
        inner.add("", "says nothing; give it a list of any or none")
    return Area(**parts)


def _circles(fields: Fields, name: str) -> tuple[Circle, ...]:
    found = []
    for entry in fields.mappings(name, limits.CIRCLES_PER_LINE_ITEM, least=1):
        lat, lon = _degrees(entry, "lat", 90), _degrees(entry, "lon", 180)
        metres = entry.integer("metres", 1, 1, limits.RADIUS_METRES_MAX, required=True)
        entry.done()
        found.append(Circle(lat, lon, metres))
    return tuple(found)


def _degrees(fields: Fields, name: str, most: int) -> float:
    """Decimal degrees, as a number or as text (YAML's decimals stay text)."""
    value = fields.take(name)
    right = f"degrees from -{most} to {most}, such as {'48.85' if name == 'lat' else '2.35'}"
    if value is None:
        fields.add(name, f"is missing; it is {right}")
        return 0.0
    text = str(value) if isinstance(value, str | Number | int) and not isinstance(value, bool) else ""
    degrees = float(text) if _DEGREES.match(text) else most + 1
    if not -most <= degrees <= most:
        fields.add(name, f"is {shown(value)}; it is {right}")
        return 0.0
    return degrees
