"""The bytes of a journal segment: its header, its frames, and the hash chain over both.

A segment begins with a header that repeats the final chain value of the segment before, so segments can
be neither swapped nor left out. Behind it stand frames, then zeros (the file is pre-allocated):

    CRC-32 4 | lengths 4 (chained: low 20 bits; personal: high 8, above them 4) | personal | chained

``chained`` is the record, preceded by a salted digest of the personal part where there is one. CRC and
chain cover the lengths and the chained part only; so the personal part can be overwritten with zeros
(erased) and everything still verifies, but not changed: another digest is damage. The personal part
stands *before* the chained one, so a write cut short always lacks chained bytes and is never taken for a
whole frame with an erased person. The four bits in the middle were always 0 before personal parts could be
longer than 255 bytes. The CRC begins with a seed of its segment: bytes of another segment,
or a frame smuggled into a payload, are not frames here.

The chain is one running BLAKE2b over the header and every frame; its value is taken at marks and at the
segment's end. Cost: about 0.5 µs a frame.
"""

import re
import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final
from zlib import crc32

import msgspec
from msgspec import Struct

from adserver.domain.records import ENCODER, RECORDS, Mark, Personal, Record
from adserver.domain.told import Accepted, recorded_of
from adserver.octets import compiled

MAGIC: Final = b"ADSJ"
VERSION: Final = 1
HEADER_BYTES: Final = 64
FRAME_HEAD_BYTES: Final = 8
CHAIN_BYTES: Final = 16
DIGEST_BYTES: Final = 8
FRAME_BYTES_MAX: Final = 1024 * 1024
"""A longer record is a mistake of ours (the largest decision allowed is some 60 KiB)."""
SEGMENT_BYTES: Final = 64 * 1024 * 1024
SEGMENT_BYTES_MIN: Final = 4096

SECRET_BYTES_MAX: Final = 0xFFF
"""Of a personal part."""

_HEADER: Final = struct.Struct("<4sHHQ16s")
_WORD: Final = struct.Struct("<I")
_SIZE: Final = struct.Struct("<Q")
_HEAD: Final = struct.Struct("<II")
MARK_TAG: Final = 6
CLOSED_TAG: Final = 11
_RECORD_BYTES_MIN: Final = 2
_MARK: Final = re.compile(rb"[\x94-\x9f]\x06")
"""How a mark's payload begins: an array of at least four, tagged 6."""


class Damage(Exception):
    """Bytes that were certainly on disk are not what was written."""

    def __init__(self, segment: int, offset: int, message: str) -> None:
        super().__init__(f"segment {segment} offset {offset}: {message}")
        self.segment = segment
        self.offset = offset
        self.message = message


class Header(Struct, frozen=True):
    """``number`` counts from 1; ``previous``: the final chain value of the segment before (of the first
    segment: chance, so that no two journals share a chain); ``size``: the bytes of the file, 0 in older
    ones, which do not say."""

    number: int
    previous: bytes
    size: int = 0

    def encode(self) -> bytes:
        fields = _HEADER.pack(MAGIC, VERSION, 0, self.number, self.previous)
        return (fields + _WORD.pack(crc32(fields)) + _SIZE.pack(self.size)).ljust(HEADER_BYTES, b"\0")

    @property
    def seed(self) -> int:
        """What the CRC of every frame of this segment begins with."""
        return crc32(self.previous, self.number)


def decode_header(raw: bytes) -> Header:
    """Raises ValueError, saying why these 64 bytes are no header of ours."""
    if len(raw) < HEADER_BYTES:
        raise ValueError("the segment is shorter than its header")
    magic, version, _, number, previous = _HEADER.unpack_from(raw)
    if magic != MAGIC:
        raise ValueError("not a journal segment")
    if version != VERSION:
        raise ValueError(f"journal version {version}; this program reads version {VERSION}")
    if _WORD.unpack_from(raw, _HEADER.size)[0] != crc32(raw[: _HEADER.size]):
        raise ValueError("the header's checksum is wrong")
    header = Header(number, previous, _SIZE.unpack_from(raw, _HEADER.size + _WORD.size)[0])
    if header.encode() != raw:
        raise ValueError("a header of ours ends with zeros")
    return header


def chain_of(header: Header) -> blake2b:
    """The running chain at the beginning of a segment."""
    return blake2b(header.encode(), digest_size=CHAIN_BYTES)


