"""What decisions feel when Redis hangs.

``python -m loadtests.bench_hanging``: serves some thousand line items with state in a Redis of its own, and
asks for decisions in an open loop, each timed from when it was due, at a share of what the server was seen to
answer. A pair of turns: one begins as Redis is stopped (SIGSTOP), so that what is asked in the first 25 ms
waits for the deadline and is then decided without it; the other lies within the same hang, when nobody asks
any more. Judged is the median over the pairs of how much the first one's 99th percentile is above the
second's, for what a machine costs that has other things to do is in both. A turn is a second: of a longer one
those that wait would be less than a hundredth. It is to be run on a quiet machine all the same: one that is
late misses deadlines of its own, and then a turn begins without Redis.
"""

import argparse
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Final

from adserver.bench import client
from adserver.bench.measure import Spread, spread
from adserver.bench.stores import OWN, store
from adserver.settings import Settings
from loadtests import filling, steady
from loadtests.bench_replacing import decisions, keep_apart, one_by_one
from loadtests.server import Broken, Server

GOAL_MS: Final = Settings().redis_deadline_ms + 10
_SHARES: Final = (0.3, 0.7)
_TURN_S: Final = 1.0
_WARM_UP_S: Final = 3.0
_PROBE: Final = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
_KNOWN_S: Final = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtests.bench_hanging", description=__doc__.partition("\n")[0])
    parser.add_argument("--line-items", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=5)
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="adserver-hanging-") as folder:
        bench(Path(folder), asked.line_items, asked.pairs)


def bench(work: Path, line_items: int, pairs: int) -> None:
    filling.fill_folder(work / "server", line_items)
    requests = decisions()
    with store(work, OWN, max(os.sched_getaffinity(0))) as kept:
        assert kept.pid is not None
        with Server(work, None, flags=("--redis", kept.url)) as server:
            known(server)
            client.play(server.port, requests, _WARM_UP_S)
            keep_apart(server.pid)
            steady.in_front()
            capacity = one_by_one(server, requests)
            print(f"{line_items} line items; {capacity:.0f} decisions/s one by one", flush=True)
            verdicts = [at(server, kept.pid, requests, share, capacity, pairs) for share in _SHARES]
    met = all(verdicts)
    print(f"VERDICT {'met' if met else 'NOT MET'}: p99 as Redis hangs (goal <= {GOAL_MS} ms)")


def at(server: Server, redis: int, requests: list[bytes], share: float, capacity: float, pairs: int) -> bool:
    """Whether the goal is met at this rate, but for what a machine costs that has other things to do."""
    rate, found = share * capacity, list[tuple[Spread, Spread]]()
    for _ in range(pairs):
        there = turn(server, requests, rate)
        known(server)
        with hung(redis):
            struck = turn(server, requests, rate)
            during = turn(server, requests, rate)
        found.append((struck, during))
        known(server)
        print(
            f"{share:.0%}: there {told(there)}; as it hangs {told(struck)}; while {told(during)}", flush=True
        )
    p99s = [struck.p99_us / 1000 for struck, _ in found]
    above = median((struck.p99_us - during.p99_us) / 1000 for struck, during in found)
    print(
        f"at {share:.0%} ({rate:.0f}/s): p99 {median(p99s):.1f} ms ({min(p99s):.1f} to {max(p99s):.1f}), "
        f"{above:.1f} above that of the rest of the hang",
        flush=True,
    )
    return above <= GOAL_MS


def turn(server: Server, requests: list[bytes], per_second: float) -> Spread:
    """Raises Broken."""
    seen = steady.steady(server.port, requests, _PROBE, per_second, _TURN_S, lambda _: True)
    if seen.failed:
        raise Broken(f"{seen.failed} decisions failed")
    return spread(seen.times_ns)


@contextmanager
def hung(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def known(server: Server) -> None:
    """Wait until what people have seen is. Raises Broken."""
    until = monotonic() + _KNOWN_S
    while "adserver_state_known 1.0" not in server.call("GET", "/metrics")[1]:
        if monotonic() > until:
            raise Broken(f"Redis is not used after {_KNOWN_S:g} s")
        sleep(0.05)


def told(times: Spread) -> str:
    """Milliseconds."""
    found = (times.median_us, times.p99_us, times.max_us)
    return "p50/99/max " + " ".join(f"{us / 1000:.1f}" for us in found) + f" of {times.count}"


if __name__ == "__main__":
    main()
