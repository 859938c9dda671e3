"""Rotation: a function of the seed; weighted and even shares are fair; optimise finds the better creative
and goes on trying the others."""

from collections import Counter

import pytest
from engine_samples import creative, line_item
from hypothesis import given, settings
from hypothesis import strategies as st

from adserver.domain.books import Shown
from adserver.domain.campaign import LineItem
from adserver.engine import draw, rotation
from adserver.engine.rates import Rates, learn

SEEDS = 4000
COUNTS = st.integers(0, 10**9)


def sold(kind: str, *weights: int) -> LineItem:
    creatives = tuple(creative(n, weight=weight) for n, weight in enumerate(weights, 1))
    return line_item(1, rotation=kind, creatives=creatives)


def shares(item: LineItem, rates: Rates, salt: int = 0, seeds: int = SEEDS) -> dict[int, float]:
    seen = Counter(
        chosen.serial
        for seed in range(seeds)
        if (chosen := rotation.choose(item, item.creatives, rates, 1, draw.mix(seed, salt)))
    )
    return {c.serial: seen[c.serial] / seeds for c in item.creatives}


def believed(*counts: tuple[int, int]) -> Rates:
    """(impressions, clicks) of the creatives 1, 2, .."""
    return learn(1, [Shown(1, 1, n, shown, 0, clicks) for n, (shown, clicks) in enumerate(counts, 1)])


def near(found: float, wanted: float, seeds: int = SEEDS) -> bool:
    """Within 4.5 standard deviations."""
    return abs(found - wanted) <= 4.5 * (wanted * (1 - wanted) / seeds) ** 0.5


def test_weights_are_shares() -> None:
    found = shares(sold("weighted", 3, 1), Rates())
    assert near(found[1], 0.75)


def test_even_ignores_weights_and_clicks() -> None:
    found = shares(sold("even", 1000, 1), believed((10**6, 0), (10**6, 10**5)))
    assert near(found[1], 0.5)


def test_weighted_ignores_clicks() -> None:
    found = shares(sold("weighted", 1, 1), believed((10**6, 0), (10**6, 10**5)))
    assert near(found[1], 0.5)


def test_of_none_that_fit_nobody_is_chosen() -> None:
    for kind in ("weighted", "even", "optimise"):
        assert rotation.choose(sold(kind, 1), (), Rates(), 1, 1) is None


def test_optimise_begins_by_weight() -> None:
    found = shares(sold("optimise", 3, 1), Rates())
    assert near(found[1], 0.75)


def test_equal_clicks_give_equal_shares() -> None:
    found = shares(sold("optimise", 1, 1, 1), believed(*[(30_000, 60)] * 3))
    assert all(near(share, 1 / 3) for share in found.values())


def test_the_better_creative_wins_and_the_others_are_tried() -> None:
    """With much known, the draws by weight are what is left to the worse: one in twenty, half of them."""
    found = shares(sold("optimise", 1, 1), believed((10**6, 2_000), (10**6, 4_000)))
    assert near(found[1], 0.025)


def test_a_new_creative_gets_its_chance() -> None:
    """Of nothing known it may be the best: it is drawn far more often than by weight alone."""
    found = shares(sold("optimise", 1, 1), believed((10**6, 2_000), (0, 0)))
    assert 0.2 < found[2] < 0.6


@pytest.mark.parametrize("rates", [(20, 60), (60, 20), (30, 30)])
def test_it_converges(rates: tuple[int, int]) -> None:
    """A world in which creatives are clicked at these rates per thousand: learned every 100 impressions."""
    item = sold("optimise", 1, 1)
    counts = {1: [0, 0], 2: [0, 0]}
    last: Counter[int] = Counter()
    for turn in range(100):
        known = believed(*((shown, clicks) for shown, clicks in counts.values()))
        last = Counter()
        for number in range(100):
            seed = draw.mix(turn, number)
            chosen = rotation.choose(item, item.creatives, known, 1, seed)
            assert chosen is not None
            last[chosen.serial] += 1
            counts[chosen.serial][0] += 1
            counts[chosen.serial][1] += draw.below(seed, 99, 1000) < rates[chosen.serial - 1]
    if rates[0] == rates[1]:
        assert min(counts[1][0], counts[2][0]) > 500
    else:
        better = 1 if rates[0] > rates[1] else 2
        assert last[better] >= 85
        assert counts[better][0] > 8000


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.lists(st.tuples(COUNTS, COUNTS), min_size=2, max_size=2))
def test_the_same_seed_gives_the_same_creative(seed: int, counts: list[tuple[int, int]]) -> None:
    item, rates = sold("optimise", 1, 2), believed(*counts)
    chosen = [rotation.choose(item, item.creatives, rates, 1, seed) for _ in range(3)]
    assert len({c.serial for c in chosen if c}) == 1


@pytest.mark.parametrize(("a", "b"), [(1, 499), (3, 20), (50, 1000)])
def test_draws_are_of_a_beta_distribution(a: int, b: int) -> None:
    """Its mean, and its variance, of 20 000 draws."""
    drawn = []
    for seed in range(20_000):
        uniforms = rotation._uniforms(draw.mix(seed, 5))
        one, other = rotation._gamma(a, uniforms), rotation._gamma(b, uniforms)
        drawn.append(one / (one + other))
    mean = sum(drawn) / len(drawn)
    variance = sum((x - mean) ** 2 for x in drawn) / len(drawn)
    wanted = a * b / (a + b) ** 2 / (a + b + 1)
    assert abs(mean - a / (a + b)) < 4.5 * (wanted / len(drawn)) ** 0.5
    assert abs(variance / wanted - 1) < 0.1
