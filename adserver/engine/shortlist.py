"""The shortlist: the candidates of one placement in the order they serve, drawn only as far as read.

Tiers in order (priority, then level). Within a guaranteed tier the matches are drawn without replacement,
weighted by need; within the auction the best bid is first and equal bids come in random order. House ads
are drawn evenly. Everything random comes from the request's seed.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from adserver.engine import draw, ranking
from adserver.engine.entries import PARTIAL
from adserver.engine.rules import Context
from adserver.engine.snapshot import Entry, Snapshot

Need = Callable[[Entry, int], float]
"""How urgently a guaranteed line item wants delivery at a time: any positive scale; see services."""

_SHARE_SALT: Final = 0x5A4E


def shortlist(
    snapshot: Snapshot, live: Sequence[int], context: Context, need: Need, salt: int
) -> Iterator[Entry]:
    """Entries that pass the static and targeting rules, in serving order. ``salt`` keeps the draws of
    several placements of one request apart."""
    selectors = snapshot.index.selectors(context.facts)
    matches = snapshot.index.matches((live, context.view.chunks), selectors)
    seed = draw.mix(context.request.seed, salt)
    for run in _runs(snapshot, matches, context):
        yield from _ordered(run, seed, need, context.request.now_ms)


def _runs(snapshot: Snapshot, matches: Iterator[int], context: Context) -> Iterator[list[Entry]]:
    """Matches grouped by run; those with an ``all`` clause, an expression or whatever else the index only
    narrows are asked here."""
    entries, flags, run = snapshot.entries, snapshot.entries.flags, list[Entry]()
    for position in matches:
        entry = entries[position]
        if flags[position] & PARTIAL and not _complete(entry, context):
            continue
        if entry.checks and not _checked(entry, context):
            continue
        if run and run[-1].run != entry.run:
            yield run
            run = []
        run.append(entry)
    if run:
        yield run


def _complete(entry: Entry, context: Context) -> bool:
    return all(clause.passes(context.facts.get(name, ())) for name, clause in entry.clauses.items())


def _checked(entry: Entry, context: Context) -> bool:
    said = context.said
    return all(check.passes(said) for check in entry.checks)


def _ordered(run: list[Entry], seed: int, need: Need, now_ms: int) -> Iterator[Entry]:
    if len(run) == 1 and not share_of(run[0]):
        yield run[0]
        return
    entries = {entry.position: entry for entry in run}
    if ranking.is_auction(run[0].tier):
        order = draw.shuffled(list(entries), seed)
    else:
        order = iter(_guaranteed(entries, seed, need, now_ms))
    for position in order:
        yield entries[position]


def _guaranteed(entries: dict[int, Entry], seed: int, need: Need, now_ms: int) -> list[int]:
    """A line item with a goal of share s comes first in s of the draws and not at all in the others;
    the rest follow by need."""
    shares = [position for position, entry in entries.items() if share_of(entry)]
    others = [position for position, entry in entries.items() if not share_of(entry)]
    order = draw.weighted_order(others, lambda position: need(entries[position], now_ms), seed)
    ticket = draw.below(seed, _SHARE_SALT, ranking.PER_MILLION)
    for position in shares:
        ticket -= share_of(entries[position])
        if ticket < 0:
            return [position, *order]
    return order


def share_of(entry: Entry) -> int:
    """Parts per million of the tier's traffic that this line item was promised; 0 if none."""
    goal = entry.line_item.goal
    return goal.amount if goal is not None and goal.kind == "share" else 0
