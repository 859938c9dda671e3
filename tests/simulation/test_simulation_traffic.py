"""Who comes: rates, people and pages as the configuration says, and always the same."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from adserver.simulation.config import Config, read_config
from adserver.simulation.traffic import HOUR_MS, Population, body, end_ms, hours, visits

SMALL = read_config(Path(__file__).with_name("small.yaml"))
BUSY = replace(
    SMALL, traffic=replace(SMALL.traffic, decisions=20_000, noise=0.0, growth=0.0, weekdays=(1.0,) * 7)
)


def of(config: Config) -> list[int]:
    """When pages are asked for."""
    return [at_ms for visit in visits(config, Population(config)) for at_ms in visit.pages_ms]


def test_the_forecast_is_shape_times_weekday_times_growth() -> None:
    told = hours(SMALL)
    assert len(told) == 48 and told[0].start_ms == SMALL.start_ms
    day = 300 / sum(SMALL.traffic.shape)
    assert told[0].forecast == pytest.approx(2 * day)
    assert told[24 + 19].forecast == pytest.approx(10 * day * 0.9 * 1.05)


def test_as_many_come_as_actual_says() -> None:
    at = Counter((at_ms - BUSY.start_ms) // (24 * HOUR_MS) for at_ms in of(BUSY))
    assert at[0] == pytest.approx(20_000, rel=0.03)
    assert at[1] == pytest.approx(14_000, rel=0.03)


def test_they_come_by_the_shape() -> None:
    at = Counter((at_ms - BUSY.start_ms) // HOUR_MS for at_ms in of(replace(BUSY, days=1)))
    share = at[19] / sum(at.values())
    assert share == pytest.approx(10 / sum(BUSY.traffic.shape), rel=0.15)
    assert at[3] < at[19] / 4


def test_visits_come_in_order_and_their_pages_too() -> None:
    told = list(visits(BUSY, Population(BUSY)))
    assert all(one.pages_ms[0] <= other.pages_ms[0] for one, other in pairwise(told))
    assert all(one < other for visit in told for one, other in pairwise(visit.pages_ms))
    pages = [len(visit.pages_ms) for visit in told if visit.view == 0]
    assert sum(pages) / len(pages) == pytest.approx(5, rel=0.05)


def test_some_people_come_more_often_and_everybody_is_always_the_same() -> None:
    population = Population(BUSY)
    often = Counter(visit.person for visit in visits(BUSY, population))
    assert often[1] > 3 * often[30] > 0
    assert max(often) <= 60
    assert [population.person(n) for n in range(1, 60)] == [Population(BUSY).person(n) for n in range(1, 60)]
    kinds = Counter(population.person(number).kind.facts["country"] for number in range(1, 2000))
    assert kinds["FR"] / kinds["DE"] == pytest.approx(2, rel=0.15)


def test_the_same_seed_is_the_same_traffic() -> None:
    assert list(visits(SMALL, Population(SMALL))) == list(visits(SMALL, Population(SMALL)))
    other = replace(SMALL, seed=8)
    assert of(other) != of(SMALL)


def test_more_days_do_not_change_those_before() -> None:
    """What is compared between two runs of different length is comparable."""
    short = of(replace(SMALL, days=1))
    assert short == of(SMALL)[: len(short)]


def test_a_day_on_which_clocks_change_has_its_hours() -> None:
    march = replace(SMALL, start_ms=1_774_738_800_000, days=1)
    assert len(hours(march)) == 23 and end_ms(march) - march.start_ms == 23 * HOUR_MS


def test_a_request_says_what_its_person_is() -> None:
    population = Population(SMALL)
    visit = next(visits(SMALL, population))
    person = population.person(visit.person)
    asked = body(SMALL, visit, person, {"id": "main", "page": 0}, 0)
    assert asked["consent"] == {"personalised": person.consents}
    assert asked["placements"][0]["feed"] == {"id": "main", "page": 0}
    assert asked["geo"] == {"country": person.kind.facts["country"]}
    assert asked["device"]["type"] == person.kind.facts["device"]
