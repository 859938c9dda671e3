"""The bound of a large auction: never below the program of everybody at once, and that where it can be."""

import random

import pytest

pytest.importorskip("scipy", reason="the referees need scipy")

from test_auction import bidder, found, market, slot

from adserver.domain.campaign import Budget
from loadtests import prices
from loadtests.auction import best_revenue
from loadtests.prices import bound


@pytest.mark.parametrize("pacing", ["asap", "even"])
def test_it_is_never_below_the_program_and_near_it(pacing: str) -> None:
    exact, above = 0, 0.0
    for seed in range(60):
        items, shared, told = market(random.Random(seed), pacing)
        those = found(*items, budget=shared)
        best, priced = best_revenue(those, told), bound(those, told)
        assert best is not None and priced is not None
        assert priced[1] >= best.total() - 10
        exact, above = exact + best.total(), above + priced[1]
    assert above < 1.03 * exact


def test_it_is_the_optimum_where_nobody_has_a_cap() -> None:
    items = [bidder(1, 5, budget=Budget(daily_nanos=12_000_000)), bidder(2, 3)]
    told = [slot(hour, who, 1, 2) for hour in (1, 2, 30) for who in "uvw"]
    best, priced = best_revenue(found(*items), told), bound(found(*items), told)
    assert best is not None and priced is not None
    assert priced[1] == pytest.approx(best.total())
    assert priced[0] == best


def test_prices_of_samples_bound_it_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "_PEOPLE", 1)
    for seed in range(60):
        items, shared, told = market(random.Random(seed), "even" if seed % 2 else "asap")
        those = found(*items, budget=shared)
        best, priced = best_revenue(those, told), bound(those, told)
        assert best is not None and priced is not None
        assert priced[1] >= best.total() - 10


@pytest.mark.parametrize(("cap", "most"), [(1, 700), (0, 1520)])
def test_a_sample_stands_for_all(cap: int, most: int) -> None:
    """Alike people: what one would pay is what all would."""
    items = [bidder(1, 5, cap, budget=Budget(daily_nanos=most * 5_000_000)), bidder(2, 3)]
    told = [slot(hour, f"u{who}", 1, 2) for hour in (1, 2, 3) for who in range(1000)]
    best, priced = best_revenue(found(*items), told), bound(found(*items), told)
    assert best is not None and priced is not None
    assert priced[1] == pytest.approx(best.total(), rel=1e-4)
