"""Names in an image: found by a hash that is the same in every process, and then compared.

The rows of a table of names stand in the order of their hashes, so that a name is found by bisection in the
mapped array and no process holds a dictionary of all of them.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from adserver.engine.image import Piece, Sections
from adserver.engine.kept import Kept

T = TypeVar("T")


def hash_of(name: bytes) -> int:
    """64 bits. Keyless: who finds two names of one hash has made one look a step longer."""
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "little")


def order_of(names: Sequence[bytes], hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    """Rows -> which name: by hash, and among equal hashes by the name itself."""
    order = np.argsort(hashes, kind="stable")
    if len(order) > 1 and not np.diff(hashes[order]).all():
        both = sorted(range(len(names)), key=lambda number: (int(hashes[number]), names[number]))
        order = np.array(both, np.intp)
    return order


def sections(table: str, names: Sequence[bytes], hashes: npt.NDArray[np.uint64]) -> dict[str, Piece]:
    """``names``: in the order of their rows."""
    ends = np.cumsum([0, *map(len, names)], dtype=np.uint64)
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
    hashes = np.array([one.hash for one in given], np.uint64)
    order = order_of([one.name for one in given], hashes)
    rows = [given[number] for number in order.tolist()]
    found = sections(table, [one.name for one in rows], hashes[order])
    found[f"{table}.blob_ends"] = np.cumsum([0, *(len(one.blob) for one in rows)], dtype=np.uint64)
    found[f"{table}.blobs"] = b"".join(one.blob for one in rows)
    return found, order


class Names:
    """A table of names, read in place."""

    def __init__(self, given: Sections, table: str) -> None:
        self._hashes = given.numbers(f"{table}.hashes", "Q")
        self._ends = given.numbers(f"{table}.ends", "Q")
        self._text = given.bytes(f"{table}.text")

    def __len__(self) -> int:
        return len(self._hashes)

    def row(self, name: bytes) -> int:
        """-1 where there is no such name."""
        wanted = hash_of(name)
        row = bisect_left(self._hashes, wanted)
        while row < len(self._hashes) and self._hashes[row] == wanted:
            if self._text[self._ends[row] : self._ends[row + 1]] == name:
                return row
            row += 1
        return -1

    def name(self, row: int) -> str:
        return str(self._text[self._ends[row] : self._ends[row + 1]], "utf-8")


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
        found = self._kept.get(name)
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
