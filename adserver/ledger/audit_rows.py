"""Rows of an audit by the million: packed as they come, then columns of NumPy.

A row is an id of 16 bytes and some integers; ten million events take a gigabyte so, and are sorted, joined
and compared in seconds. Integers all the way: sums are exact as long as they fit 64 bits, like the books'.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ID_BYTES: Final = 16


def dtype_of(names: Sequence[str]) -> np.dtype[Any]:
    return np.dtype([("id", f"S{ID_BYTES}"), *((name, "<i8") for name in names)])


class Rows:
    """Rows with these columns, in the order they were added."""

    def __init__(self, names: Sequence[str]) -> None:
        self._dtype = dtype_of(names)
        self._pack = struct.Struct(f"<{ID_BYTES}s{len(names)}q").pack
        self._raw = bytearray()

    def add(self, ident: bytes, *numbers: int) -> None:
        """Raises struct.error for what does not fit 64 bits."""
        self._raw += self._pack(ident, *numbers)

    def array(self) -> Array:
        return np.frombuffer(self._raw, self._dtype)


def fee_ident(start_ms: int, line_item: int, placement: int, index: int) -> bytes:
    """Of the event that a part of a day's fee is."""
    return (((start_ms << 32 | line_item) << 32 | placement) << 16 | index).to_bytes(ID_BYTES, "big")


def read_rows(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Array:
    """Rows of a database: an id, then integers. Raises TypeError, ValueError, OverflowError for others."""
    return np.fromiter(rows, dtype_of(names))


def ordered(rows: Array, *names: str) -> Array:
    """By id, then by these columns; equal ones stay in order."""
    high, low = _halves(rows)
    return rows[np.lexsort((*(rows[name] for name in reversed(names)), low, high))]


def _halves(rows: Array) -> tuple[Array, Array]:
    """An id as two numbers that sort like it."""
    halves = np.ascontiguousarray(rows["id"]).view(">u8").reshape(-1, 2).astype(np.uint64)
    return halves[:, 0], halves[:, 1]


def repeats(rows: Array, *names: str) -> NDArray[np.bool_]:
    """Of ordered rows: which have the id and these columns of the one before."""
    same = np.zeros(len(rows), np.bool_)
    if len(rows) > 1:
        same[1:] = rows["id"][1:] == rows["id"][:-1]
        for name in names:
            same[1:] &= rows[name][1:] == rows[name][:-1]
    return same


def places(rows: Array, wanted: Array) -> tuple[Array, NDArray[np.bool_]]:
    """For each id of ``wanted``: where it stands first in the ordered ``rows``, and whether it does."""
    at = np.searchsorted(rows["id"], wanted["id"])
    at[at == len(rows)] = 0
    found = rows["id"][at] == wanted["id"] if len(rows) else np.zeros(len(wanted), np.bool_)
    return at, found


class Differing:
    """Two tables of ordered rows without repeats, by id and the ``keys`` columns. ``missing``: rows of the
    first alone; ``extra``: of the second alone; ``changed``: (row of the first, row of the second) where any
    of ``values`` differ."""

    def __init__(self, first: Array, second: Array, keys: Sequence[str], values: Sequence[str]) -> None:
        ours, theirs = _common(first, second, keys)
        here, there = first[ours], second[theirs]
        unequal = np.zeros(len(here), np.bool_)
        for name in values:
            unequal |= here[name] != there[name]
        self.missing = first[~_mask(len(first), ours)]
        self.extra = second[~_mask(len(second), theirs)]
        self.changed = list(zip(here[unequal], there[unequal], strict=True))


def _common(first: Array, second: Array, keys: Sequence[str]) -> tuple[Array, Array]:
    """Where the rows stand that both have."""
    names = ["id", *keys]
    if len(first) == len(second) and all(np.array_equal(first[name], second[name]) for name in names):
        everything = np.arange(len(first))
        return everything, everything
    both = np.concatenate((first[names], second[names]))
    side = np.repeat(np.array([0, 1]), [len(first), len(second)])
    place = np.concatenate((np.arange(len(first)), np.arange(len(second))))
    high, low = _halves(both)
    order = np.lexsort((side, *(both[name] for name in reversed(keys)), low, high))
    twice = np.flatnonzero(repeats(both[order], *keys))
    return place[order[twice - 1]], place[order[twice]]


def _mask(length: int, places: Array) -> NDArray[np.bool_]:
    mask = np.zeros(length, np.bool_)
    mask[places] = True
    return mask


class Groups:
    """Rows that agree in some columns: ``keys`` are the groups, one tuple each, in order; ``of``: the number
    of each row's group; ``firsts``: the first row of each."""

    def __init__(self, *columns: Array) -> None:
        order = np.lexsort(columns[::-1]) if len(columns[0]) else np.zeros(0, np.int64)
        new = np.zeros(len(order), np.bool_)
        new[:1] = True
        for column in columns:
            new[1:] |= column[order][1:] != column[order][:-1]
        self.of = np.empty(len(order), np.int64)
        self.of[order] = np.cumsum(new) - 1
        self.firsts = order[new]
        self.keys = list(zip(*(column[self.firsts].tolist() for column in columns), strict=True))

    def sums(self, values: Array | int, where: NDArray[np.bool_] | None = None) -> list[int]:
        """The sum of a column (or of one number a row) in each group."""
        total = np.zeros(len(self.keys), np.int64)
        of = self.of if where is None else self.of[where]
        np.add.at(total, of, values if isinstance(values, int) or where is None else values[where])
        return [int(one) for one in total]


def each(rows: Array, where: NDArray[np.bool_]) -> Iterator[Any]:
    """The rows where something is to be told."""
    yield from rows[where]
