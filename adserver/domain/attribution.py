"""To which click or view a conversion is owed: the last touch.

The last click within its window before the conversion, else the last view (impression) within its own. A
window is the one promised when the touch happened (``LineItemTerms``), so who changes a campaign changes
nothing of what was shown. The conversion's own time decides, whenever it is told: what came later does not
count.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from adserver.domain.decision import EventKind
from adserver.domain.records import LineItemTerms, Recorded, Status

_ACCEPTED: Final = int(Status.ACCEPTED)
_CLICK: Final = int(EventKind.CLICK)
_VIEW: Final = int(EventKind.IMPRESSION)


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


def window_ms(event: Recorded, terms: LineItemTerms) -> int:
    """For how long from an event on, just recorded, conversions may be owed to it; 0: never."""
    if event.status != _ACCEPTED or event.test:
        return 0
    if event.kind == _CLICK:
        return terms.click_window_ms
    return terms.view_window_ms if event.kind == _VIEW else 0


def last_touch(touches: Iterable[Touch], happened_ms: int) -> Touch | None:
    """Of one instant the one with the higher event id, so that their order does not matter."""
    live = [touch for touch in touches if touch.at_ms <= happened_ms < touch.until_ms]
    return max(live, key=rank, default=None)


def rank(touch: Touch) -> tuple[bool, int, bytes]:
    """The highest is the last touch."""
    return touch.kind == _CLICK, touch.at_ms, touch.event_id
