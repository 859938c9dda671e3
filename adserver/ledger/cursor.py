"""A walk over the frames of one segment: whole, sound, and in the hash chain.

Frames are hashed lazily, when a mark tells the value the chain had at some earlier frame, or at the segment's
end; so each byte is hashed once. Invariant: what was read was whole, and up to the last mark also in the
chain. The written part ends at the first thing that is no frame: zeros, or the half of a write that is still
going on.
"""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from adserver.domain.records import PERSONAL, Closed, Mark, Personal, Record
from adserver.ledger import rows, segments
from adserver.ledger.files import segment_path
from adserver.ledger.rows import PASSED, Booked, Row
from adserver.ledger.segments import CLOSED_TAG, HEADER_BYTES, MARK_TAG, Damage, Frame, Header, Short

READ_BYTES: Final = 1024 * 1024


class Cursor:
    """A walk over the frames of one segment, from its beginning. ``previous``: the final chain value of
    the segment before where known, to be found again in this one's header.

    ``offset`` is the end of the last whole frame; ``sealed`` that the last one was the seal.
    """

    def __init__(self, directory: Path, number: int, previous: bytes | None = None) -> None:
        self.number = number
        self.offset = HEADER_BYTES
        self.sealed = False
        self.marked = 0
        """The highest durable offset a mark has told."""
        self.path = segment_path(directory, number)
        self.proven: tuple[int, bytes] | None = None
        """What the last mark told: an offset, and the chain there."""
        self.before: tuple[int, bytes] | None = None
        """The same of the segment before, where it was read."""
        self._file = self.path.open("rb", buffering=0)
        try:
            self.header = self._read_header(previous)
        except Damage:
            self._file.close()
            raise
        self._chain = segments.chain_of(self.header)
        self._unhashed: deque[Frame | Row] = deque()
        self._hashed_to = HEADER_BYTES

    def _read_header(self, previous: bytes | None) -> Header:
        try:
            header = segments.decode_header(os.pread(self._file.fileno(), HEADER_BYTES, 0))
        except ValueError as error:
            raise Damage(self.number, 0, str(error)) from error
        if header.number != self.number:
            raise Damage(self.number, 0, f"the header says segment {header.number}")
        if previous is not None and header.previous != previous:
            raise Damage(self.number, 0, "does not continue the segment before it (hash chain)")
        return header

    def frames(self, until: int = 1 << 62) -> Iterator[Frame]:
        """The frames from ``offset`` on, marks included (checked). Ends where the written part does, and
        before a frame that ends behind ``until``."""
        seed, wanted = self.header.seed, READ_BYTES
        while not self.sealed:
            base = self.offset
            raw = os.pread(self._file.fileno(), wanted, base)
            at = 0
            while not self.sealed:
                frame = segments.parse_frame(raw, at, base, seed)
                if not isinstance(frame, Frame):
                    break
                if frame.end > until:
                    return
                at = frame.end - base
                self._take(frame)
                yield frame
            if self.sealed or not isinstance(frame, Short) or len(raw) < wanted:
                return
            wanted = max(READ_BYTES, frame.needed)

    def rows(self, until: int, most: int, first: int) -> Iterator[Row]:
        """The same in rows, without marks, ``most`` frames of them. What ends by ``first`` is in rows of its
        own, which do not count."""
        seed, wanted = self.header.seed, READ_BYTES
        while not self.sealed:
            base = self.offset
            raw = os.pread(self._file.fileno(), wanted, base)
            while not self.sealed:
                stop = first if self.offset < first else until
                row = rows.read(raw, self.offset - base, max(stop - base, 0), most, base, seed)
                if row.count:
                    self._unhashed.append(row)
                    self.offset = row.end
                    most -= row.count if row.start >= first else 0
                    yield row
                    if most <= 0:
                        return
                frame = segments.parse_frame(raw, self.offset - base, base, seed)
                if not isinstance(frame, Frame):
                    break
                if frame.end > until:
                    return
                self._take(frame)
                if frame.tag != MARK_TAG:
                    most -= 1 if frame.start >= first else 0
                    yield rows.alone(frame)
                    if most <= 0:
                        return
            if self.sealed or not isinstance(frame, Short) or len(raw) < wanted:
                return
            wanted = max(READ_BYTES, frame.needed)

    def _take(self, frame: Frame) -> None:
        if not segments.sound(frame):
            raise Damage(self.number, frame.start, "the personal part is neither whole nor erased")
        self._unhashed.append(frame)
        self.offset = frame.end
        if frame.tag == MARK_TAG or frame.tag == CLOSED_TAG:
            self._check(frame)

    def _check(self, frame: Frame) -> None:
        mark = self.decode(frame)
        if isinstance(mark, Closed):
            self._prove(frame, mark)
        if not isinstance(mark, Mark):
            return
        if self._hash(mark.durable) != mark.chain:
            raise Damage(self.number, frame.start, f"hash chain broken before offset {mark.durable}")
        self.marked, self.proven = max(self.marked, mark.durable), (mark.durable, mark.chain)
        self.sealed = mark.sealed

    def _prove(self, frame: Frame, closed: Closed) -> None:
        """What a closing cites: a place in this segment, or the last one proved in that before."""
        here, cited = closed.segment == self.number, (closed.offset, closed.chain)
        if not here and (self.before is None or closed.segment != self.number - 1):
            return
        if (self._hash(closed.offset) != closed.chain) if here else (cited != self.before):
            raise Damage(self.number, frame.start, "a closing cites what the hash chain never was")

    def _hash(self, until: int) -> bytes:
        """The chain's value at ``until``, which must be the end of a frame, in order."""
        waiting = self._unhashed
        covered = list[bytes]()
        while waiting and waiting[0].end <= until:
            part = waiting.popleft()
            self._hashed_to = part.end
            covered.append(part.covered if isinstance(part, Frame) else part.take(until)[1])
        if waiting and isinstance(waiting[0], Row):
            end, taken = waiting[0].take(until)
            self._hashed_to = max(self._hashed_to, end)
            covered.append(taken)
        self._chain.update(b"".join(covered))
        return self._chain.digest() if self._hashed_to == until else b""

    def chain(self) -> bytes:
        """The chain's value behind the last frame."""
        return self._hash(self.offset)

    def decode(self, frame: Frame) -> Record:
        try:
            return frame.record()
        except msgspec.DecodeError as error:
            raise Damage(self.number, frame.start, f"a record that cannot be read: {error}") from error

    def booked(self, row: Row) -> list[Booked]:
        """What posting wants of it."""
        try:
            return row.booked()
        except msgspec.DecodeError:
            return list(self._one_by_one(row))

    def _one_by_one(self, row: Row) -> Iterator[Booked]:
        """The same, which says where a record cannot be read."""
        raw = os.pread(self._file.fileno(), row.end - row.start, row.start)
        at = 0
        while isinstance(frame := segments.parse_frame(raw, at, row.start, self.header.seed), Frame):
            at = frame.end - row.start
            yield None if frame.tag in PASSED else (self.decode(frame), person_of(frame))

    def contradiction(self) -> int | None:
        """The offset of a mark behind the end of the whole frames that says more had been on disk."""
        size = os.fstat(self._file.fileno()).st_size
        rest = os.pread(self._file.fileno(), max(0, size - self.offset), self.offset)
        for at, mark in segments.later_marks(rest, self.offset, self.header.seed):
            if mark.durable > self.offset:
                return None if self._grown() else at
        return None

    def _grown(self) -> bool:
        """Whether there is a whole frame by now: a running writer may have finished it, and written the
        mark too, since it was looked for. The mark came later, so a second look tells for sure."""
        raw = os.pread(self._file.fileno(), segments.FRAME_BYTES_MAX, self.offset)
        return isinstance(segments.parse_frame(raw, 0, self.offset, self.header.seed), Frame)

    def ends_cleanly(self) -> bool:
        """Whether nothing but zeros begins behind the last frame (a frame's lengths are never zero)."""
        return not any(os.pread(self._file.fileno(), segments.FRAME_HEAD_BYTES, self.offset))

    def close(self) -> None:
        self._file.close()


def person_of(frame: Frame) -> Personal | None:
    if not frame.secret or segments.erased(frame.secret):
        return None
    person: Personal = PERSONAL.decode(frame.secret)
    return person
