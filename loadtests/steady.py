"""An open loop that sleeps: requests leave when they are due, each one's time runs from then, and between two
of them the core is somebody else's. (``adserver.bench.paced`` spins, and so is no company for a server that
has to share its cores.)"""

import os
import re
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter_ns
from typing import Final

from msgspec import Struct

HOST: Final = "127.0.0.1"
LINES: Final = 64
"""Connections; where all are busy, what is due waits for one, and its time runs."""
_AFTER_NS: Final = 20_000_000_000
"""For the answers still owed when all were sent."""
_LONGEST_SLEEP_S: Final = 0.05
_LONGEST: Final = 6
"""Times as long as asked, and no longer, whatever is not over."""
_PROBE_AFTER: Final = 5
_REVISION: Final = re.compile(rb'"snapshot":"r([0-9]+)"')


class Seen(Struct, frozen=True):
    """``times_ns``: from due to answered, ``probes_ns``: those of the probes; ``revisions``: of the snapshots
    decided by; ``failed``: statuses other than 200 and what was never answered."""

    times_ns: tuple[int, ...]
    probes_ns: tuple[int, ...]
    revisions: frozenset[int]
    failed: int


class Line:
    """One connection, with one request at a time; ``due_ns`` and ``probing``: of that request."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due_ns = 0
        self.probing = False
        self._received = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def answer(self) -> bytes | None:
        """The whole answer, if it is there. Raises OSError where the connection ended."""
        read = self.socket.recv(1 << 16)
        if not read:
            raise ConnectionResetError("the server closed the connection")
        self._received += read
        head, ended, body = self._received.partition(b"\r\n\r\n")
        if not ended:
            return None
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return None
        self._received = b""
        return head + body


def in_front() -> None:
    """Before everybody who does not ask for it, where the system allows: how late we are must not be part of
    what we measure."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def steady(
    port: int,
    requests: Sequence[bytes],
    probe: bytes,
    per_second: float,
    seconds: float,
    over: Callable[[int], bool],
) -> Seen:
    """Send ``per_second`` of the requests evenly, from the first again when they are used up, and after each
    few a probe; for ``seconds`` and until it is ``over``, which is told the last revision seen. Raises
    OSError where nobody listens."""
    gap_ns = round(1e9 / (per_second * (1 + 1 / _PROBE_AFTER)))
    loop = _Loop([Line(port) for _ in range(LINES)], requests, probe, gap_ns)
    try:
        return loop.run(round(seconds * 1e9), over)
    finally:
        loop.close()


class _Loop:
    """A request every ``gap_ns``."""

    def __init__(self, lines: list[Line], requests: Sequence[bytes], probe: bytes, gap_ns: int) -> None:
        self._lines = lines
        self._idle = deque(lines)
        self._busy: set[Line] = set()
        self._requests = requests
        self._probe = probe
        self._gap_ns = gap_ns
        self._sent = 0
        self._times: dict[bool, list[int]] = {False: [], True: []}
        self._revisions: set[int] = set()
        self._last = 0
        self._failed = 0

    def run(self, least_ns: int, over: Callable[[int], bool]) -> Seen:
        began = perf_counter_ns()
        due = began
        while due < began + least_ns or (due < began + _LONGEST * least_ns and not over(self._last)):
            while self._idle and due <= perf_counter_ns():
                self._send(due)
                due += self._gap_ns
            self._receive(due if self._idle else None)
        last = perf_counter_ns() + _AFTER_NS
        while self._busy and perf_counter_ns() < last:
            self._receive(None)
        failed = self._failed + len(self._busy)
        return Seen(tuple(self._times[False]), tuple(self._times[True]), frozenset(self._revisions), failed)

    def close(self) -> None:
        for line in self._lines:
            line.socket.close()

    def _send(self, due_ns: int) -> None:
        line, self._sent = self._idle.popleft(), self._sent + 1
        line.due_ns, line.probing = due_ns, self._sent % (_PROBE_AFTER + 1) == 0
        line.socket.send(self._probe if line.probing else self._requests[self._sent % len(self._requests)])
        self._busy.add(line)

    def _receive(self, until_ns: int | None) -> None:
        """What comes until then, or for a while."""
        wait_s = _LONGEST_SLEEP_S if until_ns is None else max(until_ns - perf_counter_ns(), 0) / 1e9
        # The only wait of the system that Python gives in less than milliseconds.
        ready, _, _ = select.select(list(self._busy), [], [], wait_s)
        now = perf_counter_ns()
        for line in ready:
            try:
                answer = line.answer()
            except OSError:
                self._failed += 1
                self._busy.discard(line)
                continue
            if answer is not None:
                self._busy.discard(line)
                self._idle.append(line)
                self._answered(line, answer, now)

    def _answered(self, line: Line, answer: bytes, now: int) -> None:
        if not answer.startswith(b"HTTP/1.1 200"):
            self._failed += 1
            return
        self._times[line.probing].append(now - line.due_ns)
        revision = _REVISION.search(answer)
        if revision is not None:
            self._last = int(revision[1])
            self._revisions.add(self._last)
