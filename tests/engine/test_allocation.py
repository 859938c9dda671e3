"""The allocation plan, on traffic that flows evenly: who is served all he wants waits for the others."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adserver.engine.allocation import Wanted, plan, sure

Kinds = Sequence[tuple[float, Sequence[int]]]

_STEPS = 400
SURE = sure(1)


def weights(kinds: Kinds, wanted: Mapping[int, Wanted]) -> dict[int, float]:
    return plan(kinds, wanted).weights


def delivered(kinds: Kinds, wanted: Mapping[int, Wanted], drawn: Mapping[int, float]) -> dict[int, float]:
    """A day in small steps: each kind's impressions go to those behind an even plan, by weight."""
    done = dict.fromkeys(wanted, 0.0)
    for step in range(1, _STEPS + 1):
        behind = {one for one in wanted if done[one] < wanted[one].daily * step / _STEPS}
        for count, mine in kinds:
            best = min((wanted[one].tier for one in mine if one in behind), default=0)
            takers = [one for one in mine if one in behind and wanted[one].tier == best]
            whole = sum(drawn.get(one, 0.0) for one in takers)
            for one in takers:
                done[one] += count / _STEPS * drawn.get(one, 0.0) / whole if whole else 0.0
    return done


def most(kinds: Kinds, wanted: Mapping[int, Wanted]) -> float:
    """In a maximum flow."""
    optimize = pytest.importorskip("scipy.optimize", reason="the referee needs scipy")
    pairs = [(row, one) for row, (_, mine) in enumerate(kinds) for one in mine]
    rows = [[float(row == place) for row, _ in pairs] for place in range(len(kinds))]
    items = [[float(one == ident) for _, one in pairs] for ident in wanted]
    bound = [count for count, _ in kinds] + [one.daily for one in wanted.values()]
    found = optimize.linprog([-1.0] * len(pairs), A_ub=np.array(rows + items), b_ub=bound, method="highs")
    return float(-found.fun)


def want(tier: int, daily: float, days: float = 1.0, capped: bool = False) -> Wanted:
    return Wanted(tier, daily, days, capped)


def even(**daily: float) -> dict[int, Wanted]:
    return {int(name[1:]): want(10, amount) for name, amount in daily.items()}


def test_who_has_other_traffic_gives_way() -> None:
    """By need alone the wide one would take two thirds of what is all that the narrow one may have."""
    kinds = [(100.0, (1, 2)), (100.0, (2,))]
    wanted = even(i1=90, i2=100)
    by_need = {ident: one.daily for ident, one in wanted.items()}
    assert delivered(kinds, wanted, by_need)[1] < 80
    assert delivered(kinds, wanted, weights(kinds, wanted))[1] > 88
    assert sum(delivered(kinds, wanted, weights(kinds, wanted)).values()) > 188


def test_where_there_is_too_little_it_is_divided_by_need() -> None:
    found = weights([(30.0, (1, 2))], even(i1=100, i2=50))
    assert found[1] / found[2] == pytest.approx(2, rel=0.01)
    assert found[1] + found[2] == pytest.approx(150), "on the scale of what is wanted"


def test_who_cannot_have_what_he_wants_spoils_nobodys_weight() -> None:
    """The third wants far more than there is of his own kind: no weight brings it. The narrow one of the
    others still goes before the wide one."""
    kinds = [(100.0, (1, 2)), (100.0, (2,)), (10.0, (2, 3))]
    found = weights(kinds, even(i1=90, i2=100, i3=200))
    assert found[1] > 3 * found[2] > 0
    assert found[3] < 1e4 * found[1]
    assert min(found.values()) > 0.001, "told apart in thousandths"


def test_a_lower_tier_plans_with_what_is_left() -> None:
    """The sponsorship takes the whole of the first kind, so the third has that for itself as little."""
    wanted = {1: want(0, 100), 2: want(10, 50), 3: want(10, 50)}
    found = weights([(100.0, (1, 2)), (100.0, (2, 3))], wanted)
    assert found[2] == pytest.approx(found[3], rel=0.02)
    free = weights([(100.0, (2,)), (100.0, (2, 3))], {2: wanted[2], 3: wanted[3]})
    assert free[3] > 10 * free[2]


