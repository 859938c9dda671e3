"""Distances on the earth, and circles around points."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.domain.places import EARTH_METRES, Area, Circle, Point

POINTS = st.builds(Point, st.floats(-90, 90), st.floats(-180, 180))
CIRCLES = st.builds(Circle, st.floats(-90, 90), st.floats(-180, 180), st.integers(1, 20_015_115))
DEGREE = EARTH_METRES * math.pi / 180


@pytest.mark.parametrize(
    ("one", "other", "metres"),
    [
        ((0, 0), (0, 1), DEGREE),
        ((0, 0), (1, 0), DEGREE),
        ((60, 0), (60, 0.001), DEGREE * 0.0005),
        ((0, 179.5), (0, -179.5), DEGREE),
        ((90, 0), (90, 180), 0),
        ((90, 0), (-90, 0), DEGREE * 180),
        ((0, 0), (0, 180), DEGREE * 180),
        ((48.8566, 2.3522), (51.5074, -0.1278), 343_556),
    ],
)
def test_distances(one: tuple[float, float], other: tuple[float, float], metres: float) -> None:
    found = Circle(*one, 1).distance(Point(*other))
    assert math.isclose(found, metres, rel_tol=1e-5, abs_tol=1e-6)


def test_a_metre_more_or_less() -> None:
    """The edge belongs to the circle."""
    point = Point(0, 1000 / DEGREE)
    assert not Circle(0, 0, 999).holds(point)
    assert Circle(0, 0, 1001).holds(point)
    assert Circle(5, 5, 1).holds(Point(5, 5))


@given(CIRCLES, POINTS)
def test_near_and_far_are_the_same_from_both_ends(circle: Circle, point: Point) -> None:
    back = Circle(point.lat, point.lon, 1).distance(Point(circle.lat, circle.lon))
    assert math.isclose(circle.distance(point), back, abs_tol=1e-3)
    assert 0 <= back <= DEGREE * 180


@given(st.lists(CIRCLES, max_size=3), st.lists(CIRCLES, max_size=3), st.none() | POINTS)
def test_any_and_none(any_of: list[Circle], none_of: list[Circle], point: Point | None) -> None:
    area = Area(tuple(any_of), tuple(none_of))
    if point is None:
        assert area.passes(None) is (not any_of)
        return
    inside = [circle for circle in any_of if circle.distance(point) <= circle.metres]
    outside = all(circle.distance(point) > circle.metres for circle in none_of)
    assert area.passes(point) is (outside and (bool(inside) or not any_of))
    nearest = area.nearest(point)
    assert (nearest is None) is (not any_of)
    assert not inside or nearest in inside
