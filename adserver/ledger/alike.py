"""Accepted events that move the same money: alike in all but who, when, where and which.

Of ten thousand impressions posted together most are like some other: each is told by a tuple that C makes of
its attributes, and what such a tuple moves is worked out once. In which cell of the rollups it is counted is
another question, and another tuple's. Cost: 1 µs an event, beside the rows it leaves.
"""

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

from adserver.domain.counted import COUNTED
from adserver.domain.records import Recorded, Status

Key = tuple[Any, ...]
"""The same for all that move the same."""
Group = tuple[Recorded, int]
"""The last of some that are alike, and how many they are."""

_STANDING: Final = attrgetter("status", "test", "kind")
_MOVING: Final = attrgetter(
    "kind",
    "line_item",
    "creative",
    "placement",
    "day",
    "billed_nanos",
    "free_nanos",
)
_PLAIN: Final = frozenset((int(Status.ACCEPTED), False, int(kind)) for kind in COUNTED)
"""What may be moved with others. Fees are few, and shared."""


def parted(events: Sequence[Recorded]) -> tuple[Sequence[Recorded], Sequence[Recorded]]:
    """Those that may be moved with others, and those that may not; each in order."""
    if _PLAIN.issuperset(map(_STANDING, events)):
        return events, ()
    others = [event for event in events if _STANDING(event) not in _PLAIN]
    return [event for event in events if _STANDING(event) in _PLAIN], others


def keys_of(events: Sequence[Recorded]) -> list[Key]:
    """Of plain events, one each."""
    return list(map(_MOVING, events))


def grouped(keys: Sequence[Key], events: Sequence[Recorded]) -> dict[Key, Group]:
    """``keys``: theirs."""
    counts = Counter(keys)
    return {key: (event, counts[key]) for key, event in dict(zip(keys, events, strict=True)).items()}
