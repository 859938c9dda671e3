"""Named places at which a server may die: from the journal's bytes over the sync, the answer, the next
segment, the books and the checkpoint to the recovery of all of it.

A place is a function of the server, and whether the process dies before it, behind it, or with half of its
bytes written, or whether the disk fails there. Functions are wrapped from outside, in a process that is to
die; the server knows nothing of it.
"""

import errno
import os
import signal
import threading
from collections.abc import Callable
from enum import Enum
from importlib import import_module
from typing import Any, Final, Literal, NamedTuple

When = Literal["before", "behind", "half", "fails", "full"]
"""``fails``: with an error of the disk; ``full``: no room there, for a while."""
_FULL_FOR: Final = 60


class Place(NamedTuple):
    """``within``: counted only while this function runs, "": always. ``most``: the passage to die in is drawn
    up to here."""

    function: str
    when: When
    within: str = ""
    most: int = 1


_WRITE: Final = "adserver.ledger.journal:Journal._write"
_FLUSH: Final = "adserver.ledger.disk:flush"
_CHECKPOINT: Final = "adserver.checkpoints:write"


class CrashPoint(Enum):
    FRAME_UNWRITTEN = Place("os:pwrite", "before", _WRITE, 150)
    FRAME_HALF_WRITTEN = Place("os:pwrite", "half", _WRITE, 150)
    FRAME_WRITTEN = Place("os:pwrite", "behind", _WRITE, 150)
    EVENT_RECORDED = Place("adserver.services.events:EventRecorder._judge", "behind", "", 60)
    ROW_JOURNALLED = Place("adserver.services.impressions:Impressions._move", "before", "", 40)
    ROW_RECORDED = Place("adserver.services.impressions:Impressions.tell", "behind", "", 20)
    RELEASE_RECORDED = Place("adserver.services.events:EventRecorder._release", "behind", "", 4)
    SYNC_UNBEGUN = Place("os:fdatasync", "before", _FLUSH, 30)
    SYNC_DONE = Place(_FLUSH, "behind", "", 30)
    SYNC_FAILS = Place("os:fdatasync", "fails", _FLUSH, 30)
    WAITERS_UNANSWERED = Place("adserver.ledger.commits:Commits.answer", "before", "", 30)
    WAITERS_ANSWERED = Place("adserver.ledger.commits:Commits.answer", "behind", "", 30)
    SPARE_UNALLOCATED = Place("os:posix_fallocate", "before", "", 2)
    SPARE_ALLOCATED = Place("adserver.ledger.disk:Spare.allocate", "behind", "", 2)
    SEGMENT_UNSEALED = Place("adserver.ledger.journal:Journal._switch", "before", "", 3)
    SEGMENT_SEALED = Place("adserver.ledger.journal:Journal._begin_segment", "before", "", 3)
    SEGMENT_NAMED = Place("pathlib:Path.rename", "behind", "adserver.ledger.disk:Spare.take", 3)
    BATCH_UNPOSTED = Place("adserver.ledger.writer:LedgerWriter.post", "before", "", 8)
    ROWS_WRITTEN = Place("adserver.ledger.inserts:move", "before", "", 8)
    POSITION_MOVED = Place("adserver.ledger.inserts:move", "behind", "", 8)
    BATCH_COMMITTED = Place("adserver.ledger.writer:LedgerWriter._tell", "before", "", 8)
    CHECKPOINT_HALF_WRITTEN = Place("os:fsync", "before", _CHECKPOINT, 2)
    CHECKPOINT_UNNAMED = Place("pathlib:Path.replace", "before", _CHECKPOINT, 2)
    CHECKPOINT_NAMED = Place(_CHECKPOINT, "behind", "", 2)
    NO_ROOM = Place("os:pwrite", "full", _WRITE, 100)
    TAIL_UNCUT = Place("adserver.ledger.recovery:_cut", "before")
    TAIL_CUT = Place("adserver.ledger.recovery:_cut", "behind")
    STATE_HALF_READ = Place("adserver.services.hot:HotState.apply", "before", "adserver.recovery:recover", 40)


def arm(point: CrashPoint, passage: int) -> None:
    """Die there in this process, at the passage of this number (from 1)."""
    place = point.value
    owner, name = _owner(place.function)
    real, count, inside = getattr(owner, name), iter(range(1, 1 << 60)), _Inside(place.within)

    def passed(*given: Any, **named: Any) -> Any:
        number = next(count) if inside.now else 0
        if place.when == "full" and passage <= number < passage + _FULL_FOR:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if number != passage or place.when == "full":
            return real(*given, **named)
        if place.when == "before":
            die()
        if place.when == "fails":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if place.when == "half":
            fd, octets, at = given
            real(fd, octets[: len(octets) // 2], at)
            die()
        found = real(*given, **named)
        die()
        return found

    setattr(owner, name, passed)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Inside:
    """Whether this thread is within a function; always, without one."""

    def __init__(self, function: str) -> None:
        self._of = threading.local()
        self._always = not function
        if function:
            owner, name = _owner(function)
            real: Callable[..., Any] = getattr(owner, name)
            setattr(owner, name, lambda *given, **named: self._run(real, given, named))

    @property
    def now(self) -> bool:
        return self._always or getattr(self._of, "deep", False)

    def _run(self, real: Callable[..., Any], given: Any, named: Any) -> Any:
        self._of.deep = True
        try:
            return real(*given, **named)
        finally:
            self._of.deep = False


def _owner(function: str) -> tuple[Any, str]:
    """``package.module:Class.function`` -> (module or class, function)."""
    module, _, path = function.partition(":")
    *parents, name = path.split(".")
    owner: Any = import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name
