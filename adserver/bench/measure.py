"""Measuring: times of calls, memory and processor time of a process, and the machine they were taken on."""

import os
import platform
from collections.abc import Callable, Iterable
from importlib.metadata import version
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter_ns, thread_time_ns
from typing import Final, TypeVar

from msgspec import Struct

T = TypeVar("T")

PACKAGES: Final = ("httptools", "msgspec", "numpy", "starlette", "uvicorn", "uvloop")
_PROC: Final = Path("/proc")


class Spread(Struct, frozen=True):
    """Times of ``count`` calls in µs: median, 99th and 99.9th percentile, the longest."""

    count: int
    median_us: float
    p99_us: float
    p999_us: float
    max_us: float


class Machine(Struct, frozen=True):
    """``load``: the mean number of running tasks in the last minute, when the benchmark began."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    packages: dict[str, str]
    load: float


def spread(times_ns: Iterable[int]) -> Spread:
    """ValueError without any time."""
    times = sorted(times_ns)
    if not times:
        raise ValueError("nothing was timed")
    return Spread(
        len(times),
        median(times) / 1000,
        *(times[ceil(len(times) * per_mille / 1000) - 1] / 1000 for per_mille in (990, 999, 1000)),
    )


def timed(act: Callable[[T], object], arguments: Iterable[T]) -> list[int]:
    """The time of each call in ns: this thread's processor time, so that a tail is the call's own and not
    that of whoever else was given the processor. (The clock itself adds some 0.3 µs.)"""
    times = []
    for argument in arguments:
        began = thread_time_ns()
        act(argument)
        times.append(thread_time_ns() - began)
    return times


def waited(act: Callable[[T], object], arguments: Iterable[T]) -> list[int]:
    """The time of each call in ns as a caller sees it, other threads' turns included."""
    times = []
    for argument in arguments:
        began = perf_counter_ns()
        act(argument)
        times.append(perf_counter_ns() - began)
    return times


def took_ms(act: Callable[[], T]) -> tuple[T, float]:
    """What a long call gives, and how much of this thread's processor time it took."""
    began = thread_time_ns()
    result = act()
    return result, (thread_time_ns() - began) / 1e6


def private_bytes() -> int:
    """Memory of this process that is in RAM and no page of a file."""
    fields = (_PROC / "self/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def processor_s(pid: int) -> float:
    """Processor time a process and its threads have used, in the ticks of the kernel (10 ms)."""
    # The name in brackets may hold spaces; user and system time are the 12th and 13th field behind it.
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> Machine:
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: version(name) for name in PACKAGES},
        load=round(os.getloadavg()[0], 2),
    )


def _processor() -> str:
    for line in (_PROC / "cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown"
