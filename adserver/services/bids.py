"""The smallest bid that reaches a score, asked of the very function that ranks."""

import msgspec

from adserver.domain import limits
from adserver.engine import ranking
from adserver.engine.snapshot import Entry
from adserver.services.rehearsal import Change
from adserver.services.remedy import Remedy


def reaching(entry: Entry, score: int, beaten: Entry | None = None) -> Remedy | None:
    """The line item with the least bid that scores ``score`` or more; None where no bid does. ``beaten``:
    whose score that exceeds."""
    least, most = entry.line_item.pricing.amount_micros + 1, limits.AMOUNT_MICROS_MAX
    if _with(entry, most).score < score:
        return None
    while least < most:
        middle = (least + most) // 2
        if _with(entry, middle).score < score:
            least = middle + 1
        else:
            most = middle
    pricing = entry.line_item.pricing
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
    item = msgspec.structs.replace(entry.line_item, pricing=pricing)
    return msgspec.structs.replace(entry, line_item=item, score=ranking.ecpm_micros(pricing))
