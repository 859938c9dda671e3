"""The referees: right on what can be worked out by hand, and never below what the server reached."""

from collections import Counter
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
from loadtests.auction import behind_guaranteed, best_revenue, earned, left_to
from loadtests.optimum import as_planned, at_once, done, feasible, sliding, verdict, wanted_of
from loadtests.supply import Slot, slots

SMALL = read_config(Path(__file__).parents[1] / "simulation" / "small.yaml")
DAY_MS = 86_400_000


def item(serial: int, goal: int, cap: int = 0) -> LineItem:
    caps = (FrequencyCap(cap, DAY_MS),) if cap else ()
    return LineItem(
        str(serial), f"a/b/{serial}", serial, "standard", Pricing("cpm", 1_000_000), (), Targeting(),
        goal=Goal("impressions", goal), frequency_caps=caps,
    )  # fmt: skip


def goals_of(items: list[LineItem]) -> dict[int, int]:
    return {one.serial: one.goal.amount for one in items if one.goal is not None}


def flow(items: list[LineItem], told: list[Slot]) -> dict[int, int]:
    return feasible(SMALL, at_once(SMALL, goals_of(items)), items, told)


def slid(items: list[LineItem], told: list[Slot]) -> float:
    return sliding(SMALL, goals_of(items), items, told)


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
    assert slid([item(1, 100, cap=2)], told) == pytest.approx(2 + 2)
    assert slid([item(1, 100, cap=2)], told[:10]) == pytest.approx(2)
    assert slid([item(1, 3), item(2, 100)], told) == pytest.approx(3), "its goal, and nothing for 2"
    page = Slot(SMALL.start_ms, "u", (1,), 2, (next(PAGES), 0, 0))
    assert slid([item(1, 10)], [page]) == pytest.approx(1), "once in a request"


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
    assert feasible(SMALL, as_planned(SMALL, [paced], {1: 20}), [paced], told) == {1: 18}
    told = [*each(8, 1, "u", 1), *each(30, 25, "u", 1)]
    assert feasible(SMALL, as_planned(SMALL, [paced], {1: 20}), [paced], told) == {1: 20}, "later is allowed"


def judged(items: list[LineItem], *totals: LineItemTotals) -> Found:
    """A run in which so much came."""
    days = {(one.line_item, -1): one for one in totals}
    return Found(SMALL, None, {one.serial: (None, one) for one in items}, days, (), (), 0.0)  # type: ignore


def test_goals_are_wanted_in_impressions() -> None:
    """As many as are expected to bring what was promised."""
    readers = SMALL.readers
    click, spend, share = (
        replace(item(serial, 0), goal=Goal(kind, amount))
        for serial, kind, amount in ((1, "clicks", 7), (2, "spend", 50_000_000), (3, "share", 20_000))
    )
    untouched = judged([])
    assert wanted_of(untouched, item(4, 9)) == 9
    assert wanted_of(untouched, click) == ceil(7 / readers.clicks)
    assert wanted_of(untouched, spend) == 50, "of a thousandth of a euro each"
    assert wanted_of(untouched, share) is None


def test_luck_is_nobodys_merit() -> None:
    """What a goal takes is what it took, and what the rest of it is expected to take."""
    click, plain = replace(item(1, 0), goal=Goal("clicks", 7)), item(2, 50)
    each = 1 / SMALL.readers.clicks
    for impressions, clicks in ((90, 7), (2000, 7), (90, 6), (2000, 3)):
        found = judged([click], LineItemTotals(1, impressions=impressions, clicks=clicks))
        assert wanted_of(found, click) == impressions + ceil((7 - clicks) * each)
        assert done(found, click) == impressions
    over = judged([click], LineItemTotals(1, impressions=900, clicks=9))
    assert done(over, click) == wanted_of(over, click) == 900 - ceil(2 * each), "what is too much is none"
    for impressions in (40, 60):
        found = judged([plain], LineItemTotals(2, impressions=impressions))
        assert (done(found, plain), wanted_of(found, plain)) == (min(impressions, 50), 50)


def test_a_promised_share_is_no_supply_of_goals() -> None:
    """Of three places on a page two were shown the sponsor's; places of who has no goal are none either."""
    page = Slot(SMALL.start_ms, "u", (1, 2, 3), 3, (7, 0, 1))
    other = slot(1, "u", 3)
    assert left_to({1, 2}, [page, other], Counter({(7, 0, 1): 2})) == [
        replace(page, eligible=(1, 2), count=1)
    ]
    assert left_to({1}, [page], Counter({(7, 0, 1): 3})) == []


def test_where_windows_leave_a_doubt_those_that_slide_decide() -> None:
    """The evening and the morning behind it are two windows that stand still, and one that slides."""
    told = [*each(5, 22, "u", 1), *each(5, 26, "u", 1)]
    capped, wanted = [item(1, 100, cap=2)], {1: 100}
    assert flow(capped, told) == {1: 4}
    told_of = verdict(SMALL, wanted, capped, told, kept=2, flow=4)
    assert "50.00%" in told_of[0] and told_of[1].endswith("100.00%, goal >= 98%: kept.")
    assert verdict(SMALL, wanted, capped, told, kept=1, flow=4)[1].endswith("NOT KEPT.")
    assert len(verdict(SMALL, wanted, capped, told, kept=4, flow=4)) == 1, "nothing to ask"


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
