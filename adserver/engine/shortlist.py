"""The shortlist: the candidates of one placement in the order they serve, drawn only as far as read.

Tiers in order (priority, then level). Within a guaranteed tier the matches are drawn without replacement,
weighted by need; within the auction the best score is first and equal scores come in random order. House
ads are drawn evenly. Everything random comes from the request's seed.

The auction stops early and yet exactly: what is worth more than anything behind can be is given out
before more is read (``auction``), so the order is that of scoring and sorting everything, and costs what is
read. Matches stay numbers until they are drawn, and what no bitmap holds is asked of those drawn only.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from adserver.domain import limits
from adserver.domain.exchange import Exchange
from adserver.engine import draw, ranking
from adserver.engine.abroad import converted
from adserver.engine.auction import Source, best_first
from adserver.engine.draw import Positions
from adserver.engine.entries import ASKED, PARTIAL, Entries
from adserver.engine.index import Bitmap, Selector
from adserver.engine.masks import Masks, mask
from adserver.engine.rates import PER_MILLION
from adserver.engine.rules import Context
from adserver.engine.runs import runs
from adserver.engine.snapshot import Entry, Snapshot

Need = Callable[[Entry, int], float]
"""How urgently a guaranteed line item wants delivery at a time: any positive scale; see services."""

_SHARE_SALT: Final = 0x5A4E


class Walk:
    """``salt`` keeps the draws of several placements of one request apart, ``seed`` is its own. ``unasked``:
    positions drawn after so much had been asked one by one in vain that no more is
    (``limits.CHECKS_IN_VAIN``). ``common``: those that match what the request says at all of its placements,
    where somebody knows already."""

    __slots__ = (
        "_checks_left", "_common", "_context", "_live", "_need", "_snapshot", "seed", "unasked",
    )  # fmt: skip

    def __init__(
        self, snapshot: Snapshot, live: Sequence[int], context: Context, need: Need, salt: int,
        common: Masks | None = None,
    ) -> None:  # fmt: skip
        self.unasked: set[int] = set()
        self._snapshot = snapshot
        self._live = live
        self._context = context
        self._need = need
        self._common = common
        self.seed = draw.mix(context.request.seed, salt)
        self._checks_left = limits.CHECKS_IN_VAIN // len(context.request.placements)

    def entries(self) -> Iterator[Entry]:
        """Those that pass the static and targeting rules, in serving order."""
        if self._context.exchange is not None and self._context.exchange.rates:
            yield from self._by_worth(self._context.exchange)
            return
        within, selectors = self._matching()
        worth = self._context.worth
        if worth.learned:
            yield from self._by_score(within, selectors)
            return
        index, entries = self._snapshot.index, self._snapshot.entries
        first, end = entries.auction
        found = runs(index.masks(within, selectors), entries)
        for run in worth.parts.moved_back(found) if worth.weighed else found:
            if not first <= run[0] < end:
                yield from self._guaranteed(run)
                continue
            for position in run if len(run) == 1 else draw.shuffled(run, self.seed):
                entry = self._passing(position)
                if entry is not None:
                    yield entry

    def _matching(self) -> tuple[tuple[Bitmap, ...], list[Selector]]:
        """Bitmaps and selectors whose intersection matches. Most placements say nothing but what they are:
        then what the request says is looked up once for all of them, and what they are once for all
        requests."""
        index, context = self._snapshot.index, self._context
        view = context.view
        if self._common is None or context.speaks:
            return (self._live, view.chunks), index.selectors(context.facts)
        return (self._live, index.placed(view, view.chunks, view.facts), self._common), []

    def _by_score(self, within: tuple[Bitmap, ...], selectors: list[Selector]) -> Iterator[Entry]:
        """The same where something was learned."""
        worth = self._context.worth
        found = self._tiers((*within, worth.others), selectors)
        matches = self._masks_of(within, selectors)
        for tier in worth.tiers:
            if ranking.is_auction(tier):
                here = self._context.view.placement.serial
                for group in best_first(worth.sources(tier, here, found.of(tier), matches)):
                    yield from self._drawn(group)
            else:
                for run in found.of(tier):
                    yield from self._guaranteed(run)

    def _by_worth(self, exchange: Exchange) -> Iterator[Entry]:
        """The same where line items of several currencies may stand: those of the auction currency by
        currency, and best first of all; the others together."""
        context = self._context
        worth, fit, here = context.worth, context.view.fit, context.view.placement.serial
        selectors = self._snapshot.index.selectors(context.facts)
        together = self._tiers((self._live, context.chunks), selectors)
        lands = []
        for currency in exchange.currencies:
            within = self._live, fit.standing((currency,))
            if not within[1].sells:
                continue
            common = (*within, worth.others) if worth.learned else within
            lands.append((currency, self._tiers(common, selectors), self._masks_of(within, selectors)))
        for tier in worth.every_tier:
            if not ranking.is_auction(tier):
                for run in together.of(tier):
                    yield from self._guaranteed(run)
                continue
            sources = list[Source]()
            for currency, found, matches in lands:
                mine = worth.sources(tier, here, found.of(tier), matches)
                sources += converted(mine, exchange, currency)
            for group in best_first(sources) if sources else ():
                yield from self._drawn(group)

    def _tiers(self, within: tuple[Bitmap, ...], selectors: list[Selector]) -> "_Tiers":
        entries = self._snapshot.entries
        return _Tiers(runs(self._snapshot.index.masks(within, selectors), entries), entries)

    def _masks_of(self, within: tuple[Bitmap, ...], selectors: list[Selector]) -> Masks:
        return Masks(lambda chunk: mask(within, selectors, chunk))

    def _drawn(self, group: Positions) -> Iterator[Entry]:
        """Line items of equal score in random order, the one-by-one checks asked when they are drawn."""
        order = iter(group) if len(group) == 1 else draw.shuffled(group, self.seed)
        for position in order:
            entry = self._passing(int(position))
            if entry is not None:
                yield entry

    def _guaranteed(self, run: Positions) -> list[Entry]:
        """A line item with a goal of share s comes first in s of the draws and not at all in the others;
        the rest follow by need."""
        passing = filter(None, (self._passing(int(position)) for position in run))
        entries = {entry.position: entry for entry in passing}
        shares = [position for position, entry in entries.items() if share_of(entry)]
        others = [position for position, entry in entries.items() if not share_of(entry)]
        now_ms = self._context.request.now_ms
        order = draw.weighted_order(others, lambda p: self._need(entries[p], now_ms), self.seed)
        ticket = draw.below(self.seed, _SHARE_SALT, PER_MILLION)
        for position in shares:
            ticket -= share_of(entries[position])
            if ticket < 0:
                order.insert(0, position)
                break
        return [entries[position] for position in order]

    def _passing(self, position: int) -> Entry | None:
        """The line item there, unless an ``all`` clause, an expression or whatever else the index only
        narrows rules it out."""
        entries = self._snapshot.entries
        asked = entries.flags[position] & ASKED
        if not asked:
            return entries[position]
        if self._checks_left <= 0:
            self.unasked.add(position)
            return None
        entry = entries[position]
        if (not asked & PARTIAL or _complete(entry, self._context)) and _checked(entry, self._context):
            return entry
        self._checks_left -= 1
        return None


def _complete(entry: Entry, context: Context) -> bool:
    facts = context.facts
    return all(clause.passes(facts.get(name, ())) for name, clause in entry.clauses.items())


def _checked(entry: Entry, context: Context) -> bool:
    said = context.said
    return all(check.passes(said) for check in entry.checks)


class _Tiers:
    """Runs by tier, asked for in order; a run is cut out when it is asked for. Tiers may be passed over."""

    def __init__(self, found: Iterator[Positions], entries: Entries) -> None:
        self._found = found
        self._tiers = entries.tiers
        self._next: Positions | None = None

    def of(self, tier: int) -> Iterator[Positions]:
        while True:
            run = next(self._found, None) if self._next is None else self._next
            self._next = run
            if run is None or self._tiers[run[0]] > tier:
                return
            self._next = None
            if self._tiers[run[0]] == tier:
                yield run


def share_of(entry: Entry) -> int:
    """Parts per million of the tier's traffic that this line item was promised; 0 if none."""
    goal = entry.line_item.goal
    return goal.amount if goal is not None and goal.kind == "share" else 0
