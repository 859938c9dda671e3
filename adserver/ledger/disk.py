"""What the journal asks of the disk, and what it does when the disk fails."""

import fcntl
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Final, NoReturn

from msgspec import Struct

RETRY_MS: Final = 1000
EXIT_IO_ERROR: Final = 74


class Synced(Struct, frozen=True):
    """What a finished sync proved: everything before ``offset`` of segment ``number``. ``total`` counts
    the bytes of all frames since the journal was opened."""

    number: int
    offset: int
    chain: bytes
    total: int


class JournalBusy(Exception):
    """Another process writes this journal."""


def lock(directory: Path) -> int:
    """The file descriptor that holds the directory for this process. Raises JournalBusy."""
    directory.mkdir(parents=True, exist_ok=True)
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise JournalBusy(f"another process writes the journal in {directory}") from error
    return fd


def flush(fds: list[int], directory: Path | None) -> None:
    """Files (and new entries of a directory) to the disk, in order; ends the process where that fails."""
    try:
        for fd in fds:
            os.fdatasync(fd)
        if directory is not None:
            sync_directory(directory)
    except OSError as error:
        die(f"fdatasync failed: {error}")


def sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def say(message: str) -> None:
    """A line on stderr; telemetry is not to be relied on here."""
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"adserver journal: {message}\n".encode())


def die(message: str) -> NoReturn:
    say(message + "; the process ends, a restart recovers what is on disk")
    os._exit(EXIT_IO_ERROR)


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Spare:
    """The next segment's file, allocated ahead of need: a full disk shows here and nowhere else.

    ``size``: its bytes. Allocation runs in ``threads``, one at a time, and after a failure at most once
    in ``RETRY_MS`` of ``now_ms``. The file is nameless to readers until ``take`` gives it its name.
    """

    def __init__(self, directory: Path, size: int, threads: Executor, now_ms: Callable[[], int]) -> None:
        self._path = directory / "spare.tmp"
        self._size = size
        self._threads = threads
        self._now_ms = now_ms
        self._fd: int | None = None
        self._allocation: Future[None] | None = None
        self._retry_ms = 0
        self._path.unlink(missing_ok=True)

    @property
    def ready(self) -> bool:
        return self._fd is not None

    def prepare(self) -> None:
        """Start allocating, unless it is there, going on, or has just failed."""
        if self._fd is not None or (self._allocation is not None and not self._allocation.done()):
            return
        if self._now_ms() >= self._retry_ms:
            self._allocation = self._threads.submit(self._try)

    def wait(self) -> bool:
        """Whether it is there, after what is going on has ended."""
        self.prepare()
        if self._allocation is not None:
            self._allocation.result()
        return self._fd is not None

    def _try(self) -> None:
        try:
            self.allocate()
        except OSError as error:
            self._retry_ms = self._now_ms() + RETRY_MS
            say(f"no room for the next segment: {error}")

    def allocate(self) -> None:
        """Raises OSError where there is no room."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, self._size)
            os.fsync(fd)
        except OSError as error:
            os.close(fd)
            self._path.unlink()
            error.filename = str(self._path)
            raise
        self._fd = fd

    def take(self, header: bytes, path: Path) -> int:
        """Give the file its header and its name; its descriptor. Ends the process if that fails: the
        segment before is sealed already, and a restart goes on from there."""
        fd, self._fd = self._fd, None
        if fd is None:
            raise ValueError("there is no spare segment")
        try:
            if os.pwrite(fd, header, 0) != len(header):
                raise OSError("short write")
            self._path.rename(path)
        except OSError as error:
            die(f"cannot begin {path.name}: {error}")
        return fd

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._path.unlink()
