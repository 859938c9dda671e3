"""Accepted events that move the same: alike in all but who, when, and which.

Of ten thousand impressions posted together most are like some other: each is told by a tuple that C makes of
its attributes, and what such a tuple moves is worked out once. Only decisions of one quarter of an hour are
alike, the rollups' unit of time. Wherever they were made, and when, money is moved alike: that is worked out
once for all that begin alike (``MONEY``). Cost: 1 µs an event, beside the rows it leaves.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from adserver.domain.decision import EventKind
from adserver.domain.records import Recorded, Status
from adserver.ledger.rollups import quarter_of

Key = tuple[Any, ...]
"""The same for all that move the same."""
Group = tuple[Recorded, int]
"""The last of some that are alike, and how many they are."""

_ID: Final = attrgetter("event_id")
_MOVING: Final = attrgetter(
    "kind",
    "line_item",
    "creative",
    "placement",
    "day",
    "billed_nanos",
    "free_nanos",
    "country",
    "device",
)
MONEY: Final = 7
"""What of a key says what is counted and paid; the rest says where, on what, and when."""
_FEE: Final = int(EventKind.FEE)
_IS_ACCEPTED: Final = int(Status.ACCEPTED)


def is_plain(event: Recorded) -> bool:
    """Whether it may be moved with others. Fees are few, and shared."""
    return event.status == _IS_ACCEPTED and not event.test and event.kind != _FEE


def keys_of(events: Sequence[Recorded]) -> list[Key]:
    """Of plain events, one each."""
    keys = list(map(_MOVING, events))
    ids = list(map(_ID, events))
    if not ids or quarter_of(min(ids)) == quarter_of(max(ids)):
        return keys
    return [(*key, quarter_of(event_id)) for event_id, key in zip(ids, keys, strict=True)]


def grouped(keys: Sequence[Key], events: Sequence[Recorded]) -> dict[Key, Group]:
    """``keys``: theirs."""
    counts = Counter(keys)
    return {key: (event, counts[key]) for key, event in dict(zip(keys, events, strict=True)).items()}


def paid_alike(groups: Mapping[Key, Group]) -> dict[Key, Group]:
    """Those groups as one that move the same money; by the beginning of their keys."""
    paid = dict[Key, Group]()
    for key, (event, count) in groups.items():
        known = paid.get(key[:MONEY])
        paid[key[:MONEY]] = (event, count if known is None else count + known[1])
    return paid
