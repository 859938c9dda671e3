"""Scores and prices: exact integers, and a second price that is never below what it must beat."""

from engine_samples import campaign, catalogue, line_item
from hypothesis import given
from hypothesis import strategies as st

from adserver.domain.campaign import MODELS, PRIORITIES, Pricing
from adserver.engine import ranking
from adserver.engine.compile import compile_snapshot

AMOUNTS = st.integers(0, 10**12)
PRICINGS = st.builds(Pricing, st.sampled_from(MODELS), AMOUNTS)


def test_ecpm_by_model() -> None:
    assert ranking.ecpm_micros(Pricing("cpm", 4_200_000)) == 4_200_000
    assert ranking.ecpm_micros(Pricing("vcpm", 1_000_000)) == 600_000
    assert ranking.ecpm_micros(Pricing("cpc", 500_000)) == 1_000_000


def test_prices_of_the_books() -> None:
    """A CPM price of p micros costs exactly p nanos an impression; a click a thousand times its micros."""
    assert ranking.price_nanos("cpm", 4_200_000) == 4_200_000
    assert ranking.price_nanos("vcpm", 4_200_000) == 4_200_000
    assert ranking.price_nanos("cpc", 500_000) == 500_000_000


@given(PRICINGS)
def test_a_cpm_exposure_holds_its_price_the_others_an_estimate(pricing: Pricing) -> None:
    price = ranking.price_nanos(pricing.model, pricing.amount_micros)
    hold = ranking.hold_nanos(pricing.model, pricing.amount_micros)
    assert hold == price if pricing.model == "cpm" else 0 <= hold <= price
    assert hold > 0 or price == 0


def test_tiers_order_priorities_and_levels() -> None:
    tiers = [
        ranking.tier(line_item(1, priority=priority, level=level))
        for priority in PRIORITIES
        for level in range(1, 11)
    ]
    assert tiers == list(range(40))
    assert [ranking.is_auction(tier) for tier in tiers] == [20 <= tier < 30 for tier in tiers]


@given(st.lists(st.tuples(st.sampled_from(PRIORITIES), st.integers(1, 10)), max_size=8))
def test_where_the_auction_begins_and_ends(tiers: list[tuple[str, int]]) -> None:
    items = (line_item(n, priority=name, level=level) for n, (name, level) in enumerate(tiers, 1))
    entries = compile_snapshot(catalogue([campaign(1, *items)])).entries
    first, end = entries.auction
    inside = [first <= position < end for position in range(len(entries))]
    assert inside == [ranking.is_auction(tier) for tier in entries.tiers]


@given(PRICINGS, AMOUNTS, AMOUNTS)
def test_a_second_price_beats_what_it_must_and_no_more_than_it_must(
    pricing: Pricing, floor: int, behind: int
) -> None:
    score = ranking.ecpm_micros(pricing)
    threshold = max(floor, behind)
    cleared = ranking.clearing_micros(pricing, score, threshold)
    assert 0 <= cleared <= pricing.amount_micros
    if score == 0 or threshold >= score:
        assert cleared == pricing.amount_micros
    else:
        assert cleared * score >= threshold * pricing.amount_micros
        assert cleared == 0 or (cleared - 1) * score < threshold * pricing.amount_micros


@given(PRICINGS, AMOUNTS, AMOUNTS)
def test_more_competition_never_lowers_a_price(pricing: Pricing, one: int, other: int) -> None:
    score = ranking.ecpm_micros(pricing)
    low, high = sorted((one, other))
    assert ranking.clearing_micros(pricing, score, low) <= ranking.clearing_micros(pricing, score, high)
