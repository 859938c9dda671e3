"""Processes of a test, as the kernel tells of them."""

from pathlib import Path


def alive(pid: int) -> bool:
    """Whether it runs, or is stopped; not one that has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    # It may go between being found and being read.
    except (FileNotFoundError, ProcessLookupError):
        return False


def workers_of(server: int) -> list[int]:
    """Of a server of several."""
    found = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return [int(pid) for pid in found if b"adserver.workers.child" in _command(int(pid))]


def _command(pid: int) -> bytes:
    """Nothing of one that has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    # It may go between being found and being read.
    except (FileNotFoundError, ProcessLookupError):
        return b""
