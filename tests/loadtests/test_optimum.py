"""The referees: right on what can be worked out by hand, and never below what the server reached."""

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("scipy", reason="the referees need scipy")

from adserver.domain.campaign import Budget, Campaign, FrequencyCap, Goal, LineItem, Pricing
from adserver.domain.targeting import Targeting
from adserver.simulation.config import read_config
from adserver.simulation.run import Found, simulate
from loadtests.optimum import best_revenue, feasible
from loadtests.supply import Slot, slots

SMALL = read_config(Path(__file__).parents[1] / "simulation" / "small.yaml")
DAY_MS = 86_400_000


def item(serial: int, goal: int, cap: int = 0) -> LineItem:
    caps = (FrequencyCap(cap, DAY_MS),) if cap else ()
    return LineItem(
        str(serial), f"a/b/{serial}", serial, "standard", Pricing("cpm", 1_000_000), (), Targeting(),
        goal=Goal("impressions", goal), frequency_caps=caps,
    )  # fmt: skip


def slot(hour: int, who: str, *eligible: int, count: int = 1) -> Slot:
    return Slot(SMALL.start_ms + hour * 3600_000, who, eligible, count)


def test_a_narrow_line_item_gets_what_only_it_can_take() -> None:
    """Taking the first that comes would give the wide one everything."""
    told = [slot(0, "u", 1, 2, count=10), slot(1, "u", 2, count=10)]
    assert feasible(SMALL, [item(1, 10), item(2, 10)], told) == {1: 10, 2: 10}
    assert sum(feasible(SMALL, [item(1, 10), item(2, 20)], told).values()) == 20


def test_nobody_gets_more_than_the_goal_or_the_supply() -> None:
    told = [slot(0, "u", 1, count=5)]
    assert feasible(SMALL, [item(1, 3)], told) == {1: 3}
    assert feasible(SMALL, [item(1, 9)], told) == {1: 5}
    assert feasible(SMALL, [item(1, 9), item(2, 9)], told) == {1: 5, 2: 0}


def test_a_cap_binds_each_person_and_window() -> None:
    told = [slot(0, "u", 1, count=5), slot(5, "u", 1, count=5), slot(26, "u", 1, count=5), slot(0, "v", 1)]
    assert feasible(SMALL, [item(1, 100, cap=2)], told) == {1: 2 + 2 + 1}


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
    told = [slot(0, "u", 1, 2, count=2), slot(1, "v", 1)]
    assert best_revenue(found, told) == {1: 5_000_000, 2: 2_000_000}


def test_no_server_beats_the_referees() -> None:
    found = simulate(SMALL, lambda line: None)
    told = list(slots(SMALL))
    # The fate of a place depends on how many were filled before it on the page: a feed's two ads may swap.
    rendered = sum(hour["impression"] for hour in found.play.record.hours.values())
    assert rendered <= sum(one.count for one in told) * 1.02
    goals = [one for _, one in found.items.values() if one.goal is not None]
    best, done = feasible(SMALL, goals, told), Counter[int]()
    for (serial, day), totals in found.days.items():
        if day == -1:
            done[serial] = totals.impressions
    assert sum(done[one.serial] for one in goals) <= sum(best.values()) * 1.02
    revenue = best_revenue(found, told, slack=0.05)
    billed = sum(totals.billed_nanos for (serial, day), totals in found.days.items()
                 if day == -1 and found.items[serial][1].priority == "auction")  # fmt: skip
    assert revenue is not None and billed <= sum(revenue.values()) * 1.02
