"""Scores and prices: what a candidate is worth per thousand impressions, and what a winner pays.

All in integer micros. Prior scores, with the priors of click and viewable rates, order the snapshot; what
was learned since is ``worth``'s.
"""

from typing import Final

from adserver.domain.campaign import FLAT, PER_EVENT, PRIORITIES, LineItem, Pricing
from adserver.engine.rates import CLICKS, CONVERSIONS, PER_MILLION, VIEWABLE

HOLD_VIEWABLE_PER_MILLION: Final = 800_000
HOLD_CLICKS_PER_MILLION: Final = 50_000
HOLD_CONVERSIONS_PER_MILLION: Final = 2_500
"""Upper rates for holds: what an exposure in flight may come to cost (DESIGN, "Money")."""
LIKELY_PER_MILLION: Final = {
    "cpm": PER_MILLION,
    "vcpm": VIEWABLE.prior * PER_MILLION // HOLD_VIEWABLE_PER_MILLION,
    "cpc": CLICKS.prior * PER_MILLION // HOLD_CLICKS_PER_MILLION,
    "cpa": CONVERSIONS.prior * PER_MILLION // HOLD_CONVERSIONS_PER_MILLION,
    FLAT: PER_MILLION,
}
"""Of a hold, what is likely to be billed."""
_HELD: Final = {
    "vcpm": HOLD_VIEWABLE_PER_MILLION,
    "cpc": HOLD_CLICKS_PER_MILLION,
    "cpa": HOLD_CONVERSIONS_PER_MILLION,
    FLAT: 0,
}
_PRIORS: Final = {"vcpm": VIEWABLE.prior, "cpc": CLICKS.prior, "cpa": CONVERSIONS.prior, FLAT: 0}

AUCTION: Final = PRIORITIES.index("auction")
LEVELS: Final = 10
"""Of a priority: as many tiers."""


def tier(line_item: LineItem) -> int:
    """Priority first, then level; lower serves first."""
    return PRIORITIES.index(line_item.priority) * LEVELS + line_item.level - 1


def is_auction(tier: int) -> bool:
    return tier // LEVELS == AUCTION


def ecpm_micros(pricing: Pricing) -> int:
    """The prior score: what a thousand impressions are expected to earn while nothing is known. Of a flat fee
    nothing: it is paid however often the ad is shown, so it has no bid and no place in the auction."""
    if pricing.model == "cpm":
        return pricing.amount_micros
    thousand = price_nanos(pricing.model, pricing.amount_micros)
    return thousand * _PRIORS[pricing.model] // PER_MILLION


def clearing_micros(pricing: Pricing, score: int, threshold: int) -> int:
    """What a second-price winner of this score pays to reach a floor or the next score, in its own model's
    unit: translated from eCPM back (rounded up, or it would clear below them), never more than its bid."""
    if score <= 0:
        return pricing.amount_micros
    return min(pricing.amount_micros, -(-pricing.amount_micros * threshold // score))


def price_nanos(model: str, amount_micros: int) -> int:
    """Nanos per billable event: p micros per thousand are p nanos each; per event, 1000 times that. Flat fees
    have none."""
    if model == FLAT:
        return 0
    return amount_micros * 1000 if model in PER_EVENT else amount_micros


def hold_nanos(model: str, amount_micros: int) -> int:
    """What an exposure reserves: a CPM impression its price, the others an upper expectation of it. A flat
    fee is held by the day (``services.fees``)."""
    if model == "cpm":
        return amount_micros
    return -(-price_nanos(model, amount_micros) * _HELD[model] // PER_MILLION)


def likely_nanos(model: str, amount_micros: int) -> int:
    """Of that, what is likely to be billed."""
    return hold_nanos(model, amount_micros) * LIKELY_PER_MILLION[model] // PER_MILLION
