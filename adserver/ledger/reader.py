"""Reading the journal, also beside its writer.

The idea: a cursor walks the frames of one segment after the other, checking CRC, personal digests, marks,
and the link from each segment to the one before. Frames are hashed lazily, when a mark tells the value
the chain had at some earlier frame, or at the segment's end; so each byte is hashed once. Invariant: what
``read`` has yielded was whole, and up to the last mark also in the chain.

The written part ends at the first thing that is no frame: zeros, or the half of a write that is still
going on. It is damage instead where a later mark, or a later segment, proves that whole frames had been
on disk here. Cost: some 3 µs a record, of which decoding is one.
"""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from adserver.domain.books import Position
from adserver.domain.records import PERSONAL, Closed, Mark, Personal, Record
from adserver.ledger import segments
from adserver.ledger.files import check_rest, follows, segment_path
from adserver.ledger.segments import CLOSED_TAG, HEADER_BYTES, MARK_TAG, Damage, Frame, Header, Short

JOURNAL: Final = "journal"
"""The folder's name, in a data folder."""
READ_BYTES: Final = 1024 * 1024
_PASSED: Final = (1, 3)
"""The tags of ``Decided`` and ``Released``."""


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
        self._unhashed: deque[Frame] = deque()
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
            frame = waiting.popleft()
            self._hashed_to = frame.end
            covered.append(frame.covered)
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


class Reader:
    """Records in order, from any position, beside a running writer or without one. One consumer each: it
    goes on where the last ``read`` stopped without reading a segment twice. ``strict``: what nobody reads,
    the zeros behind a seal, must be as it was written too."""

    def __init__(self, directory: Path, strict: bool = False) -> None:
        self._directory = directory
        self._strict = strict
        self._cursor: Cursor | None = None
        self._behind = 1, 0

    @property
    def behind(self) -> Position:
        """How far it has read: the end of the last record, or, having come to an end, of the marks behind."""
        return Position(*self._behind)

    def read(
        self, start: Position, until: Position | None = None
    ) -> Iterator[tuple[Position, Record, Personal | None]]:
        """(position behind the record, record, personal part or None if there was none or it is erased),
        from ``start`` to ``until``, or to the end of what is written now. Marks are checked, not returned.
        Raises Damage, also where ``start`` lies behind the end."""
        for cursor, frame in self._frames(start, until):
            yield self.behind, cursor.decode(frame), _person(frame)

    def booked(
        self, start: Position, until: Position | None = None
    ) -> Iterator[tuple[Record, Personal | None] | None]:
        """The same records for posting, which wants none that decide or release: None for those. ``behind``
        tells where they end."""
        for cursor, frame in self._frames(start, until):
            yield None if frame.tag in _PASSED else (cursor.decode(frame), _person(frame))

    def _frames(self, start: Position, until: Position | None) -> Iterator[tuple[Cursor, Frame]]:
        """Each but marks, ``_behind`` being its end."""
        cursor = self._resume(start)
        if cursor is None:
            return
        first = start.offset if cursor.number == start.segment else 0
        while True:
            successor = segment_path(self._directory, cursor.number + 1).exists()
            for frame in cursor.frames(_limit(cursor.number, until)):
                if frame.start >= first and frame.tag != MARK_TAG:
                    self._behind = cursor.number, frame.end
                    yield cursor, frame
            self._behind = max(self._behind, (cursor.number, cursor.offset))
            if until is not None and until <= Position(cursor.number, cursor.offset):
                return
            if cursor.offset < first:
                raise Damage(cursor.number, cursor.offset, f"ends before {first}, where reading was to begin")
            if not cursor.sealed:
                self._check_end(cursor, successor or until is not None)
                return
            if self._strict:
                check_rest(cursor.path, cursor.header, cursor.offset)
            if not successor and not follows(self._directory, cursor.number):
                return
            cursor, first = self._next(cursor), 0

    def _resume(self, start: Position) -> Cursor | None:
        """The cursor of the last call where it stands at ``start`` (or only marks lie between)."""
        if self._cursor is not None and start == self.behind:
            return self._cursor
        self.close()
        self._behind = start.segment, start.offset
        if not segment_path(self._directory, start.segment).exists():
            if start > Position(1, HEADER_BYTES):
                raise Damage(start.segment, start.offset, "the segment is missing")
            # Its writer may just have begun it.
            if not follows(self._directory, 0):
                return None
        previous = self._final_chain(start.segment - 1)
        self._cursor = Cursor(self._directory, start.segment, previous)
        return self._cursor

    def _final_chain(self, number: int) -> bytes | None:
        """None for the segment before the first one kept."""
        if not segment_path(self._directory, number).exists():
            return None
        cursor = Cursor(self._directory, number)
        try:
            for _ in cursor.frames():
                pass
            return cursor.chain()
        finally:
            cursor.close()

    def _next(self, cursor: Cursor) -> Cursor:
        chain = cursor.chain()
        cursor.close()
        self._cursor = None
        self._cursor = Cursor(self._directory, cursor.number + 1, chain)
        self._cursor.before = cursor.proven
        return self._cursor

    def _check_end(self, cursor: Cursor, more: bool) -> None:
        """``more``: it is known that whole frames follow."""
        if more:
            raise Damage(cursor.number, cursor.offset, "no whole frame here, though the journal goes on")
        if not cursor.ends_cleanly() and cursor.contradiction() is not None:
            raise Damage(cursor.number, cursor.offset, "a bad frame before a durable mark")

    def close(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None


def _limit(number: int, until: Position | None) -> int:
    """How far reading goes within the segment ``number``."""
    if until is None or number < until.segment:
        return 1 << 62
    return until.offset if number == until.segment else 0


def _person(frame: Frame) -> Personal | None:
    if not frame.secret or segments.erased(frame.secret):
        return None
    person: Personal = PERSONAL.decode(frame.secret)
    return person
