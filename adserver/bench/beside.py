"""HTTP: the server and the empty endpoint side by side, in alternating rounds, medians of them.

Both run all the time, on one core; the client is on another where there is one. Whoever is not asked has
next to nothing to do.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
from msgspec import Struct

from adserver.bench import client
from adserver.bench.calls import IMPRESSION_URL
from adserver.bench.catalogue import SEED, Shape
from adserver.bench.measure import processor_s

_READY_S: Final = 150.0
"""Until the first answer: a large catalogue is compiled before."""
_STOP_S: Final = 30.0
_MOST: Final = 30_000
"""Requests of a round at most; made before."""
_OVERLOADED: Final = b'"overloaded"'


class Speed(Struct, frozen=True):
    """Of one kind of request, over rounds: the median of requests per second, and of the server's processor
    time each."""

    per_second: float
    processor_us: float


class Beside(Struct, frozen=True):
    """``failed``: answers that were no 200; ``overloaded``: answers without ads for want of time, among those
    looked at."""

    line_items: int
    rounds: int
    seconds: float
    pinned: bool
    decisions: Speed
    empty_decisions: Speed
    impressions: Speed
    empty_impressions: Speed
    failed: int
    overloaded: int


class Server:
    """A server's process, and where it listens."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._pid = process.pid
        self.port = port
        self.rounds: dict[str, list[Speed]] = {}
        self.failed = 0

    def play(self, kind: str, requests: list[bytes], seconds: float, kept: int = 0) -> client.Round:
        """A round; what it took is remembered under ``kind``."""
        before = processor_s(self._pid)
        found = client.play(self.port, requests, seconds, kept)
        used = processor_s(self._pid) - before
        asked = max(found.requests, 1)
        self.rounds.setdefault(kind, []).append(Speed(found.per_second, used / asked * 1e6))
        self.failed += found.failed
        return found

    def speed(self, kind: str) -> Speed:
        rounds = self.rounds[kind]
        return Speed(
            round(median(found.per_second for found in rounds), 1),
            round(median(found.processor_us for found in rounds), 1),
        )


def beside(line_items: int, reply_bytes: int, rounds: int, seconds: float) -> Beside:
    """Raises OSError where a server does not come up."""
    cores = sorted(os.sched_getaffinity(0))
    pinned = len(cores) > 1
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="adserver-bench-")))
        ours, empty = (
            stack.enter_context(_serving(kind, folder, line_items, reply_bytes, cores[0]))
            for kind in ("adserver", "empty")
        )
        if pinned:
            stack.enter_context(_on({cores[1]}, set(cores)))
        overloaded = _rounds(ours, empty, rounds, seconds)
    return Beside(
        line_items, rounds, seconds, pinned,
        ours.speed("decisions"), empty.speed("decisions"),
        ours.speed("impressions"), empty.speed("impressions"),
        ours.failed + empty.failed, overloaded,
    )  # fmt: skip


def _rounds(ours: Server, empty: Server, rounds: int, seconds: float) -> int:
    """Play them; how many of the answers looked at were overload's."""
    shape, overloaded = Shape(SEED + 3), 0
    asked = [client.post("/v1/decisions", msgspec.json.encode(shape.request())) for _ in range(_MOST)]
    for server in (ours, empty):
        _warm_up(server, asked[:500])
    for number in range(rounds):
        # Others each round, so that people do not come back within a round.
        start = number * _MOST // rounds
        mine = [*asked[start:], *asked[:start]]
        empty.play("decisions", mine, seconds)
        found = ours.play("decisions", mine, seconds, kept=_MOST)
        overloaded += sum(_OVERLOADED in answer for answer in found.answers)
        paths = [path.decode() for answer in found.answers for path in IMPRESSION_URL.findall(answer)]
        events = [client.get(path) for path in paths]
        if events:
            empty.play("impressions", events, seconds)
            ours.play("impressions", events, seconds)
    return overloaded


def _warm_up(server: Server, asked: list[bytes]) -> None:
    """The first answer comes when the catalogue is compiled."""
    client.play(server.port, asked[:1], _READY_S, connections=1)
    client.play(server.port, asked, 10)


@contextmanager
def _serving(kind: str, folder: Path, line_items: int, reply_bytes: int, core: int) -> Iterator[Server]:
    listening = socket.create_server((client.HOST, 0), backlog=2048)
    number = listening.fileno()
    log = folder / f"{kind}.log"
    command = [
        sys.executable, "-m", "adserver.bench", kind, "--socket", str(number), "--data", str(folder / kind),
        "--line-items", str(line_items), "--reply-bytes", str(reply_bytes),
    ]  # fmt: skip
    with log.open("wb") as told:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=told, stderr=told, pass_fds=[number]
        )
    port = listening.getsockname()[1]
    listening.close()
    os.sched_setaffinity(process.pid, {core})
    try:
        yield Server(process, port)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """By closing its standard input; if that does not help, at once."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _on(cores: set[int], before: set[int]) -> Iterator[None]:
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
