"""Opening a journal that another process left, perhaps in the middle of a write.

What was acknowledged was on disk, and a mark written later says so. So bytes before a mark's durable
offset must be whole: anything else is *damage*, and the server refuses to start. What lies behind the
last mark was promised to nobody; the first thing there that is no whole frame ends the journal, and is
overwritten with zeros (a *torn tail*).

A sync covers the segments in order, so a mark in one proves everything in those before it. Hence the walk:
back from the last segment to one with a mark that proves something, then forward while segments are
sealed and linked; what stands behind a tear, without any mark, is dropped. Cost: one segment read, or two
right after a switch.
"""

import os
from pathlib import Path

from msgspec import Struct

from adserver.ledger import segments
from adserver.ledger.cursor import Cursor
from adserver.ledger.disk import sync_directory
from adserver.ledger.files import segment_numbers, segment_path
from adserver.ledger.segments import HEADER_BYTES, Damage, Header


class Found(Struct, frozen=True):
    """Where writing goes on: behind ``offset`` of segment ``number``, or in the next one if ``sealed``.
    ``cut_bytes``: how long the torn tail was."""

    number: int
    offset: int
    sealed: bool
    header: Header
    cut_bytes: int


def recover(directory: Path) -> Found | None:
    """Cut the torn tail, bring all that is left to the disk. None: an empty directory. Raises Damage."""
    numbers = segment_numbers(directory)
    if not numbers:
        return None
    for number, expected in zip(numbers, range(numbers[0], numbers[0] + len(numbers)), strict=True):
        if number != expected:
            raise Damage(expected, 0, "the segment is missing")
    cursor = _walk(directory, _last_proven(directory, numbers), numbers[-1])
    try:
        cut = _drop(directory, numbers, cursor.number)
        cut += _cut(segment_path(directory, cursor.number), cursor.offset)
    finally:
        cursor.close()
    sync_directory(directory)
    return Found(cursor.number, cursor.offset, cursor.sealed, cursor.header, cut)


def _last_proven(directory: Path, numbers: list[int]) -> int:
    """The last segment with a mark that tells of frames on disk; else the first."""
    for number in reversed(numbers[1:]):
        try:
            cursor = Cursor(directory, number)
        except Damage:
            continue
        try:
            for _ in cursor.frames():
                pass
            if cursor.marked > HEADER_BYTES or cursor.contradiction() is not None:
                return number
        finally:
            cursor.close()
    return numbers[0]


def _walk(directory: Path, number: int, last: int) -> Cursor:
    """Forward from a proven segment to the one where the whole frames end; its cursor is left open."""
    cursor = _scan(directory, number, None)
    while cursor.sealed and cursor.number < last:
        chain = cursor.chain()
        cursor.close()
        if not _begun(directory, cursor.number + 1, chain):
            return cursor
        cursor = _scan(directory, cursor.number + 1, chain)
    return cursor


def _scan(directory: Path, number: int, previous: bytes | None) -> Cursor:
    cursor = Cursor(directory, number, previous)
    try:
        for _ in cursor.frames():
            pass
        if not cursor.sealed and cursor.contradiction() is not None:
            raise Damage(number, cursor.offset, "a bad frame before a durable mark")
    except Damage:
        cursor.close()
        raise
    return cursor


def _begun(directory: Path, number: int, previous: bytes) -> bool:
    """Whether a segment's header reached the disk. Where it did not, nothing behind it may be proven: the
    header is known from the segment before, and so is the seed of its marks."""
    raw = segment_path(directory, number).read_bytes()
    try:
        segments.decode_header(raw[:HEADER_BYTES])
    except ValueError as error:
        seed = Header(number, previous).seed
        if any(mark.durable > HEADER_BYTES for _, mark in segments.later_marks(raw, 0, seed)):
            raise Damage(number, 0, str(error)) from error
        return False
    return True


def _drop(directory: Path, numbers: list[int], last: int) -> int:
    """Remove the segments behind ``last``; how many bytes had been written into them."""
    dropped = 0
    for number in reversed([number for number in numbers if number > last]):
        path = segment_path(directory, number)
        dropped += len(path.read_bytes().rstrip(b"\0"))
        path.unlink()
    return dropped


def _cut(path: Path, offset: int) -> int:
    """Zeros over everything behind ``offset``, and the file to the disk; how many bytes were not zero."""
    with path.open("r+b", buffering=0) as file:
        tail = os.pread(file.fileno(), path.stat().st_size, offset).rstrip(b"\0")
        if tail:
            os.pwrite(file.fileno(), bytes(len(tail)), offset)
        os.fsync(file.fileno())
    return len(tail)
