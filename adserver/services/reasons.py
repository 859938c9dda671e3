"""Why there were fewer ads than asked for: one stable code for a placement, from many line items' reasons."""

from collections.abc import Collection, Mapping
from itertools import islice
from typing import Final

from adserver.domain.decision import NoFill
from adserver.engine import rules
from adserver.engine.shortlist import share_of
from adserver.services.world import Serving

_LOOKED_AT: Final = 100
"""Line items looked at to tell why nobody served: the best ranked ones are what people ask about."""

_PROGRESS: Final = [
    NoFill.UNKNOWN_PLACEMENT, NoFill.OVERLOADED, NoFill.NO_MATCH, NoFill.NO_CREATIVE, NoFill.CURRENCY,
    NoFill.INVALID_TRAFFIC, NoFill.BLOCKED, NoFill.BELOW_FLOOR, NoFill.NO_USER, NoFill.BUDGET_EXHAUSTED,
    NoFill.DISK_FULL, NoFill.STATE_UNAVAILABLE, NoFill.PACED, NoFill.EXCLUDED, NoFill.FREQUENCY_CAPPED,
    NoFill.FEED_CAP, NoFill.RESERVATION_LIMIT,
]  # fmt: skip
"""Reasons, those that leave a candidate closest to serving last."""


def furthest(reasons: set[NoFill]) -> NoFill:
    """Of the reasons for which candidates are out, the one that is met last: what was closest to serving."""
    return max(reasons, key=_PROGRESS.index, default=NoFill.NO_MATCH)


def why_nobody(context: rules.Context, serving: Serving, won: Collection[int]) -> NoFill:
    """The index left nobody (but those at the positions ``won``). Of the line items that target this request:
    is there one whose budget is spent, whose share this request was not drawn for, or that this placement
    can never show, and why?"""
    snapshot = serving.snapshot
    matches = snapshot.index.matches((snapshot.index.everybody,), snapshot.index.selectors(context.facts))
    reasons: set[NoFill] = set()
    for position in islice(matches, _LOOKED_AT):
        entry = snapshot.entries[position]
        drop = rules.first_drop(entry, context)
        if drop is not None:
            reasons.add(drop.reason)
        elif position in serving.live.cleared:
            reasons.add(serving.live.cleared[position])
        elif share_of(entry) and position not in won:
            reasons.add(NoFill.PACED)
    return furthest(reasons)


def any_of(capped: Mapping[int, int], context: rules.Context, serving: Serving) -> bool:
    """Whether one of the line items this person has capped would pass the other rules of the request."""
    snapshot = serving.snapshot
    chunks = [capped.get(chunk, 0) for chunk in range(snapshot.index.chunks)]
    within = chunks, serving.live.chunks, context.chunks
    matches = snapshot.index.matches(within, snapshot.index.selectors(context.facts))
    found = (snapshot.entries[position] for position in islice(matches, _LOOKED_AT))
    return any(rules.first_drop(entry, context) is None for entry in found)
