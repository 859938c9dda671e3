"""Keep what is learned of rates up to date: beside serving, from the counts of the ledger.

A set of rates is named by the journal position its counts go up to, and decisions carry that number; so
the rates of any decision can be learned again from the journal (law 5), and none need to be kept.
"""

import asyncio
from typing import Protocol

from adserver.domain.books import Position, Shown
from adserver.engine.rates import Rates, learn
from adserver.engine.worth import Worth
from adserver.services.world import World


class Counts(Protocol):
    """What was delivered, counted by the ledger."""

    @property
    def position(self) -> Position:
        """Up to where in the journal."""
        ...

    def shown(self) -> tuple[Position, list[Shown]]:
        """The counts, and up to where they go: both of one moment."""
        ...


class Learning:
    """The use case; counting and sorting happen in a thread, what decisions look at is swapped by one
    assignment."""

    def __init__(self, counts: Counts, world: World) -> None:
        self._counts = counts
        self._world = world
        self._learned = Position(0)

    def start(self) -> None:
        """Before anything is served."""
        self._world.learn(Worth(self._world.snapshot.entries, self._rates()))

    async def follow(self) -> bool:
        """Learn anew if something was delivered since; whether it was."""
        if self._counts.position == self._learned:
            return False
        rates = await asyncio.to_thread(self._rates)
        snapshot = None
        # A snapshot may be swapped in while the thread works.
        while snapshot is not self._world.snapshot:
            snapshot = self._world.snapshot
            worth = await asyncio.to_thread(Worth, snapshot.entries, rates)
        self._world.learn(worth)
        return True

    def _rates(self) -> Rates:
        self._learned, rows = self._counts.shown()
        return learn(self._learned.number if rows else 0, rows)
