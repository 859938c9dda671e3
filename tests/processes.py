"""Processes of a test, as the kernel tells of them."""

import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether it runs, or is stopped; not one that has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    # It may go between being found and being read.
    except (FileNotFoundError, ProcessLookupError):
        return False


def workers_of(server: int, module: str = "adserver.workers.child") -> list[int]:
    """Of a server of several, which runs this module in them."""
    return [pid for pid in children_of(server) if module.encode() in _command(pid)]


def _command(pid: int) -> bytes:
    """Nothing of one that has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    # It may go between being found and being read.
    except (FileNotFoundError, ProcessLookupError):
        return b""


def children_of(process: int) -> list[int]:
    """All that descend from it, whichever of its threads started them."""
    found = list[int]()
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *children_of(child)]
    return found


def ended(pids: Collection[int], within_s: float) -> bool:
    """Whether all of them end within that; who does not is killed, and disturbs nobody else."""
    deadline = time.monotonic() + within_s
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [pid for pid in pids if alive(pid)]
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return not left
