"""The referees: right on what can be worked out by hand, and never below what the server reached."""

from itertools import count
from math import ceil
from pathlib import Path

import pytest
from msgspec.structs import replace

pytest.importorskip("scipy", reason="the referees need scipy")

from adserver.domain.books import LineItemTotals
from adserver.domain.campaign import Budget, Campaign, Flight, FrequencyCap, Goal, LineItem, Pricing
from adserver.domain.targeting import Targeting
from adserver.simulation.config import read_config
from adserver.simulation.run import Found, simulate
from loadtests.auction import behind_guaranteed, best_revenue, earned
from loadtests.optimum import as_planned, at_once, done, feasible, sliding, wanted_of
from loadtests.supply import Slot, slots

SMALL = read_config(Path(__file__).parents[1] / "simulation" / "small.yaml")
DAY_MS = 86_400_000


def item(serial: int, goal: int, cap: int = 0) -> LineItem:
    caps = (FrequencyCap(cap, DAY_MS),) if cap else ()
    return LineItem(
        str(serial), f"a/b/{serial}", serial, "standard", Pricing("cpm", 1_000_000), (), Targeting(),
        goal=Goal("impressions", goal), frequency_caps=caps,
    )  # fmt: skip


def flow(items: list[LineItem], told: list[Slot]) -> dict[int, int]:
    return feasible(SMALL, at_once(SMALL, items), items, told)


PAGES = count(1)


def slot(hour: int, who: str, *eligible: int) -> Slot:
    """In a request of its own."""
    return Slot(SMALL.start_ms + hour * 3600_000, who, eligible, 1, (next(PAGES), 0, 0))


def each(number: int, hour: int, who: str, *eligible: int) -> list[Slot]:
    return [slot(hour, who, *eligible) for _ in range(number)]


def test_a_narrow_line_item_gets_what_only_it_can_take() -> None:
    """Taking the first that comes would give the wide one everything."""
    told = [*each(10, 0, "u", 1, 2), *each(10, 1, "u", 2)]
    assert flow([item(1, 10), item(2, 10)], told) == {1: 10, 2: 10}
    assert sum(flow([item(1, 10), item(2, 20)], told).values()) == 20


def test_nobody_gets_more_than_the_goal_or_the_supply() -> None:
    told = [*each(5, 0, "u", 1)]
    assert flow([item(1, 3)], told) == {1: 3}
    assert flow([item(1, 9)], told) == {1: 5}
    assert flow([item(1, 9), item(2, 9)], told) == {1: 5, 2: 0}


def test_a_cap_binds_each_person_and_window() -> None:
    told = [*each(5, 0, "u", 1), *each(5, 5, "u", 1), *each(5, 26, "u", 1), slot(0, "v", 1)]
    assert flow([item(1, 100, cap=2)], told) == {1: 2 + 2 + 1}


def test_windows_that_slide_leave_less() -> None:
    """Of an evening, the next morning and the next evening two windows stand still; two that slide share the
    morning."""
    told = [*each(5, 22, "u", 1), *each(5, 26, "u", 1), *each(5, 47, "u", 1)]
    assert flow([item(1, 100, cap=2)], told) == {1: 2 + 2}
    assert sliding([item(1, 100, cap=2)], SMALL, told) == pytest.approx(2 + 2)
    assert sliding([item(1, 100, cap=2)], SMALL, told[:10]) == pytest.approx(2)
    assert sliding([item(1, 3), item(2, 100)], SMALL, told) == pytest.approx(3), "its goal, and nothing for 2"
    page = Slot(SMALL.start_ms, "u", (1,), 2, (next(PAGES), 0, 0))
    assert sliding([item(1, 10)], SMALL, [page]) == pytest.approx(1), "once in a request"


def test_nobody_stands_twice_in_a_request() -> None:
    """A page with two places, and a request for two placements of which one may be somebody else's."""
    page = Slot(SMALL.start_ms, "u", (1,), 2, (next(PAGES), 0, 0))
    assert flow([item(1, 10)], [page]) == {1: 1}
    number = next(PAGES)
    both = [Slot(SMALL.start_ms, "u", mine, 1, (number, 0, rank)) for rank, mine in enumerate(((1, 2), (1,)))]
    assert flow([item(1, 10)], both) == {1: 1}
    assert flow([item(1, 10), item(2, 10)], both) == {1: 1, 2: 1}


