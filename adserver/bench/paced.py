"""An open loop: requests leave at a fixed rate whether or not the ones before were answered, and each one's
time runs from the instant it was *due*. A server that stands still for a while then owes the wait of
everything that was due meanwhile, as it does to people (Tene, "coordinated omission")."""

import asyncio
from collections import deque
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Final

import uvloop
from msgspec import Struct

from adserver.bench import client
from adserver.bench.lines import Connection, connect
from adserver.bench.measure import Spread, spread

LINES: Final = 64
"""Connections; where all are busy, what is due waits for one, and its time runs."""


class Paced(Struct, frozen=True):
    """``times``: from due to answered; ``failed``: statuses other than 200 and what was never answered."""

    per_second: float
    times: Spread
    failed: int


def paced(port: int, requests: Sequence[bytes], per_second: float, seconds: float) -> Paced:
    """Send ``per_second`` of the requests for ``seconds``, evenly, from the first again when they are used
    up. Spins: wants a core of its own. Raises OSError where nobody listens."""
    return uvloop.run(_paced(port, requests, per_second, seconds))


async def _paced(port: int, requests: Sequence[bytes], per_second: float, seconds: float) -> Paced:
    schedule = _Schedule(requests, round(1e9 / per_second), round(per_second * seconds))
    lines = await connect(port, LINES, schedule)
    schedule.idle.extend(lines)
    try:
        async with asyncio.timeout(seconds + client.AFTER_S):
            await schedule.run()
    except TimeoutError:
        pass  # What is still owed is counted as failed.
    finally:
        for line in lines:
            line.close()
    return Paced(per_second, spread(schedule.times), schedule.failed + schedule.owed)


class _Schedule:
    """``number`` requests, one every ``gap_ns``."""

    def __init__(self, requests: Sequence[bytes], gap_ns: int, number: int) -> None:
        self._requests = requests
        self._gap_ns = gap_ns
        self._number = number
        self._began = perf_counter_ns()
        self._sent = 0
        self._due: dict[Connection, int] = {}
        self.idle: deque[Connection] = deque()
        self.times: list[int] = []
        self.failed = 0

    @property
    def owed(self) -> int:
        return self._number - len(self.times) - self.failed

    async def run(self) -> None:
        self._began = perf_counter_ns()
        while self.owed > 0:
            self._send()
            # Timers of the loop are no finer than a millisecond.
            await asyncio.sleep(0)

    def _send(self) -> None:
        now = perf_counter_ns()
        while self.idle and self._sent < self._number:
            due = self._began + self._sent * self._gap_ns
            if due > now:
                return
            line = self.idle.popleft()
            self._due[line] = due
            line.send(self._requests[self._sent % len(self._requests)])
            self._sent += 1

    def answered(self, line: Connection, head: bytes, body: bytes) -> None:
        taken = perf_counter_ns() - self._due.pop(line)
        if client.is_good(head):
            self.times.append(taken)
        else:
            self.failed += 1
        self.idle.append(line)

    def lost(self, line: Connection) -> None:
        self.failed += 1
