"""What decisions feel while every line item is replaced.

``python -m loadtests.bench_replacing --work DIR``: fills a data folder with 100 000 line items (or takes the
one that is there), serves it, and asks for decisions in an open loop, each timed from when it was due, at a
share of what the server was seen to answer: in pairs of turns, one in which nothing changes and one in which
another process replaces line items, batch after batch, each a revision of its own. All are replaced once
within the turns. Judged is the median over the pairs of the ratio of their 99th percentiles.

Beside it stands what the server's own thread went through: how long it waited for a processor that others
had (the kernel's ``schedstat``), and a histogram of how late its loop was, asked by a request that costs
nothing. The server has a core of its own; its builder, the clients (which go first) and the process that
replaces share the others. What the server can do is reckoned from the processor time of decisions that come
one by one: asked without a pause it judges them in rows, which is cheaper.
"""

import argparse
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Final, Self

from msgspec import Struct

from adserver.bench import client
from adserver.bench.catalogue import SEED, Shape
from adserver.bench.measure import processor_s, spread
from loadtests import filling, steady
from loadtests.server import ROOT, Broken, Server

GOAL: Final = 1.5
_PAIRS: Final = 5
_SHARES: Final = (0.3, 0.7)
_REQUESTS: Final = 5000
_WARM_UP_S: Final = 4.0
_FEW_PER_SECOND: Final = 400.0
_READY_S: Final = 600.0
_LIVE_S: Final = 60.0
_ITEMS_A_CAMPAIGN: Final = 10
_EDGES_MS: Final = (1, 2, 5, 10, 20, 50)
_PROBE: Final = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


class Turn(Struct, frozen=True):
    """``waited_s``: of the server's first thread, for a processor; ``used_s``: processor time of the whole
    server."""

    decided: steady.Seen
    waited_s: float
    used_s: float

    @property
    def swaps(self) -> int:
        """Snapshots that came into service."""
        return len(self.decided.revisions) - 1

    @property
    def p99_ms(self) -> float:
        return spread(self.decided.times_ns).p99_us / 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtests.bench_replacing", description=__doc__.partition("\n")[0])
    parser.add_argument("--line-items", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=6.0, help="a turn")
    parser.add_argument("--work", type=Path, help="kept, with its server/, for the next time")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="adserver-replacing-") as folder:
        bench(asked.work or Path(folder), asked.line_items, asked.seconds)


