"""The smallest bid that reaches a score, asked of the very function that ranks."""

import msgspec

from adserver.domain import limits
from adserver.engine import ranking
from adserver.engine.rules import Context
from adserver.engine.snapshot import Entry
from adserver.services.rehearsal import Change
from adserver.services.remedy import Remedy, with_item


def reaching(entry: Entry, score: int, context: Context, beaten: Entry | None = None) -> Remedy | None:
    """The line item with the least bid that scores ``score`` or more; None where no bid does. ``beaten``:
    whose score that exceeds."""
    pricing = entry.line_item.pricing
    least = most = pricing.amount_micros + 1
    while _score(entry, most, context) < score:
        if most == limits.AMOUNT_MICROS_MAX:
            return None
        least, most = most + 1, min(2 * most, limits.AMOUNT_MICROS_MAX)
    while least < most:
        middle = (least + most) // 2
        if _score(entry, middle, context) < score:
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


def _score(entry: Entry, amount_micros: int, context: Context) -> int:
    return context.score(_with(entry, amount_micros))


def _with(entry: Entry, amount_micros: int) -> Entry:
    pricing = msgspec.structs.replace(entry.line_item.pricing, amount_micros=amount_micros)
    return msgspec.structs.replace(with_item(entry, pricing=pricing), score=ranking.ecpm_micros(pricing))
