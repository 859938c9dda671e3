"""How long one changed campaign takes until decisions are made by it, and what that costs.

``python -m loadtests.bench_change --line-items 100000 --rounds 20``: fills a data folder (or takes one that
was filled, ``--work``), serves it, and raises a bid by PUT, again and again, each time asking for decisions
until one is by the new snapshot: right after the start, and after it. Prints milliseconds from the PUT on,
the processor time and the memory of the process that builds, and how long the server took to be ready.
"""

import argparse
import time
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from loadtests import filling
from loadtests.bench_replacing import live_revision
from loadtests.server import Server

_READY_S: Final = 600.0
_LIVE_S: Final = 600.0
_PAUSE_S: Final = 1.5
"""Each change comes alone: in a storm of them the builder rests between two (``building.child``)."""
_POLL_S: Final = 0.005
_CAMPAIGN: Final = "/v1/advertisers/brand-0/campaigns/c0"


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtests.bench_change", description=__doc__.partition("\n")[0])
    parser.add_argument("--line-items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--work", type=Path, help="kept, with its server/, for the next time")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="adserver-change-") as folder:
        work = asked.work or Path(folder)
        if not (work / "server").is_dir():
            filling.fill_folder(work / "server", asked.line_items)
        for start in ("first start", "restart"):
            bench(work, start, asked.rounds)


def bench(work: Path, start: str, rounds: int) -> None:
    key = Server(work, None).adserver("keys", "create", "--role", "operator", "--data", str(work / "server"))
    began = time.perf_counter()
    with Server(work, None, ready_s=_READY_S) as server:
        print(f"{start}: ready after {time.perf_counter() - began:.2f} s", flush=True)
        first = changed(server, key.stdout.strip())
        print(f"  first change live after {first:.0f} ms", flush=True)
        child = builder_of(server)
        times, costs = [], []
        for _ in range(rounds):
            time.sleep(_PAUSE_S)
            before = cpu_ms(child)
            times.append(changed(server, key.stdout.strip()))
            costs.append(cpu_ms(child) - before)
        own, mapped = (memory_mib(child, kind) for kind in ("RssAnon", "RssFile"))
        print(f"  then {median(times):.0f} ms in the median ({min(times):.0f} to {max(times):.0f})")
        print(
            f"  the child: {median(costs):.0f} ms processor time, {own} MiB of its own, {mapped} MiB mapped"
        )
        server.stop()


def changed(server: Server, key: str) -> float:
    """Raise a bid; milliseconds from then until a decision is by the new snapshot."""
    _, document = server.call("GET", _CAMPAIGN, key=key)
    pricing = document["line_items"][0]["pricing"]
    pricing["amount"] = str(Decimal(pricing["amount"]) + Decimal("0.01"))
    began, before = time.perf_counter(), live_revision(server)
    status, told = server.call("PUT", _CAMPAIGN, document, key)
    if status != 200:
        raise RuntimeError(f"the campaign was not taken: {status} {told}")
    while live_revision(server) == before:
        if time.perf_counter() - began > _LIVE_S:
            raise RuntimeError("the change is not live")
        time.sleep(_POLL_S)
    return (time.perf_counter() - began) * 1000


def builder_of(server: Server) -> int:
    """The server's child that builds."""
    every = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return next(
        int(pid) for pid in every if b"adserver.building" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def memory_mib(pid: int, kind: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) // 1024


def cpu_ms(pid: int) -> float:
    """Processor time of all its threads, from the kernel's scheduler."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


if __name__ == "__main__":
    main()
