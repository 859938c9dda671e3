"""The allocation plan in a server: from what was asked for, through the journal, to the draw."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from replayed import Rich, played, told
from world import World, campaign, publisher

from adserver.domain import limits
from adserver.domain.books import JournalClosed, Position
from adserver.domain.planned import Planned
from adserver.domain.records import Record
from adserver.engine import draw
from adserver.ledger.reader import Reader
from adserver.services import plans
from adserver.services.allotment import follow, moved
from adserver.services.samples import HOUR_MS

pytestmark = pytest.mark.slow

NARROW, WIDE = 1, 2
"""Serials, in the order of their names."""
FLIGHT = {"start": "2026-05-31", "end": "2026-06-30"}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan is made of a handful of requests."""
    monkeypatch.setattr(limits, "SUPPLY_LEAST", 40)


def sold(name: str, impressions: int, *places: str, **fields: Any) -> dict[str, Any]:
    targeting = {"placements": [f"gazette/{place}" for place in places]}
    return campaign(
        f"{name}/c",
        {"id": "l", "priority": "standard", "targeting": targeting, "flight": FLIGHT,
         "goal": {"impressions": impressions}, **fields},
    )  # fmt: skip


def world(folder: Path, **fields: Any) -> World:
    """Two placements of as much traffic: one may have both, the other one of them."""
    places = [{"id": "top", "formats": ["image"]}, {"id": "side", "formats": ["image"]}]
    campaigns = [sold("wide", 500_000, "top", "side", **fields), sold("narrow", 450_000, "top")]
    return World(folder, publishers=[publisher("gazette", placements=places)], campaigns=campaigns)


def ask(world: World, number: int) -> list[str]:
    """Who served, one placement a request; everything is seen."""
    found = []
    for turn in range(number):
        world.clock.ms += 2500
        request = {"placements": [{"id": ("top", "side")[turn % 2]}]}
        answer = world.decide(request, seed=draw.mix(world.clock.ms, 0))
        for ad in answer["decisions"][0]["ads"]:
            found.append(ad["advertiser"])
            world.event(ad["impression_url"])
    return found


def later(world: World, hours: int) -> None:
    """At the beginning of an hour, so that the next requests are a fair sample of it."""
    if hours:
        world.clock.ms += (hours + 1) * HOUR_MS - world.clock.ms % HOUR_MS


def records(world: World) -> list[Record]:
    with closing(Reader(world.app.settings.data / "journal")) as reader:
        return [record for _, record, _ in reader.read(Position())]


def plans_of(world: World) -> list[Planned]:
    return [record for record in records(world) if isinstance(record, Planned)]