def bench(work: Path, line_items: int, seconds: float) -> None:
    if not (work / "server").is_dir():
        filling.fill_folder(work / "server", line_items)
    requests = decisions()
    turns = _PAIRS * len(_SHARES)
    batches = -(-line_items // (filling.BATCH * _ITEMS_A_CAMPAIGN * turns))
    with Server(work, None, ready_s=_READY_S) as server, Replacer(work / "server", line_items) as replacer:
        client.play(server.port, requests, _WARM_UP_S)
        # The builder reads the whole catalogue for the first change: once in a server's life.
        replacer.ask(1, 0.0)
        wait_live(server, replacer.done())
        keep_apart(server.pid)
        steady.in_front()
        capacity = one_by_one(server, requests)
        print(f"{line_items} line items; {capacity:.0f} decisions/s one by one", flush=True)
        told = Bench(server, replacer, requests, seconds, batches)
        verdicts = [told.at(share, share * capacity) for share in _SHARES]
    replaced = told.replaced * filling.BATCH * _ITEMS_A_CAMPAIGN
    met = told.failed == 0 and all(ratio <= GOAL for ratio in verdicts)
    ratios = ", ".join(f"{r:.2f} x at {share:.0%}" for r, share in zip(verdicts, _SHARES, strict=True))
    print(
        f"VERDICT {'met' if met else 'NOT MET'}: {replaced} line items replaced in {told.swaps} swaps, "
        f"{told.failed} failed, p99 {ratios} (goal 0 failed, <= {GOAL:g} x)"
    )


class Bench:
    """Turns on one server. ``replaced``: batches; ``swaps``: of snapshots, while it was measured."""

    def __init__(
        self, server: Server, replacer: "Replacer", requests: list[bytes], seconds: float, batches: int
    ) -> None:
        self._server = server
        self._replacer = replacer
        self._requests = requests
        self._seconds = seconds
        self._batches = batches
        self.replaced = self.swaps = self.failed = 0

    def at(self, share: float, per_second: float) -> float:
        """The median ratio at this rate."""
        ratios = []
        for _ in range(_PAIRS):
            still, moving = self._turn(per_second, 0), self._turn(per_second, self._batches)
            ratios.append(moving.p99_ms / still.p99_ms)
            show(f"{share:.0%} still   ", still)
            show(f"{share:.0%} replaced", moving)
            self.replaced += self._batches
            self.swaps += moving.swaps
            self.failed += still.decided.failed + moving.decided.failed
        print(f"at {share:.0%} ({per_second:.0f}/s): ratios of p99 {sorted(round(r, 2) for r in ratios)}")
        return median(ratios)

    def _turn(self, per_second: float, batches: int) -> Turn:
        server, replacer = self._server, self._replacer
        waited, used = waited_s(server.pid), processor_s(server.pid)
        if batches:
            replacer.ask(batches, self._seconds)
        over = replacer.over if batches else lambda _: True
        seen = steady.steady(server.port, self._requests, _PROBE, per_second, self._seconds, over)
        now = waited_s(server.pid) - waited, processor_s(server.pid) - used
        if batches:
            wait_live(server, replacer.done())
        return Turn(seen, *now)


class Replacer:
    """Another process that replaces when it is told to."""

    def __init__(self, data: Path, line_items: int) -> None:
        self._command = [sys.executable, "-m", "loadtests.replacing", str(data)]
        self._command += ["--line-items", str(line_items)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._told, self._said = self._process.stdin, self._process.stdout
        self._said.readline()
        self._last = 0
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, batches: int, seconds: float) -> None:
        self._last = 0
        print(batches, seconds, file=self._told, flush=True)

    def over(self, seen: int) -> bool:
        """Whether all was replaced, and decisions were seen by the last revision."""
        if self._last == 0 and select.select([self._said], [], [], 0)[0]:
            self.done()
        return 0 < self._last <= seen

    def done(self) -> int:
        """Waits; the revision of the last batch."""
        if self._last == 0:
            self._last = int(self._said.readline().split()[1])
        return self._last


def decisions() -> list[bytes]:
    """What is asked, in turn."""
    shape = Shape(SEED + 1)
    return [client.post("/v1/decisions", json.dumps(shape.request()).encode()) for _ in range(_REQUESTS)]


def keep_apart(server: int) -> None:
    """The server's process on the last core; its children, and whoever measures, on the others."""
    *others, own = sorted(os.sched_getaffinity(0))
    if not others:
        return
    for task in tasks(server):
        os.sched_setaffinity(task, {own})
    for process in (os.getpid(), *children(server), *children(os.getpid())):
        if process != server:
            for task in tasks(process):
                os.sched_setaffinity(task, set(others))


def tasks(process: int) -> list[int]:
    return [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()]


def children(process: int) -> list[int]:
    listed = (Path(f"/proc/{process}/task/{task}/children").read_text() for task in tasks(process))
    return [int(child) for told in listed for child in told.split()]


def one_by_one(server: Server, requests: list[bytes]) -> float:
    """Decisions/s that the server's processor time for a few of them allows."""
    used = processor_s(server.pid)
    seen = steady.steady(server.port, requests, _PROBE, _FEW_PER_SECOND, _WARM_UP_S, lambda _: True)
    return len(seen.times_ns) / (processor_s(server.pid) - used)


def live_revision(server: Server) -> int:
    """Of the snapshot in service."""
    _, answer = server.call("POST", "/v1/decisions", {"placements": [{"id": "p0"}], "mode": "dry_run"})
    return int(answer["snapshot"].removeprefix("r"))


def wait_live(server: Server, revision: int) -> None:
    """Raises Broken."""
    until = monotonic() + _LIVE_S
    while live_revision(server) < revision:
        if monotonic() > until:
            raise Broken(f"revision {revision} is not live after {_LIVE_S:g} s")
        sleep(0.05)


def waited_s(pid: int) -> float:
    """How long a process's first thread was ready to run and did not."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def show(what: str, turn: Turn) -> None:
    times = spread(turn.decided.times_ns)
    ms = " ".join(f"{us / 1000:.2f}" for us in (times.median_us, times.p99_us, times.p999_us, times.max_us))
    late = [ns / 1e6 for ns in turn.decided.probes_ns]
    above = " ".join(f">{edge}:{sum(ms > edge for ms in late)}" for edge in _EDGES_MS)
    print(
        f"{what}: p50/99/99.9/max {ms} ms of {times.count}, {turn.decided.failed} failed, "
        f"{turn.swaps} swaps; server {turn.used_s:.2f} s, waited for a processor "
        f"{1000 * turn.waited_s:.0f} ms; probes late by ms {above} of {len(late)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