def test_nobody_wants_and_nothing_is_had() -> None:
    assert weights([], even(i1=5)) == {}
    assert weights([(10.0, (2,))], even(i1=5)) == {}
    assert weights([(10.0, (1, 2))], {1: want(10, 0.0), 2: want(10, 3.0)}) == {2: 3.0}
    assert weights([(10.0, (1,))], {}) == {}


def test_who_would_be_short_of_less_traffic_hurries() -> None:
    """Both have enough of what is expected; of SURE of it the narrow one has not, the wide one has."""
    kinds, wanted = [(100.0, (1,)), (100.0, (2,))], even(i1=100 * SURE + 5, i2=100 * SURE - 5)
    assert plan(kinds, wanted).hurried == {1}
    elsewhere = even(i1=100 * SURE + 5, i2=100 * SURE - 10)
    assert plan([(100.0, (1,)), (100.0, (1, 2))], elsewhere).hurried == set(), "who may go elsewhere does"
    assert plan([(70.0, (1, 2)), (70.0, (2,))], wanted).hurried == {1, 2}
    assert plan([(70.0, (2,))], wanted).hurried == {2}, "of who has nothing at all nothing is known"


def test_traffic_is_the_less_sure_the_longer_it_takes_to_come() -> None:
    """A fall by 30 % at once; within some days with two hours of an outage; never by more."""
    assert sure(0) == sure(1) == 0.7
    assert sure(1) > sure(3) > sure(4) > 0.5
    assert sure(4) <= 0.7 * 22 / 24
    assert sure(4) == sure(400)
    kinds = [(100.0, (1,)), (100.0, (2,))]
    assert plan(kinds, {1: want(10, 65, days=1), 2: want(10, 65, days=4)}).hurried == {2}


def test_of_those_who_hurry_the_capped_go_first() -> None:
    """Where nobody hurries they are like others."""
    kinds = [(100.0, (1, 2))]
    loose, scarce = ({1: want(10, daily), 2: want(10, daily, capped=True)} for daily in (30, 60))
    assert weights(kinds, loose)[2] == pytest.approx(weights(kinds, loose)[1])
    assert weights(kinds, scarce)[2] > 5 * weights(kinds, scarce)[1] > 0
    both = {one: want(10, 60, capped=True) for one in (1, 2)}
    assert weights(kinds, both)[2] == pytest.approx(weights(kinds, both)[1])


def test_a_lower_tier_hurries_for_what_is_left() -> None:
    kinds, wanted = [(100.0, (1, 2))], {1: want(0, 40.0), 2: want(10, 40.0)}
    assert plan(kinds, wanted).hurried == {2}


IDS = st.integers(1, 6)
KINDS = st.lists(
    st.tuples(st.integers(1, 50).map(float), st.sets(IDS, min_size=1, max_size=4).map(tuple)),
    min_size=2, max_size=8,
)  # fmt: skip


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(KINDS, st.lists(st.integers(1, 20), min_size=32, max_size=32), st.floats(0.7, 1.3))
def test_nearly_a_maximum_flow(kinds: Kinds, cuts: list[int], load: float) -> None:
    """Demand is a random division of the supply, from loose to more than there is."""
    wants: dict[int, float] = {}
    for row, (count, mine) in enumerate(kinds):
        parts = cuts[4 * row :][: len(mine)]
        for one, part in zip(mine, parts, strict=True):
            wants[one] = wants.get(one, 0.0) + count * load * part / sum(parts)
    wanted = {one: want(10, amount) for one, amount in wants.items()}
    found = weights(kinds, wanted)
    assert set(found) == set(wanted), "nobody is starved"
    assert sum(delivered(kinds, wanted, found).values()) >= 0.97 * most(kinds, wanted)


@given(KINDS, st.permutations(range(1, 7)))
def test_the_order_of_things_does_not_matter(kinds: Kinds, names: list[int]) -> None:
    wanted = {one: want(10, 10.0 * one) for one in range(1, 7)}
    renamed = [(count, [names[one - 1] for one in mine]) for count, mine in reversed(kinds)]
    found = weights(kinds, wanted)
    other = weights(renamed, {names[one - 1]: want for one, want in wanted.items()})
    assert {names[one - 1]: pytest.approx(weight, rel=1e-3) for one, weight in found.items()} == other
