"""Keep the allocation plan up to date (``engine.allocation``): beside serving, from a sample of what was
asked for and what guaranteed line items still want.

A decision draws by the plan in force, so it is journalled before any decision under it, as a record of the
weights that moved; replay and restarts read it there and compute nothing again (law 5). A line item without a
weight (it is new, or matched no sampled request) is drawn by its own need, on the same scale.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from adserver.clock import Clock
from adserver.domain import limits
from adserver.domain.books import JournalClosed
from adserver.domain.planned import Planned
from adserver.engine.allocation import Wanted, plan
from adserver.services import plans
from adserver.services.allotment import Allotment, follow, moved
from adserver.services.bidding import Bidding
from adserver.services.ports import Journal
from adserver.services.serve import Outcome
from adserver.services.supply import DAY_MS, Supply
from adserver.services.world import World

_TURN: Final = 100
"""Line items looked at in one turn of the loop."""


class Traffic(plans.Traffic, Protocol):
    def days(self, now_ms: int, end_ms: int) -> float:
        """How much traffic is still to come, in days."""
        ...


class Planning:
    """The use case. ``allotment``: kept up to date; decisions look into it. ``rendered``: the share of ads
    answered that is shown: so many more have to be answered. ``multipliers``: kept up to date, too."""

    def __init__(
        self, world: World, supply: Supply, accounts: plans.Accounts, traffic: Traffic, journal: Journal,
        allotment: Allotment, rendered: Callable[[], float], multipliers: dict[int, int], clock: Clock,
    ) -> None:  # fmt: skip
        self._world = world
        self._supply = supply
        self._accounts = accounts
        self._traffic = traffic
        self._journal = journal
        self._allotment = allotment
        self._rendered = rendered
        self._bidding = Bidding(world, accounts, traffic, multipliers, clock)
        self._clock = clock

    def take(self, outcome: Outcome) -> None:
        """Of every decision."""
        self._supply.take(outcome)
        self._bidding.take(outcome.decision)

    async def renew(self) -> bool:
        """Plan anew; whether anything moved."""
        weighed, counted = await self._weighed(), await self._bidding.moved()
        planned = Planned(self._clock(), tuple(weighed), tuple(counted))
        if not planned.weights and not planned.multipliers:
            return False
        try:
            self._journal.append(planned)
        except JournalClosed:
            return False
        follow(self._allotment, planned.weights)
        self._world.weigh(planned.multipliers)
        return True

    async def _weighed(self) -> Iterable[tuple[int, int]]:
        """Of guaranteed line items."""
        kinds = self._supply.kinds()
        if not kinds:
            return ()
        wanted = await self._wanted({serial for _, mine in kinds for serial in mine})
        found = await asyncio.to_thread(plan, kinds, wanted)
        hurried = {serial for serial in found.hurried if self._may_hurry(serial)}
        return moved(self._allotment, found.weights, hurried)

    def _may_hurry(self, serial: int) -> bool:
        """A plan of a day leaves nothing for tomorrow, whoever is ahead of it. While a night may look like
        scarcity, nobody runs ahead of the day's end."""
        entry = self._world.snapshot.by_serial.get(serial)
        if entry is None or entry.line_item.budget.daily_nanos is not None:
            return False
        return self._supply.is_settled() or plans.is_within_day(entry, self._accounts, self._clock())

    async def _wanted(self, serials: Iterable[int]) -> dict[int, Wanted]:
        """Of those that are limited by a goal or budget, and in service."""
        found, days, now_ms = dict[int, Wanted](), dict[int, float](), self._clock()
        rendered = self._rendered()
        for number, serial in enumerate(sorted(serials)[: limits.ALLOTTED]):
            if number % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            entry = self._world.snapshot.by_serial.get(serial)
            if entry is None:
                continue
            end_ms = plans.ends_ms(entry, now_ms)
            if end_ms not in days:
                days[end_ms] = max(self._traffic.days(now_ms, end_ms), 60_000 / DAY_MS)
            daily = plans.daily_need(entry, self._accounts, now_ms, days[end_ms])
            if daily is not None and daily > 0:
                capped = bool(entry.line_item.frequency_caps)
                ahead = days[end_ms] if self._supply.is_settled() else 0.0
                found[serial] = Wanted(entry.tier, daily / rendered, ahead, capped)
        return found
