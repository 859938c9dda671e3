"""The image of a snapshot: a header and named sections of flat arrays, written once and mapped by many.

Everything a snapshot serves from is in one run of bytes, so a file of it is mapped, not read: processes
share one copy, opening costs the same for ten line items as for a million, and dropping it frees the whole
at once. Numbers are in this machine's byte order; an image of the other order is one of another version.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Any, Final, Literal
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

MAGIC: Final = b"adimage\n"
VERSION: Final = 3
"""Of the sections and of what stands in them: any change of either is another version."""

_HEAD: Final = Struct("=8sIIIQQ")
"""Magic, version, checksum of the contents, of the sections, length of the contents, of the image."""
_ALIGN: Final = 64

Piece = bytes | bytearray | memoryview | npt.NDArray[Any]
Section = Piece | list[Any]
"""A piece, or a list of them that are written one after the other."""
Code = Literal["H", "I", "q", "Q"]
_Contents = dict[str, tuple[int, int]]
_CONTENTS: Final = msgspec.msgpack.Decoder(_Contents)


class ImageError(ValueError):
    """The bytes are no image, one of another version, or cut short."""


class Image:
    """Bytes to be written one after the other: ``pieces`` are never copied together here."""

    def __init__(self, sections: Mapping[str, Section]) -> None:
        contents: _Contents = {}
        self.pieces: list[memoryview] = []
        end = 0
        for name, given in sections.items():
            pieces = list(map(_plain, given)) if isinstance(given, list) else [_plain(given)]
            size = sum(piece.nbytes for piece in pieces)
            contents[name] = (end, size)
            self.pieces += [*pieces, memoryview(bytes(-size % _ALIGN))]
            end += size + -size % _ALIGN
        checksum = 0
        for piece in self.pieces:
            checksum = crc32(piece, checksum)
        table = msgspec.msgpack.encode(contents)
        start = _aligned(_HEAD.size + len(table))
        self.size = start + end
        head = _HEAD.pack(MAGIC, VERSION, crc32(table), checksum, len(table), self.size) + table
        self.pieces.insert(0, memoryview(head.ljust(start, b"\0")))

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces)


class Sections:
    """An image read in place (``whole``). ``buffer`` is a mapped file or bytes; ``checksum``: of what stands
    in it. Raises ImageError."""

    def __init__(self, buffer: bytes | bytearray | memoryview) -> None:
        self.whole = memoryview(buffer).toreadonly().cast("B")
        if self.whole.nbytes < _HEAD.size:
            raise ImageError(f"{self.whole.nbytes} bytes are no image of a snapshot")
        magic, version, checksum, self.checksum, length, size = _HEAD.unpack_from(self.whole)
        if magic != MAGIC:
            raise ImageError("this is no image of a snapshot")
        if version != VERSION:
            raise ImageError(f"the image is of version {version}, this program reads version {VERSION}")
        if size != self.whole.nbytes:
            raise ImageError(f"the image has {self.whole.nbytes} of its {size} bytes")
        table = self.whole[_HEAD.size : _HEAD.size + length]
        if crc32(table) != checksum:
            raise ImageError("the image's table of contents is damaged")
        self._contents = _CONTENTS.decode(table)
        self._start = _aligned(_HEAD.size + length)

    @property
    def names(self) -> list[str]:
        return list(self._contents)

    @classmethod
    def first(cls, buffer: memoryview) -> "Sections":
        """The image with which the buffer begins. Raises ImageError."""
        size = _HEAD.unpack_from(buffer)[-1] if buffer.nbytes >= _HEAD.size else 0
        return cls(buffer[:size])

    def check(self) -> None:
        """Read all of it, 0.5 ms a megabyte: what a file holds that is older than this process may be
        anything. Raises ImageError unless it is what was written."""
        if crc32(self.whole[self._start :]) != self.checksum:
            raise ImageError("the image's sections are damaged")

    def bytes(self, name: str) -> memoryview:
        try:
            offset, size = self._contents[name]
        except KeyError:
            raise ImageError(f"the image has no section {name}") from None
        return self.whole[self._start + offset : self._start + offset + size]

    def place(self, name: str) -> int:
        """Where in the whole the section begins."""
        return self._start + self._contents[name][0]

    def numbers(self, name: str, code: Code) -> memoryview:
        """As an array of ``code`` (see ``struct``): indexed, it gives Python's integers."""
        return self.bytes(name).cast(code)


def _plain(piece: Piece) -> memoryview:
    view = np.ascontiguousarray(piece).data if isinstance(piece, np.ndarray) else memoryview(piece)
    return view.cast("B") if view.nbytes else memoryview(b"")


def _aligned(size: int) -> int:
    return size + -size % _ALIGN
