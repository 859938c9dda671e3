"""The smallest bid that reaches a floor or a score, asked of the very function that measures it."""

from collections.abc import Callable

import msgspec

from adserver.domain import limits
from adserver.engine import ranking
from adserver.engine.rules import Context
from adserver.engine.snapshot import Entry
from adserver.services.rehearsal import Change
from adserver.services.remedy import Remedy, with_item

Measure = Callable[[Entry], int]


def earning(entry: Entry, micros: int, context: Context) -> Remedy | None:
    """The line item with the least bid that earns so much a thousand impressions; None where no bid does."""
    return _reaching(entry, micros, context.earns)


def outranking(entry: Entry, score: int, context: Context, beaten: Entry) -> Remedy | None:
    """The same above a score: that of ``beaten``."""
    return _reaching(entry, score + 1, context.score, beaten)


def _reaching(entry: Entry, wanted: int, measure: Measure, beaten: Entry | None = None) -> Remedy | None:
    pricing = entry.line_item.pricing
    least = most = pricing.amount_micros + 1
    while measure(_with(entry, most)) < wanted:
        if most == limits.AMOUNT_MICROS_MAX:
            return None
        least, most = most + 1, min(2 * most, limits.AMOUNT_MICROS_MAX)
    while least < most:
        middle = (least + most) // 2
        if measure(_with(entry, middle)) < wanted:
            least = middle + 1
        else:
            most = middle
    told: dict[str, object] = {
        "change": "pricing.amount",
        "model": pricing.model,
        "from_micros": pricing.amount_micros,
        "to_micros": least,
        "currency": entry.campaign.currency,
    }
    return Remedy(told, Change(_with(entry, least)), beaten)


def _with(entry: Entry, amount_micros: int) -> Entry:
    pricing = msgspec.structs.replace(entry.line_item.pricing, amount_micros=amount_micros)
    return msgspec.structs.replace(with_item(entry, pricing=pricing), score=ranking.ecpm_micros(pricing))
