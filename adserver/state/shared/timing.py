"""Whether this machine's clock can be believed, where machines share the state and each has its own.

Windows and expiries are those of the asking process' clock: whose clock is ahead takes for over what another
machine still has outstanding, and both would be granted what one cap allows. So each compares its clock with
the one that all of them see, the server's own, and asks nothing while they are apart. The server is asked
twice a second; from one answer to the next the monotonic clock tells what time it is there, so a clock that
was set is known as such before anybody is asked about again. Error: how long the answer took.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from adserver.domain import limits
from adserver.domain.admission import Away

ASK: Final = (b"TIME",)


class Timing:
    """``clock``: this machine's, in milliseconds; ``monotonic``: in seconds."""

    def __init__(self, clock: Callable[[], int], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._began_ms: float | None = None

    def hear(self, reply: Any) -> None:
        """What the server says to ``ASK``."""
        seconds, micros = (int(part) for part in reply)
        self._began_ms = seconds * 1000 + micros / 1000 - self._monotonic() * 1000

    def check(self) -> None:
        """Raises Away."""
        if wrong := self.wrong:
            raise Away(wrong)

    @property
    def wrong(self) -> str:
        """Why the clock is not to be believed; "" where it is, or where nothing was heard."""
        if self._began_ms is None:
            return ""
        ahead_ms = self._clock() - (self._began_ms + self._monotonic() * 1000)
        if abs(ahead_ms) <= limits.CLOCK_APART_MS:
            return ""
        where = "ahead of" if ahead_ms > 0 else "behind"
        return f"this machine's clock is {where} its own by more than {limits.CLOCK_APART_MS // 1000} s"
