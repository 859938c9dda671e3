"""The order of serving, made the long way: everything is scored, everything is sorted."""

import random
from collections.abc import Iterator

from adserver.domain.books import Shown
from adserver.engine import draw, ranking
from adserver.engine.rates import Rates, learn
from adserver.engine.shortlist import Walk
from adserver.engine.snapshot import Entry, Snapshot


class Everything(Walk):
    """What ``Walk`` must equal, without runs, bounds and laziness."""

    def entries(self) -> Iterator[Entry]:
        index, context, entries = self._snapshot.index, self._context, self._snapshot.entries
        within = self._live, context.chunks
        found = list(index.matches(within, index.selectors(context.facts)))
        for tier in sorted({entries[position].tier for position in found}):
            mine = [position for position in found if entries[position].tier == tier]
            if not ranking.is_auction(tier):
                yield from self._guaranteed(mine)
                continue
            scores = {position: context.score(entries[position]) for position in mine}
            for score in sorted(set(scores.values()), reverse=True):
                yield from self._asked([position for position in mine if scores[position] == score])

    def _asked(self, alike: list[int]) -> Iterator[Entry]:
        for i in range(len(alike)):
            j = i + draw.below(self.seed, i, len(alike) - i)
            alike[i], alike[j] = alike[j], alike[i]
            entry = self._passing(alike[i])
            if entry is not None:
                yield entry


def random_rates(chance: random.Random, whole: Snapshot, placements: int = 3) -> Rates:
    """Of some of a snapshot's line items at some placements; often so few events that scores tie."""
    rows = []
    for entry in whole.entries:
        for placement in range(1, placements + 1):
            if chance.random() < 0.5:
                shown = chance.choice((0, 1, 100, 100, 10**4, 10**6))
                events = [chance.choice((0, 0, shown // 500, shown // 20, shown)) for _ in range(2)]
                creative = chance.choice(entry.line_item.creatives).serial
                rows.append(Shown(entry.line_item.serial, placement, creative, shown, *events))
    return learn(chance.choice((0, 1, 1, 1)) if rows else 0, rows)


def random_multipliers(chance: random.Random, whole: Snapshot) -> dict[int, int]:
    """By serial, of few or many of a snapshot's line items, whatever they are, and of some that it has not;
    often so few different ones that scores tie."""
    share = chance.choice((0.03, 0.4))
    some = [entry.line_item.serial for entry in whole.entries if chance.random() < share]
    return {serial: chance.choice((250, 500, 500, 999)) for serial in (*some, 10**9)} if some else {}
