"""What goes on beside serving: making writes durable, posting, following the catalog, forgetting.

Each duty is a small periodic task. One that fails is logged and tried again at its next turn: nothing here
may stop because of one bad turn, except a failed fsync, which ends the process by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter
from typing import Final

_NOISE_S: Final = 0.02
"""A loop this late is not late: timers are no more exact."""
DURABLE_S: Final = 0.1
"""A power cut may take this much of exposures and feed pages (DESIGN, "Laws")."""
POST_S: Final = 0.5
"""Rare, for a batch of many events costs half as much an event as one of few."""
TELL_S: Final = 5.0
"""A kill may take the unanswered requests of this much (``tally``)."""
MARK_S: Final = 1.0
LEARN_S: Final = 60.0
PLAN_S: Final = 60.0
SWEEP_S: Final = 0.25
CHECKPOINT_S: Final = 5.0
FORGET_S: Final = 5.0
LOOK_S: Final = 5.0
HEAR_S: Final = 1.0
LEASE_S: Final = 0.1
BURY_S: Final = 600.0
LAG_S: Final = 0.02
_AFTER_FAILURE_S: Final = 0.5
"""A duty that fails at once must not fill the log."""

Duty = Callable[[], Awaitable[None]]
Watch = Callable[[], Awaitable[bool]]
"""A duty whose turns wait by themselves; whether there is to be another."""


class LoopLag:
    """How late the event loop is: what shedding follows. A smoothed maximum, in seconds."""

    def __init__(self, limit_s: float = 0.25) -> None:
        self._limit_s = limit_s
        self.lag_s = 0.0

    async def watch(self) -> bool:
        """One measurement: how much longer than asked a sleep took. There is always another."""
        began = perf_counter()
        await asyncio.sleep(LAG_S)
        late = max(0.0, perf_counter() - began - LAG_S)
        self.lag_s = max(late, self.lag_s * 0.8)
        return True

    def overloaded(self, tmax_ms: int | None) -> bool:
        """Whether an answer would come too late: by the server's own bound, or by the caller's."""
        limit_s = self._limit_s if tmax_ms is None else min(self._limit_s, max(tmax_ms / 1000, _NOISE_S))
        return self.lag_s > limit_s


class Upkeep:
    """Runs duties until stopped. ``failed``: (duty's name, error)."""

    def __init__(self, failed: Callable[[str, Exception], None]) -> None:
        self._failed = failed
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def every(self, seconds: float, name: str, duty: Duty) -> None:
        """Start a duty; ``seconds`` lie between the end of a turn and the next."""
        self._tasks.append(asyncio.create_task(self._run(seconds, name, duty), name=name))

    def keep(self, name: str, watch: Watch) -> None:
        """Start one that waits by itself; nothing lies between its turns. It is over when it says so."""
        self._tasks.append(asyncio.create_task(self._watch(name, watch), name=name))

    async def _run(self, seconds: float, name: str, duty: Duty) -> None:
        while not self._stopping.is_set():
            pause_s = seconds
            try:
                await duty()
            # A duty's bad turn must not end the others, nor itself.
            except Exception as error:
                self._failed(name, error)
                pause_s = max(seconds, _AFTER_FAILURE_S)
            await self._pause(pause_s)

    async def _watch(self, name: str, watch: Watch) -> None:
        more = True
        while more and not self._stopping.is_set():
            try:
                more = await watch()
            except Exception as error:
                self._failed(name, error)
                await self._pause(_AFTER_FAILURE_S)
            else:
                # A timer and a task would cost more than its turns do.
                await asyncio.sleep(0)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def stop(self) -> None:
        """Let every duty end its turn: one cut off would go on in its thread behind our back."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        self._tasks.clear()
