"""The auction's referee: on what can be worked out by hand, and never below the best of all divisions."""

import random
from collections import Counter
from itertools import count, product
from pathlib import Path

import pytest
from msgspec.structs import replace

pytest.importorskip("scipy", reason="the referees need scipy")

from adserver.domain.books import LineItemTotals
from adserver.domain.campaign import Budget, Campaign, FrequencyCap, LineItem, Pricing
from adserver.domain.targeting import Targeting
from adserver.simulation.config import read_config
from adserver.simulation.run import Found
from loadtests.auction import best_revenue, earned
from loadtests.supply import Slot

SMALL = read_config(Path(__file__).parents[1] / "simulation" / "small.yaml")
ZONE = "Europe/Paris"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PAGES = count(1)


def slot(hour: float, who: str, *eligible: int) -> Slot:
    """In a request of its own."""
    return Slot(SMALL.start_ms + int(hour * HOUR_MS), who, eligible, 1, (next(PAGES), 0, 0))


def bidder(serial: int, cpm: int, cap: int = 0, **fields: object) -> LineItem:
    caps = (FrequencyCap(cap, DAY_MS),) if cap else ()
    pricing = Pricing("cpm", cpm * 1_000_000)
    item = LineItem(
        str(serial), f"a/b/{serial}", serial, "auction", pricing, (), Targeting(), frequency_caps=caps
    )
    return replace(item, **fields)


def found(*items: LineItem, **campaign: object) -> Found:
    made = replace(Campaign("b", "a", 1, "EUR", ZONE, items), **campaign)
    return Found(SMALL, None, {item.serial: (made, item) for item in items}, {}, (), (), 0.0)  # type: ignore[arg-type]


def test_a_cap_binds_in_a_window_that_slides() -> None:
    """Two of eleven in the evening and one a day after them: two dates would have two each."""
    told = [slot(hour, "u", 1) for hour in (23, 23, 25, 25, 46.9, 47.1)]
    assert best_revenue(found(bidder(1, 5, cap=2)), told) == {1: 3 * 5_000_000}


def test_every_budget_binds() -> None:
    told = [slot(hour, "u", 1, 2) for hour in (1, 2, 3, 25, 26, 27)]
    one, two, none = bidder(1, 5), bidder(2, 5), Budget(daily_nanos=0)
    assert best_revenue(found(one, two), told).total() == 30_000_000  # type: ignore[union-attr]
    for budget, most in (
        (Budget(daily_nanos=10_000_000), 20_000_000),
        (Budget(lifetime_nanos=15_000_000), 15_000_000),
    ):
        best = best_revenue(found(one, two, budget=budget), told)
        assert best is not None and best.total() == most
        best = best_revenue(found(replace(one, budget=budget), replace(two, budget=none)), told)
        assert best is not None and best.total() == most


def test_who_paces_evenly_keeps_its_plan() -> None:
    """30 of the 47 places before 23:00 come in the first six hours, so 30/47 of the budget are due by then;
    2 % of it and one ad more are in time. Whoever did not ask for that may take all of them."""
    early = [slot(hour, "u", 1) for hour in range(6) for _ in range(5)]
    told = [*early, *(slot(hour, "v", 3) for hour in range(6, 23))]
    eager, other = bidder(1, 1, budget=Budget(daily_nanos=30_000_000)), bidder(3, 1)
    best = best_revenue(found(eager, other), told)
    assert best == {1: 30_000_000, 3: 17_000_000}
    best = best_revenue(found(replace(eager, pacing="even"), other), told)
    assert best is not None and best[1] == pytest.approx(30_000_000 * (30 / 47 + 0.02) + 1_000_000, abs=99)


def market(chance: random.Random, pacing: str = "asap") -> tuple[list[LineItem], Budget, list[Slot]]:
    """Three bidders, what they may spend together, and at most seven places."""
    items = [
        bidder(
            serial,
            chance.randint(1, 5),
            cap=chance.choice((0, 1, 2)),
            pacing=pacing,
            budget=Budget(
                daily_nanos=chance.choice((None, 4_000_000, 7_000_000)),
                lifetime_nanos=chance.choice((None, None, 9_000_000)),
            ),
        )
        for serial in (1, 2, 3)
    ]
    told = []
    for _ in range(chance.randint(3, 6)):
        one = slot(chance.choice((1, 5, 20, 23, 25, 30, 44)), chance.choice("uuv"))
        for place in range(chance.choice((1, 1, 2))):
            mine = tuple(sorted(chance.sample((1, 2, 3), chance.randint(1, 3))))
            told.append(replace(one, eligible=mine, place=(*one.page, place)))
    told = told[:7]
    shared = Budget(lifetime_nanos=chance.choice((None, 15_000_000)))
    return items, shared, told


def test_no_division_earns_more() -> None:
    """Against every way to give up to seven places to three bidders or nobody; and the bound is near."""
    pairs = [_bound_and_best(random.Random(seed)) for seed in range(40)]
    assert all(best <= bound + 10 for bound, best in pairs)
    assert sum(best for _, best in pairs) > 0.93 * sum(bound for bound, _ in pairs)


def _bound_and_best(chance: random.Random) -> tuple[int, int]:
    items, shared, told = market(chance)
    best = best_revenue(found(*items, budget=shared), told)
    assert best is not None
    exact = max(
        (_worth(items, told, given) for given in product(*((0, *one.eligible) for one in told))
         if _lawful(items, shared, told, given)),
        default=0,
    )  # fmt: skip
    return best.total(), exact


def _worth(items: list[LineItem], told: list[Slot], given: tuple[int, ...]) -> int:
    return sum(items[serial - 1].pricing.amount_micros for serial in given if serial)


def _lawful(items: list[LineItem], shared: Budget, told: list[Slot], given: tuple[int, ...]) -> bool:
    """By the laws as they are written, one ad after the other."""
    pages = [(one.page, serial) for one, serial in zip(told, given, strict=True) if serial]
    if len(set(pages)) < len(pages):
        return False
    if shared.lifetime_nanos is not None and _worth(items, told, given) > shared.lifetime_nanos:
        return False
    for item in items:
        mine = [one for one, serial in zip(told, given, strict=True) if serial == item.serial]
        price, budget = item.pricing.amount_micros, item.budget
        days = Counter((one.at_ms - SMALL.start_ms) // DAY_MS for one in mine)
        if budget.daily_nanos is not None and any(n * price > budget.daily_nanos for n in days.values()):
            return False
        if budget.lifetime_nanos is not None and len(mine) * price > budget.lifetime_nanos:
            return False
        for cap in item.frequency_caps:
            for one in mine:
                seen = [o for o in mine if o.who == one.who and one.at_ms - cap.per_ms < o.at_ms <= one.at_ms]
                if len(seen) > cap.limit:
                    return False
    return True


def test_luck_with_clicks_is_not_counted() -> None:
    """A click of 1.00 at 0.1 %: who is to spend its budget got what was billed; who is not, impressions."""
    clicks = replace(bidder(1, 0), pricing=Pricing("cpc", 1_000_000))
    days = {(1, -1): LineItemTotals(1, impressions=400, billed_nanos=7_000_000_000)}
    run = replace(found(replace(clicks, budget=Budget(daily_nanos=3_000_000_000))), days=days)
    worth = 400 * 1_000_000_000 * SMALL.readers.clicks
    assert earned(run, Counter({1: 6_000_000_000})) == {1: 7_000_000_000}
    assert earned(run, Counter({1: 5_000_000_000})) == {1: worth}
    assert earned(replace(found(bidder(1, 5)), days=days), Counter({1: 1})) == {1: 7_000_000_000}, "no luck"
