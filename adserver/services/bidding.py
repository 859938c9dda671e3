"""How much of a bid counts in the auction, where its budget is being spent ahead of its time.

A budget that will be spent anyway earns most where nobody else would pay; the best bid would take the places
of bidders who have no others, and leave its own, later, to nobody. So a bid counts in proportion to how far
its line item is behind the plan (``pacing.counted``): whoever is well behind competes with all of it, whoever
is not with a fourth. Winning brings the multiplier down and losing brings it up, so it settles where
the budget lasts for the day, near what would be the shadow price of the budget (adaptive pacing: Balseiro
and Gur, Learning in repeated auctions with budgets, Management Science 2019; Conitzer et al., Multiplicative
pacing equilibria, 2018). It follows from what is done and due alone, so it keeps no memory of its own.

Only who has sold lately, or of whose bid a part counts, is looked at: all others are behind and count whole.
Multipliers are an input of decisions, so they are journalled with the allocation plan (``planning``).
"""

import asyncio
from typing import Final

from adserver.clock import Clock
from adserver.domain import limits
from adserver.domain.decision import Decision
from adserver.engine import ranking
from adserver.engine.pacing import UNIT
from adserver.services import plans
from adserver.services.world import World

_TURN: Final = 100
"""Line items looked at in one turn of the loop."""
_MOVED: Final = 16
"""A multiplier that moved by less, in thousandths, stays as it was told."""


class Bidding:
    """``multipliers``: those in force, in thousandths, by line item; whoever is not in it counts whole."""

    def __init__(
        self, world: World, accounts: plans.Accounts, traffic: plans.Traffic,
        multipliers: dict[int, int], clock: Clock,
    ) -> None:  # fmt: skip
        self._world = world
        self._accounts = accounts
        self._traffic = traffic
        self._multipliers = multipliers
        self._clock = clock
        self._sold = set[int]()
        world.take_up(multipliers)

    def take(self, decision: Decision) -> None:
        """Of every decision."""
        for slot in decision.slots:
            for ad in slot.ads:
                self._sold.add(ad.line_item)

    async def moved(self) -> list[tuple[int, int]]:
        """(line item, multiplier) of those worth telling, by line item; 0: it counts whole again."""
        found, before = list[tuple[int, int]](), self._multipliers
        sold, self._sold = self._sold, set()
        room = limits.MULTIPLIERS - len(before)
        for number, serial in enumerate(sorted({*before, *sold})):
            if number % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            now = self._counted(serial)
            old = before.get(serial, UNIT)
            if now == old or (abs(now - old) < _MOVED and now != UNIT):
                continue
            if serial not in before:
                if not room:
                    continue
                room -= 1
            found.append((serial, now if now < UNIT else 0))
        return found

    def _counted(self, serial: int) -> int:
        entry = self._world.snapshot.by_serial.get(serial)
        if entry is None or not ranking.is_auction(entry.tier):
            return UNIT
        return plans.counted(entry, self._accounts, self._traffic, self._clock())
