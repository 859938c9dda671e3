"""Writing the journal: append-only, pre-allocated segments, group commit.

``append`` hands a frame to the kernel with one ``pwrite`` at a tracked offset (some 4 µs in all); the
offset and the hash chain move only when the whole frame was taken, so half a frame never counts. One
``fdatasync`` at a time runs in a thread and serves everybody who waited when it began; it is never
retried: after a failed one nobody knows what is on disk, so the process ends. The first frame of each
batch is a mark that tells how far the batch before it got; recovery knows damage from a torn tail by it.

A full disk shows early. The next segment is allocated while the second half of this one fills. Without
it, ``open`` turns False while ``RESERVE_BYTES`` are still free: paid ads stop, whereas the events,
releases and answers of what was already decided still find that room, and only when it is used up are
they refused. Allocation is tried again, at most once a second, whenever somebody asks.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from adserver.domain.books import JournalClosed, Position
from adserver.domain.records import Mark, Personal, Record
from adserver.domain.told import Accepted
from adserver.ledger import disk, segments
from adserver.ledger.commits import Batch, Commits
from adserver.ledger.cursor import Cursor
from adserver.ledger.disk import Synced
from adserver.ledger.files import segment_path
from adserver.ledger.recovery import recover
from adserver.ledger.segments import HEADER_BYTES, SEGMENT_BYTES, SEGMENT_BYTES_MIN, Header

RESERVE_BYTES: Final = 64 * 1024
SEAL_BYTES: Final = 64
"""Kept at a segment's end for its seal (at most 40)."""
CLEARED_BYTES: Final = 64 * 1024
"""Zeros written ahead at once."""