def encode_frame(record: Record, personal: Personal | None, seed: int) -> tuple[bytes, bytes]:
    """The frame's bytes and what of them the chain covers. Raises ValueError for a record too long."""
    encoded, secret = ENCODER.encode(record), b"" if personal is None else ENCODER.encode(personal)
    if len(secret) > SECRET_BYTES_MAX:
        raise ValueError(f"a personal part of {len(secret)} bytes; a frame takes {SECRET_BYTES_MAX}")
    size = FRAME_HEAD_BYTES + len(secret) + (DIGEST_BYTES if secret else 0) + len(encoded)
    if size > FRAME_BYTES_MAX:
        raise ValueError(f"a record of {size} bytes; the journal takes {FRAME_BYTES_MAX}")
    return framed(encoded, secret, seed) if compiled is None else compiled.frame(encoded, secret, seed)


def encode_row(row: list[Accepted], at_ms: int, seed: int) -> tuple[bytes, bytes]:
    """The frames of impressions, one behind the other, and what of them the chain covers."""
    if compiled is not None:
        return compiled.recorded(row, at_ms, seed)
    frames = [encode_frame(*recorded_of(accepted, at_ms), seed) for accepted in row]
    return b"".join(frame for frame, _ in frames), b"".join(covered for _, covered in frames)


def framed(encoded: bytes, secret: bytes, seed: int) -> tuple[bytes, bytes]:
    """The same from encoded parts; ``secret`` empty: there is no personal part."""
    digest = blake2b(secret, digest_size=DIGEST_BYTES).digest() if secret else b""
    chained = digest + encoded
    lengths = _WORD.pack(len(chained) | _secret_bits(len(secret)))
    covered = lengths + chained
    return b"".join((_WORD.pack(crc32(covered, seed)), lengths, secret, chained)), covered


def _secret_bits(size: int) -> int:
    """Where a personal part's length stands in the lengths."""
    return (size & 0xFF) << 24 | size >> 8 << 20


class Frame(Struct, gc=False):
    """A whole frame found at ``start``; ``secret`` is the personal part. What the chain covers of it ends
    with the encoded record, from ``record_at`` on. ``tag``: of the record's kind; it stands behind the first
    byte of its array (0: an array of 16 and more has a byte of its length there)."""

    start: int
    end: int
    covered: bytes
    record_at: int
    tag: int
    secret: bytes

    def record(self) -> Record:
        """Raises msgspec.DecodeError or ValidationError for what no version of ours wrote."""
        record: Record = RECORDS.decode(self.covered[self.record_at :])
        return record


class Short(Struct, frozen=True):
    """The buffer ends before the frame does: ``needed`` bytes from the frame's start would tell."""

    needed: int


def parse_frame(raw: bytes, at: int, base: int, seed: int) -> Frame | Short | None:
    """The frame at ``raw[at]``, where ``raw[0]`` has the segment's offset ``base``. None: no frame here."""
    if len(raw) - at < FRAME_HEAD_BYTES:
        return Short(FRAME_HEAD_BYTES)
    crc, lengths = _HEAD.unpack_from(raw, at)
    chained_bytes, secret_bytes = lengths & 0xFFFFF, lengths >> 24 | lengths >> 12 & 0xF00
    if chained_bytes < _RECORD_BYTES_MIN:
        return None
    secret_at = at + FRAME_HEAD_BYTES
    chained_at = secret_at + secret_bytes
    end = chained_at + chained_bytes
    if end > len(raw):
        return Short(end - at)
    if not secret_bytes:
        covered = raw[at + 4 : end]
        if crc32(covered, seed) != crc:
            return None
        return Frame(base + at, base + end, covered, 4, covered[5], b"")
    covered = raw[at + 4 : secret_at] + raw[chained_at:end]
    if crc32(covered, seed) != crc or chained_bytes < DIGEST_BYTES + _RECORD_BYTES_MIN:
        return None
    return Frame(base + at, base + end, covered, 12, covered[13], raw[secret_at:chained_at])


def erased(secret: bytes) -> bool:
    """Whether a personal part was overwritten with zeros. No encoded one consists of zeros."""
    return not any(secret)


def sound(frame: Frame) -> bool:
    """Whether the personal part is the one that was written, none, or erased."""
    secret = frame.secret
    if not secret or blake2b(secret, digest_size=DIGEST_BYTES).digest() == frame.covered[4:12]:
        return True
    return erased(secret)


def later_marks(raw: bytes, base: int, seed: int) -> Iterator[tuple[int, Mark]]:
    """Every valid mark anywhere in ``raw``, also behind bytes that are no frames, with its offset."""
    for found in _MARK.finditer(raw):
        at = found.start() - FRAME_HEAD_BYTES
        frame = parse_frame(raw, at, base, seed) if at >= 0 else None
        if not isinstance(frame, Frame):
            continue
        try:
            record = frame.record()
        except msgspec.DecodeError:
            continue
        if isinstance(record, Mark):
            yield base + at, record
