"""To which click or view a conversion is owed: the last touch.

The last click within its window before the conversion, else the last view (impression) within its own. A
window is the one promised when the touch happened (``LineItemTerms``), so who changes a campaign changes
nothing of what was shown. The conversion's own time decides, whenever it is told: what came later does not
count.
"""

from collections.abc import Iterable

from msgspec import Struct

from adserver.domain.decision import EventKind
from adserver.domain.records import LineItemTerms, Recorded, Status


class Touch(Struct, frozen=True):
    """An accepted click or impression, which conversions in [at_ms, until_ms) may be owed to.
    ``conversion_nanos``: what one of them costs."""

    event_id: bytes
    kind: int
    at_ms: int
    until_ms: int
    line_item: int
    creative: int
    placement: int
    day: int
    conversion_nanos: int
    country: str
    device: int


def touch_of(event: Recorded, terms: LineItemTerms) -> Touch | None:
    """What an event is to later conversions, under the terms of its moment; None: nothing."""
    if event.status != Status.ACCEPTED or event.test:
        return None
    if event.kind == EventKind.CLICK:
        window_ms = terms.click_window_ms
    elif event.kind == EventKind.IMPRESSION:
        window_ms = terms.view_window_ms
    else:
        return None
    if not window_ms:
        return None
    return Touch(
        event.event_id, event.kind, event.at_ms, event.at_ms + window_ms, event.line_item, event.creative,
        event.placement, event.day, event.conversion_nanos, event.country, event.device,
    )  # fmt: skip


def last_touch(touches: Iterable[Touch], happened_ms: int) -> Touch | None:
    """Of one instant the one with the higher event id, so that their order does not matter."""
    live = [touch for touch in touches if touch.at_ms <= happened_ms < touch.until_ms]
    return max(live, key=_rank, default=None)


def _rank(touch: Touch) -> tuple[bool, int, bytes]:
    return touch.kind == EventKind.CLICK, touch.at_ms, touch.event_id
