"""Scores and prices: what a candidate is worth per thousand impressions, and what a winner pays.

All in integer micros. The click and viewable rates are priors until rates are learned from the ledger,
so today a candidate's score equals its bound and the order of the snapshot is the order of the auction.
"""

from typing import Final

from adserver.domain.campaign import PRIORITIES, LineItem, Pricing

PER_MILLION: Final = 1_000_000
PRIOR_CLICKS_PER_MILLION: Final = 2_000
PRIOR_VIEWABLE_PER_MILLION: Final = 600_000

HOLD_VIEWABLE_PER_MILLION: Final = 800_000
HOLD_CLICKS_PER_MILLION: Final = 50_000
"""Upper rates for holds: what an exposure in flight may come to cost (DESIGN, "Money")."""

AUCTION: Final = PRIORITIES.index("auction")


def tier(line_item: LineItem) -> int:
    """Priority first, then level; lower serves first."""
    return PRIORITIES.index(line_item.priority) * 10 + line_item.level - 1


def is_auction(tier: int) -> bool:
    return tier // 10 == AUCTION


def ecpm_micros(pricing: Pricing) -> int:
    """What a thousand impressions are expected to earn."""
    if pricing.model == "cpm":
        return pricing.amount_micros
    if pricing.model == "vcpm":
        return pricing.amount_micros * PRIOR_VIEWABLE_PER_MILLION // PER_MILLION
    return pricing.amount_micros * 1000 * PRIOR_CLICKS_PER_MILLION // PER_MILLION


def clearing_micros(pricing: Pricing, score: int, floor: int, next_score: int) -> int:
    """What a second-price winner pays, in its own model's unit: the higher of floor and next score,
    translated from eCPM back (rounded up, or it would clear below them), never more than its bid."""
    threshold = max(floor, next_score)
    if score <= 0:
        return pricing.amount_micros
    return min(pricing.amount_micros, -(-pricing.amount_micros * threshold // score))


def price_nanos(model: str, amount_micros: int) -> int:
    """Nanos per billable event: p micros per thousand are p nanos each; per click, 1000 times that."""
    return amount_micros * 1000 if model == "cpc" else amount_micros


def hold_nanos(model: str, amount_micros: int) -> int:
    """What an exposure reserves: a CPM impression its price, the others an upper expectation of it."""
    if model == "cpm":
        return amount_micros
    price = price_nanos(model, amount_micros)
    rate = HOLD_VIEWABLE_PER_MILLION if model == "vcpm" else HOLD_CLICKS_PER_MILLION
    return -(-price * rate // PER_MILLION)
