"""Traffic learned from the journal, and line items paced by it."""

from pathlib import Path

import pytest
from world import World, campaign, publisher

from adserver.domain.decision import NoFill
from adserver.engine.curves import Curve, Hours, Ramp
from adserver.engine.pacing import ONE
from adserver.services import plans
from adserver.services.traffic import STEP_MS, Course, Traffic

pytestmark = pytest.mark.slow

DAY_MS = 86_400_000
HOUR_MS = 3600_000
MIDNIGHT_MS = 1_780_272_000_000
"""2026-06-01T00:00:00Z, a Monday."""
NIGHT, NOON = 1, 10


def filled(days: int, times: int = 1, until_ms: int = 0) -> Traffic:
    """Days of little traffic in their first half and much in the second."""
    traffic = Traffic()
    for at_ms in range(MIDNIGHT_MS, MIDNIGHT_MS + days * DAY_MS + until_ms, STEP_MS):
        traffic.count(at_ms, times * (NIGHT if at_ms % DAY_MS < DAY_MS // 2 else NOON))
    return traffic


def course(traffic: Traffic, day: int, hour: float) -> Course | None:
    start_ms = MIDNIGHT_MS + day * DAY_MS
    return traffic.course(start_ms, start_ms + DAY_MS, start_ms + int(hour * HOUR_MS))


def left(traffic: Traffic, day: int, hour: float) -> float:
    found = course(traffic, day, hour)
    assert found is not None
    return found.left / ONE


def test_the_first_day_goes_by_the_clock() -> None:
    assert course(Traffic(), 0, 12) is None
    assert course(filled(0, until_ms=12 * HOUR_MS), 0, 12) is None
    assert course(filled(1), 1, 0) is not None


def test_a_day_like_the_one_before_is_paced_by_its_traffic() -> None:
    """Half the day has gone by at noon, and a tenth of the traffic (of what comes until 23:00)."""
    traffic = filled(1, until_ms=12 * HOUR_MS)
    came, behind = 12 * NIGHT, 11 * NOON
    assert left(traffic, 1, 12) == pytest.approx(behind / (came + behind), abs=1e-6)


def test_a_plan_is_whole_an_hour_before_midnight() -> None:
    traffic = filled(1, until_ms=23 * HOUR_MS)
    assert left(traffic, 1, 22.99) < 0.01
    assert left(traffic, 1, 23) == 0 == left(traffic, 1, 23.99)
    start_ms = MIDNIGHT_MS + DAY_MS
    assert traffic.course(start_ms, start_ms + DAY_MS, start_ms + DAY_MS) is None
    assert traffic.course(start_ms, start_ms + DAY_MS, start_ms - 1) is None


def test_less_traffic_than_expected_all_day_is_paced_alike() -> None:
    """From six hours on the level is known, so nothing is put off until the evening."""
    traffic = filled(1, times=10)
    for at_ms in range(MIDNIGHT_MS + DAY_MS, MIDNIGHT_MS + DAY_MS + 18 * HOUR_MS, STEP_MS):
        traffic.count(at_ms, 7 * (NIGHT if at_ms % DAY_MS < DAY_MS // 2 else NOON))
    assert left(traffic, 1, 18) == pytest.approx(5 * NOON / (12 * NIGHT + 11 * NOON), abs=0.01)


def test_nobody_comes_and_nothing_is_due() -> None:
    traffic = filled(1, until_ms=13 * HOUR_MS)
    assert left(traffic, 1, 13) == left(traffic, 1, 15)
    traffic.count(MIDNIGHT_MS + DAY_MS + 15 * HOUR_MS, NOON)
    step = left(traffic, 1, 14.99) - left(traffic, 1, 15.01)
    planned = NOON / 4 / (12 * NIGHT + 11 * NOON)
    assert planned < step < 1.5 * planned


def test_an_outage_the_day_before_is_not_expected_again() -> None:
    traffic = Traffic()
    for at_ms in range(MIDNIGHT_MS, MIDNIGHT_MS + 3 * DAY_MS, STEP_MS):
        if not 2 * DAY_MS + 13 * HOUR_MS <= at_ms - MIDNIGHT_MS < 2 * DAY_MS + 15 * HOUR_MS:
            traffic.count(at_ms, NIGHT if at_ms % DAY_MS < DAY_MS // 2 else NOON)
    assert left(traffic, 3, 0) == 1
    found = course(traffic, 3, 14)
    assert found is not None and found.rate > 0


def test_a_history_of_a_few_hours_is_none() -> None:
    traffic = Traffic()
    for at_ms in range(MIDNIGHT_MS, MIDNIGHT_MS + 3 * HOUR_MS, STEP_MS):
        traffic.count(at_ms, 10)
    assert course(traffic, 1, 12) is None


def test_weeks_go_before_days() -> None:
    """On a Monday the Monday before is expected, and not the Sunday."""
    traffic = filled(6)
    for at_ms in range(MIDNIGHT_MS + 6 * DAY_MS, MIDNIGHT_MS + 7 * DAY_MS, STEP_MS):
        traffic.count(at_ms, 500)
    found = course(traffic, 7, 0)
    assert found is not None
    assert found.rest / found.rate == 4 * (12 * NIGHT + 11 * NOON) / NIGHT


def test_hours_see_a_part_of_a_day() -> None:
    """By the clock on the first day, then by what comes in such hours; outages are none of them."""
    first = MIDNIGHT_MS // HOUR_MS
    assert Traffic().part_of_day({first}, 0, MIDNIGHT_MS + HOUR_MS) == pytest.approx(1 / 24)
    assert Traffic().part_of_day({first}, MIDNIGHT_MS, MIDNIGHT_MS + 1000) == 1 / 1440, "or so"
    traffic, now_ms = filled(2), MIDNIGHT_MS + 2 * DAY_MS
    night, day = set(range(first + 24, first + 36)), set(range(first + 36, first + 48))
    for hours, came in ((night, 12 * NIGHT), (day, 12 * NOON), (night | day, 12 * (NIGHT + NOON))):
        part = traffic.part_of_day(hours, 0, now_ms)
        assert part == pytest.approx(came / (12 * (NIGHT + NOON)), rel=0.02)
    assert traffic.part_of_day(day, now_ms - HOUR_MS, now_ms) == pytest.approx(NOON / (12 * 11), rel=0.02)
    assert traffic.part_of_day(set(), 0, now_ms) > 0


def test_only_some_weeks_are_kept() -> None:
    traffic = filled(40)
    assert len(traffic._counts) <= 5 * 7 * 96 + 1
    again = Traffic()
    again.load(traffic.dump())
    assert again.dump() == traffic.dump()
    assert course(again, 40, 12) == course(traffic, 40, 12)


# -- in the server ---------------------------------------------------------------------------------


def world(folder: Path, **item: object) -> World:
    line = {"id": "a", "pacing": "even", "budget": {"daily": "0.10"}, **item}
    return World(folder, MIDNIGHT_MS, publishers=[publisher("gazette")], campaigns=[campaign("acme/s", line)])


def served(world: World, at_ms: int, requests: int, apart_ms: int = 1000) -> int:
    """Requests from an instant on; how many got an ad, each of which is seen at once."""
    count = 0
    for number in range(requests):
        world.clock.ms = at_ms + apart_ms * number
        answer = world.decide({"placements": [{"id": "top"}], "id": f"r{world.clock.ms}"})
        for ad in answer["decisions"][0]["ads"]:
            world.event(ad["impression_url"])
            count += 1
    return count


def hour_of(world: World, day: int, hour: int) -> int:
    """Every sixth hour brings ten times as many as the others."""
    requests = 30 if hour % 6 == 2 else 3
    return served(world, MIDNIGHT_MS + day * DAY_MS + hour * HOUR_MS, requests, HOUR_MS // requests)


def test_a_line_item_follows_the_traffic_from_the_second_day_on(tmp_path: Path) -> None:
    """A hundred impressions a day for the 180 that could be had."""
    with world(tmp_path) as w:
        first, second = ([hour_of(w, day, hour) for hour in range(24)] for day in range(2))
    assert max(first) <= 12 and sum(first) >= 65, "by the clock four an hour are due, and three come to most"
    busy = [second[hour] for hour in (2, 8, 14, 20)]
    assert min(busy) >= 12 and max(busy) <= 24, second
    assert 96 <= sum(second) <= 100


def test_what_was_missed_over_midnight_is_spread_over_the_day(tmp_path: Path) -> None:
    """A goal of 24 a day for 144 who come, six an hour; nothing reaches the server from noon to six in the
    morning."""
    month = {"start": "2026-06-01", "end": "2026-07-01"}
    goal = {"budget": {}, "flight": month, "goal": {"impressions": 30 * 24}, "priority": "standard"}
    with world(tmp_path, **goal) as w:

        def hour(number: int) -> int:
            return served(w, MIDNIGHT_MS + number * HOUR_MS, 6, HOUR_MS // 6)

        first = [hour(number) for number in range(36)]
        assert 23 <= sum(first[:24]) <= 25 and max(first) <= 2, "one an hour"
        missed = 48 - sum(first)
        morning = [hour(number) for number in range(54, 72)]
        assert max(morning) <= 4, f"{missed} are missing: a burst would have all of an hour"
        assert sum(first) + sum(morning) == pytest.approx(72, abs=2), "and the day ends on its plan"


def test_the_journal_tells_all_of_it_again(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        served(w, MIDNIGHT_MS, 30)
        served(w, MIDNIGHT_MS + 12 * HOUR_MS, 10)
        w.decide({"placements": [{"id": "top"}], "mode": "test"})
        w.decide({"placements": [{"id": "top"}], "mode": "dry_run"})
        before = w.app.states.traffic.dump()
        assert before != Traffic().dump()
        w.restart()
        assert w.app.states.traffic.dump() == before
        w.restart(clean=True)
        assert w.app.states.traffic.dump() == before


def test_ahead_by_traffic_waits_until_it_is_due(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        w.app.states.traffic.load(filled(1, times=1000, until_ms=18 * HOUR_MS).dump())
        now_ms = w.clock.ms = MIDNIGHT_MS + DAY_MS + 18 * HOUR_MS
        took = served(w, now_ms, 90)
        entry = w.app.world.snapshot.by_serial[1]
        books, traffic = w.app.states.budgets, w.app.states.traffic
        drop = plans.drop(entry, books, traffic, {}, w.clock.ms)
        assert 40 < took < 70 and drop is not None and drop.reason is NoFill.PACED
        assert drop.got == drop.wanted + 1_000_000 - drop.wanted % 1_000_000 or drop.got > drop.wanted
        until_ms = plans.in_time_ms(entry, books, traffic, w.clock.ms)
        assert w.clock.ms < until_ms <= w.clock.ms + 5000


def test_a_flight_that_begins_at_noon_owes_nothing_for_the_morning(tmp_path: Path) -> None:
    with world(tmp_path, flight={"start": "2026-06-01T12:00", "end": "2026-06-30"}) as w:
        assert served(w, MIDNIGHT_MS + 12 * HOUR_MS - 1000, 1) == 0
        assert served(w, MIDNIGHT_MS + 12 * HOUR_MS, 20) == 1
        assert 20 <= served(w, MIDNIGHT_MS + 15 * HOUR_MS, 60) <= 27


def test_clicks_that_may_come_do_not_stop_what_is_paced(tmp_path: Path) -> None:
    """Ten clicks a day: by what is held, forty impressions in flight would be two of them."""
    clicks = {"pricing": {"model": "cpc", "amount": "0.01"}, "budget": {"daily": "0.10"}}
    with world(tmp_path, **clicks) as w:
        noon_ms = MIDNIGHT_MS + 12 * HOUR_MS
        assert served(w, noon_ms, 150) == 150, "half of the day's budget is due, and nothing is clicked"
        books = w.app.states.budgets.standing(1, noon_ms)
        assert books is not None and books.accounts[1].held_nanos > 50_000_000
        assert books.likely_nanos(True, 40_000) < 10_000_000


# -- curves ----------------------------------------------------------------------------------------

BUSINESS = tuple(int(8 <= hour < 18) for hour in range(24))


def curved(traffic: Traffic, day: int, hour: float, curve: Curve) -> float:
    start_ms = MIDNIGHT_MS + day * DAY_MS
    found = traffic.course(start_ms, start_ms + DAY_MS, start_ms + int(hour * HOUR_MS), curve)
    assert found is not None
    return found.left / ONE


def a_ramp(day: int) -> Ramp:
    return Ramp(MIDNIGHT_MS + day * DAY_MS, MIDNIGHT_MS + (day + 1) * DAY_MS)


def test_equal_weights_are_even() -> None:
    traffic = filled(1, until_ms=17 * HOUR_MS)
    for hour in (0, 3.1, 11.9, 12.2, 16.99):
        seven = Hours((7,) * 24, "UTC")
        assert curved(traffic, 1, hour, seven) == pytest.approx(left(traffic, 1, hour), abs=1e-6)


def test_weights_multiply_the_traffic() -> None:
    """Of hours 8 to 18, half are quiet; the last half hour of the ten is left to finish."""
    traffic = filled(1, until_ms=18 * HOUR_MS)
    business = Hours(BUSINESS, "UTC")
    assert curved(filled(1, until_ms=8 * HOUR_MS), 1, 8, business) == 1
    quiet, busy = 4 * NIGHT, (6 * 4 - 1) * NOON / 4
    assert curved(filled(1, until_ms=12 * HOUR_MS), 1, 12, business) == pytest.approx(
        busy / (quiet + busy), abs=1e-6
    )
    assert curved(traffic, 1, 17.75, business) == 0 == curved(traffic, 1, 20, business)
    assert curved(traffic, 1, 12, a_ramp(1)) < left(traffic, 1, 12)


@pytest.mark.parametrize("curve", [Hours(BUSINESS, "UTC"), Hours((*range(1, 25),), "UTC"), a_ramp(1)])
def test_no_curve_makes_up_for_an_outage_in_a_burst(curve: Curve) -> None:
    """Two hours in which nobody comes; behind them every quarter is due more by the same factor."""
    as_planned, with_outage = (Traffic() for _ in range(2))
    for at_ms in range(MIDNIGHT_MS, MIDNIGHT_MS + 2 * DAY_MS, STEP_MS):
        as_planned.count(at_ms, NOON)
        if not 10 * HOUR_MS <= at_ms - MIDNIGHT_MS - DAY_MS < 12 * HOUR_MS:
            with_outage.count(at_ms, NOON)
    assert curved(with_outage, 1, 10, curve) == curved(with_outage, 1, 11.9, curve)
    quarters = [10 + quarter / 4 for quarter in range(8, 24)]
    planned, caught_up = (
        [curved(one, 1, hour, curve) - curved(one, 1, hour + 0.25, curve) for hour in quarters]
        for one in (as_planned, with_outage)
    )
    assert sum(planned) > 0.15
    # What is expected is judged by the level of the last hours, which is whole numbers.
    factor = curved(with_outage, 1, 12, curve) / curved(as_planned, 1, 12, curve)
    assert 1.1 < factor < 2
    assert caught_up == pytest.approx([factor * one for one in planned], abs=0.01)


@pytest.mark.slow
def test_frontloaded_and_hourly_line_items(tmp_path: Path) -> None:
    """A hundred impressions a day over two days alike, of 240 that come."""
    for name, pacing in (("ramp", "frontloaded"), ("hours", [*BUSINESS])):
        with world(tmp_path / name, pacing=pacing) as w:
            served_by_hour = []
            for hour in range(48):
                w.tick()
                served_by_hour.append(served(w, MIDNIGHT_MS + hour * HOUR_MS, 10, HOUR_MS // 10))
        first, second = served_by_hour[:24], served_by_hour[24:]
        if name == "ramp":
            assert 58 <= sum(second[:12]) <= 70 and 95 <= sum(second) <= 100
            assert 58 <= sum(first[:12]) <= 66
        else:
            outside = [count for hour, count in enumerate(served_by_hour) if not BUSINESS[hour % 24]]
            assert sum(outside) == 0
            assert 95 <= sum(first) <= 100 and 95 <= sum(second) <= 100


def test_a_curve_of_hours_needs_no_plan_to_close(tmp_path: Path) -> None:
    with world(tmp_path, pacing=[*BUSINESS], budget={}) as w:
        assert served(w, MIDNIGHT_MS + 7 * HOUR_MS, 5) == 0
        assert served(w, MIDNIGHT_MS + 8 * HOUR_MS, 5) == 5


# -- goals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "unit"),
    [({"impressions": 40}, 1), ({"viewable": 40}, 1), ({"clicks": 40}, 1), ({"spend": "0.04"}, 1_000_000)],
)
def test_every_goal_is_paced_and_stops(tmp_path: Path, goal: dict[str, object], unit: int) -> None:
    """A flight of two days, half of the goal on each; everything happens at once."""
    name = next(iter(goal))
    line = {"goal": goal, "budget": {}, "flight": {"start": "2026-06-01", "end": "2026-06-02"}}
    with world(tmp_path, priority="standard", **line) as w:
        done = []
        for hour in range(0, 48, 6):
            for minute in range(0, 360, 9):
                w.clock.ms = MIDNIGHT_MS + hour * HOUR_MS + minute * 60_000
                answer = w.decide({"placements": [{"id": "top"}], "id": f"r{w.clock.ms}"})
                for ad in answer["decisions"][0]["ads"]:
                    for url in ("impression_url", "viewable_url", "click_url"):
                        w.event(ad[url])
            totals = w.app.states.budgets.totals(1)
            assert totals is not None
            counted = totals[0].billed_nanos // unit if name == "spend" else totals[0].net(name)
            done.append(counted)
        assert done[-1] == 40
        assert all(abs(count - 5 * place) <= 2 for place, count in enumerate(done[:-1], 1)), done


def test_a_share_is_of_every_draw(tmp_path: Path) -> None:
    half = {"priority": "sponsorship", "goal": {"share": "0.50"}, "pacing": "asap", "budget": {}}
    with world(tmp_path, **half) as w:
        assert 440 <= served(w, MIDNIGHT_MS, 1000) <= 560


@pytest.mark.parametrize(
    ("goal", "most"), [({"impressions": 6}, 6), ({"viewable": 6}, 10), ({"clicks": 1}, 500)]
)
def test_a_goal_counts_what_is_likely_of_ads_in_flight(
    tmp_path: Path, goal: dict[str, int], most: int
) -> None:
    with world(tmp_path, priority="standard", goal=goal, pacing="asap", budget={}) as w:
        answers = [w.decide({"placements": [{"id": "top"}]}) for _ in range(most + 20)]
        assert sum(len(answer["decisions"][0]["ads"]) for answer in answers) == most
