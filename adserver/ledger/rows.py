"""Frames in a row, read for posting: thousands of them in one call of C (``_booked.c``), where it was built.

A row ends before whatever is to be looked at by itself: a mark, a closing, and what is no whole and sound
frame; so what is read of it is what reading frame by frame would have given. Records that only decide or
release are passed over.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

import msgspec
from msgspec import Struct

from adserver.domain.records import Personal, Record
from adserver.ledger import segments
from adserver.ledger.segments import CLOSED_TAG, MARK_TAG, Frame
from adserver.octets import compiled

PASSED: Final = (1, 3)
"""The tags of ``Decided`` and ``Released``."""
_NIL: Final = b"\xc0"
_LIST: Final = b"\xdd"
_RECORDS: Final = msgspec.msgpack.Decoder(list[Record | None])
_PEOPLE: Final = msgspec.msgpack.Decoder(list[Personal | None])

Booked = tuple[Record, Personal | None] | None
"""A record as posting wants it."""

Told = tuple[bytes, bytes, bytes, bytes, bytes]
"""Of a row's frames: where each ends behind the row's begin, and where what the chain covers of it does
(32 bits each, of the machine); all that the chain covers; and MessagePack's lists of their records and of
their personal parts, nil for one that is passed over, missing or erased."""


class Row(Struct, gc=False):
    """``start``, ``end``: offsets in the segment; ``hashed``: how much of ``covered`` the chain has."""

    start: int
    end: int
    ends: memoryview
    bounds: memoryview
    covered: bytes
    records: bytes
    people: bytes
    hashed: int = 0
    tag: int = 0
    """Nothing's."""

    @property
    def count(self) -> int:
        return len(self.ends)

    def booked(self) -> list[Booked]:
        """One for each; None for one that is passed over. Raises msgspec.DecodeError."""
        pairs = zip(_RECORDS.decode(self.records), _PEOPLE.decode(self.people), strict=True)
        return [None if pair[0] is None else pair for pair in pairs]  # type: ignore[misc]

    def take(self, until: int) -> tuple[int, bytes]:
        """What the chain covers up to the last frame that ends by ``until``, and was not taken before; that
        frame's end."""
        place = bisect_right(self.ends, until - self.start)
        if not place or self.bounds[place - 1] <= self.hashed:
            return self.start, b""
        taken = self.covered[self.hashed : self.bounds[place - 1]]
        self.hashed += len(taken)
        return self.start + self.ends[place - 1], taken


def alone(frame: Frame) -> Row:
    """One that is looked at by itself, and told of nevertheless."""
    return _row(frame.start, _told([frame], frame.start))


def read(raw: bytes, at: int, stop: int, most: int, base: int, seed: int) -> Row:
    """The frames from ``raw[at]`` on, ``most`` of them at most, each ending by ``raw[stop]``; ``raw[0]`` has
    the segment's offset ``base``."""
    told = (_read if compiled is None else compiled.booked)(raw, at, stop, most, seed)
    return _row(base + at, told)


def _read(raw: bytes, at: int, stop: int, most: int, seed: int) -> Told:
    start, frames = at, list[Frame]()
    while len(frames) < most:
        frame = segments.parse_frame(raw, at, 0, seed)
        if not isinstance(frame, Frame) or frame.end > stop or frame.tag in (MARK_TAG, CLOSED_TAG):
            break
        if not segments.sound(frame):
            break
        frames.append(frame)
        at = frame.end
    return _told(frames, start)


def _told(frames: list[Frame], start: int) -> Told:
    ends = array("I", [frame.end - start for frame in frames])
    bounds = array("I", accumulate(len(frame.covered) for frame in frames))
    covered = b"".join(frame.covered for frame in frames)
    return (
        ends.tobytes(),
        bounds.tobytes(),
        covered,
        _listed(map(_record, frames)),
        _listed(map(_person, frames)),
    )


def _row(start: int, told: Told) -> Row:
    ends, bounds = memoryview(told[0]).cast("I"), memoryview(told[1]).cast("I")
    return Row(start, start + (ends[-1] if ends else 0), ends, bounds, *told[2:])


def _record(frame: Frame) -> bytes:
    return _NIL if frame.tag in PASSED else frame.covered[frame.record_at :]


def _person(frame: Frame) -> bytes:
    told = frame.tag not in PASSED and frame.secret and not segments.erased(frame.secret)
    return frame.secret if told else _NIL


def _listed(parts: Iterable[bytes]) -> bytes:
    of = list(parts)
    return _LIST + len(of).to_bytes(4, "big") + b"".join(of)
