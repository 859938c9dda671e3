"""Points on the earth, and circles around them.

Distances are great circles on the sphere of the earth's mean radius (IUGG: 6 371 008.8 m), by the haversine
formula, which is well conditioned for small distances; the true, flattened earth differs by up to 0.5 %.
"""

from math import asin, cos, radians, sin, sqrt
from typing import Final

from msgspec import Struct

EARTH_METRES: Final = 6_371_008.8


class Point(Struct, frozen=True):
    """Degrees: north and east are positive."""

    lat: float
    lon: float


class Circle(Struct, frozen=True):
    """Everything at most ``metres`` away."""

    lat: float
    lon: float
    metres: int

    def distance(self, point: Point) -> float:
        """Metres from the centre."""
        north = sin(radians(point.lat - self.lat) / 2)
        east = sin(radians(point.lon - self.lon) / 2)
        part = north * north + cos(radians(self.lat)) * cos(radians(point.lat)) * east * east
        return 2 * EARTH_METRES * asin(sqrt(min(1.0, part)))

    def holds(self, point: Point) -> bool:
        return self.distance(point) <= self.metres


class Area(Struct, frozen=True, omit_defaults=True):
    """``any``: in one of these; ``none``: in none of these. A request without a point is in no circle."""

    any: tuple[Circle, ...] = ()
    none: tuple[Circle, ...] = ()

    def passes(self, point: Point | None) -> bool:
        if point is None:
            return not self.any
        inside = not self.any or any(circle.holds(point) for circle in self.any)
        return inside and not any(circle.holds(point) for circle in self.none)

    def nearest(self, point: Point) -> Circle | None:
        """Of ``any`` the circle whose centre is nearest among those that hold the point, or, if none
        does, among all."""
        held = [circle for circle in self.any if circle.holds(point)]
        return min(held or self.any, key=lambda circle: circle.distance(point), default=None)
