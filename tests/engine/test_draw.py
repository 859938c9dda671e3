"""Draws are functions of the seed, and unbiased: shares follow weights."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.engine import draw
from adserver.engine.compiled import kernel

SEEDS = st.integers(0, 2**64 - 1)
DRAWS = 20_000


def chi_square(wins: Counter[int], weights: list[int]) -> float:
    total, whole = sum(wins.values()), sum(weights)
    expected = [total * weight / whole for weight in weights]
    return sum((wins[i] - e) ** 2 / e for i, e in enumerate(expected) if e)


@given(SEEDS, st.integers(0, 2**64), st.integers(1, 2**40))
def test_below_is_half_open(seed: int, salt: int, n: int) -> None:
    assert 0 <= draw.below(seed, salt, n) < n
    assert draw.below(seed, salt, n) == draw.below(seed, salt, n)


def test_mix_changes_half_the_bits_whatever_bit_changes() -> None:
    for bit in range(64):
        changed = sum((draw.mix(s, 1) ^ draw.mix(s ^ 1 << bit, 1)).bit_count() for s in range(200))
        assert 28 < changed / 200 < 36


@pytest.mark.parametrize("weights", [[1, 1], [1, 1, 1], [3, 1], [1, 0, 1], [7, 2, 1], [10**6, 10**6]])
def test_shares_follow_weights(weights: list[int]) -> None:
    """0.1 % of sound builds would pass 16 with two degrees of freedom; seeds are fixed."""
    for salt in (0, 7):
        wins = Counter(draw.pick(weights, seed, salt) for seed in range(DRAWS))
        assert chi_square(wins, weights) < 16
        assert all(wins[i] == 0 for i, weight in enumerate(weights) if weight == 0)


def test_without_weights_there_is_nothing_to_pick() -> None:
    with pytest.raises(ValueError):
        draw.pick([], 1, 1)


@given(st.lists(st.integers(), unique=True, max_size=50), SEEDS)
def test_shuffled_is_a_permutation_and_lazy(positions: list[int], seed: int) -> None:
    whole = list(draw.shuffled(list(positions), seed))
    assert sorted(whole) == sorted(positions)
    one = draw.shuffled(list(positions), seed)
    assert [next(one) for _ in positions[:3]] == whole[:3]


def test_every_position_of_a_shuffle_is_uniform() -> None:
    orders = [list(draw.shuffled([0, 1, 2, 3, 4], seed)) for seed in range(DRAWS)]
    for place in range(5):
        assert chi_square(Counter(order[place] for order in orders), [1] * 5) < 22


def test_weighted_orders_draw_without_replacement() -> None:
    """First by weight; second by weight among the rest."""
    weights = {10: 1.0, 11: 2.0, 12: 3.0}
    orders = [draw.weighted_order([10, 11, 12], weights.__getitem__, seed) for seed in range(DRAWS)]
    first = Counter(order[0] - 10 for order in orders)
    assert chi_square(first, [1, 2, 3]) < 16
    behind = Counter(order[1] - 10 for order in orders if order[0] == 12)
    assert chi_square(behind, [1, 2, 0]) < 16


@given(st.lists(st.integers(0, 100), unique=True), SEEDS)
def test_no_weight_comes_last_in_a_fixed_order(positions: list[int], seed: int) -> None:
    order = draw.weighted_order(positions, lambda position: float(position % 2), seed)
    assert sorted(order) == sorted(positions)
    assert [p % 2 for p in order] == sorted((p % 2 for p in positions), reverse=True)
    assert order == draw.weighted_order(positions, lambda position: float(position % 2), seed)


@pytest.mark.skipif(kernel is None, reason="built without a compiler")
@given(st.integers(), st.integers(), st.integers(1, 2**64 - 1))
def test_the_kernel_draws_what_python_draws(seed: int, salt: int, n: int) -> None:
    assert kernel.mix(seed, salt) == draw.plain_mix(seed, salt)
    assert kernel.below(seed, salt, n) == draw.plain_below(seed, salt, n)
