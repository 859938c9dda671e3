"""Events in earnest: a round is over when all that was acknowledged in it is posted.

A server is deployed with a core for itself and another for its posting, and its load comes from elsewhere. On
two cores that is measured in turns: posting *held*, while the load has the other core, and then let go, with
all of that core for itself; the slower of the two is the rate. Beside it, both at once: posting has what the
load leaves of the other core, or must share the server's. Only what was accepted counts: a call that was
filtered, late or a duplicate costs less. What is left to be posted when the last answer came is work yet: the
processor time it takes is the turn of posting, or is added to the round's.
"""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Final

from msgspec import Struct

from adserver.bench import client
from adserver.bench.measure import processor_s
from adserver.bench.servers import Server

CONNECTIONS: Final = 64
"""More than for decisions: a sync serves all who wait for it."""
_ROUND_S: Final = 60.0
"""At most; a round is over when its events are told."""
_SETTLED_S: Final = 60.0
_LOOK_S: Final = 0.05
_POSTING: Final = b"adserver.posting.child"
_LAG: Final = re.compile(rb"^adserver_journal_lag_bytes ([0-9.e+]+)$", re.MULTILINE)
_ACCEPTED: Final = re.compile(
    rb'^adserver_events_total\{kind="impression",verdict="accepted"\} ([0-9.e+]+)$', re.MULTILINE
)


class Rate(Struct, frozen=True):
    """Accepted, durable and posted events, medians over rounds: how many a second, and the processor time of
    each, the server's and that of its posting."""

    per_second: float
    processor_us: float
    posting_us: float


class Teller:
    """Tells a server events while its posting is on this ``core``, ``held``: until the last is answered.
    ``told``: how many were answered, ``accepted``: how many of those the server says so of."""

    def __init__(self, server: Server, core: int, held: bool = False) -> None:
        self._server = server
        self._core = core
        self._held = held
        self._rounds: list[Rate] = []
        self.told = self.accepted = 0

    def tell(self, events: list[bytes]) -> None:
        """A round. Raises TimeoutError where posting does not get on."""
        self._settle()
        for pid in self._children():
            _move(pid, self._core)
        known, posted_s = self._gauge(_ACCEPTED), self._posting_s()
        with self._holding():
            found, used_s = self._server.asked(events, _ROUND_S, connections=CONNECTIONS)
        owed_s = self._settle()
        accepted = int(self._gauge(_ACCEPTED) - known)
        each = 1e6 / max(found.requests, 1)
        taken_s = max(found.seconds, owed_s) if self._held else found.seconds + owed_s
        self._rounds.append(
            Rate(
                accepted / taken_s,
                used_s * each,
                (self._posting_s() - posted_s) * each,
            )
        )
        self.told += found.requests
        self.accepted += accepted

    def rate(self) -> Rate:
        rounds = self._rounds
        return Rate(
            round(median(found.per_second for found in rounds), 1),
            round(median(found.processor_us for found in rounds), 1),
            round(median(found.posting_us for found in rounds), 1),
        )

    @contextmanager
    def _holding(self) -> Iterator[None]:
        """Posting stands still, where it is to."""
        held = list(self._posting()) if self._held else []
        try:
            for pid in held:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in held:
                os.kill(pid, signal.SIGCONT)

    def _settle(self) -> float:
        """Wait until all that was acknowledged is posted; the processor time it took, in seconds."""
        before, deadline = self._posting_s(), perf_counter() + _SETTLED_S
        while self._gauge(_LAG) > 0:
            if perf_counter() > deadline:
                raise TimeoutError("events are not posted as fast as they are acknowledged")
            sleep(_LOOK_S)
        return self._posting_s() - before

    def _gauge(self, name: re.Pattern[bytes]) -> float:
        """What the server tells of itself; 0 of what has not happened."""
        asked = client.play(self._server.port, [client.get("/metrics")], _ROUND_S, kept=1, connections=1)
        told = name.search(asked.answers[0])
        return float(told[1]) if told else 0.0

    def _posting_s(self) -> float:
        return sum(map(processor_s, self._posting()))

    def _posting(self) -> Iterator[int]:
        """The one child that posts."""
        return (pid for pid in self._children() if _POSTING in _command(pid))

    def _children(self) -> Iterator[int]:
        """All processes that the server started, and that live."""
        for told in Path(f"/proc/{self._server.pid}/task").glob("*/children"):
            yield from map(int, told.read_text().split())


def _command(pid: int) -> bytes:
    """Nothing of a process that has just ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _move(pid: int, core: int) -> None:
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})
