"""Everybody at once: how many line items each rule left out of a placement, and who is worth a closer look.

The counts of the index are of all line items (``engine/sieve``); behind it the decision walked over a few,
and what became of these is counted from what it left behind.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import chain
from typing import Any

from adserver.domain import limits
from adserver.engine.index import ADVERTISER, INCLUDE
from adserver.engine.postings import CHUNK, positions
from adserver.engine.sieve import sieve
from adserver.engine.snapshot import Entry, Snapshot
from adserver.services.slate import PlacementSlate
from adserver.services.world import Serving


def counts(slate: PlacementSlate, serving: Serving, own: str | None) -> dict[str, Any]:
    """``steps``: what each rule of the index left out of ``of`` line items; of those ``left`` the decision
    dropped some for each reason, ``won`` are shown, and it had no need to reach the rest."""
    within = _owned(serving.snapshot, own)
    found = sieve(serving.snapshot, serving.live, slate.context, slate.left_out, within)
    won = {winner.entry.position for winner in slate.winners if _holds(within, winner.entry.position)}
    dropped = Counter(
        drop.reason.value
        for position, drop in slate.drops.items()
        if position >= 0 and position not in won and _holds(within, position)
    )
    return {
        "of": found.of,
        "steps": [{"rule": step.rule, "out": step.out} for step in found.steps],
        "left": found.left,
        "dropped": dict(dropped),
        "won": len(won),
    }


def best(slate: PlacementSlate, snapshot: Snapshot, own: str | None) -> list[Entry]:
    """At most as many as an answer tells of: those the decision looked at, then those that match, then the
    best ranked of all; in order of rank."""
    within, context = _owned(snapshot, own), slate.context
    won = (winner.entry.position for winner in slate.winners)
    walked = sorted(position for position in slate.drops if position >= 0)
    everybody = snapshot.index.everybody if within is None else defaultdict(int, within)
    matching = snapshot.index.matches((everybody, context.chunks), snapshot.index.selectors(context.facts))
    ranked = range(snapshot.index.size) if within is None else positions(within)
    found: dict[int, None] = {}
    for position in chain(won, walked, matching, ranked):
        if len(found) == limits.EXPLAINED_BEST:
            break
        if _holds(within, position):
            found[position] = None
    return [snapshot.entries[position] for position in sorted(found)]


def _owned(snapshot: Snapshot, own: str | None) -> Mapping[int, int] | None:
    """Chunk -> the line items of an advertiser; None: no bounds."""
    if own is None:
        return None
    posting = snapshot.index.postings(ADVERTISER, own)[INCLUDE]
    return {} if posting is None else posting.whole(snapshot.index.chunks)


def _holds(within: Mapping[int, int] | None, position: int) -> bool:
    if within is None:
        return True
    chunk, bit = divmod(position, CHUNK)
    return bool(within.get(chunk, 0) >> bit & 1)