class Journal:
    """The writer. One per directory (locked), one event loop.

    ``segment_bytes``: size of new segments. ``now_ms``: the time that paces retries. ``cut_bytes``: how
    long the torn tail was that opening cut off. Raises JournalBusy, Damage, OSError.
    """

    def __init__(
        self,
        directory: Path,
        segment_bytes: int = SEGMENT_BYTES,
        now_ms: Callable[[], int] = disk.monotonic_ms,
    ) -> None:
        if segment_bytes < SEGMENT_BYTES_MIN:
            raise ValueError(f"a segment has at least {SEGMENT_BYTES_MIN} bytes")
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._now_ms = now_ms
        self._reserve = min(RESERVE_BYTES, segment_bytes // 4)
        self._closed = False
        self._torn = self._retry_ms = self._total = 0
        self._retired: list[int] = []
        self._directory_dirty = True
        self._unmarked: Synced | None = None
        self._lock = disk.lock(directory)
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._commits = Commits(self._batch, self._proved)
        self._spare = disk.Spare(directory, segment_bytes, self._threads, now_ms)
        try:
            self.cut_bytes = self._open_last()
        except BaseException:
            os.close(self._lock)
            raise

    # -- opening -----------------------------------------------------------------------------------

    def _open_last(self) -> int:
        found = recover(self._directory)
        if found is None:
            self._first_segment()
        else:
            self._continue(found.number, found.offset)
            if found.sealed:
                self._spare.allocate()
                self._begin_segment(self._header(found.number + 1))
            elif self._offset > self._half:
                # Before anything is decided: the first answers shall not find the journal without room.
                self._spare.wait()
        self._synced = Synced(self._number, self._offset, self._chain.digest(), 0)
        return 0 if found is None else found.cut_bytes

    def _first_segment(self) -> None:
        """The only one whose header nothing else could tell: it is on disk before anything follows."""
        self._spare.allocate()
        self._begin_segment(Header(1, os.urandom(segments.CHAIN_BYTES), self._segment_bytes))
        disk.flush([self._fd], self._directory)
        disk.sync_directory(self._directory.parent)

    def _continue(self, number: int, offset: int) -> None:
        """Take up a recovered segment: its chain is made again from its frames."""
        cursor = Cursor(self._directory, number)
        self._chain = segments.chain_of(cursor.header)
        for frame in cursor.frames(offset):
            self._chain.update(frame.covered)
        cursor.close()
        fd = os.open(segment_path(self._directory, number), os.O_RDWR | os.O_CLOEXEC)
        self._place(number, fd, offset, cursor.header.seed)

    def _place(self, number: int, fd: int, offset: int, seed: int) -> None:
        size = os.fstat(fd).st_size
        self._number, self._fd, self._offset, self._seed = number, fd, offset, seed
        self._limit = size - SEAL_BYTES
        self._half, self._cleared = size // 2, offset
        self._base = Synced(number, offset, self._chain.digest(), self._total)

    # -- writing -----------------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """The end of what is written."""
        return Position(self._number, self._offset)

    @property
    def synced_position(self) -> Position:
        """The end of what is on disk; the ledger posts no further."""
        return Position(self._synced.number, self._synced.offset)

    @property
    def proven(self) -> Synced:
        """The last place in this segment that is known to be on disk."""
        return self._synced if self._synced.number == self._number else self._base

    @property
    def open(self) -> bool:
        """Whether paid ads may be decided: there is room behind the reserve, or a next segment."""
        if self._closed or (self._torn and self._now_ms() < self._retry_ms):
            return False
        if self._spare.ready or self._limit - self._offset > self._reserve:
            return True
        self._spare.prepare()
        return False

    def append(self, record: Record, personal: Personal | None = None) -> None:
        """Hand a record to the kernel before returning: it survives the end of this process, not yet a
        power cut. Raises JournalClosed; nothing of the record is in the journal then."""
        self._append(lambda seed: segments.encode_frame(record, personal, seed))

    def append_row(self, row: list[Accepted], at_ms: int) -> None:
        """The same of several impressions, in one write: all of them, or none."""
        self._append(lambda seed: segments.encode_row(row, at_ms, seed))

    def _append(self, encoded: Callable[[int], tuple[bytes, bytes]]) -> None:
        """``encoded``: frames, and what of them the chain covers, for the seed of their segment."""
        frame, covered = encoded(self._seed)
        if self._offset + len(frame) > self._limit:
            self._switch(len(frame))
            frame, covered = encoded(self._seed)
        if self._offset + len(frame) > self._cleared:
            self._clear()
        self._write(frame, covered)
        if self._offset > self._half and not self._spare.ready:
            self._spare.prepare()

    def _write(self, frame: bytes, covered: bytes) -> None:
        if self._closed:
            raise JournalClosed("the journal is closed")
        if self._torn:
            self._mend()
        try:
            written = os.pwrite(self._fd, frame, self._offset)
        except OSError as error:
            raise self._failed(0, str(error)) from error
        if written != len(frame):
            raise self._failed(written, "short write")
        self._chain.update(covered)
        self._offset += written
        self._total += written

    def _clear(self) -> None:
        """Zeros over what comes next. Where a block was only allocated, the sync that first fills it changes
        the file's map besides, for twice the time; so that is done for many at once."""
        start = max(self._cleared, self._offset)
        self._cleared = min(start + CLEARED_BYTES, self._limit)
        try:
            os.pwrite(self._fd, bytes(max(self._cleared - start, 0)), start)
        except OSError:
            # Only time is lost; what stands in the way of a record tells of itself when one is written.
            pass

    def _failed(self, written: int, reason: str) -> JournalClosed:
        self._torn = max(self._torn, written, 1)
        self._retry_ms = self._now_ms() + disk.RETRY_MS
        return JournalClosed(f"segment {self._number} offset {self._offset}: {reason}")

    def _mend(self) -> None:
        """Zeros over a half written frame, so that a shorter one behind it leaves no rest."""
        try:
            written = os.pwrite(self._fd, bytes(self._torn), self._offset)
        except OSError as error:
            raise self._failed(0, str(error)) from error
        if written != self._torn:
            raise self._failed(0, "short write")
        self._torn = 0

    def _switch(self, wanted: int) -> None:
        """Seal this segment and begin the next, in an order in which a kill anywhere leaves either the
        unsealed old one, or both linked. Raises JournalClosed while there is no next one."""
        if wanted > self._segment_bytes - HEADER_BYTES - SEAL_BYTES:
            raise ValueError(f"a frame of {wanted} bytes does not fit a segment of {self._segment_bytes}")
        if self._closed or not self._spare.wait():
            raise JournalClosed(f"segment {self._number} is full and there is no room for another")
        proven = self.proven
        seal = segments.encode_frame(Mark(proven.offset, proven.chain, True), None, self._seed)
        self._write(*seal)
        self._retired.append(self._fd)
        self._begin_segment(self._header(self._number + 1))

    def _header(self, number: int) -> Header:
        """Of the segment behind this one."""
        return Header(number, self._chain.digest(), self._segment_bytes)

    def _begin_segment(self, header: Header) -> None:
        fd = self._spare.take(header.encode(), segment_path(self._directory, header.number))
        self._directory_dirty = True
        self._chain = segments.chain_of(header)
        self._place(header.number, fd, HEADER_BYTES, header.seed)

    # -- group commit ------------------------------------------------------------------------------

    async def durable(self) -> None:
        """Return once everything appended before the call is on disk (group commit)."""
        await asyncio.shield(self.synced())

    def synced(self) -> asyncio.Future[None]:
        """The same as a future, for callers without a task; one for all who wait for the same sync, so not to
        be cancelled. Raises JournalClosed after ``close``."""
        if self._total <= self._synced.total:
            future = asyncio.get_running_loop().create_future()
            future.set_result(None)
            return future
        if self._closed:
            raise JournalClosed("the journal is closed")
        return self._commits.join(self._total)

    def _batch(self) -> Batch:
        goal = self._goal()
        retired, self._retired = self._retired, []
        dirty, self._directory_dirty = self._directory_dirty, False
        return Batch(goal, [*retired, self._fd], self._directory if dirty else None)

    def _goal(self) -> Synced:
        """Write the mark of the batch before, and tell what a sync that begins now will prove."""
        mark, self._unmarked = self._unmarked, None
        if mark is not None and mark.number == self._number:
            frame = segments.encode_frame(Mark(mark.offset, mark.chain), None, self._seed)
            try:
                if self._offset + len(frame[0]) <= self._limit:
                    self._write(*frame)
            except JournalClosed:
                # The mark only helps recovery to tell damage from a torn tail; the next one tells more.
                pass
        return Synced(self._number, self._offset, self._chain.digest(), self._total)

    def _proved(self, batch: Batch) -> None:
        for fd in batch.files[:-1]:
            os.close(fd)
        if batch.goal.total > self._synced.total:
            self._synced = self._unmarked = batch.goal
        self._commits.answer(self._synced.total)

    def sync(self) -> None:
        """Everything appended to the disk, waiting for it here: for start-up, close and tools."""
        batch = self._batch()
        disk.flush(batch.files, batch.directory)
        self._proved(batch)

    def close(self) -> None:
        """Everything to the disk, a last mark, and the lock is free. Waiters are answered."""
        if self._closed:
            return
        self._commits.close()
        self._threads.shutdown(wait=True)
        if self._total > self._synced.total:
            self.sync()
        if self._unmarked is not None:
            self.sync()
        self._closed = True
        self._spare.close()
        os.close(self._fd)
        os.close(self._lock)
