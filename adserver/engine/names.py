"""Names in an image: found by a hash that is the same in every process, and then compared.

The rows of a table of names stand in the order of their hashes, so that a name is found by bisection in the
mapped array and no process holds a dictionary of all of them. Names of one hash stand in their own order and
are bisected too: anybody can find such names, and whoever does makes a look a few steps longer.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, TypeVar
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from adserver.engine.image import Piece, Sections
from adserver.engine.kept import Kept

T = TypeVar("T")


def hash_of(name: bytes) -> int:
    """32 bits: what the kernel can count as well, in a few lines."""
    return crc32(name)


def order_of(names: Sequence[bytes], hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.intp]:
    """Rows -> which name: by hash, and among equal hashes by the name itself."""
    order = np.argsort(hashes, kind="stable")
    same = np.diff(hashes[order]) == 0
    # Runs of one hash: where they begin and end.
    borders = np.flatnonzero(np.diff(same, prepend=False, append=False)).tolist()
    for first, last in zip(borders[::2], borders[1::2], strict=True):
        order[first : last + 1] = sorted(order[first : last + 1].tolist(), key=names.__getitem__)
    return order


def sections(table: str, names: Sequence[bytes], hashes: npt.NDArray[np.uint32]) -> dict[str, Piece]:
    """``names``: in the order of their rows."""
    ends = _ends(names)
    return {f"{table}.hashes": hashes, f"{table}.ends": ends, f"{table}.text": b"".join(names)}


class Named(Struct, frozen=True):
    """A name with its hash, and what stands under it."""

    name: bytes
    hash: int
    blob: bytes


def named(name: str, blob: bytes) -> Named:
    plain = name.encode()
    return Named(plain, hash_of(plain), blob)


def blob_sections(table: str, given: Sequence[Named]) -> tuple[dict[str, Piece], npt.NDArray[np.intp]]:
    """A table of names with a blob each; and rows -> which of those given."""
    hashes = np.array([one.hash for one in given], np.uint32)
    order = order_of([one.name for one in given], hashes)
    rows = [given[number] for number in order.tolist()]
    found = sections(table, [one.name for one in rows], hashes[order])
    blobs = [one.blob for one in rows]
    found[f"{table}.blob_ends"], found[f"{table}.blobs"] = _ends(blobs), b"".join(blobs)
    return found, order


def _ends(pieces: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    """Where each ends in all of them together; 0 before the first."""
    ends = np.zeros(len(pieces) + 1, np.uint64)
    np.cumsum(np.fromiter(map(len, pieces), np.uint64, len(pieces)), out=ends[1:])
    return ends


class Names:
    """A table of names, read in place. ``arrays``: hashes (u32), ends (u64) and the text."""

    def __init__(self, given: Sections, table: str) -> None:
        self._hashes = given.numbers(f"{table}.hashes", "I")
        self._ends = given.numbers(f"{table}.ends", "Q")
        self._text = given.bytes(f"{table}.text")
        self.arrays = self._hashes, self._ends, self._text

    def __len__(self) -> int:
        return len(self._hashes)

    def row(self, name: bytes) -> int:
        """-1 where there is no such name."""
        wanted = hash_of(name)
        first = bisect_left(self._hashes, wanted)
        end = bisect_right(self._hashes, wanted, first)
        row = bisect_left(range(end), name, first, key=self._plain)
        return row if row < end and self._plain(row) == name else -1

    def name(self, row: int) -> str:
        return self._plain(row).decode()

    def _plain(self, row: int) -> bytes:
        return bytes(self._text[self._ends[row] : self._ends[row + 1]])


class Table(Mapping[str, T], Generic[T]):
    """Names and what each stands for, decoded when first asked for."""

    def __init__(self, given: Sections, table: str, decoder: msgspec.msgpack.Decoder[T], most: int) -> None:
        self.names = Names(given, table)
        self._ends = given.numbers(f"{table}.blob_ends", "Q")
        self._blobs = given.bytes(f"{table}.blobs")
        self._decoder = decoder
        self._kept: Kept[int | str, T] = Kept(most)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return map(self.names.name, range(len(self.names)))

    def __getitem__(self, name: str) -> T:
        found = self._kept.young.get(name) or self._kept.get(name)
        if found is None:
            row = self.names.row(name.encode())
            if row < 0:
                raise KeyError(name)
            found = self._kept.put(name, self.at(row))
        return found

    def at(self, row: int) -> T:
        found = self._kept.get(row)
        if found is None:
            blob = self._blobs[self._ends[row] : self._ends[row + 1]]
            found = self._kept.put(row, self._decoder.decode(blob))
        return found
