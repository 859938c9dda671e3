"""Which positions carry a value: read from the image chunk by chunk, as Python integers of its bits.

Two global arrays hold all postings. A *dense* one is a bitmap: 64-bit words at a word offset, padded to
whole ``CHUNK``s. A *sparse* one is an ascending slice of positions, so that 100 000 segments of a few line
items each do not cost a bitmap each. Bits of a chunk are made when first asked for.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from adserver.engine.image import ImageError, Sections

CHUNK: Final = 4096
"""Positions a bitmap is cut into; a multiple of eight."""
DENSE: Final = -1
"""The count of a dense posting."""
WORDS: Final = 64
"""Words a dense posting has for each 4096 positions or part of them."""

_WHOLE: Final = 16
"""A sparse posting of so few positions is read at once."""
_MANY: Final = 32
"""So many positions of a chunk are faster set by NumPy."""


class Arrays:
    """The two arrays. ``made``: chunks of bits made of them, which is what reading costs in memory."""

    __slots__ = ("dense_max", "made", "sparse", "words")

    def __init__(self, given: Sections, size: int) -> None:
        self.words = given.bytes("words")
        self.dense_max = len(self.words) // 8 - bitmap_words(size)
        self.sparse = given.numbers("sparse", "I")
        self.made = 0

    def dense(self, offset: int, chunk: int) -> int:
        start = offset * 8 + chunk * (CHUNK // 8)
        return int.from_bytes(self.words[start : start + CHUNK // 8], "little")

    def positions(self, first: int, end: int, base: int) -> int:
        """Bits of the positions in the slice, which lie in the chunk that begins at ``base``."""
        if end - first > _MANY:
            bits = np.zeros(CHUNK, np.uint8)
            bits[np.frombuffer(self.sparse[first:end], np.uint32) - base] = 1
            return int.from_bytes(np.packbits(bits, bitorder="little"), "little")
        found = 0
        for position in self.sparse[first:end]:
            found |= 1 << position - base
        return found


class Posting(dict[int, int]):
    """Chunk -> bits, of one value. Raises ImageError for one that does not lie within the arrays."""

    __slots__ = ("_arrays", "count", "offset")

    def __init__(self, arrays: Arrays, count: int, offset: int) -> None:
        self.count, self.offset = count, offset
        self._arrays = arrays
        last = arrays.dense_max if count == DENSE else len(arrays.sparse) - count
        if count < DENSE or not 0 <= offset <= last:
            raise ImageError(f"a posting of {count} at {offset} is outside the image")
        if 0 <= count <= _WHOLE:
            for position in arrays.sparse[offset : offset + count]:
                chunk, bit = divmod(position, CHUNK)
                self[chunk] = self.get(chunk, 0) | 1 << bit
            arrays.made += len(self)

    def __missing__(self, chunk: int) -> int:
        if 0 <= self.count <= _WHOLE:
            return 0
        self._arrays.made += 1
        bits = self[chunk] = self._bits(chunk)
        return bits

    def _bits(self, chunk: int) -> int:
        arrays = self._arrays
        if self.count == DENSE:
            return arrays.dense(self.offset, chunk)
        base, last = chunk * CHUNK, self.offset + self.count
        first = bisect_left(arrays.sparse, base, self.offset, last)
        return arrays.positions(first, bisect_left(arrays.sparse, base + CHUNK, first, last), base)

    def whole(self, chunks: int) -> dict[int, int]:
        """All its chunks that are not empty."""
        if 0 <= self.count <= _WHOLE:
            return self
        return {chunk: bits for chunk in range(chunks) if (bits := self[chunk])}


def bitmap_words(size: int) -> int:
    """Words of one dense posting over so many positions."""
    return -(-size // (WORDS * 64)) * WORDS


def full_chunks(size: int) -> list[int]:
    """A bitmap with every position set."""
    return [(1 << min(CHUNK, size - start)) - 1 for start in range(0, size, CHUNK)]


def positions(bits_of: Mapping[int, int]) -> Iterator[int]:
    """The positions set in chunks of bits, ascending."""
    for chunk, bits in sorted(bits_of.items()):
        while bits:
            low = bits & -bits
            bits ^= low
            yield chunk * CHUNK + low.bit_length() - 1
