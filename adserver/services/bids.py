"""The smallest bid that reaches a score, asked of the very function that ranks."""

import msgspec

from adserver.domain import limits
from adserver.domain.campaign import Pricing
from adserver.engine import ranking
from adserver.engine.snapshot import Entry
from adserver.services.rehearsal import Change
from adserver.services.remedy import Remedy, with_item


def reaching(entry: Entry, score: int, beaten: Entry | None = None) -> Remedy | None:
    """The line item with the least bid that scores ``score`` or more; None where no bid does. ``beaten``:
    whose score that exceeds."""
    pricing = entry.line_item.pricing
    least = most = pricing.amount_micros + 1
    while _score(pricing, most) < score:
        if most == limits.AMOUNT_MICROS_MAX:
            return None
        least, most = most + 1, min(2 * most, limits.AMOUNT_MICROS_MAX)
    while least < most:
        middle = (least + most) // 2
        if _score(pricing, middle) < score:
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
    changed = with_item(entry, pricing=msgspec.structs.replace(pricing, amount_micros=least))
    changed = msgspec.structs.replace(changed, score=_score(pricing, least))
    return Remedy(told, Change(changed), beaten)


def _score(pricing: Pricing, amount_micros: int) -> int:
    return ranking.ecpm_micros(msgspec.structs.replace(pricing, amount_micros=amount_micros))
