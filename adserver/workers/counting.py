"""Rounds of asking all workers for their numbers."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

PATIENCE_S: Final = 1.0
"""For workers that are busy; who is silent counts as it last was."""


class Counting:
    """``ask``: has every worker asked tell its numbers, and says whom."""

    def __init__(self, ask: Callable[[], Collection[int]]) -> None:
        self._ask = ask
        self._missing: set[int] = set()
        self._all = asyncio.Event()
        self._round: asyncio.Task[None] | None = None

    def round(self) -> Awaitable[None]:
        """Ended when all have told, or patience. Who joins while one goes on is served by it."""
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._go())
        return asyncio.shield(self._round)

    async def _go(self) -> None:
        self._missing = set(self._ask())
        self._all.clear()
        self._look()
        try:
            await asyncio.wait_for(self._all.wait(), PATIENCE_S)
        except TimeoutError:
            pass

    def told(self, number: int) -> None:
        """This worker told its numbers, or is gone."""
        self._missing.discard(number)
        self._look()

    def _look(self) -> None:
        if not self._missing:
            self._all.set()
