"""What candidates are asked: expressions, with the pairs the index knows of them."""

from typing import Any

import pytest
from engine_samples import context, line_item, of_items, request

from adserver.domain import limits
from adserver.domain.decision import NoFill
from adserver.domain.places import Area, Circle, Point
from adserver.domain.properties import Properties
from adserver.domain.request import PlacementAsk
from adserver.domain.targeting import Clause, Targeting
from adserver.engine import checks, rules
from adserver.engine.compile import compile_snapshot
from adserver.engine.rules import Drop


def custom(text: str, asked: dict[str, Any], placement: dict[str, Any] | None = None) -> Drop | None:
    whole = compile_snapshot(of_items(line_item(1, targeting=Targeting(custom=text))))
    ask = PlacementAsk("top", properties=placement or {})
    return rules.first_drop(whole.entries[0], context(whole, request(**asked), ask))


@pytest.mark.parametrize(
    ("text", "asked", "placement"),
    [
        ('x = "a"', {"properties": Properties(request={"x": "a"})}, {}),
        ('x = "a"', {"properties": Properties(request={"x": "b"})}, {"x": "a"}),
        ('placement.x = "a" and x = "a"', {}, {"x": "a"}),
        ("user.x.y = 1", {"properties": Properties(user={"x": {"y": 1}})}, {}),
        ("page.x = 1", {"properties": Properties(page={"x": 1})}, {}),
        ("user = 1", {"properties": Properties(request={"user": 1})}, {}),
        ('device.os = "ios"', {"facts": {"os": ("ios",)}}, {}),
        ('device.language = "fr"', {"facts": {"languages": ("fr-be", "fr")}}, {}),
        ('geo.country = "FR"', {"facts": {"countries": ("FR",)}}, {}),
        ('page.keywords contains "b"', {"facts": {"keywords": ("a", "b")}}, {}),
        ('page.domain = "a.b"', {"facts": {"domains": ("a.b", "b")}}, {}),
        ("not device.os = 1 and geo.city <> page.x", {}, {}),
    ],
)
def test_where_names_look(text: str, asked: dict[str, Any], placement: dict[str, Any]) -> None:
    assert custom(text, asked, placement) is None
    assert custom(f"not ({text})", asked, placement) is not None


def test_a_drop_tells_the_expression_and_what_it_found() -> None:
    text = 'x = "a" and page.list contains 1 and user.age > 3'
    said = Properties(page={"list": [2, {"secret": 1}, 3]}, request={"x": {"deep": {}}})
    assert custom(text, {"properties": said}) == Drop(
        NoFill.NO_MATCH,
        "targeting.custom",
        text,
        {"x": "1 properties", "page.list": [2, 3], "user.age": None},
    )


def test_the_index_knows_the_names_most_line_items_require_and_no_more() -> None:
    often = [line_item(n, targeting=Targeting(custom='often = "a" and x = 1')) for n in (1, 2)]
    names = limits.NAMES_INDEXED
    rare = [line_item(n + 3, targeting=Targeting(custom=f'"b" = n{n:03}')) for n in range(names)]
    other = line_item(1000, targeting=Targeting(custom='often = "a" or x = 1'))
    whole = compile_snapshot(of_items(*often, *rare, other))
    required = context(whole).view.required
    assert len(required) == names
    assert required[:2] == (("often",), ("n000",))
    pairs = {e.line_item.serial: e.clauses["custom"].all for e in whole.entries if "custom" in e.clauses}
    assert pairs[1] == ("often=a",)
    assert pairs[3] == ("n000=b",)
    assert len(pairs) == names + 1
    given = context(whole, request(properties=Properties(request={"often": "a", "n000": 1, "n001": "c"})))
    assert given.facts["custom"] == ("often=a", "n001=c")


LOUVRE = Circle(48.8606, 2.3376, 1000)


def radius(area: Area, point: Point | None) -> Any:
    whole = compile_snapshot(of_items(line_item(1, targeting=Targeting(radius=area))))
    found = context(whole, request(point=point))
    drop = rules.first_drop(whole.entries[0], found)
    return checks.matched_point(whole.entries[0].checks, found.said), drop


def test_a_point_in_a_circle_is_told() -> None:
    circle = {"lat": 48.8606, "lon": 2.3376, "metres": 1000}
    matched, drop = radius(Area((Circle(0, 0, 5), LOUVRE)), Point(48.8606, 2.3476))
    assert drop is None
    assert matched == {"lat": 48.8606, "lon": 2.3476, "circle": circle, "distance_metres": 732}


def test_a_point_outside_is_told_how_far_it_is() -> None:
    circle = {"lat": 48.8606, "lon": 2.3376, "metres": 1000}
    matched, drop = radius(Area((LOUVRE,)), Point(48.8606, 2.3576))
    assert matched is None
    assert drop.rule == "targeting.radius"
    assert drop.wanted == {"any": [circle]}
    assert drop.got == {"lat": 48.8606, "lon": 2.3576, "circle": circle, "distance_metres": 1464}


def test_without_a_point_nothing_is_near() -> None:
    matched, drop = radius(Area((LOUVRE,)), None)
    assert (matched, drop.rule, drop.got) == (None, "targeting.radius", None)
    assert radius(Area((), (LOUVRE,)), None) == (None, None)
    matched, drop = radius(Area((), (LOUVRE,)), Point(48.8606, 2.3376))
    assert (matched, drop.rule, drop.got) == (None, "targeting.radius", {"lat": 48.8606, "lon": 2.3376})


def test_an_expression_may_ask_for_the_point() -> None:
    point = {"point": Point(48.5, 2.0)}
    assert custom("geo.lat > 48.4 and geo.lon = 2", point) is None
    assert custom("geo.lat > 48.4", {}) is not None


@pytest.mark.parametrize(
    ("clause", "url", "passes"),
    [
        (Clause(any=("https://a.example/*",)), "https://a.example/", True),
        (Clause(any=("https://a.example/*",)), "https://b.example/https://a.example/", False),
        (Clause(any=("*/sport/*", "https://b.example/")), "https://b.example/", True),
        (Clause(any=("*/sport/*", "https://b.example/")), "https://b.example/x", False),
        (Clause(all=("*/sport/*", "*?page=*")), "https://a.example/sport/?page=2", True),
        (Clause(all=("*/sport/*", "*?page=*")), "https://a.example/sport/", False),
        (Clause(none=("*/private/*",)), "https://a.example/private/x", False),
        (Clause(none=("*/private/*",)), None, True),
        (Clause(any=("*",)), None, False),
        (Clause(any=("https://a.example/Sport*",)), "https://a.example/sport", False),
    ],
)
def test_patterns_of_urls(clause: Clause, url: str | None, passes: bool) -> None:
    whole = compile_snapshot(of_items(line_item(1, targeting=Targeting({"urls": clause}))))
    facts = {"urls": (url,)} if url else {}
    drop = rules.first_drop(whole.entries[0], context(whole, request(facts=facts)))
    assert (drop is None) is passes
    if drop is not None:
        assert (drop.rule, drop.got) == ("targeting.urls", [url] if url else [])
        assert drop.wanted == rules.wanted(clause)
