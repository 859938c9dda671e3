"""Deadlines of connections: how long, and who looks.

A timer per connection and request would cost more than the request's parsing. So a connection only keeps
the time at which its patience ends, and one timer of the process looks at all of them a few times a
second: a deadline is late by at most that, and costs a request one assignment. 10 000 idle connections
cost about a millisecond a look.
"""

import asyncio
from typing import Final, Protocol

from msgspec import Struct

from adserver.domain import limits


class Deadlines(Struct, frozen=True):
    """All in milliseconds. ``look_ms``: how often deadlines are looked at."""

    first_byte_ms: int = limits.FIRST_BYTE_MS
    head_ms: int = limits.HEAD_MS
    body_ms: int = limits.BODY_MS
    keep_alive_ms: int = limits.KEEP_ALIVE_MS
    stall_ms: int = limits.STALL_MS
    linger_ms: int = limits.LINGER_MS
    look_ms: int = 250


DEADLINES: Final = Deadlines()


class Watched(Protocol):
    def look(self, now_s: float) -> None:
        """End what is late at ``now_s`` (the loop's clock)."""
        ...


class Watch:
    """Of all connections of one server; the timer runs while there are any."""

    def __init__(self, look_ms: int) -> None:
        self._every_s = look_ms / 1000
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, one: Watched, loop: asyncio.AbstractEventLoop) -> None:
        self._watched.add(one)
        if self._timer is None:
            self._timer = loop.call_later(self._every_s, self._look, loop)

    def discard(self, one: Watched) -> None:
        self._watched.discard(one)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now_s = loop.time()
        for one in tuple(self._watched):
            one.look(now_s)
        if self._watched:
            self._timer = loop.call_later(self._every_s, self._look, loop)
