"""How fast to ask: a steady rate that gives way when answers become slow, and comes back when they do not.

Additive increase, multiplicative decrease (Chiu and Jain, 1989): a demo must never melt a laptop, and one
that runs beside something heavy still shows the server's own answers rather than a queue's.
"""

import asyncio
from collections.abc import Callable
from typing import Final

SLOW_S: Final = 0.1
_STEP_S: Final = 0.5
_LEAST: Final = 20.0
_BURST: Final = 5.0


class Pace:
    """At most ``most`` turns a second. ``slowness``: p99 of the answers since it was last asked, seconds."""

    def __init__(self, most: float, slowness: Callable[[], float]) -> None:
        self.rate = self.most = most
        self._slowness = slowness
        self._next_s = 0.0

    async def turn(self) -> None:
        """Return when it is one's turn."""
        now_s = asyncio.get_running_loop().time()
        self._next_s = max(self._next_s, now_s - _BURST / self.rate) + 1 / self.rate
        if self._next_s > now_s:
            await asyncio.sleep(self._next_s - now_s)

    async def adapt(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(_STEP_S)
            if self._slowness() > SLOW_S:
                self.rate = max(self.rate * 0.7, min(_LEAST, self.most))
            else:
                self.rate = min(self.rate + self.most / 20, self.most)
