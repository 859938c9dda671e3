"""What events count as, and which of them is billed under each pricing model."""

from typing import Final

from adserver.domain.campaign import MODELS
from adserver.domain.conversions import Converted
from adserver.domain.decision import EventKind
from adserver.domain.fees import Accrued, fee_id
from adserver.domain.records import Record, Recorded, Status, Unbilled

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
FLAT: Final = MODELS.index("flat")


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


def events_of(record: Record) -> list[Recorded]:
    """All events that a record adds to the books: a fee is one for each placement it is shared among."""
    if isinstance(record, Accrued):
        return [_part_of(record, number) for number in range(len(record.parts))]
    event = event_of(record)
    return [] if event is None else [event]


def _part_of(fee: Accrued, number: int) -> Recorded:
    """It is of no creative and from no country: nobody was shown it."""
    placement, _, nanos = fee.parts[number]
    billed = 0 if fee.unbilled else nanos
    reason = Unbilled.NONE if billed else fee.unbilled if nanos else Unbilled.FREE
    return Recorded(
        event_id=fee_id(fee.start_ms, fee.line_item, placement, number),
        kind=EventKind.FEE,
        status=Status.ACCEPTED,
        at_ms=fee.at_ms,
        line_item=fee.line_item,
        creative=0,
        placement=placement,
        billed_nanos=billed,
        unbilled=reason,
        day=fee.day,
        free_nanos=nanos - billed,
    )
