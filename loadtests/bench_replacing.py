"""What decisions feel while every line item is replaced.

``python -m loadtests.bench_replacing --line-items 100000 --seconds 20``: fills a data folder (or takes one
that was filled, ``--work``), serves it, and asks for decisions at a fixed rate, each timed from the instant
it was due: first while nothing changes, then while another process replaces all line items, batch after
batch, each a revision of its own. Prints both, their ratio, and what failed. Three more processes than
cores make the tail theirs: figures mean something with four free cores.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from adserver.bench.catalogue import SEED, Shape
from adserver.bench.client import post
from adserver.bench.paced import Paced, paced
from loadtests.server import ROOT, Server

_REQUESTS: Final = 5000
_WARM_UP_S: Final = 3.0
_READY_S: Final = 600.0
_FILLED_S: Final = 1800.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtests.bench_replacing", description=__doc__.partition("\n")[0])
    parser.add_argument("--line-items", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=200.0, help="decisions a second")
    parser.add_argument("--work", type=Path, help="kept, with its server/, for the next time")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="adserver-replacing-") as folder:
        bench(asked.work or Path(folder), asked.line_items, asked.seconds, asked.rate)


def bench(work: Path, line_items: int, seconds: float, rate: float) -> None:
    if not (work / "server").is_dir():
        with replacing(work / "server", line_items, version=0):
            pass
    shape = Shape(SEED + 1)
    requests = [post("/v1/decisions", json.dumps(shape.request()).encode()) for _ in range(_REQUESTS)]
    with Server(work, None, ready_s=_READY_S) as server:
        paced(server.port, requests, rate, _WARM_UP_S)
        still = paced(server.port, requests, rate, seconds)
        show("nothing changes", still)
        before = live_revision(server)
        with replacing(work / "server", line_items, version=int(time.time())):
            moving = paced(server.port, requests, rate, seconds)
            after = live_revision(server)
        show(f"{after - before} batches replaced", moving)
        print(f"p99 {moving.times.p99_us / still.times.p99_us:.2f} x, failed {still.failed + moving.failed}")


@contextmanager
def replacing(data: Path, line_items: int, version: int) -> Iterator[None]:
    """Another process replaces everything meanwhile; waits for it. Raises CalledProcessError."""
    command = [sys.executable, "-m", "loadtests.filling", str(data), "--line-items", str(line_items)]
    began = subprocess.Popen([*command, "--version", str(version)], cwd=ROOT)
    try:
        yield
        if began.wait(_FILLED_S):
            raise subprocess.CalledProcessError(began.returncode, command)
    finally:
        began.kill()
        began.wait()


def live_revision(server: Server) -> int:
    """Of the snapshot in service."""
    _, answer = server.call("POST", "/v1/decisions", {"placements": [{"id": "p0"}], "mode": "dry_run"})
    return int(answer["snapshot"].removeprefix("r"))


def show(what: str, seen: Paced) -> None:
    times = seen.times
    ms = [f"{us / 1000:.2f}" for us in (times.median_us, times.p99_us, times.p999_us)]
    told = f"p50 {ms[0]}  p99 {ms[1]}  p99.9 {ms[2]} ms"
    print(f"{what}: {told} of {times.count} at {seen.per_second:g}/s, {seen.failed} failed", flush=True)


if __name__ == "__main__":
    main()