def test_too_few_requests_are_no_plan(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        ask(w, 39)
        w.tick()
        assert plans_of(w) == [] and w.app.states.hot.allotment == {}
        ask(w, 1)
        w.tick()
        assert len(plans_of(w)) == 1


def test_the_narrow_one_is_drawn_where_the_wide_one_has_other_traffic(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        before = ask(w, 400)
        w.tick()
        after = ask(w, 400)
        assert 0.35 < before.count("narrow") / 200 < 0.6, "by need"
        weights = w.app.states.hot.allotment
        assert abs(weights[NARROW]) > 2 * abs(weights[WIDE])
        assert after.count("narrow") / 200 > 0.75


@pytest.mark.parametrize(
    ("goal", "hours", "done", "hurries"),
    [
        (300_000, 18, 15, False),
        (390_000, 18, 15, True),
        (350_000, 0, 6, False),
        (450_000, 0, 6, True),
        (450_000, 0, 15, False),
    ],
)
def test_who_might_miss_its_goal_is_not_held_back(
    tmp_path: Path, goal: int, hours: int, done: int, hurries: bool
) -> None:
    """Of 17 280 a day it still wants 9000 to 14 900; sure to come are 10 400 in the weeks
    ahead, or 12 100 while all that is known may be a night. Meanwhile nobody runs ahead of the day's end:
    6 % of the goal are within the second of thirty days, 15 are not."""
    top = publisher("gazette", placements=[{"id": "top", "formats": ["image"]}])
    with World(tmp_path, publishers=[top], campaigns=[sold("narrow", goal, "top", pacing="even")]) as w:

        def shown(number: int) -> int:
            count = 0
            for _ in range(number):
                w.clock.ms += 5000
                answer = w.decide({"placements": [{"id": "top"}]}, seed=draw.mix(w.clock.ms, 0))
                for ad in answer["decisions"][0]["ads"]:
                    w.event(ad["impression_url"])
                    count += 1
            return count

        later(w, hours)
        standing = w.app.states.budgets.standing(1, w.clock.ms)
        assert standing is not None
        standing.totals.impressions = goal * done // 100
        assert shown(50) == 0, "days ahead"
        w.tick()
        assert w.app.states.hot.allotment.keys() == {1}
        assert (shown(50) == 50) is hurries
        status = w.app.delivery.of("narrow/c")
        assert status is not None
        told = {one["serving_status"] for one in status["line_items"]}
        assert told == {"delivering" if hurries else "paced"}
        w.restart()
        assert (w.app.states.hot.allotment[1] < 0) is hurries, "the journal tells it"


@pytest.mark.parametrize("hours", [0, 18])
def test_of_those_who_hurry_the_capped_are_drawn_first(tmp_path: Path, hours: int) -> None:
    """From the first plan on: whom they have capped is known later than who is capped at all."""
    top = publisher("gazette", placements=[{"id": "top", "formats": ["image"]}])
    capped = sold("b", 450_000, "top", frequency_caps=[{"limit": 3, "per": "1d"}])
    with World(tmp_path, publishers=[top], campaigns=[sold("a", 450_000, "top"), capped]) as w:
        later(w, hours)
        for _ in range(60):
            w.clock.ms += 5000
            w.decide({"placements": [{"id": "top"}]})
        w.tick()
        weights = w.app.states.hot.allotment
        assert weights[1] < 0 and weights[2] < 0
        assert weights[2] < 5 * weights[1]


def test_what_a_goal_of_clicks_wants_is_learned(tmp_path: Path) -> None:
    """500 impressions a click while nothing is known; then what its own were clicked."""
    top = publisher("gazette", placements=[{"id": "top", "formats": ["image"]}])
    clicked = sold("clicked", 1, "top", goal={"clicks": 100})
    with World(tmp_path, publishers=[top], campaigns=[clicked]) as w:
        entry, books = w.app.world.snapshot.by_serial[1], w.app.states.budgets
        assert plans.daily_need(entry, books, w.clock.ms, 1.0) == pytest.approx(100 * 500)
        standing = books.standing(1, w.clock.ms)
        assert standing is not None
        standing.totals.impressions, standing.totals.clicks = 1000, 50
        assert plans.daily_need(entry, books, w.clock.ms, 1.0) == pytest.approx(50 * 1500 / 51)
        standing.totals.impressions, standing.totals.clicks = 1000, 1000
        assert plans.daily_need(entry, books, w.clock.ms, 1.0) == 0


def test_a_budget_of_a_day_is_kept_for_the_day(tmp_path: Path) -> None:
    """It hurries nobody: what is not spent today is no budget of tomorrow."""
    line = {"budget": {"daily": "1000"}, "pacing": "even"}
    with world(tmp_path, **line) as w:
        ask(w, 60)
        w.tick()
        assert w.app.states.hot.allotment[WIDE] > 0 > w.app.states.hot.allotment[NARROW]


def test_a_plan_outlives_a_restart(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        ask(w, 60)
        w.tick()
        known = dict(w.app.states.hot.allotment)
        assert known
        for clean in (False, True):
            w.restart(clean=clean)
            assert w.app.states.hot.allotment == known
        w.tick()
        assert len(plans_of(w)) == 1, "the sample begins anew; until there is enough the plan stays"


def test_a_plan_tells_only_what_moved(tmp_path: Path) -> None:
    assert list(moved({1: 1000, 2: 1000, 3: 1000}, {1: 1.02, 2: 1.05, 4: 3.0})) == [
        (2, 1050),
        (3, 0),
        (4, 3000),
    ]
    assert list(moved({}, {1: 1e-9, 2: 2.0})) == [(1, 1), (2, 2000)], "who gives way is in the plan"
    assert list(moved({1: 1000, 2: -1000}, {1: 1.0, 2: 1.0}, {1})) == [(1, -1000), (2, 1000)]
    with world(tmp_path) as w:
        ask(w, 200)
        w.tick()
        w.tick()
        (planned,) = plans_of(w)
        followed: dict[int, int] = {}
        follow(followed, planned.weights)
        assert followed == w.app.states.hot.allotment
        follow(followed, ((WIDE, 0),))
        assert set(followed) == {NARROW}


def test_a_line_item_that_left_or_is_done_has_no_weight(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        ask(w, 60)
        w.tick()
        assert set(w.app.states.hot.allotment) == {WIDE, NARROW}
        w.put(campaigns=[sold("narrow", 1, "top")])
        ask(w, 3)
        w.tick()
        assert set(w.app.states.hot.allotment) == {WIDE}
        w.archive("campaign", "wide/c")
        w.tick()
        assert w.app.states.hot.allotment == {}


def test_where_the_journal_has_no_room_the_old_plan_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path) as w:
        ask(w, 60)

        def full(*_: object) -> None:
            raise JournalClosed("full")

        monkeypatch.setattr(w.app.planning._journal, "append", full)
        assert asyncio.run(w.app.planning.renew()) is False
        assert w.app.states.hot.allotment == {}


def test_whom_a_person_has_capped_is_no_supply(tmp_path: Path) -> None:
    """Half of the requests are of somebody who has seen the wide one often enough."""
    with world(tmp_path, frequency_caps=[{"limit": 1, "per": "1d"}]) as w:
        for turn in range(60):
            w.clock.ms += 1000
            w.decide({"placements": [{"id": "side"}], "user": {"id": "u-1"} if turn % 2 else {}})
        kinds = {mine: daily for daily, mine in w.app.supply.kinds()}
        assert set(kinds) == {(WIDE,)} and kinds[WIDE,] > 0
        (hour,) = w.app.supply._hours.values()
        told = [mine for ((_, mine),) in hour.requests.values()]
        assert told.count((WIDE,)) == 31 and told.count(()) == 29, "30 of nobody, and one of the person"


def test_the_sample_is_bounded_and_fair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SUPPLY_PER_HOUR", 32)
    with world(tmp_path) as w:
        seeds = iter(range(0, 1 << 64, (1 << 64) // 500))
        for _ in range(499):
            w.clock.ms += 1000
            w.decide({"placements": [{"id": "top"}]}, seed=next(seeds))
        (hour,) = w.app.supply._hours.values()
        assert len(hour.requests) <= 32
        assert len(hour.requests) << hour.shift == pytest.approx(499, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_decisions_by_a_plan_are_replayed(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SUPPLY_LEAST", 4)
    with World(tmp_path) as w:
        assert told(played(w, Rich(w, seed), 120)) == []
        assert plans_of(w), "there was a plan to replay"
