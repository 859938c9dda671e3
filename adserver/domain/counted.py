"""What events count as, and which of them is billed under each pricing model."""

from typing import Final

from adserver.domain.campaign import MODELS
from adserver.domain.conversions import Converted
from adserver.domain.decision import EventKind
from adserver.domain.records import Record, Recorded, Status

COUNTED: Final = {
    EventKind.IMPRESSION: "impressions",
    EventKind.VIEWABLE: "viewable",
    EventKind.CLICK: "clicks",
    EventKind.CONVERSION: "conversions",
}
"""The number of ``books.LineItemTotals`` that an accepted event moves; others move none."""

_BILLABLE: Final = {
    "cpm": EventKind.IMPRESSION,
    "vcpm": EventKind.VIEWABLE,
    "cpc": EventKind.CLICK,
    "cpa": EventKind.CONVERSION,
}
BILLED: Final = tuple(_BILLABLE.get(model) for model in MODELS)
"""The kind that is billed, by the number of the pricing model."""
CPA: Final = MODELS.index("cpa")


def event_of(record: Record) -> Recorded | None:
    """The event that a record adds to the books, if it does."""
    if isinstance(record, Recorded):
        return record
    event_id = record.event_id if isinstance(record, Converted) else None
    if not isinstance(record, Converted) or event_id is None:
        return None
    return Recorded(
        event_id=event_id,
        kind=EventKind.CONVERSION,
        status=Status.ACCEPTED,
        at_ms=record.at_ms,
        line_item=record.line_item,
        creative=record.creative,
        placement=record.placement,
        billed_nanos=record.billed_nanos,
        unbilled=record.unbilled,
        day=record.day,
        free_nanos=record.free_nanos,
        country=record.country,
        device=record.device,
    )
