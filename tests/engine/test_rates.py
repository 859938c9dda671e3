"""Learned rates: shrunk to what is known above them, exact, and the same whatever the order."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from adserver.domain.books import Shown
from adserver.engine.rates import CLICKS, CONVERSIONS, PER_MILLION, VIEWABLE, Rates, learn

COUNTS = st.integers(0, 10**9)
ROWS = st.lists(
    st.builds(Shown, st.integers(1, 5), st.integers(1, 3), st.integers(1, 9), *[COUNTS] * 4),
    max_size=30,
)


def test_nothing_known_is_the_prior() -> None:
    for rates in (Rates(), learn(1, [])):
        assert rates.clicks.rate(1, 1) == CLICKS.prior
        assert rates.viewable.rate(1, 1) == VIEWABLE.prior
        assert rates.conversions.rate(1, 1) == CONVERSIONS.prior


def test_one_click_on_one_impression_is_not_a_hundred_percent() -> None:
    rates = learn(1, [Shown(1, 1, 1, 1, 1, 1)])
    assert CLICKS.prior < rates.clicks.rate(1, 1) < CLICKS.prior * 12 // 10
    assert VIEWABLE.prior < rates.viewable.rate(1, 1) < VIEWABLE.prior * 12 // 10
    assert CLICKS.prior < rates.clicks.rate(1, 2) < rates.clicks.rate(1, 1)
    assert CLICKS.prior < rates.clicks.rate(2, 1) < rates.clicks.rate(1, 1)
    assert rates.clicks.rate(2, 2) == CLICKS.prior


def test_much_evidence_is_believed() -> None:
    """Within 2 % of the true rates: 1 % at one placement, 0.1 % at the other."""
    rates = learn(1, [Shown(1, 1, 1, 10**7, 0, 10**5), Shown(1, 2, 1, 10**7, 0, 10**4)])
    assert abs(rates.clicks.rate(1, 1) - 10_000) < 200
    assert abs(rates.clicks.rate(1, 2) - 1_000) < 20


def test_conversions_are_learned_like_clicks() -> None:
    """Also that there are none, of what is sold per conversion and shown all the same."""
    rates = learn(1, [Shown(1, 1, 1, 10**7, 0, 0, 5_000), Shown(2, 1, 2, 10**7, 0, 0, 0)])
    assert abs(rates.conversions.rate(1, 1) - 500) < 20
    assert rates.conversions.rate(2, 1) < CONVERSIONS.prior // 2
    assert rates.clicks.rate(1, 1) < CLICKS.prior


def test_where_it_was_never_shown_its_lift_is_believed() -> None:
    """Line item 1 is clicked twice as often as others at placement 1; so it is believed to be at 2."""
    rows = [
        Shown(1, 1, 1, 10**6, 0, 4_000),
        Shown(2, 1, 2, 10**7, 0, 20_000),
        Shown(2, 2, 2, 10**7, 0, 80_000),
    ]
    rates = learn(1, rows)
    own, others = rates.clicks.rate(1, 2), rates.clicks.of_placement(2)
    assert 1.7 < own / others < 2.1


def crowd(lifts: list[float]) -> list[Shown]:
    """As many line items, 10 000 impressions each; what chance has of their clicks comes out even."""
    luck = (0.7, 1.3, 1.0, 0.85, 1.15)
    return [
        Shown(number, 1, number, 10_000, 0, round(20 * lift * luck[number % 5]))
        for number, lift in enumerate(lifts)
    ]


def test_a_few_clicks_less_are_bad_luck_where_all_are_alike() -> None:
    """14 of 20 is what chance has. With nothing known of others a lift is believed a good deal further."""
    rates = learn(1, crowd([1.0] * 30)).clicks
    assert rates.of_placement(1) * 0.97 < rates.rate(0, 1) < rates.of_placement(1)
    alone = learn(1, [Shown(0, 1, 0, 10_000, 0, 14), Shown(1, 1, 1, 10_000, 0, 26)]).clicks
    assert alone.lifts[0] < 0.9 * PER_MILLION < 0.97 * PER_MILLION < rates.lifts[0]


def test_a_few_clicks_less_are_believed_where_line_items_differ() -> None:
    """The same 14, and 6, among line items of which half are clicked four times as often as the others."""
    rates = learn(1, crowd([1.0, 0.25] * 15)).clicks
    among = rates.of_placement(1)
    assert among < rates.rate(10, 1) < 1_400
    assert 600 < rates.rate(11, 1) < 0.7 * among


@settings(deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_counts_does_not_matter(rows: list[Shown], chance: random.Random) -> None:
    assert learn(1, rows) == learn(1, chance.sample(rows, len(rows)))


@settings(deadline=None)
@given(ROWS)
def test_rates_stay_within_their_bounds(rows: list[Shown]) -> None:
    rates = learn(1, rows)
    for learned in (rates.clicks, rates.viewable, rates.conversions):
        for line_item in range(1, 7):
            for placement in range(1, 5):
                rate = learned.rate(line_item, placement)
                assert 0 <= rate <= learned.kind.most
                peak = learned.peaks.get(line_item, PER_MILLION)
                assert rate * PER_MILLION <= learned.of_placement(placement) * peak


@settings(deadline=None)
@given(ROWS, st.integers(1, 5), st.integers(1, 3), st.integers(1, 1000))
def test_more_clicks_never_lower_a_rate(rows: list[Shown], line_item: int, placement: int, more: int) -> None:
    """With impressions as they are, where clicks are no more than impressions."""
    calm = [Shown(r.line_item, r.placement, r.creative, r.impressions + 10**4, 0, 0) for r in rows]
    calm.append(Shown(line_item, placement, 1, 10**4, 0, 0))
    clicked = [*calm, Shown(line_item, placement, 1, 0, 0, more)]
    before = learn(1, calm).clicks.rate(line_item, placement)
    assert learn(1, clicked).clicks.rate(line_item, placement) >= before


def test_creatives_are_counted_over_placements() -> None:
    rates = learn(1, [Shown(1, 1, 7, 100, 0, 3), Shown(1, 2, 7, 50, 0, 1), Shown(1, 2, 8, 9, 0, 0)])
    assert rates.creatives == {7: (150, 4), 8: (9, 0)}