def test_a_plan_keeps_the_traffic_of_the_first_day_from_the_second() -> None:
    """Two days, ten of twenty a day; the second day brings eight, the first more than anybody may use."""
    paced = replace(item(1, 20), pacing="even", flight=Flight(SMALL.start_ms, SMALL.start_ms + 2 * DAY_MS))
    told = [*each(30, 1, "u", 1), *each(8, 25, "u", 1)]
    assert flow([paced], told) == {1: 20}
    assert feasible(SMALL, as_planned(SMALL, [paced]), [paced], told) == {1: 18}
    told = [*each(8, 1, "u", 1), *each(30, 25, "u", 1)]
    assert feasible(SMALL, as_planned(SMALL, [paced]), [paced], told) == {1: 20}, "later is allowed"


def test_goals_are_wanted_in_impressions() -> None:
    """As many as are expected to bring what was promised; done with where it was brought by fewer."""
    readers = SMALL.readers
    click, spend, share = (
        replace(item(serial, 0), goal=Goal(kind, amount))
        for serial, kind, amount in ((1, "clicks", 7), (2, "spend", 50_000_000), (3, "share", 20_000))
    )
    assert wanted_of(item(4, 9), SMALL) == 9
    assert wanted_of(click, SMALL) == ceil(7 / readers.clicks)
    assert wanted_of(spend, SMALL) == 50, "of a thousandth of a euro each"
    assert wanted_of(share, SMALL) is None
    assert at_once(SMALL, [click, share]) == {1: [ceil(7 / readers.clicks), 0]}
    days = {
        (1, -1): LineItemTotals(1, impressions=90, clicks=6),
        (2, -1): LineItemTotals(2, impressions=60, billed_nanos=50_000_000),
    }
    found = Found(SMALL, None, {}, days, (), (), 0.0)  # type: ignore[arg-type]
    assert done(found, click) == 90 and done(found, spend) == 50 and done(found, item(4, 9)) == 0
    days[1, -1].clicks = 7
    assert done(found, click) == ceil(7 / readers.clicks)


def test_revenue_is_what_can_be_worked_out() -> None:
    """Two bidders for three impressions; the dearer one may afford one of them."""
    dear = LineItem(
        "1",
        "a/b/1",
        1,
        "auction",
        Pricing("cpm", 5_000_000),
        (),
        Targeting(),
        budget=Budget(daily_nanos=5_000_000),
    )
    cheap = LineItem("2", "a/b/2", 2, "auction", Pricing("cpm", 1_000_000), (), Targeting())
    campaign = Campaign("b", "a", 1, "EUR", "UTC", (dear, cheap))
    items = {1: (campaign, dear), 2: (campaign, cheap)}
    found = Found(SMALL, None, items, {}, (), (), 0.0)  # type: ignore[arg-type]
    told = [*each(2, 0, "u", 1, 2), slot(1, "v", 1)]
    assert best_revenue(found, told) == {1: 5_000_000, 2: 2_000_000}


def test_revenue_keeps_caps_person_by_person() -> None:
    """Of one person's five impressions two, of the other's only one; beside what is left cheaper."""
    dear = LineItem(
        "1", "a/b/1", 1, "auction", Pricing("cpm", 5_000_000), (), Targeting(),
        frequency_caps=(FrequencyCap(2, DAY_MS),),
    )  # fmt: skip
    cheap = LineItem("2", "a/b/2", 2, "auction", Pricing("cpm", 1_000_000), (), Targeting())
    campaign = Campaign("b", "a", 1, "EUR", "UTC", (dear, cheap))
    items = {1: (campaign, dear), 2: (campaign, cheap)}
    found = Found(SMALL, None, items, {}, (), (), 0.0)  # type: ignore[arg-type]
    told = [*each(5, 0, "u", 1, 2), slot(1, "v", 1, 2)]
    assert best_revenue(found, told) == {1: 15_000_000, 2: 3_000_000}
    page = Slot(SMALL.start_ms, "w", (1, 2), 2, (next(PAGES), 0, 0))
    assert best_revenue(found, [page]) == {1: 5_000_000, 2: 1_000_000}, "once in a request"


@pytest.mark.slow
def test_no_server_beats_the_referees() -> None:
    found = simulate(SMALL, lambda line: None)
    told = list(slots(SMALL))
    # The fate of a place depends on how many were filled before it on the page: a feed's two ads may swap.
    rendered = sum(hour["impression"] for hour in found.play.record.hours.values())
    assert rendered <= sum(one.count for one in told) * 1.02
    goals = [one for _, one in found.items.values() if one.goal is not None]
    best = flow(goals, told)
    assert sum(done(found, one) for one in goals) <= sum(best.values()) * 1.02
    revenue = best_revenue(found, behind_guaranteed(found, told))
    assert revenue is not None and sum(earned(found, revenue).values()) <= sum(revenue.values()) * 1.02
