"""The wall clock, in milliseconds, that never runs backwards within a process."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns milliseconds since the epoch."""


class WallClock:
    """``time.time`` held at its highest reading: a clock set back (NTP, an operator) would otherwise free
    frequency caps early and reopen days that are over. It stands still until the wall catches up."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self) -> int:
        now = time.time_ns() // 1_000_000
        if now > self._last:
            self._last = now
        return self._last
