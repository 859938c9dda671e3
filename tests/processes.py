"""Processes of a test, as the kernel tells of them."""

from pathlib import Path


def alive(pid: int) -> bool:
    """Whether it runs, or is stopped; not one that has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    # It may go between being found and being read.
    except (FileNotFoundError, ProcessLookupError):
        return False
