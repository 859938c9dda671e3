"""Frequency caps as the engine binds them, and what is counted for whom.

A cap belongs to its *scope*: declared on one line item with scope ``advertiser`` it binds every line item
of that advertiser. Otherwise "at most 1 of this advertiser in 15 minutes" would not hold as soon as a
sibling without the cap served, and law 2 would be an intention. So the caps that bind a line item name
exactly the keys under which its exposures are counted.
"""

from typing import Final

from msgspec import Struct
from msgspec.structs import force_setattr

from adserver.domain.campaign import CappedEvent

IMPRESSION: Final = "impression"


class BoundCap(Struct, frozen=True, array_like=True):
    """``key`` is ``<scope>:<serial>`` (creatives by identity); ``counter`` adds the event and whether it
    is counted per session: what counters are filed under. It follows from the others, and is made once
    because every candidate is asked for it."""

    key: str
    limit: int
    per_ms: int
    event: CappedEvent = "impression"
    session: bool = False
    counter: str = ""

    def __post_init__(self) -> None:
        force_setattr(self, "counter", counter_key(self.key, self.event, self.session))


def counter_key(key: str, event: str, session: bool) -> str:
    """``line_item:7`` for impressions of a person, ``session:line_item:7/click`` for a session's clicks."""
    name = key if event == IMPRESSION else f"{key}/{event}"
    return f"session:{name}" if session else name


class Counted(Struct, frozen=True):
    """One counter an event of an ad moves; it forgets after ``keep_ms``, the longest window on it."""

    counter: str
    keep_ms: int
    session: bool = False


def counted(caps: tuple[BoundCap, ...], event: str) -> tuple[Counted, ...]:
    """The counters that ``event`` moves under these caps: one per key, kept for its longest window."""
    keep: dict[tuple[str, bool], int] = {}
    for cap in caps:
        if cap.event == event:
            name = (cap.counter, cap.session)
            keep[name] = max(keep.get(name, 0), cap.per_ms)
    return tuple(Counted(counter, keep_ms, session) for (counter, session), keep_ms in keep.items())
